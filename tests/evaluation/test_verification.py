"""Verification over a trial list, its files checked before it runs."""

import numpy as np
import pytest
import soundfile
import torch

from ssps_plugin.dataio import AudioError
from ssps_plugin.evaluation import embeddings
from ssps_plugin.evaluation.verification import Verification


@pytest.fixture
def corpus(tmp_path):
    """Four constant files: two speakers, at two levels each."""
    for name, level in {"a1": 0.1, "a2": 0.2, "b1": -0.1, "b2": -0.3}.items():
        soundfile.write(tmp_path / f"{name}.wav", np.full(1600, level), 16000)
    (tmp_path / "trials.txt").write_text(
        "1 a1.wav a2.wav\n0 a1.wav b1.wav\n1 b1.wav b2.wav\n0 a2.wav b2.wav\n"
    )
    return tmp_path


def sign_of_mean(wavs, lengths):
    mean = wavs.mean(1, keepdim=True)
    return torch.cat([mean, torch.zeros_like(mean)], dim=1)


def test_perfect_embeddings_make_no_error(corpus):
    verification = Verification(corpus / "trials.txt", corpus)
    result = verification.run(sign_of_mean, progress=False)
    assert result.scores.tolist() == pytest.approx([1, -1, 1, -1])
    assert result.eer == 0.0
    assert result.min_dcf == {0.01: 0.0, 0.05: 0.0}


def test_every_distinct_utterance_is_embedded_once(corpus):
    num_embedded = 0

    def counting(wavs, lengths):
        nonlocal num_embedded
        num_embedded += len(wavs)
        return sign_of_mean(wavs, lengths)

    Verification(corpus / "trials.txt", corpus).run(counting, progress=False)
    assert num_embedded == 4


def test_files_that_cannot_be_read_are_named_before_anything_is_run(corpus):
    (corpus / "b2.wav").write_bytes(b"not audio")
    with pytest.raises(AudioError, match=r"1 of 4 .*b2\.wav"):
        Verification(corpus / "trials.txt", corpus)


@pytest.mark.parametrize("label", [0, 1])
def test_a_list_of_one_label_is_refused_before_anything_is_run(corpus, label):
    path = corpus / "one_label.txt"
    path.write_text(f"{label} a1.wav a2.wav\n{label} a1.wav b1.wav\n")
    counts = f"{2 * label} and {2 - 2 * label}"
    with pytest.raises(ValueError, match=rf"got {counts} in .*one_label\.txt"):
        Verification(path, corpus)


def test_headers_are_read_once_however_often_it_is_run(corpus, monkeypatch):
    soundfile.write(corpus / "b1.wav", np.full(3200, -0.1), 16000)
    verification = Verification(corpus / "trials.txt", corpus)

    def refuse(file):
        raise AssertionError(f"the header of {file} is read again")

    monkeypatch.setattr(embeddings, "audio_seconds", refuse)
    lengths = []

    def noting(wavs, lens):
        lengths.append(wavs.shape[1])
        return sign_of_mean(wavs, lens)

    verification.run(noting, progress=False)
    assert lengths == [3200, 1600]


def test_a_list_that_names_no_file_is_refused(corpus):
    (corpus / "trials.txt").write_text("1 a1.wav gone.wav\n0 a1.wav b1.wav\n")
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        Verification(corpus / "trials.txt", corpus)
