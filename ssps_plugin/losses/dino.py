"""DINO's loss, and the centre that keeps it from collapsing."""

import math

import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor, nn

from ssps_plugin.checks import is_above, is_from_to
from ssps_plugin.distributed import mean_over_joint_batch, sum_over_ranks
from ssps_plugin.losses.objective_module import ObjectiveModule

logger = get_logger(__name__)

# A teacher has collapsed if its information is below this fraction of
# log(num_outputs). A head that is drawn at random has more than a tenth: its
# cosines have a standard deviation of 0.06 or more, and the teacher's
# temperature is 0.07 or less.
_COLLAPSED_FRACTION = 0.03
# It is about to collapse if its information is below this fraction of that of
# its best epoch. Where SSPS began too early, on real speech, it fell from 1.1
# nats to 0.25 (of at most 6.9).
_FORGOTTEN_FRACTION = 0.3
# How many times what it told in the first epoch a teacher has to tell of an
# utterance, for utterances to be told apart.
_LEAST_GROWTH = 1.25


class DINOLoss(nn.Module):
    """Cross entropy of the student's views with the teacher's.

    Every view of the student is compared with every global view of the
    teacher, except with itself. Computed in float32.

    Arguments
    ---------
    student_temperature : float
        Divides the student's outputs, greater than 0.

    Raises
    ------
    ValueError
        A temperature that is not greater than 0.

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
        if not is_above(0, student_temperature):
            raise ValueError(
                f"Expected student_temperature > 0, got {student_temperature}: "
                "change student_temperature."
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
            Maps the teacher's outputs to distributions, such as
            `DINOCentering`.

        Returns
        -------
        torch.Tensor
            0-d float32, the mean over pairs of views and over the batch. Over
            ranks, the mean of the ranks' losses is the loss of the joint batch.

        Raises
        ------
        ValueError
            Shapes that do not fit, or a single view.
        """
        num_views, num_global = len(anchors), len(positives)
        num_pairs = num_views * num_global - num_global
        fits = anchors.shape[1:] == positives.shape[1:] and anchors.dim() == 3
        if not fits or num_views < num_global or num_pairs < 1:
            raise ValueError(
                "Expected the student's outputs (num_views, batch, "
                "num_outputs) and the teacher's for the first of these views, "
                "at least two views in all, got "
                f"{tuple(anchors.shape)} and {tuple(positives.shape)}: change "
                "crop_groups or framework."
            )
        with torch.autocast(anchors.device.type, enabled=False):
            logits = anchors.float() / self.student_temperature
            teacher = centering(positives)
            # Each view is compared with the sum over the teacher's views: all
            # of them for a local view, all but itself for a global one.
            all_views = teacher.sum(0)
            other_views = all_views - teacher
            # Cross entropies with q, summed: n · logsumexp(s) - <sum q, s>.
            normalizer = logits.logsumexp(-1)
            agreement = torch.cat(
                [
                    (other_views * logits[:num_global]).sum(-1),
                    (all_views * logits[num_global:]).sum(-1),
                ]
            )
            loss = num_global * normalizer.sum(0) - agreement.sum(0)
            loss = loss - normalizer[:num_global].sum(0)
            return mean_over_joint_batch(loss.sum(), len(loss) * num_pairs)


