"""Claims about what the recipe logs of its augmentation."""

import logging
import shutil

import numpy as np
import pytest
import soundfile
import torch

from ssps_plugin.dataio import (
    Augmentation,
    CropGroup,
    SharedEpoch,
    ViewSampler,
    add_crop_groups,
    load_manifest,
)
from ssps_plugin.dataio.augmentation import made_folders
from ssps_plugin.dataio.augmentation.batch_augmentation import views_of
from ssps_plugin.training import brain
from tests.recipes.running import SMALL, recipe, run


def logged_of(caplog, noise_folder, augmentation, augment_on="workers"):
    hparams = {
        "augment_on": augment_on,
        "data_folder": "corpus",
        "minivox_folder": "minivox",
        "noise_folder": noise_folder,
        "rir_folder": None,
        "augmentation": augmentation,
    }
    with caplog.at_level(logging.INFO):
        recipe("train_ssl").log_augmentation(hparams)
    return caplog.text


def test_the_log_says_where_noise_comes_from(tmp_path, caplog):
    (tmp_path / "musan" / "music").mkdir(parents=True)
    path = tmp_path / "musan" / "music" / "a.wav"
    soundfile.write(path, np.full(1600, 0.1), 16000)
    logged = logged_of(caplog, tmp_path, Augmentation(noise_folder=tmp_path))
    assert f"Noise comes from {tmp_path / 'musan'}: music; there" in logged


def test_no_augmentation_is_warned_of(caplog):
    logged = logged_of(caplog, None, Augmentation())
    assert "No augmentation" in logged
    assert "--noise_folder synthetic --rir_folder simulated" in logged


def test_an_augmentation_of_ones_own_needs_no_notes(tmp_path, caplog):
    assert logged_of(caplog, tmp_path, lambda samples, rng: samples) == ""


def test_where_to_augment_is_no_matter_of_an_augmentation_of_ones_own(
    tmp_path, caplog
):
    class Mine:
        def __call__(self, samples, rng):
            return samples

    logged = logged_of(caplog, tmp_path, Mine(), "device")
    assert "augment_on: device does nothing" in logged and "is Mine" in logged
    caplog.clear()
    logged = logged_of(caplog, None, Augmentation(), "device")
    assert "there is neither noise_folder nor rir_folder" in logged


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, for few and short files."""
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(tmp_path / "cache"))
    for name in ("_NUM_NOISES", "_NUM_BABBLES", "_NUM_ROOMS"):
        monkeypatch.setattr(made_folders, name, 3)
    monkeypatch.setattr(made_folders, "_SECONDS", 1.0)
    return tmp_path / "cache"


def test_a_run_makes_noise_and_rooms_and_augments_as_workers_would(
    corpus, tmp_path, cache, monkeypatch
):
    """On the device; and it goes on where what was made is gone."""
    seen = {}

    def noting(batch, groups, augmentation):
        views = views_of(batch, groups, augmentation)
        seen.update(zip(batch.id, views[0], strict=True))
        return views

    monkeypatch.setattr(brain, "views_of", noting)
    options = {
        "data_folder": corpus,
        "noise_folder": "synthetic",
        "rir_folder": "simulated",
        "augment_on": "device",
        **{"verify_interval": 9, "num_made_trials": 4, "num_resamples": 0},
    }
    for epoch in (1, 2):
        seen.clear()
        log = run("simclr.yaml", tmp_path / "run", **options, num_epochs=epoch)
        assert log.count("once for these training files") == 2 * epoch
        assert "noise, speech; there is no music" in log
        assert "No augmentation" not in log
        dataset = load_manifest(tmp_path / "run" / "train.csv", corpus)
        augmentation = Augmentation("synthetic", "simulated")
        groups = [CropGroup("views", SMALL["crop_seconds"], 2)]
        views = ViewSampler(groups, 1986, SharedEpoch(epoch), augmentation)
        add_crop_groups(dataset, views)
        items = [dataset[number] for number in range(len(dataset))]
        by_workers = {item["id"]: item["views"] for item in items}
        assert len(seen) == 32 and seen.keys() < by_workers.keys()
        for name, crops in seen.items():
            expected = by_workers[name]
            assert torch.allclose(crops, expected, rtol=0, atol=1e-5)
        shutil.rmtree(cache)
