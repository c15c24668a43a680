"""DINO's loss, and the centre that keeps it from collapsing."""

import math

import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor, nn

from ssps_plugin.distributed import mean_over_joint_batch, sum_over_ranks
from ssps_plugin.losses.objective_module import ObjectiveModule

logger = get_logger(__name__)

# Of log(num_outputs). A head that is drawn at random tells more than a tenth:
# its cosines have a standard deviation of 0.06 or more, and the teacher's
# temperature is 0.07 or less.
_COLLAPSED_SHARE = 0.03
# Of what they told in the best epoch so far. Where SSPS began too early, on
# real speech, it fell from 1.1 nats to 0.25 (of at most 6.9).
_FORGOTTEN_SHARE = 0.3


class DINOLoss(nn.Module):
    """Cross entropy of the student's views with the teacher's.

    Every view of the student is compared with every global view of the
    teacher but the same one. Computed in float32.

    Arguments
    ---------
    student_temperature : float
        Divides the student's outputs.

    Source: M. Caron et al., DINO, ICCV 2021 (arXiv 2104.14294), equation 3.

    Example
    -------
    >>> loss, centering = DINOLoss(), DINOCentering(num_outputs=4)
    >>> outputs = torch.zeros(6, 2, 4)  # 2 global and 4 local views
    >>> round(loss(outputs, outputs[:2], centering).item(), 4)  # log(4)
    1.3863
    """

    def __init__(self, student_temperature: float = 0.1) -> None:
        super().__init__()
        if student_temperature <= 0:
            raise ValueError(
                f"student_temperature must be > 0, got {student_temperature}."
            )
        self.student_temperature = student_temperature

    def forward(
        self, anchors: Tensor, positives: Tensor, centering: nn.Module
    ) -> Tensor:
        """Compute the loss.

        Arguments
        ---------
        anchors : torch.Tensor
            The student's outputs, `(num_views, batch, num_outputs)`, global
            views first, any float dtype.
        positives : torch.Tensor
            The teacher's outputs, `(num_global, batch, num_outputs)`.
        centering : torch.nn.Module
            Outputs of the teacher to distributions, such as `DINOCentering`.

        Returns
        -------
        torch.Tensor
            0-d float32, the mean over pairs of views and over the batch. Over
            ranks, the mean of the ranks' losses is that of the joint batch.

        Raises
        ------
        ValueError
            Shapes that do not fit, or a single view, which has no other.
        """
        num_views, num_global = len(anchors), len(positives)
        num_pairs = num_views * num_global - num_global
        fits = anchors.shape[1:] == positives.shape[1:] and anchors.dim() == 3
        if not fits or num_views < num_global or num_pairs < 1:
            raise ValueError(
                "Expected the student's outputs (num_views, batch, "
                "num_outputs) and the teacher's for the first of these views, "
                "at least two views in all, got "
                f"{tuple(anchors.shape)} and {tuple(positives.shape)}."
            )
        with torch.autocast(anchors.device.type, enabled=False):
            logits = anchors.float() / self.student_temperature
            teacher = centering(positives)
            # What each view is compared with, summed over the teacher's views:
            # all of them for a local view, all but its own for a global one.
            every = teacher.sum(0)
            own = every - teacher
            # Cross entropies with q, summed: n · logsumexp(s) - <sum q, s>.
            normalizer = logits.logsumexp(-1)
            agreement = torch.cat(
                [
                    (own * logits[:num_global]).sum(-1),
                    (every * logits[num_global:]).sum(-1),
                ]
            )
            loss = num_global * normalizer.sum(0) - agreement.sum(0)
            loss = loss - normalizer[:num_global].sum(0)
            return mean_over_joint_batch(loss.sum(), len(loss) * num_pairs)


