"""CosFace: a margin taken off the target's cosine."""

from torch import Tensor

from ssps_plugin.losses.margins.margin import Margin, check_not_negative


class AdditiveMargin(Margin):
    """Lower the target: cos(theta) - m.

    Carried over: the cosine of an anchor and its positive stands for that of
    a sample and its class centre; the negatives' cosines stay.

    Arguments
    ---------
    margin : float
        m, in [0, 2]; 0.1 as used with SSPS.

    Source: H. Wang et al., CosFace: Large Margin Cosine Loss for Deep Face
    Recognition, CVPR 2018 (arXiv 1801.09414), equation 4.

    Example
    -------
    >>> import torch
    >>> targets, others = torch.ones(1, 1), torch.zeros(1, 2)
    >>> AdditiveMargin(0.25)(targets, others, norms=targets)
    (tensor([[0.7500]]), tensor([[0., 0.]]))
    """

    def __init__(self, margin: float = 0.1) -> None:
        super().__init__()
        check_not_negative("margin", margin, 2.0)
        self.margin = margin

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return lowered targets, and `others` itself."""
        return targets - self.margin, others
