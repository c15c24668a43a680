"""Training data: manifests, views, the reference view, augmentation."""

from ssps_plugin.dataio.audio import audio_seconds, read_audio
from ssps_plugin.dataio.audio_file import AudioError
from ssps_plugin.dataio.augmentation import Augmentation
from ssps_plugin.dataio.collation import collate_views
from ssps_plugin.dataio.crops import CropGroup
from ssps_plugin.dataio.manifest import Summary, prepare_manifest
from ssps_plugin.dataio.oracle import OracleViewSampler, add_oracle_views
from ssps_plugin.dataio.reference_view import add_reference_view
from ssps_plugin.dataio.shared_epoch import SharedEpoch
from ssps_plugin.dataio.training_data import load_manifest
from ssps_plugin.dataio.view_sampler import ViewSampler
from ssps_plugin.dataio.views import add_crop_groups, add_views
