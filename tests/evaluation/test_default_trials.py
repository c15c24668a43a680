"""Default trials: the corpus's own list, or VoxCeleb1-O, -E and -H."""

import shutil

import pytest

from ssps_plugin.evaluation import default_trials
from ssps_plugin.evaluation.default_trials import find_default_trials

TEST, DEV = ["id10270", "id10271"], ["id10001", "id10002", "id10003"]


@pytest.fixture(autouse=True)
def small_voxceleb1(monkeypatch):
    """VoxCeleb1 of five speakers, two of them in its test part."""
    everybody = frozenset(TEST + DEV)
    monkeypatch.setattr(default_trials, "VOXCELEB1_SPEAKERS", everybody)
    monkeypatch.setattr(
        default_trials, "VOXCELEB1_TEST_SPEAKERS", frozenset(TEST)
    )


def write_speakers(folder, speakers, place="wav"):
    for speaker in speakers:
        recording = folder / place / speaker / "video"
        recording.mkdir(parents=True)
        (recording / "00001.wav").touch()
    return folder


@pytest.fixture
def voxceleb1(tmp_path):
    """VoxCeleb1, both parts, as they are unpacked beside each other."""
    folder = write_speakers(tmp_path / "vox1", DEV, "vox1_dev_wav/wav")
    return write_speakers(folder, TEST, "vox1_test_wav/wav")


@pytest.fixture
def voxceleb2(tmp_path):
    return write_speakers(tmp_path / "vox2", ["id00012", "id00015"])


def test_all_three_lists_are_taken_where_all_of_voxceleb1_is(
    voxceleb1, voxceleb2
):
    default = find_default_trials(voxceleb2, voxceleb1)
    assert default.names == ["voxceleb1-o", "voxceleb1-e", "voxceleb1-h"]
    assert f"all speakers of VoxCeleb1 are in {voxceleb1}" in default.note


@pytest.mark.parametrize(
    ("file", "kind"), [("veri_test.txt", ""), ("veri_test2.txt", "-cleaned")]
)
@pytest.mark.parametrize("place", ["voxceleb1", "voxceleb2"])
def test_a_list_that_lies_there_comes_first_and_its_kin_are_of_its_kind(
    voxceleb1, voxceleb2, file, kind, place
):
    path = {"voxceleb1": voxceleb1, "voxceleb2": voxceleb2}[place] / file
    path.touch()
    names = find_default_trials(voxceleb2, voxceleb1).names
    further = [f"voxceleb1-{letter}{kind}" for letter in "eh"]
    assert names == [str(path), *further]


def test_a_list_made_for_the_corpus_is_the_only_one(voxceleb1, voxceleb2):
    (voxceleb2 / "veri_test.txt").touch()
    (voxceleb2 / "trials.txt").touch()
    default = find_default_trials(voxceleb2, voxceleb1)
    assert default.names == [str(voxceleb2 / "trials.txt")]
    assert default.note == ""


def test_the_test_part_alone_gives_the_first_list_and_says_what_misses(
    tmp_path, voxceleb2
):
    folder = write_speakers(tmp_path / "test_part", TEST)
    default = find_default_trials(voxceleb2, folder)
    assert default.names == ["voxceleb1-o"]
    assert "3 of the 5 speakers of VoxCeleb1 are not in" in default.note
    assert "change trials_folder" in default.note


def test_lists_that_would_take_speakers_out_of_training_are_not_taken(
    voxceleb1, voxceleb2, tmp_path
):
    # Of VoxCeleb1's dev part in the corpus; the test part is kept out anyway.
    write_speakers(voxceleb2, TEST, "vox1/wav")
    assert len(find_default_trials(voxceleb2, voxceleb1).names) == 3
    write_speakers(voxceleb2, DEV[:1], "vox1b/wav")
    default = find_default_trials(voxceleb2, voxceleb1)
    assert default.names == ["voxceleb1-o"]
    assert "1 of their speakers are in the training data" in default.note


def test_speakers_of_a_manifest_are_trained_on(voxceleb1, tmp_path):
    manifest = tmp_path / "own.csv"
    assert len(find_default_trials(None, voxceleb1, manifest).names) == 3
    manifest.write_text(f"ID,speaker\na,{DEV[0]}\nb,{TEST[0]}\nc,{DEV[1]}\n")
    default = find_default_trials(None, voxceleb1, manifest)
    assert default.names == ["voxceleb1-o"]
    assert "2 of their speakers" in default.note
    manifest.write_text("ID,wav\na,b.wav\n")  # who speaks is not known
    assert len(find_default_trials(None, voxceleb1, manifest).names) == 3


def test_a_corpus_to_train_on_alone_has_but_the_list_that_lies_in_it(voxceleb1):
    # No speakers are held out of a corpus by a list that nobody asked for.
    assert find_default_trials(voxceleb1).names == ()
    (voxceleb1 / "veri_test.txt").touch()
    default = find_default_trials(voxceleb1)
    assert default.names == [str(voxceleb1 / "veri_test.txt")]
    assert "3 of their speakers are in the training data" in default.note


def test_without_voxceleb1_there_is_nothing(voxceleb2, tmp_path):
    other = write_speakers(tmp_path / "other", ["anna", "ben"])
    for folder in (None, other, tmp_path / "gone"):
        assert find_default_trials(voxceleb2, folder).names == ()


def test_a_folder_without_a_list_says_whose_speakers_it_has(
    voxceleb1, voxceleb2, tmp_path
):
    shutil.rmtree(voxceleb1 / "vox1_test_wav" / "wav" / "id10270")
    default = find_default_trials(voxceleb2, voxceleb1)
    assert not default.names
    assert "1 of the 2 speakers" in default.note
    assert "(not id10270)" in default.note
    (tmp_path / "empty").mkdir()
    note = find_default_trials(voxceleb2, tmp_path / "empty").note
    assert "none of the speakers" in note and "Name a list" in note
