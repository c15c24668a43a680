"""Self-supervised objectives; none of them knows SSPS."""

from ssps_plugin.losses.nt_xent import NTXentLoss

__all__ = ["NTXentLoss"]
