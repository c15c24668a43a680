"""Claims about what the recipe says of its augmentation."""

import logging

import numpy as np
import soundfile

from ssps_plugin.dataio import Augmentation
from tests.recipes.running import recipe


def said_of(caplog, noise_folder, augmentation):
    hparams = {
        "noise_folder": noise_folder,
        "rir_folder": None,
        "augmentation": augmentation,
    }
    with caplog.at_level(logging.INFO):
        recipe("train_ssl").say_what_augments(hparams)
    return caplog.text


def test_the_log_tells_where_noise_comes_from(tmp_path, caplog):
    (tmp_path / "musan" / "music").mkdir(parents=True)
    path = tmp_path / "musan" / "music" / "a.wav"
    soundfile.write(path, np.full(1600, 0.1), 16000)
    said = said_of(caplog, tmp_path, Augmentation(noise_folder=tmp_path))
    assert f"Noise comes from {tmp_path / 'musan'}: music; there" in said


def test_no_augmentation_is_warned_of(caplog):
    assert "No augmentation" in said_of(caplog, None, Augmentation())


def test_an_augmentation_of_ones_own_need_not_tell(tmp_path, caplog):
    assert said_of(caplog, tmp_path, lambda samples, rng: samples) == ""
