"""Claims about what the recipe logs of its augmentation."""

import logging

import numpy as np
import soundfile

from ssps_plugin.dataio import Augmentation
from tests.recipes.running import recipe


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
    assert "No augmentation" in logged_of(caplog, None, Augmentation())


def test_an_augmentation_of_ones_own_needs_no_notes(tmp_path, caplog):
    assert logged_of(caplog, tmp_path, lambda samples, rng: samples) == ""
