"""Views of an utterance: how they are cut, and added to a dataset."""

from ssps_plugin.dataio.views.items import (
    add_crop_groups,
    add_reference_view,
    add_views,
)
from ssps_plugin.dataio.views.oracle import OracleViewSampler, add_oracle_views
from ssps_plugin.dataio.views.partners import (
    PartnerViewSampler,
    add_partner_view,
)
from ssps_plugin.dataio.views.torch_dataset import ReferenceView
from ssps_plugin.dataio.views.view_sampler import (
    CropGroup,
    SharedEpoch,
    ViewSampler,
)

__all__ = [
    "CropGroup",
    "OracleViewSampler",
    "PartnerViewSampler",
    "ReferenceView",
    "SharedEpoch",
    "ViewSampler",
    "add_crop_groups",
    "add_oracle_views",
    "add_partner_view",
    "add_reference_view",
    "add_views",
]
