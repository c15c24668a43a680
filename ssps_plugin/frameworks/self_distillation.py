"""What DINO and SDPN share: a student and its momentum teacher."""

from collections.abc import Iterable

from torch import nn

from ssps_plugin.checks import check_flag
from ssps_plugin.frameworks.framework import EmbeddingModel
from ssps_plugin.frameworks.momentum import (
    MomentumFramework,
    MomentumSchedule,
    make_momentum_copy,
)


class SelfDistillation(MomentumFramework):
    """Base of frameworks that train a student against its momentum teacher.

    The teacher is verified and exported.

    Arguments
    ---------
    embedding_model : EmbeddingModel
        The student's; the teacher's starts as its copy.
    head : torch.nn.Module
        The student's; the teacher's starts as its copy.
    momentum : MomentumSchedule
        Momentum of the teacher.
    average_buffers : bool
        The teacher's running statistics, too, are an average of the
        student's. As published, they are of its own batches. It normalises by
        its batch in either case, since it stays in train mode.
    """

    def __init__(
        self,
        embedding_model: EmbeddingModel,
        head: nn.Module,
        momentum: MomentumSchedule,
        average_buffers: bool = False,
    ) -> None:
        super().__init__()
        check_flag("average_buffers", average_buffers)
        self.embedding_model: EmbeddingModel = embedding_model
        self.head = head
        self.teacher_model = make_momentum_copy(
            embedding_model, average_buffers
        )
        self.teacher_head = make_momentum_copy(head, average_buffers)
        self.momentum = momentum
        self.average_buffers = average_buffers

    @property
    def exported_model(self) -> EmbeddingModel:
        """The teacher's embedding model."""
        return self.teacher_model

    def momentum_pairs(self) -> Iterable[tuple[nn.Module, nn.Module]]:
        """Return the teacher's networks, and the student's."""
        yield self.teacher_model, self.embedding_model
        yield self.teacher_head, self.head
