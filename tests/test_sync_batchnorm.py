"""Claims about where batch statistics are taken over the ranks."""

import pathlib
from types import SimpleNamespace

import pytest
import speechbrain as sb
from torch import nn

from ssps_plugin.brain import SSLBrain
from ssps_plugin.sync_batchnorm import unsynchronised_batch_norm

HPARAMS = pathlib.Path(__file__).parents[1] / "hparams"


@pytest.fixture
def converted(monkeypatch):
    """What SpeechBrain's wrapping makes of a batch norm under a Brain."""

    def convert(brain):
        made = sb.core.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(2))
        brain.made = made

    monkeypatch.setattr(sb.Brain, "_wrap_distributed", convert)

    def wrap(device_type, synchronise):
        brain = SSLBrain.__new__(SSLBrain)
        brain.device_type = device_type
        brain.hparams = SimpleNamespace(sync_batchnorm=synchronise)
        brain._wrap_distributed()
        return type(brain.made)

    return wrap


@pytest.mark.parametrize(
    ("device_type", "synchronise", "expected"),
    [
        ("cuda", True, nn.SyncBatchNorm),
        ("cuda", False, nn.BatchNorm1d),
        ("cpu", True, nn.BatchNorm1d),  # it refuses to train there
    ],
)
def test_batch_norm_is_synchronised_on_gpus_where_asked_for(
    converted, device_type, synchronise, expected
):
    assert converted(device_type, synchronise) is expected


def test_afterwards_speechbrain_converts_as_before():
    with unsynchronised_batch_norm():
        pass
    assert sb.core.SyncBatchNorm is nn.SyncBatchNorm


@pytest.mark.parametrize(
    "path", sorted(HPARAMS.glob("*_ssps.yaml")), ids=lambda path: path.stem
)
def test_all_but_moco_ask_for_it(path):
    # MoCo shuffles its keys over the ranks instead.
    asked = "\nsync_batchnorm: True" in path.read_text()
    assert asked == (path.name != "moco_ssps.yaml")
