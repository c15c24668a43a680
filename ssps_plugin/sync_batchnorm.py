"""Leave batch norm alone where SpeechBrain would synchronise it."""

from collections.abc import Iterator
from contextlib import contextmanager

import speechbrain as sb
from torch import nn


class _KeepBatchNorm:
    """Stands for SyncBatchNorm and converts nothing."""

    @staticmethod
    def convert_sync_batchnorm(module: nn.Module) -> nn.Module:
        """Return the module as it is."""
        return module


@contextmanager
def unsynchronised_batch_norm() -> Iterator[None]:
    """Keep SpeechBrain from converting batch norms while it wraps modules.

    It converts every BatchNorm for distributed training, and the converted
    ones refuse to train on a CPU; some methods want statistics per rank.
    """
    converting = sb.core.SyncBatchNorm
    sb.core.SyncBatchNorm = _KeepBatchNorm
    try:
        yield
    finally:
        sb.core.SyncBatchNorm = converting
