"""Training data: manifests, views, the reference view, augmentation."""

from ssps_plugin.dataio.audio import AudioError, audio_seconds, read_audio
from ssps_plugin.dataio.augmentation.augmentation import Augmentation
from ssps_plugin.dataio.corpus.manifest import Summary, prepare_manifest
from ssps_plugin.dataio.dataset import load_manifest
from ssps_plugin.dataio.loading import collate_views
from ssps_plugin.dataio.views.items import (
    add_crop_groups,
    add_reference_view,
    add_views,
)
from ssps_plugin.dataio.views.oracle import OracleViewSampler, add_oracle_views
from ssps_plugin.dataio.views.view_sampler import (
    CropGroup,
    SharedEpoch,
    ViewSampler,
)
