"""Embeddings are those of one utterance at a time, each extracted once."""

import pathlib

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

from ssps_plugin.dataio.audio import AudioError, read_audio
from ssps_plugin.evaluation.embeddings import (
    MAX_SECONDS,
    EmbeddingCache,
    extract_embeddings,
)

LENGTHS = [4000, 8000, 4000, 6000, 8001, 4000, 6000, 12000]


class Encoder(torch.nn.Module):
    """A small ECAPA-TDNN that keeps the sizes of its batches."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = Fbank(n_mels=24)
        self.encoder = ECAPA_TDNN(
            24,
            channels=[16, 16, 16, 16, 48],
            attention_channels=8,
            se_channels=8,
            lin_neurons=12,
        )
        self.batches = []

    def forward(self, wavs, lens):
        self.batches.append((tuple(wavs.shape), lens.tolist()))
        return self.encoder(self.features(wavs), lens)  # (batch, 1, dim)


@pytest.fixture(autouse=True)
def one_thread():
    """Layers this small take longer to share out than to compute."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def files(tmp_path):
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.wav" for i in range(len(LENGTHS))]
    for path, length in zip(paths, LENGTHS, strict=True):
        soundfile.write(path, generator.normal(0, 0.1, length), 16000)
    return paths


@pytest.fixture
def encoder():
    return Encoder().eval()


def one_by_one(encoder, files):
    rows = []
    with torch.no_grad():
        for file in files:
            wav = torch.from_numpy(soundfile.read(file, dtype="float32")[0])
            rows.append(encoder(wav[None], torch.ones(1)).flatten())
    return torch.stack(rows)


def extract(encoder, files, **options):
    encoder.batches.clear()
    return extract_embeddings(encoder, files, progress=False, **options)


@pytest.mark.parametrize("batch_seconds", [0.1, 0.5, 200])
@pytest.mark.parametrize("num_readers", [1, 3])
def test_equals_one_by_one(encoder, files, batch_seconds, num_readers):
    expected = one_by_one(encoder, files)
    options = {"batch_seconds": batch_seconds, "num_readers": num_readers}
    embeddings = extract(encoder, files, **options)
    torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=1e-5)


def test_utterances_of_one_length_share_a_batch_and_no_others(encoder, files):
    extract(encoder, files)
    shapes = [shape for shape, _ in encoder.batches]
    assert shapes == [(1, 12000), (1, 8001), (1, 8000), (2, 6000), (3, 4000)]
    assert all(set(lens) == {1.0} for _, lens in encoder.batches)


def test_batch_holds_no_more_audio_than_asked(encoder, files):
    extract(encoder, files, batch_seconds=0.5)
    assert (2, 4000) in [shape for shape, _ in encoder.batches]
    for (batch, samples), _ in encoder.batches:
        assert batch == 1 or batch * samples <= 8000


def test_padding_stays_within_what_was_asked(encoder, files):
    extract(encoder, files, max_padding=0.3)
    assert [shape for shape, _ in encoder.batches] == [
        (1, 12000),
        (4, 8001),
        (3, 4000),
    ]
    lens = [length for _, lens in encoder.batches for length in lens]
    assert min(lens) == pytest.approx(6000 / 8001)


def test_order_of_the_files_is_kept(encoder, files):
    embeddings = extract(encoder, files)
    torch.testing.assert_close(
        extract(encoder, files[::-1]), embeddings.flip(0), atol=1e-5, rtol=1e-5
    )


def test_wrong_headers_cost_batches_not_exactness(encoder, files):
    lengths = dict(zip(files, LENGTHS, strict=True))

    def read_reversed(file):  # nothing is as long as its header says
        return torch.ones(16000 - lengths[file])

    embeddings = extract(encoder, files, read=read_reversed)
    for file, embedding in zip(files, embeddings, strict=True):
        alone = encoder(read_reversed(file)[None], torch.ones(1)).flatten()
        torch.testing.assert_close(embedding, alone, atol=1e-5, rtol=1e-5)


