"""SDPN: a student on local views, a momentum teacher on clean, long ones."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssps_plugin.frameworks.framework import EmbeddingModel
from ssps_plugin.frameworks.momentum import MomentumSchedule
from ssps_plugin.frameworks.self_distillation import SelfDistillation
from ssps_plugin.heads import SDPNHead


class SDPN(SelfDistillation):
    """SDPN: a student on local views, a momentum teacher on global ones.

    Its positives are the teacher's projections of the global views. The
    prototypes, which both are compared with, belong to the objective: they are
    an entry of `Brain.modules` of their own, and a projection from a memory is
    compared with the present ones. The teacher is verified and exported.

    Arguments
    ---------
    embedding_model : EmbeddingModel
        The student's; the teacher's starts as its copy.
    head : SDPNHead
        The student's; the teacher's starts as its copy.
    momentum : MomentumSchedule
        Momentum of the teacher.
    average_buffers : bool
        The teacher's running statistics, too, are an average of the
        student's. False: they are of its own batches. It normalises by its
        batch in either case, since it stays in train mode.

    Source: Y. Chen et al., SDPN, ICASSP 2025 (arXiv 2308.02774).
    """

    def __init__(
        self,
        embedding_model: EmbeddingModel,
        head: SDPNHead,
        momentum: MomentumSchedule,
        average_buffers: bool = False,
    ) -> None:
        super().__init__(embedding_model, head, momentum, average_buffers)

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Return the student's projections and embeddings, and the targets'.

        Arguments
        ---------
        *views : torch.Tensor
            The teacher's views, the global ones, `(batch, num_global,
            samples)`, then groups of the student's, the local ones. The groups
            may differ in length.

        Returns
        -------
        torch.Tensor
            Of the student's views, `(num_views, batch, dim + embedding_dim)`
            float32, with gradient: the projections, of unit norm, then the
            embeddings, scaled to unit norm, which `SDPNLoss` keeps apart.
        torch.Tensor
            The teacher's projections, `(num_global, batch, dim)` float32, of
            unit norm, without gradient.

        Raises
        ------
        ValueError
            No views of the teacher's or of the student's, or a group of
            another number of dimensions.
        """
        if len(views) < 2 or any(group.dim() != 3 for group in views):
            raise ValueError(
                "Expected groups of views, (batch, num_views, samples) each, "
                "the teacher's first and then the student's, got shapes "
                f"{[tuple(group.shape) for group in views]}: change "
                "num_global_crops or num_local_crops to at least 1, or "
                "crop_groups to two groups."
            )
        batch, num_global = views[0].shape[:2]
        # (batch, num_views, samples) -> (num_views * batch, samples)
        wavs = [group.transpose(0, 1).flatten(0, 1) for group in views]
        embeddings = torch.cat([self.embedding_model(w) for w in wavs[1:]])
        anchors = torch.cat(
            [self.head(embeddings), F.normalize(embeddings.float(), dim=-1)],
            dim=-1,
        )
        with torch.no_grad():
            embedding = self.teacher_model(wavs[0])
            self.first_view_embedding = embedding[:batch]
            projections = self.teacher_head(embedding)
        return (
            anchors.unflatten(0, (-1, batch)),
            projections.unflatten(0, (num_global, batch)),
        )
