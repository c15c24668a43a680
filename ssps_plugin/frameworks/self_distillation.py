"""What DINO and SDPN share: a student and its momentum teacher."""

from torch import nn

from ssps_plugin.frameworks.framework import EmbeddingModel, Framework
from ssps_plugin.frameworks.momentum import (
    MomentumSchedule,
    make_momentum_copy,
    update_momentum,
)


class SelfDistillation(Framework):
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
        Average batch statistics too. As published, the teacher has its own: it
        stays in train mode.
    """

    def __init__(
        self,
        embedding_model: EmbeddingModel,
        head: nn.Module,
        momentum: MomentumSchedule,
        average_buffers: bool = False,
    ) -> None:
        super().__init__()
        self.embedding_model: EmbeddingModel = embedding_model
        self.head = head
        self.teacher_model = make_momentum_copy(embedding_model)
        self.teacher_head = make_momentum_copy(head)
        self.momentum = momentum
        self.average_buffers = average_buffers

    @property
    def exported_model(self) -> EmbeddingModel:
        """The teacher's embedding model."""
        return self.teacher_model

    @property
    def final_momentum(self) -> float:
        """Momentum at the end of its schedule; at 1 the teacher is fixed."""
        return self.momentum(1.0)

    def update(self, progress: float) -> None:
        """Move the teacher towards the student, after a real step.

        Arguments
        ---------
        progress : float
            Fraction of the training that is done, in [0, 1].
        """
        momentum = self.momentum(progress)
        for teacher, student in (
            (self.teacher_model, self.embedding_model),
            (self.teacher_head, self.head),
        ):
            update_momentum(teacher, student, momentum, self.average_buffers)
