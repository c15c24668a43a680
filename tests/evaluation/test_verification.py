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


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("0 a1.wav a2.wav\n0 a1.wav b1.wav\n", "impostor trials (label 0)"),
        ("1 a1.wav a2.wav\n1 a1.wav b1.wav\n", "target trials (label 1)"),
        ("a1.wav a2.wav\na1.wav b1.wav\n", "its 2 trials have no labels"),
    ],
)
def test_a_list_that_has_no_error_rates_is_scored_and_says_why(
    corpus, caplog, lines, why
):
    path = corpus / "other.txt"
    path.write_text(lines)
    verification = Verification(path, corpus)
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(f"No error rates by {path}, since ")
    assert why in message and why in verification.missing_labels
    result = verification.run(sign_of_mean, progress=False)
    assert result.scores.tolist() == pytest.approx([1, -1])
    assert (result.eer, result.eer_threshold) == (None, None)
    assert result.min_dcf == {}


def test_unusual_trials_are_told_two_names_of_a_file_are_one_utterance(
    corpus, caplog
):
    path = corpus / "other.txt"
    path.write_text("1 a1.wav ./a1.wav\n0 a1.wav b1.wav\n1 b1.wav a1.wav\n")
    Verification(path, corpus)
    (record,) = caplog.records
    assert (
        "1 compare an utterance with itself (a1.wav ./a1.wav), 2 are of pairs "
        "that are target and impostor trials at once (a1.wav b1.wav)"
    ) in record.getMessage()


def test_a_model_that_is_not_finite_is_blamed_and_no_file(corpus):
    verification = Verification(corpus / "trials.txt", corpus)

    def broken(wavs, lengths):
        return sign_of_mean(wavs, lengths) * float("nan")

    with pytest.raises(ValueError, match="the model is at fault") as caught:
        verification.run(broken, progress=False)
    assert ".wav" not in str(caught.value)


def test_a_long_file_is_embedded_in_pieces_and_all_others_as_before(corpus):
    wave = np.concatenate([np.full(16000, 0.2), np.full(16000, -0.4)])
    soundfile.write(corpus / "b2.wav", wave, 16000)
    whole = Verification(corpus / "trials.txt", corpus)
    cut = Verification(corpus / "trials.txt", corpus, max_seconds=1.2)
    lengths = []

    def embed(wavs, lens):
        lengths.append(wavs.shape[1])
        mean = wavs.mean(1)
        return torch.stack([mean, 1 - mean.abs()], dim=1)

    expected = whole.run(embed, progress=False).scores
    assert max(lengths) == 32000
    lengths.clear()
    found = cut.run(embed, progress=False).scores
    assert max(lengths) == 16000
    touched = torch.tensor([False, False, True, True])
    assert torch.equal(found[~touched], expected[~touched])
    # The mean of two directions, each of its own half.
    halves = torch.tensor([[0.2, 0.8], [-0.4, 0.6]])
    b2 = torch.nn.functional.normalize(halves).mean(0)
    b1 = torch.tensor([-0.1, 0.9])
    torch.testing.assert_close(
        found[2], torch.cosine_similarity(b1, b2, dim=0), atol=1e-4, rtol=0
    )


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
