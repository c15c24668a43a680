"""Claims about `ssps embed`."""

import os
import pathlib

import numpy as np
import pytest
import soundfile

from ssps_plugin.commands.embed import find_audio
from ssps_plugin.pretrained.speaker_encoder import SpeakerEncoder
from tests.commands.conftest import is_one_message, utterances

RATE = 16000


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.npz"


def table(path):
    with np.load(path) as file:
        return dict(zip(file["names"], file["embeddings"], strict=True))


def test_a_folder_gives_the_encoders_embeddings_by_relative_names(
    ssps, finished, corpus, output
):
    answer = ssps("embed", finished, corpus, "-o", output)
    assert answer.status == 0
    assert answer.err == ""  # no bar where there is no terminal
    found = table(output)
    paths = sorted(corpus.rglob("*.wav"))
    names = [path.relative_to(corpus).as_posix() for path in paths]
    assert list(found) == names
    wanted = SpeakerEncoder.from_run(finished).embed(paths).numpy()
    # The last digit may differ by where a batch lies in memory.
    np.testing.assert_allclose(np.stack([*found.values()]), wanted, atol=1e-6)


def test_files_keep_the_names_that_are_typed(
    ssps, finished, corpus, output, monkeypatch
):
    monkeypatch.chdir(corpus)
    names = ["wav/id001/rec0/00000.wav", "./wav/id000/rec1/00001.wav"]
    answer = ssps("embed", "-m", finished, *names, "-o", output)
    assert answer.status == 0
    assert list(table(output)) == names


def test_names_of_several_folders_are_paths(corpus):
    one, other = (str(corpus / "wav" / name) for name in ("id000", "id001"))
    files = find_audio((one, other))
    assert len(files) == 12
    assert all(name == path for name, path in files.items())


def test_what_cannot_be_embedded_is_named_and_the_rest_is_done(
    ssps, finished, corpus, output, tmp_path
):
    folder = tmp_path / "audio"
    folder.mkdir()
    good = folder / "good.wav"
    good.write_bytes(pathlib.Path(utterances(corpus, 0)[0]).read_bytes())
    (folder / "text.wav").write_text("no audio")
    (folder / "empty.wav").touch()
    soundfile.write(folder / "short.wav", np.zeros(100), RATE)
    answer = ssps("embed", finished, folder, "-o", output)
    assert answer.status == 1
    lines = answer.err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "empty.wav",
        "short.wav",
        "text.wav",
    ]
    assert "too short" in lines[1]
    assert list(table(output)) == ["good.wav"]
    assert "Embedded 1 of 4 files" in answer.out
    again = ssps(
        *("embed", finished, folder, "-o", output),
        *("--overwrite", "--skip-unreadable"),
    )
    assert again.status == 0
    assert "text.wav" in again.err


def test_a_file_that_fails_while_it_is_read_costs_no_other(
    ssps, finished, corpus, output, monkeypatch
):
    from ssps_plugin.dataio import audio

    bad, good = utterances(corpus, 0, 1)
    read = audio.read_audio

    def read_or_fail(path, *stretch, **options):
        if os.fspath(path) == bad:
            raise audio.AudioError(f"Cannot read audio from {path}: lost")
        return read(path, *stretch, **options)

    monkeypatch.setattr(audio, "read_audio", read_or_fail)
    answer = ssps("embed", "-m", finished, bad, good, "-o", output)
    assert answer.status == 1
    assert (
        answer.err
        == f"Not embedded: {bad}: Cannot read audio from {bad}: lost\n"
    )
    found = table(output)
    assert list(found) == [good]
    wanted = SpeakerEncoder.from_run(finished).embed(good)[0]
    # Beside another row, the last digit may differ.
    np.testing.assert_allclose(found[good], wanted.numpy(), atol=1e-5)


def test_where_nothing_can_be_embedded_nothing_is_written(
    ssps, finished, output, tmp_path
):
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    answer = ssps("embed", "-m", finished, bad, "-o", output)
    assert answer.status == 1
    assert "Error: Expected audio that can be embedded" in answer.err
    assert not output.exists()


def test_any_rate_number_of_channels_and_length_is_embedded(
    ssps, finished, output, tmp_path
):
    rng = np.random.default_rng(0)
    for rate, channels, seconds in ((8000, 1, 0.7), (44100, 2, 1.3)):
        wave = 0.1 * rng.normal(size=(round(rate * seconds), channels))
        soundfile.write(tmp_path / f"{rate}.flac", wave, rate)
    answer = ssps("embed", "-m", finished, tmp_path, "-o", output)
    assert answer.status == 0, answer.err
    assert list(table(output)) == ["44100.flac", "8000.flac"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere.wav"], "not there: nowhere.wav"),
        (["{empty}"], "audio below"),
        (["{corpus}", "-o", "x.txt"], "ends in .npz, .csv, .ark"),
        (["{corpus}", "--weights", "worst"], "averaged, best, last"),
        (["{corpus}", "--device", "abacus"], "a device that is there"),
    ],
)
def test_a_mistake_is_a_message(
    arguments, message, ssps, finished, corpus, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"corpus": corpus, "empty": tmp_path / "empty"}
    given = [one.format(**places) for one in arguments]
    answer = ssps("embed", "-m", finished, *given)
    assert answer.status == 1
    assert is_one_message(answer.err)
    assert message in answer.err


def test_an_output_is_kept_unless_asked(ssps, finished, corpus, output):
    output.write_text("mine")
    answer = ssps("embed", finished, corpus, "-o", output)
    assert answer.status == 1
    assert is_one_message(answer.err)
    assert output.read_text() == "mine"
