"""Self-Supervised Positive Sampling (SSPS) for SpeechBrain."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssps_plugin.dataio.views.items import add_reference_view
    from ssps_plugin.loss_wrapper import PositiveSamplingLoss
    from ssps_plugin.losses import (
        DINOCentering,
        DINOLoss,
        MoCoLoss,
        NegativeQueue,
        NTXentLoss,
        SDPNLoss,
        SwAVLoss,
        VICRegLoss,
    )
    from ssps_plugin.positive_sampler import PositiveSampler
    from ssps_plugin.pretrained.speaker_encoder import SpeakerEncoder
    from ssps_plugin.reference import reference_representation
    from ssps_plugin.same_utterance import SameUtterancePositives
    from ssps_plugin.sampling import (
        CentroidSampling,
        ClusteringSampling,
        ConsensusSampling,
        GeometricSchedule,
        LinearSchedule,
        NearestNeighborSampling,
        SamplingStrategy,
        SharedNeighborSampling,
    )

__version__ = "0.1.0"

# Imported when a name is first used: torch and SpeechBrain take seconds, which
# `ssps --help` does not need.
_MODULE_OF = {
    "CentroidSampling": "sampling",
    "ClusteringSampling": "sampling",
    "ConsensusSampling": "sampling",
    "DINOCentering": "losses",
    "DINOLoss": "losses",
    "GeometricSchedule": "sampling",
    "LinearSchedule": "sampling",
    "MoCoLoss": "losses",
    "NTXentLoss": "losses",
    "NearestNeighborSampling": "sampling",
    "NegativeQueue": "losses",
    "PositiveSampler": "positive_sampler",
    "PositiveSamplingLoss": "loss_wrapper",
    "SDPNLoss": "losses",
    "SameUtterancePositives": "same_utterance",
    "SamplingStrategy": "sampling",
    "SharedNeighborSampling": "sampling",
    "SpeakerEncoder": "pretrained.speaker_encoder",
    "SwAVLoss": "losses",
    "VICRegLoss": "losses",
    "add_reference_view": "dataio.views.items",
    "reference_representation": "reference",
}
# Modules that `import ssps_plugin` alone makes usable.
_ROOMS = (
    *("clustering", "dataio", "distributed", "loss_wrapper", "losses"),
    *("memory", "positive_sampler", "reference", "same_utterance", "sampling"),
)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF, *_ROOMS})


__all__ = [
    "CentroidSampling",
    "ClusteringSampling",
    "ConsensusSampling",
    "DINOCentering",
    "DINOLoss",
    "GeometricSchedule",
    "LinearSchedule",
    "MoCoLoss",
    "NTXentLoss",
    "NearestNeighborSampling",
    "NegativeQueue",
    "PositiveSampler",
    "PositiveSamplingLoss",
    "SDPNLoss",
    "SameUtterancePositives",
    "SamplingStrategy",
    "SharedNeighborSampling",
    "SpeakerEncoder",
    "SwAVLoss",
    "VICRegLoss",
    "add_reference_view",
    "reference_representation",
]
