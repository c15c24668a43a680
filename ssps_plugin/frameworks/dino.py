"""DINO: a student that is trained against a momentum teacher."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ssps_plugin.checks import check_flag
from ssps_plugin.frameworks.framework import EmbeddingModel
from ssps_plugin.frameworks.momentum import MomentumSchedule
from ssps_plugin.frameworks.self_distillation import SelfDistillation
from ssps_plugin.heads import DINOHead


class DINO(SelfDistillation):
    """DINO: a student on all views, a momentum teacher on the global ones.

    Its positives are the teacher's bottlenecks of the global views. `targets`
    applies the teacher's output layer, so that a bottleneck from a memory is
    compared by the teacher's present weights. The teacher is verified and
    exported.

    Arguments
    ---------
    embedding_model : EmbeddingModel
        The student's; the teacher's starts as its copy.
    head : DINOHead
        The student's; the teacher's starts as its copy.
    momentum : MomentumSchedule
        Momentum of the teacher.
    average_buffers : bool
        The teacher's running statistics, too, are an average of the
        student's. As published, they are of its own batches. It normalises by
        its batch in either case, since it stays in train mode.
    frozen_epochs : int
        First epochs in which the output layer does not move.
    head_by_group : bool
        Apply the student's head to each group of views (global, local) by
        itself, so that its batch norms normalise each by its own statistics,
        as in the code of Lepage and Dehak. False: to all views, as in that of
        Caron et al. The encoder's passes are by group in any case, since groups
        differ in length.

    Source: M. Caron et al., DINO, ICCV 2021 (arXiv 2104.14294); settings of
    Lepage and Dehak, SSPS, Interspeech 2025 (arXiv 2505.14561).
    """

    head: DINOHead
    teacher_head: DINOHead

    def __init__(
        self,
        embedding_model: EmbeddingModel,
        head: DINOHead,
        momentum: MomentumSchedule,
        average_buffers: bool = False,
        frozen_epochs: int = 1,
        head_by_group: bool = False,
    ) -> None:
        super().__init__(embedding_model, head, momentum, average_buffers)
        check_flag("head_by_group", head_by_group)
        self.frozen_epochs = frozen_epochs
        self.head_by_group = head_by_group
        self._epoch = 0

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Return the student's outputs and the teacher's bottlenecks.

        Arguments
        ---------
        *views : torch.Tensor
            The global views, `(batch, num_global, samples)`, then groups of
            local ones. The groups may differ in length.

        Returns
        -------
        torch.Tensor
            Student's outputs, `(num_views, batch, num_outputs)`, global views
            first, with gradient.
        torch.Tensor
            Teacher's bottlenecks of the global views,
            `(num_global, batch, bottleneck_dim)` float32, of unit norm,
            without gradient.

        Raises
        ------
        ValueError
            No global views, or a group of another number of dimensions.
        """
        if not views or any(group.dim() != 3 for group in views):
            raise ValueError(
                "Expected groups of views, (batch, num_views, samples) each, "
                "the global ones first, got shapes "
                f"{[tuple(group.shape) for group in views]}: change "
                "crop_groups to set num_crops in each of them."
            )
        batch, num_global = views[0].shape[:2]
        # (batch, num_views, samples) -> (num_views * batch, samples)
        wavs = [group.transpose(0, 1).flatten(0, 1) for group in views]
        features = [self.embedding_model.compute_features(w) for w in wavs]
        embeddings = [self.embedding_model.encode(*group) for group in features]
        if not self.head_by_group:
            embeddings = [torch.cat(embeddings)]
        bottlenecks = [self.head.bottleneck(group) for group in embeddings]
        outputs = self.head.output(torch.cat(bottlenecks))
        with torch.no_grad():
            of_teacher = features[0]
            if not self.embedding_model.has_fixed_features:
                of_teacher = self.teacher_model.compute_features(wavs[0])
            embedding = self.teacher_model.encode(*of_teacher)
            self.first_view_embedding = embedding[:batch]
            bottleneck = self.teacher_head.bottleneck(embedding)
        return (
            outputs.unflatten(0, (-1, batch)),
            bottleneck.unflatten(0, (num_global, batch)),
        )

    @torch.no_grad()
    def targets(self, positives: Tensor) -> Tensor:
        """Compute the teacher's outputs of bottlenecks, substituted or not.

        Arguments
        ---------
        positives : torch.Tensor
            `(num_global, batch, bottleneck_dim)`.

        Returns
        -------
        torch.Tensor
            `(num_global, batch, num_outputs)`, without gradient.
        """
        outputs: Tensor = self.teacher_head.output(positives)
        return outputs

    def begin_epoch(self, epoch: int) -> None:
        """Set the epoch, on which `frozen_parameters` depends."""
        self._epoch = epoch

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Return those of the output layer in the first epochs."""
        if self._epoch > self.frozen_epochs:
            return ()
        return self.head.output.parameters()
