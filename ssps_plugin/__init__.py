"""Self-Supervised Positive Sampling (SSPS) for SpeechBrain."""

from ssps_plugin.dataio.views.items import add_reference_view
from ssps_plugin.loss_wrapper import PositiveSamplingLoss
from ssps_plugin.losses import (
    DINOCentering,
    DINOLoss,
    MoCoLoss,
    NegativeQueue,
    NTXentLoss,
    SwAVLoss,
    VICRegLoss,
)
from ssps_plugin.positive_sampler import PositiveSampler
from ssps_plugin.reference import reference_representation
from ssps_plugin.same_utterance import SameUtterancePositives
from ssps_plugin.sampling import (
    CentroidSampling,
    ClusteringSampling,
    NearestNeighborSampling,
    SamplingStrategy,
)

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "SpeakerEncoder":  # late: it needs more than a sampler does
        from ssps_plugin.pretrained.speaker_encoder import SpeakerEncoder

        return SpeakerEncoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CentroidSampling",
    "ClusteringSampling",
    "DINOCentering",
    "DINOLoss",
    "MoCoLoss",
    "NTXentLoss",
    "NearestNeighborSampling",
    "NegativeQueue",
    "PositiveSampler",
    "PositiveSamplingLoss",
    "SameUtterancePositives",
    "SamplingStrategy",
    "SpeakerEncoder",
    "SwAVLoss",
    "VICRegLoss",
    "add_reference_view",
    "reference_representation",
]