def test_other_sampling_rates_arrive_at_16_khz(tmp_path, encoder):
    soundfile.write(tmp_path / "8k.flac", np.ones(4000) * 0.1, 8000)
    extract(encoder, [tmp_path / "8k.flac"])
    assert encoder.batches == [((1, 8000), [1.0])]


def test_long_files_are_the_mean_direction_of_equal_pieces(encoder, files):
    whole = extract(encoder, files)
    # 12000, 8001 and 8000 samples are above; 0.4 s are 6400 samples.
    found = extract(encoder, files, max_seconds=0.4)
    assert max(shape[1] for shape, _ in encoder.batches) == 6000
    for row, length in enumerate(LENGTHS):
        if length <= 6400:
            assert torch.equal(found[row], whole[row])
            continue
        if length % 2:  # its halves share a sample
            continue
        wav = torch.from_numpy(soundfile.read(files[row], dtype="float32")[0])
        pieces = wav.chunk(2)
        with torch.no_grad():
            rows = [encoder(p[None], torch.ones(1)).flatten() for p in pieces]
        expected = sum(vector / vector.norm() for vector in rows) / 2
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)


def test_of_an_hour_no_more_than_ten_minutes_are_in_memory(tmp_path):
    file = tmp_path / "hour.wav"
    with soundfile.SoundFile(file, "w", 1000, 1, "PCM_U8", format="WAV") as out:
        for _ in range(36):
            out.write(np.full(100_000, 0.5))
    sizes, reads = [], []

    def read(path, start_seconds=0.0, seconds=None):
        reads.append((start_seconds, seconds))
        return read_audio(path, start_seconds, seconds, sample_rate=1000)

    def embed(wavs, lens):
        sizes.append(wavs.numel())
        return torch.ones(len(wavs), 2)

    extract_embeddings(
        embed,
        [file],
        read=read,
        batch_seconds=10,
        max_seconds=MAX_SECONDS,
        progress=False,
    )
    assert sorted(reads) == [(600.0 * i, 600.0) for i in range(6)]
    assert max(sizes) == 600_000


def test_a_reader_of_ones_own_is_given_whole_files():
    def read(file):
        return torch.ones(100)

    found = extract_embeddings(
        lambda wavs, lens: wavs[:, :2],
        ["a"],
        read=read,
        seconds=lambda file: 7200.0,
        progress=False,
    )
    assert found.tolist() == [[1.0, 1.0]]


def test_no_gradient_is_recorded(encoder, files):
    assert not extract(encoder, files).requires_grad


def test_half_precision_embeddings_come_back_in_full(files):
    def embed(wavs, lens):
        return wavs[:, :3].bfloat16()

    embeddings = extract_embeddings(embed, files, progress=False)
    assert embeddings.dtype == torch.float32


def test_unreadable_file_is_named(tmp_path, encoder, files):
    with pytest.raises(AudioError, match="gone.wav"):
        extract(encoder, [*files, tmp_path / "gone.wav"])


def test_encoder_that_does_not_give_a_row_each_is_refused(files):
    with pytest.raises(ValueError, match=r"to return \(1, dim\) .* got \(\)"):
        extract_embeddings(lambda w, _: w.mean(), files, progress=False)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_seconds": 0},
        {"max_padding": 1.0},
        {"num_readers": 0},
        {"max_seconds": 0},
    ],
)
def test_option_out_of_range_is_named(encoder, files, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        extract(encoder, files, **options)


def test_no_files_are_refused(encoder):
    with pytest.raises(ValueError, match="at least one file"):
        extract(encoder, [])


def test_a_file_is_embedded_once_whatever_the_order():
    embedded = []

    def extract(files):
        embedded.extend(files)
        return torch.tensor([[float(str(file))] for file in files])

    cache = EmbeddingCache()
    one, two, three = (pathlib.Path(name) for name in "123")
    first = cache.embeddings_of([two, one], extract)
    assert first.flatten().tolist() == [2.0, 1.0]
    second = cache.embeddings_of([one, three, two, three], extract)
    assert second.flatten().tolist() == [1.0, 3.0, 2.0, 3.0]
    assert embedded == [two, one, three]
