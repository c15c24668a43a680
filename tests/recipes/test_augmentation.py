"""Claims about what the recipe logs of its augmentation."""

import logging
import shutil

import numpy as np
import pytest
import soundfile

from ssps_plugin.dataio import Augmentation
from ssps_plugin.dataio.augmentation import made_folders
from tests.recipes.running import assert_same_run, recipe, run


def logged_of(caplog, noise_folder, augmentation):
    hparams = {
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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, for few and short files."""
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(tmp_path / "cache"))
    for name in ("_NUM_NOISES", "_NUM_BABBLES", "_NUM_ROOMS"):
        monkeypatch.setattr(made_folders, name, 3)
    monkeypatch.setattr(made_folders, "_SECONDS", 1.0)
    return tmp_path / "cache"


def test_a_run_on_noise_and_rooms_that_are_made_goes_on_where_they_are_gone(
    corpus, tmp_path, cache
):
    options = {
        "data_folder": corpus,
        "noise_folder": "synthetic",
        "rir_folder": "simulated",
    }
    log = run("simclr.yaml", tmp_path / "whole", **options, num_epochs=2)
    assert log.count("once for all runs") == 2
    assert "noise, speech; there is no music" in log
    assert "No augmentation" not in log
    run("simclr.yaml", tmp_path / "parts", **options, num_epochs=1)
    shutil.rmtree(cache)
    run("simclr.yaml", tmp_path / "parts", **options, num_epochs=2)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
