"""Learning rates as functions of the epoch, with nothing to checkpoint."""


class StepDecay:
    """Multiply the learning rate by a factor every few epochs.

    Arguments
    ---------
    initial : float
        Learning rate of the first epochs.
    factor : float
        Multiplier.
    interval_epochs : int
        Epochs between two decays.

    Example
    -------
    >>> learning_rate = StepDecay(1.0, factor=0.5, interval_epochs=2)
    >>> [learning_rate(epoch) for epoch in (1, 2, 3, 4, 5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(
        self, initial: float, factor: float = 1.0, interval_epochs: int = 1
    ) -> None:
        if initial <= 0 or factor <= 0 or interval_epochs < 1:
            raise ValueError(
                "Expected initial > 0, factor > 0 and interval_epochs >= 1, "
                f"got {initial}, {factor} and {interval_epochs}."
            )
        self.initial = initial
        self.factor = factor
        self.interval_epochs = interval_epochs

    def __call__(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 1."""
        num_decays = (epoch - 1) // self.interval_epochs
        return float(self.initial * self.factor**num_decays)