class DINOCentering(ObjectiveModule):
    """Centre and sharpen the teacher's outputs.

    The centre is a moving average over all ranks of the outputs that were
    compared: with SSPS the substituted ones, as published.

    Arguments
    ---------
    num_outputs : int
        Dimension of the outputs.
    temperature : float
        Divides the centred outputs, greater than 0.
    momentum : float
        Fraction of the old centre that a step keeps, in [0, 1).
    warmup_temperature : float, optional
        Temperature of the first epoch, greater than 0. From there it changes
        to `temperature` linearly. No warm-up by default.
    warmup_epochs : int
        Epochs until `temperature` is reached.

    Raises
    ------
    ValueError
        A number out of range, or half of a warm-up.

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
    _first_information: Tensor
    _last_information: Tensor

    buffers_of_rank = ("_totals",)

    def __init__(
        self,
        num_outputs: int,
        temperature: float = 0.04,
        momentum: float = 0.9,
        warmup_temperature: float | None = None,
        warmup_epochs: int = 0,
    ) -> None:
        super().__init__()
        fits = is_above(0, temperature) and is_from_to(0, 1, momentum)
        if not fits or momentum == 1:
            raise ValueError(
                "Expected temperature > 0 and momentum in [0, 1), got "
                f"{temperature} and {momentum}: change teacher_temperature or "
                "center_momentum."
            )
        if warmup_temperature is not None and not is_above(
            0, warmup_temperature
        ):
            raise ValueError(
                f"Expected warmup_temperature > 0, got {warmup_temperature}: "
                "change warmup_teacher_temperature."
            )
        if (warmup_temperature is None) != (warmup_epochs < 1):
            raise ValueError(
                "Expected warmup_temperature and warmup_epochs both, or "
                f"neither, got {warmup_temperature} and {warmup_epochs}: "
                "change warmup_teacher_temperature or warmup_teacher_epochs."
            )
        self.final_temperature = temperature
        self.temperature = temperature
        self.momentum = momentum
        self.warmup_temperature = warmup_temperature
        self.warmup_epochs = warmup_epochs
        self.register_buffer("center", torch.zeros(num_outputs))
        # Over the epoch: entropies, information, standard deviations, steps.
        self.register_buffer("_totals", torch.zeros(4))
        # Over epochs: the most, that of the first epoch, that of the last.
        self.register_buffer("_most_information", torch.zeros(()))
        self.register_buffer("_first_information", torch.zeros(()))
        self.register_buffer("_last_information", torch.zeros(()))

    def forward(self, outputs: Tensor) -> Tensor:
        """Map outputs to distributions.

        Arguments
        ---------
        outputs : torch.Tensor
            `(..., num_outputs)`, any float dtype.

        Returns
        -------
        torch.Tensor
            `(..., num_outputs)` float32, each summing to 1, without gradient.
        """
        centred = (outputs.detach().float() - self.center) / self.temperature
        return centred.softmax(-1)

    def begin_epoch(self, epoch: int) -> None:
        """Set the epoch's temperature."""
        self.temperature = self.final_temperature
        if self.warmup_temperature is not None and epoch <= self.warmup_epochs:
            progress = (epoch - 1) / max(self.warmup_epochs - 1, 1)
            rise = self.final_temperature - self.warmup_temperature
            self.temperature = self.warmup_temperature + progress * rise

    @torch.no_grad()
    def update(self, targets: Tensor, groups: Tensor | None = None) -> None:
        """Move the centre, and add a step to the metrics.

        Arguments
        ---------
        targets : torch.Tensor
            `(num_global, batch, num_outputs)`. Rows that are not finite do not
            move the centre.
        groups : torch.Tensor, optional
            Not used.
        """
        rows = targets.float().flatten(0, -2)  # (num_global * batch, outputs)
        finite = rows.isfinite().all(-1, keepdim=True)
        rows = torch.where(finite, rows, 0)
        self._add_to_totals(rows)
        totals = torch.cat([rows.sum(0), finite.sum(0).to(rows.dtype)])
        totals = sum_over_ranks(totals)
        mean = totals[:-1] / totals[-1].clamp(min=1)
        weight = (1 - self.momentum) * (totals[-1] > 0)
        self.center.lerp_(mean, weight)

    def metrics(self) -> dict[str, float]:
        """Return how far the teacher is from collapse, and reset the totals.

        The values are means over steps and ranks, so every rank has to call
        it. It warns of a collapse.

        Returns
        -------
        dict of str to float
            `teacher_entropy`: of the teacher's distributions, in nats. Near
            log(num_outputs) they are uniform, near 0 one-hot.
            `teacher_information`: the information of a distribution about its
            utterance, in nats: the entropy of their mean over a rank's batch
            minus the mean of their entropies. Near 0 all utterances look
            alike. `output_std`: standard deviation of the outputs over a
            rank's batch.
        """
        *totals, num_steps = sum_over_ranks(self._totals).tolist()
        self._totals.zero_()
        if not num_steps:
            return {}
        entropy, information, spread = (total / num_steps for total in totals)
        most = max(float(self._most_information), information)
        self._most_information.fill_(most)
        if not self._first_information:
            self._first_information.fill_(information)
        self._last_information.fill_(information)
        self._warn_of_collapse(entropy, information, most)
        return {
            "teacher_entropy": entropy,
            "teacher_information": information,
            "output_std": spread,
        }

    def explain_unready(self) -> str:
        """Say why utterances are hardly told apart yet, by `metrics`.

        Where a teacher learns to, what it tells of an utterance grows from
        epoch to epoch. Where it does not, its neighbours are no speakers.
        """
        first = float(self._first_information)
        last = float(self._last_information)
        if last >= _LEAST_GROWTH * first:
            return ""
        return (
            f"the teacher tells {last:.2f} nats of an utterance "
            f"(teacher_information), and told {first:.2f} in the first epoch"
        )

    def _add_to_totals(self, rows: Tensor) -> None:
        logits = (rows - self.center) / self.temperature
        probabilities = logits.softmax(-1)
        # H = logsumexp(s) - <p, s>
        expected = (probabilities * logits).sum(-1)
        entropy = (logits.logsumexp(-1) - expected).mean()
        entropy_of_mean = torch.special.entr(probabilities.mean(0)).sum()
        information = entropy_of_mean - entropy
        spread = rows.std(0, correction=0).mean()
        self._totals += torch.stack(
            [entropy, information, spread, torch.ones_like(spread)]
        )

    def _warn_of_collapse(
        self, entropy: float, information: float, most_information: float
    ) -> None:
        uniform = math.log(len(self.center))
        if information < max(
            _COLLAPSED_FRACTION * uniform,
            _FORGOTTEN_FRACTION * most_information,
        ):
            logger.warning(
                "DINO has collapsed, or is about to: the teacher's "
                "distributions hardly depend on the utterance (their "
                "information about it is %.3f nats, after %.3f in the best "
                "epoch; their entropy is %.3f of at most %.3f). Try a lower "
                "learning rate, a longer warm-up, a lower teacher temperature, "
                "or a later start of SSPS.",
                information,
                most_information,
                entropy,
                uniform,
            )
