"""Training data: audio files, corpora and manifests, views, augmentation."""

from ssps_plugin.dataio.audio import AudioError, audio_seconds, read_audio
from ssps_plugin.dataio.augmentation import Augmentation, BatchAugmentation
from ssps_plugin.dataio.corpus import Summary, prepare_manifest
from ssps_plugin.dataio.dataset import load_manifest
from ssps_plugin.dataio.loading import collate_views, restart_killed_workers
from ssps_plugin.dataio.read_failures import (
    ReadFailures,
    TooManyUnreadableError,
)
from ssps_plugin.dataio.views import (
    CropGroup,
    OracleViewSampler,
    PartnerViewSampler,
    ReferenceView,
    SharedEpoch,
    ViewSampler,
    add_crop_groups,
    add_oracle_views,
    add_partner_view,
    add_reference_view,
    add_views,
)

__all__ = [
    "AudioError",
    "Augmentation",
    "BatchAugmentation",
    "CropGroup",
    "OracleViewSampler",
    "PartnerViewSampler",
    "ReadFailures",
    "ReferenceView",
    "SharedEpoch",
    "Summary",
    "TooManyUnreadableError",
    "ViewSampler",
    "add_crop_groups",
    "add_oracle_views",
    "add_partner_view",
    "add_reference_view",
    "add_views",
    "audio_seconds",
    "collate_views",
    "load_manifest",
    "prepare_manifest",
    "read_audio",
    "restart_killed_workers",
]