class DINOCentering(ObjectiveModule):
    """Centre and sharpen the teacher's outputs.

    The centre is a moving average of the teacher's outputs over all ranks, and
    of those that were compared: with SSPS, the substituted ones, as published.

    Arguments
    ---------
    num_outputs : int
        Dimension of the outputs.
    temperature : float
        Divides the centred outputs.
    momentum : float
        Of the centre.
    warmup_temperature : float, optional
        Temperature of the first epoch, from where it goes to `temperature`
        linearly; none by default.
    warmup_epochs : int
        Epochs until `temperature` is reached.

    Source: M. Caron et al., DINO, ICCV 2021 (arXiv 2104.14294), equation 4.

    Example
    -------
    >>> centering = DINOCentering(num_outputs=2, temperature=1.0, momentum=0.5)
    >>> centering.update(torch.tensor([[[4.0, 0.0]]]))
    >>> centering.center.tolist()
    [2.0, 0.0]
    >>> centering(torch.tensor([[[2.0, 0.0]]])).tolist()
    [[[0.5, 0.5]]]
    """

    center: Tensor
    _totals: Tensor
    _most_information: Tensor

    def __init__(
        self,
        num_outputs: int,
        temperature: float = 0.04,
        momentum: float = 0.9,
        warmup_temperature: float | None = None,
        warmup_epochs: int = 0,
    ) -> None:
        super().__init__()
        if temperature <= 0 or not 0 <= momentum < 1:
            raise ValueError(
                "Expected temperature > 0 and momentum in [0, 1), got "
                f"{temperature} and {momentum}."
            )
        if warmup_temperature is not None and warmup_temperature <= 0:
            raise ValueError(
                f"Expected warmup_temperature > 0, got {warmup_temperature}."
            )
        if (warmup_temperature is None) != (warmup_epochs < 1):
            raise ValueError(
                "Expected warmup_temperature and warmup_epochs (in the YAML "
                "warmup_teacher_temperature and warmup_teacher_epochs) both, "
                f"or neither, got {warmup_temperature} and {warmup_epochs}."
            )
        self.final_temperature = temperature
        self.temperature = temperature
        self.momentum = momentum
        self.warmup_temperature = warmup_temperature
        self.warmup_epochs = warmup_epochs
        self.register_buffer("center", torch.zeros(num_outputs))
        # Over the epoch: entropies, information, standard deviations, steps.
        self.register_buffer("_totals", torch.zeros(4))
        self.register_buffer("_most_information", torch.zeros(()))

    def forward(self, outputs: Tensor) -> Tensor:
        """Return distributions, float32, `(..., num_outputs)`."""
        centred = (outputs.detach().float() - self.center) / self.temperature
        return centred.softmax(-1)

    def begin_epoch(self, epoch: int) -> None:
        """Set the epoch's temperature."""
        self.temperature = self.final_temperature
        if self.warmup_temperature is not None and epoch <= self.warmup_epochs:
            share = (epoch - 1) / max(self.warmup_epochs - 1, 1)
            rise = self.final_temperature - self.warmup_temperature
            self.temperature = self.warmup_temperature + share * rise

    @torch.no_grad()
    def update(self, targets: Tensor, groups: Tensor | None = None) -> None:
        """Move the centre, and take note of how the outputs are spread.

        Rows that are not finite are left out.
        """
        rows = targets.float().flatten(0, -2)  # (num_global * batch, outputs)
        finite = rows.isfinite().all(-1, keepdim=True)
        rows = torch.where(finite, rows, 0)
        self._take_note(rows)
        totals = torch.cat([rows.sum(0), finite.sum(0).to(rows.dtype)])
        totals = sum_over_ranks(totals)
        mean = totals[:-1] / totals[-1].clamp(min=1)
        share = (1 - self.momentum) * (totals[-1] > 0)
        self.center.lerp_(mean, share)

    def _take_note(self, rows: Tensor) -> None:
        logits = (rows - self.center) / self.temperature
        shares = logits.softmax(-1)
        # H = logsumexp(s) - <p, s>
        expected = (shares * logits).sum(-1)
        entropy = (logits.logsumexp(-1) - expected).mean()
        information = torch.special.entr(shares.mean(0)).sum() - entropy
        spread = rows.std(0, correction=0).mean()
        self._totals += torch.stack(
            [entropy, information, spread, torch.ones_like(spread)]
        )

    def metrics(self) -> dict[str, float]:
        """Return how far the teacher is from collapse, and start anew.

        Means over steps and ranks: call it on every rank.

        Returns
        -------
        dict of str to float
            teacher_entropy: of its distributions, nats; near log(num_outputs)
            they are uniform, near 0 one-hot. teacher_information: what they
            tell of an utterance, nats: the entropy of their mean over a rank's
            batch less their own; near 0 all utterances look alike, be it
            uniform or one-hot. output_std: standard deviation of the outputs
            over a rank's batch.
        """
        *totals, num_steps = sum_over_ranks(self._totals).tolist()
        self._totals.zero_()
        if not num_steps:
            return {}
        entropy, information, spread = (total / num_steps for total in totals)
        uniform = math.log(len(self.center))
        most = max(float(self._most_information), information)
        self._most_information.fill_(most)
        if information < max(
            _COLLAPSED_SHARE * uniform, _FORGOTTEN_SHARE * most
        ):
            logger.warning(
                "DINO has collapsed, or is about to: the teacher's "
                "distributions hardly depend on the utterance (they tell %.3f "
                "nats of it, after %.3f in the best epoch; their entropy is "
                "%.3f of at most %.3f). Try a lower learning rate, a longer "
                "warm-up, a lower teacher temperature, or a later start of "
                "SSPS.",
                information,
                most,
                entropy,
                uniform,
            )
        return {
            "teacher_entropy": entropy,
            "teacher_information": information,
            "output_std": spread,
        }
