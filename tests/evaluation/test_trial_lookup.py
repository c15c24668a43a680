"""Where trial lists come from, their audio files and their speakers."""

import os
import pathlib
import socket
from collections import Counter

import numpy as np
import pytest
import soundfile

from ssps_plugin.dataio.corpus import Corpus
from ssps_plugin.evaluation import trial_lookup
from ssps_plugin.evaluation.trial_list import TrialList, read_trials
from ssps_plugin.evaluation.trial_lookup import (
    OFFICIAL_ADDRESS,
    OFFICIAL_LISTS,
    count_trained_speakers,
    describe_speakers,
    download_trial_list,
    find_trial_files,
    find_trial_list,
    hold_out_trials,
    resolve_trial_list,
    speakers_of_trials,
)
from tests.evaluation.list_server import serving_official_lists

LIST = "1 id1/a/1.wav id1/b/1.wav\n0 id1/a/1.wav id2/a/1.wav\n"


def write_corpus(folder, num_speakers, num_recordings=2, num_utterances=2):
    for speaker in range(num_speakers):
        for recording in range(num_recordings):
            place = folder / "wav" / f"s{speaker:02d}" / f"r{recording}"
            place.mkdir(parents=True)
            for utterance in range(num_utterances):
                path = place / f"{utterance}.wav"
                soundfile.write(path, np.full(1600, 0.1), 16000)
    return folder


def held_out(corpus, path, **options):
    given = {"num_speakers": 40, "num_trials": 100, "seed": 1, **options}
    assert hold_out_trials(corpus, path, **given)
    return read_trials(path)


@pytest.fixture
def server(monkeypatch):
    with serving_official_lists(monkeypatch) as server:
        yield server


@pytest.fixture
def unreachable(monkeypatch):
    """The address of a port at which nobody listens."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}/"


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_official_names_are_those_of_the_lists_that_voxceleb_publishes():
    assert OFFICIAL_ADDRESS.startswith("https://www.robots.ox.ac.uk/~vgg/")
    assert OFFICIAL_LISTS == {
        "voxceleb1-o": "veri_test.txt",
        "voxceleb1-o-cleaned": "veri_test2.txt",
        "voxceleb1-e": "list_test_all.txt",
        "voxceleb1-e-cleaned": "list_test_all2.txt",
        "voxceleb1-h": "list_test_hard.txt",
        "voxceleb1-h-cleaned": "list_test_hard2.txt",
    }


@pytest.mark.parametrize("name", ["voxceleb1-h", "VoxCeleb1-H"])
def test_an_official_list_is_downloaded_once_and_kept(server, tmp_path, name):
    server.lists["list_test_hard.txt"] = LIST
    downloads = tmp_path / "out" / "trials"
    for _ in range(2):
        path = download_trial_list(name, [tmp_path], downloads)
    assert path == downloads / "list_test_hard.txt"
    assert path.read_text() == LIST
    assert server.asked == ["list_test_hard.txt"]
    assert files_below(tmp_path) == [path]


def test_a_list_beside_the_audio_serves_without_a_network(
    unreachable, monkeypatch, tmp_path
):
    monkeypatch.setattr(trial_lookup, "OFFICIAL_ADDRESS", unreachable)
    folders = [tmp_path / "empty", tmp_path / "vox1"]
    folders[1].mkdir()
    (folders[1] / "veri_test2.txt").write_text(LIST)
    path = download_trial_list("voxceleb1-o-cleaned", folders, tmp_path / "t")
    assert path == folders[1] / "veri_test2.txt"


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voxceleb1-o").write_text(LIST)
    path = download_trial_list("voxceleb1-o", [], "downloads")
    assert path.as_posix() == "voxceleb1-o"


def test_an_address_is_downloaded_once_to_where_it_is_resolved(
    server, tmp_path
):
    server.lists["my/own.txt"] = LIST
    address = f"{server.address}my/own.txt?dl=1"
    for _ in range(2):
        path = download_trial_list(address, [], tmp_path)
    assert path == resolve_trial_list(address, [], tmp_path)
    assert path.name == "own.txt"
    assert len(read_trials(path)) == 2
    assert server.asked == ["my/own.txt"]


def test_lists_of_one_name_at_two_addresses_are_two_lists(server, tmp_path):
    server.lists |= {"a/trials.txt": LIST, "b/trials.txt": LIST[:26]}
    lengths = [
        len(
            read_trials(
                download_trial_list(server.address + name, [], tmp_path)
            )
        )
        for name in ("a/trials.txt", "b/trials.txt", "a/trials.txt")
    ]
    assert lengths == [2, 1, 2]


@pytest.mark.parametrize("path", ["", "..", "a/../.."])
def test_no_address_leaves_the_download_folder(tmp_path, path):
    place = resolve_trial_list(f"http://here/{path}", [], tmp_path)
    assert place.parent.parent == tmp_path
    assert place.name == "trials.txt"


def test_offline_the_error_says_which_address_why_and_what_to_do(
    unreachable, monkeypatch, tmp_path
):
    monkeypatch.setattr(trial_lookup, "OFFICIAL_ADDRESS", unreachable)
    with pytest.raises(RuntimeError) as caught:
        download_trial_list("voxceleb1-o", [], tmp_path)
    message = str(caught.value)
    assert f"{unreachable}veri_test.txt" in message
    assert "refused" in message
    assert "download it" in message and "change `trials`" in message
    assert not files_below(tmp_path)


def test_an_address_that_the_server_does_not_know_is_named(server, tmp_path):
    with pytest.raises(RuntimeError, match=r"gone\.txt, got HTTP Error 404"):
        download_trial_list(f"{server.address}gone.txt", [], tmp_path)


def test_a_server_that_does_not_answer_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(trial_lookup, "TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/list.txt"
        with pytest.raises(RuntimeError, match="timed out"):
            download_trial_list(address, [], tmp_path)


def test_a_list_that_is_cut_short_is_not_kept(server, tmp_path):
    server.lists["list.txt"] = LIST
    server.announced_too_many = 10
    with pytest.raises(RuntimeError, match="10 more expected"):
        download_trial_list(f"{server.address}list.txt", [], tmp_path)
    assert not files_below(tmp_path)


def test_a_server_that_sends_byte_by_byte_is_given_up(
    server, monkeypatch, tmp_path
):
    monkeypatch.setattr(trial_lookup, "MAX_DOWNLOAD_SECONDS", 0.3)
    server.slow.add("list.txt")
    with pytest.raises(RuntimeError, match="got no end after 0.3 s: download"):
        download_trial_list(f"{server.address}list.txt", [], tmp_path)
    assert not files_below(tmp_path)


@pytest.mark.parametrize("announced", [True, False])
def test_an_answer_above_the_limit_is_given_up(
    server, monkeypatch, tmp_path, announced
):
    monkeypatch.setattr(trial_lookup, "MAX_DOWNLOAD_BYTES", 1000)
    if announced:
        server.lists["list.txt"] = LIST * 100
    else:
        server.slow.add("list.txt")
        monkeypatch.setattr(trial_lookup, "MAX_DOWNLOAD_BYTES", 3)
    with pytest.raises(RuntimeError, match=r"bytes or more, above (1000|3),"):
        download_trial_list(f"{server.address}list.txt", [], tmp_path)
    assert not files_below(tmp_path)


@pytest.mark.parametrize(
    "target", ["ftp://127.0.0.1/l.txt", "file:///etc/motd"]
)
def test_a_redirect_to_anything_but_http_is_refused(server, tmp_path, target):
    server.redirects["list.txt"] = target
    with pytest.raises(RuntimeError, match=r"(?i)list\.txt, got .*redirect"):
        download_trial_list(f"{server.address}list.txt", [], tmp_path)
    assert not files_below(tmp_path)


def test_a_full_disk_names_the_list_and_leaves_nothing(
    server, monkeypatch, tmp_path
):
    def fail(path, content):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", fail)
    server.lists["list.txt"] = LIST
    with pytest.raises(OSError, match=r"list .*list\.txt, got No space left"):
        download_trial_list(f"{server.address}list.txt", [], tmp_path)
    assert not files_below(tmp_path)


def test_a_redirect_to_http_is_followed(server, tmp_path):
    server.redirects["list.txt"] = f"{server.address}moved.txt"
    server.lists["moved.txt"] = LIST
    path = download_trial_list(f"{server.address}list.txt", [], tmp_path)
    assert path.read_text() == LIST


def test_an_address_that_is_none_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"got http://\[::1/list\.txt \("):
        download_trial_list("http://[::1/list.txt", [], tmp_path)
    with pytest.raises(RuntimeError, match=r"list http://a:x/list\.txt, got"):
        download_trial_list("http://a:x/list.txt", [], tmp_path)


@pytest.mark.parametrize("given", ["ftp://here/list.txt", "file:///list.txt"])
def test_an_address_of_another_kind_is_refused(tmp_path, given):
    with pytest.raises(FileNotFoundError, match=rf"http\(s\) .* got {given}"):
        download_trial_list(given, [], tmp_path)


def test_a_folder_or_a_pipe_in_place_of_a_list_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("pipe", "a pipe, which can be"), (".", "a folder")):
        with pytest.raises(FileNotFoundError, match=f"which is {kind}"):
            resolve_trial_list(tmp_path / name, [], tmp_path)


def test_an_answer_in_two_words_is_not_kept(server, tmp_path):
    server.lists["page"] = "Not found\n"
    with pytest.raises(ValueError, match=r"got \('Not', 'found'\).*itself\?"):
        download_trial_list(f"{server.address}page", [], tmp_path)
    assert not files_below(tmp_path)


def test_a_list_without_labels_is_downloaded(server, tmp_path):
    server.lists["blind.txt"] = "a/1.wav b/1.wav\n"
    path = download_trial_list(f"{server.address}blind.txt", [], tmp_path)
    assert read_trials(path).labels is None


@pytest.mark.parametrize("content", ["<!doctype html>\n<p>Log in</p>\n", ""])
def test_what_is_no_trial_list_is_not_kept(server, tmp_path, content):
    server.lists["page"] = content
    message = rf"label enrol test` .*in {server.address}page,.* got .*itself\?"
    with pytest.raises(ValueError, match=message):
        download_trial_list(f"{server.address}page", [], tmp_path)
    assert not files_below(tmp_path)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("voxceleb1_o", "voxceleb1-o"),
        ("Vox1-H-cleaned", "voxceleb1-h-cleaned"),
        ("lists/veri_test2.txt", "voxceleb1-o-cleaned"),
    ],
)
def test_a_name_that_is_misspelt_gets_the_close_ones(tmp_path, given, meant):
    with pytest.raises(FileNotFoundError) as caught:
        resolve_trial_list(given, [tmp_path], tmp_path)
    assert f"got {given}" in str(caught.value)
    assert f"did you mean {meant}" in str(caught.value)


def test_a_file_that_is_not_there_is_asked_for_as_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.txt.*change `trials`"):
        resolve_trial_list("gone.txt", [tmp_path], tmp_path)


def test_list_in_the_corpus_is_found(tmp_path):
    assert find_trial_list(tmp_path) is None
    (tmp_path / "veri_test.txt").write_text("1 a b\n")
    assert find_trial_list(tmp_path).name == "veri_test.txt"


def test_at_most_a_fifth_of_the_speakers_is_held_out(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=15)
    trials = held_out(corpus, tmp_path / "t.txt")
    assert len(speakers_of_trials(trials)) == 3


def test_target_trials_cross_recordings_and_names_start_from_the_corpus(
    tmp_path,
):
    corpus = write_corpus(tmp_path / "c", num_speakers=4)
    trials = held_out(corpus, tmp_path / "t.txt")
    for label, (enrol, test) in zip(trials.labels, trials.pairs(), strict=True):
        one, other = pathlib.Path(enrol).parts, pathlib.Path(test).parts
        assert (one[-3] == other[-3]) == bool(label)
        assert label == 0 or one[-2] != other[-2]
        assert (corpus / enrol).is_file()


def test_as_many_target_as_impostor_trials_and_no_more_than_there_are(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=4)
    trials = held_out(corpus, tmp_path / "t.txt")
    # Two speakers of 2 x 2 utterances: 4 pairs each cross recordings.
    assert len(trials) == 16 and trials.labels.sum() == 8


def test_files_that_cannot_be_read_are_in_no_trial(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=4)
    for path in corpus.glob("wav/*/r0/0.wav"):
        path.write_bytes(b"not audio")
    trials = held_out(corpus, tmp_path / "t.txt")
    assert not any(name.endswith("r0/0.wav") for name in trials.utterances)


def test_speakers_with_blanks_in_their_names_get_trials(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=4)
    for path in list(corpus.glob("wav/*")):
        path.rename(path.with_name(f"Anna {path.name}"))
    trials = held_out(corpus, tmp_path / "t.txt")
    assert len(trials) == 16 and trials.labels.sum() == 8
    speakers = speakers_of_trials(trials)
    assert len(speakers) == 2
    assert all(speaker.startswith("Anna s0") for speaker in speakers)
    assert len(find_trial_files(trials, corpus)) == 8


@pytest.mark.parametrize("num_speakers", [1, 3])
def test_too_few_speakers_make_no_trials(tmp_path, num_speakers):
    corpus = write_corpus(tmp_path / "c", num_speakers=num_speakers)
    path = tmp_path / "t.txt"
    assert not hold_out_trials(corpus, path, 40, 100, seed=1)
    assert not path.exists()


def test_nobody_is_held_out_where_none_is_asked_for(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=6)
    assert not hold_out_trials(corpus, tmp_path / "t.txt", 0, 100, seed=1)


def test_same_seed_holds_out_the_same(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=12)
    one = held_out(corpus, tmp_path / "1.txt", seed=3)
    two = held_out(corpus, tmp_path / "2.txt", seed=3)
    assert one.utterances == two.utterances


def test_one_file_per_utterance_in_their_order(tmp_path):
    files = {n: touch(tmp_path / n) for n in ("a/1.wav", "b/1.wav", "b/2.wav")}
    trials = TrialList.from_names(
        [1, 0], ["b/2.wav", "a/1.wav"], ["b/1.wav", "b/2.wav"]
    )
    found = find_trial_files(trials, tmp_path)
    assert found == [files[name] for name in trials.utterances]


@pytest.mark.parametrize(
    "there",
    ["id/1.wav", "wav/id/1.wav", "id/1.flac", "wav/id/1.ogg", "id/1.m4a"],
)
def test_finds_voxcelebs_layouts_and_other_suffixes(tmp_path, there):
    file = touch(tmp_path / there)
    trials = TrialList.from_names([1], ["id/1.wav"], ["id/1.wav"])
    assert find_trial_files(trials, str(tmp_path)) == [file]


def test_own_suffix_goes_before_others_and_the_folder_before_wav(tmp_path):
    trials = TrialList.from_names([1], ["1.flac"], ["1.flac"])
    for name in ("wav/1.wav", "1.wav", "wav/1.flac", "1.flac"):
        # Each is preferred to all that were there before.
        file = touch(tmp_path / name)
        assert find_trial_files(trials, tmp_path) == [file]


@pytest.mark.parametrize(
    ("dev", "test"),
    [
        ("vox1_dev_wav/wav", "vox1_test_wav/wav"),
        ("dev/wav", "test/wav"),
        ("voxceleb1/dev/wav", "voxceleb1/test/wav"),
    ],
)
def test_a_list_over_dev_and_test_is_found_as_voxceleb1_is_unpacked(
    tmp_path, dev, test
):
    first = touch(tmp_path / dev / "id10001/video/00001.wav")
    second = touch(tmp_path / test / "id10270/video/00001.flac")
    touch(tmp_path / "voxceleb2/dev/aac/id00012/video/00001.m4a")
    names = ["id10001/video/00001.wav", "id10270/video/00001.wav"]
    trials = TrialList.from_names([0], names[:1], names[1:])
    assert find_trial_files(trials, tmp_path) == [first, second]


def test_names_that_are_missing_everywhere_name_the_folders_of_speakers(
    tmp_path,
):
    touch(tmp_path / "dev/wav/id10001/video/00001.wav")
    names = ["id10001/video/00001.wav", "id10001/video/00002.wav"]
    trials = TrialList.from_names([1], names[:1], names[1:])
    with pytest.raises(FileNotFoundError, match="1 of 2.*dev/wav with"):
        find_trial_files(trials, tmp_path)


def test_the_corpus_is_not_searched_where_the_names_are_there(
    tmp_path, monkeypatch
):
    def search(folder):
        raise AssertionError(f"searched {folder}")

    monkeypatch.setattr(trial_lookup, "find_speaker_folders", search)
    file = touch(tmp_path / "wav/id/video/1.wav")
    trials = TrialList.from_names([1], ["id/video/1.wav"], ["id/video/1.wav"])
    assert find_trial_files(trials, tmp_path) == [file]


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ("id/a.WAV", "id/a.wav"),
        ("id/a.wav", "id/a.WAV"),
        ("wav/id/a.FLAC", "id/a.wav"),
        ("id/a.WAV", "id/a"),
        ("id/b\u00e9.wav", "id/be\u0301.wav"),
        ("wav/Zoe\u0308/r/be\u0301.wav", "Zo\u00eb/r/b\u00e9.wav"),
        ("wav/id/a.wav", "id\\a.wav"),
        ("dev/wav/id/r/a.wav", ".\\id\\r\\a.WAV"),
        ("id/a.wav", "./id/a.wav"),
        ("id/a.wav", "id//./b/../a.wav"),
        ("my id/r 1/a b.WAV", "my id\\r 1\\a b.wav"),
    ],
)
def test_names_as_another_system_writes_them_are_found(tmp_path, there, name):
    file = touch(tmp_path / there)
    touch(tmp_path / pathlib.PurePosixPath(there).parent / "other.wav")
    trials = TrialList.from_names([1], [name], [name])
    (found,) = find_trial_files(trials, tmp_path)
    assert found.samefile(file) and found.name == file.name


def test_a_name_as_it_is_goes_before_one_that_is_alike(tmp_path):
    files = [touch(tmp_path / name) for name in ("a.wav", "a.WAV", "b\\c.wav")]
    touch(tmp_path / "b" / "c.wav")
    names = [file.name for file in files]
    trials = TrialList.from_names([1] * 3, names, names)
    assert find_trial_files(trials, tmp_path) == files


@pytest.mark.parametrize(
    ("there", "name", "advice"),
    [
        (
            "id/rec/00001.wav",
            "id/rec/00007.wav",
            "Nearest to {} is {}/id/rec/00001.wav.",
        ),
        ("id/rec/A.wav", "id/rec/a.wav", "Nearest to {} is {}/id/rec/A.wav."),
        (
            "id10001/rec/1.wav",
            "id1001/rec/1.wav",
            "Nearest to {} is {}/id10001.",
        ),
        (
            "id/rec/1.wav",
            "vox1/wav/id/rec/1.wav",
            "Without vox1/wav/ at its start, {} is {}/id/rec/1.wav.",
        ),
        (
            "id/rec/1.wav",
            "/old/disk/id/rec/1.wav",
            "Without old/disk/ at its start, {} is {}/id/rec/1.wav.",
        ),
    ],
)
def test_what_is_nearest_to_a_missing_name_is_said(
    tmp_path, there, name, advice
):
    touch(tmp_path / there)
    trials = TrialList.from_names([1], [name], [name])
    with pytest.raises(FileNotFoundError) as caught:
        find_trial_files(trials, tmp_path)
    assert str(caught.value).endswith(advice.format(name, tmp_path))


def test_quotes_around_names_are_said_to_be_too_many(tmp_path):
    touch(tmp_path / "id" / "1.wav")
    trials = TrialList.from_names([1], ['"id/1.wav"'], ['"id/1.wav"'])
    with pytest.raises(FileNotFoundError, match="Take the quotes off"):
        find_trial_files(trials, tmp_path)


@pytest.mark.parametrize("name", ["a" * 300 + "/b.wav", "a/" * 3000, "a\0/b"])
def test_a_name_that_no_file_can_have_is_missing(tmp_path, name):
    touch(tmp_path / "id" / "rec" / "1.wav")
    trials = TrialList.from_names([1], [name], [name])
    with pytest.raises(FileNotFoundError, match="1 of 1"):
        find_trial_files(trials, tmp_path)


def test_speakers_are_named_between_backslashes_too():
    trials = TrialList.from_names(
        [0], ["wav\\id1\\a\\1.wav"], ["./id2/b/2.wav"]
    )
    assert speakers_of_trials(trials) == {"id1", "id2"}


def test_speakers_composed_or_decomposed_are_kept_out_of_training(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=3)
    (corpus / "wav/s00").rename(corpus / "wav" / "Zoe\u0308")
    trials = TrialList.from_names(
        [1], ["Zo\u00eb/r0/0.wav"], ["Zo\u00eb/r1/0.wav"]
    )
    speakers = speakers_of_trials(trials)
    assert Corpus(corpus, speakers).speakers == ["s01", "s02"]
    (tmp_path / "t.csv").write_text("ID,speaker\n1,Zoe\u0308\n")
    counts = count_trained_speakers(tmp_path / "t.csv", speakers)
    assert counts == {"Zoe\u0308": 1}


@pytest.mark.parametrize(
    "content", [b"ID,speaker\n1," + b"x" * 131_073, b"ID,speaker\n1,\xe9\n"]
)
def test_a_manifest_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"CSV .*train\.csv, got .*change train"
    ):
        count_trained_speakers(path, {"a"})


def test_name_without_suffix_is_found(tmp_path):
    file = touch(tmp_path / "id.1" / "utt.2.flac")
    trials = TrialList.from_names([1], ["id.1/utt.2"], ["id.1/utt.2"])
    assert find_trial_files(trials, tmp_path) == [file]


def test_folder_of_that_name_is_no_file(tmp_path):
    (tmp_path / "1.wav").mkdir()
    trials = TrialList.from_names([1], ["1.wav"], ["1.wav"])
    with pytest.raises(FileNotFoundError):
        find_trial_files(trials, tmp_path)


def test_missing_files_are_counted_and_the_first_named(tmp_path):
    touch(tmp_path / "there.wav")
    names = ["there.wav", *(f"gone{i}.wav" for i in range(5))]
    trials = TrialList.from_names([1] * 6, names, names)
    with pytest.raises(FileNotFoundError) as error:
        find_trial_files(trials, tmp_path)
    message = str(error.value)
    assert "5 of 6 (gone0.wav, gone1.wav, gone2.wav, …)" in message
    assert f"{tmp_path} or {tmp_path / 'wav'}" in message
    assert "`trials_folder`" in message and "`trials`" in message


def test_missing_corpus_is_reported_alike(tmp_path):
    trials = TrialList.from_names([1], ["a.wav"], ["b.wav"])
    with pytest.raises(FileNotFoundError, match=r"2 of 2 \(a.wav, b.wav\)"):
        find_trial_files(trials, tmp_path / "nowhere")


def test_voxsrcs_names_have_no_speaker_and_only_a_warning_says_so(
    tmp_path, caplog
):
    path = tmp_path / "voxsrc.txt"
    path.write_text(
        "1 voxsrc2020_val/00001.wav voxsrc2020_val/00002.wav\n"
        "0 wav/00001.wav wav/00002.wav\n"
    )
    trials = read_trials(path)
    assert trials.labels.tolist() == [1, 0]
    assert list(trials.pairs()) == [
        ("voxsrc2020_val/00001.wav", "voxsrc2020_val/00002.wav"),
        ("wav/00001.wav", "wav/00002.wav"),
    ]
    assert speakers_of_trials(trials) == set()
    assert "4 of 4 utterances of the trials name no speaker" in caplog.text


def test_only_the_given_speakers_are_counted(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ID, speaker\n1, a\n2, b\n3, a\n4, c\n")
    assert count_trained_speakers(path, {"a", "c", "z"}) == Counter(a=2, c=1)
    assert count_trained_speakers(path, {"z"}) == Counter()


def test_a_manifest_without_speakers_has_no_count(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ID,wav\n1,a.wav\n")
    assert count_trained_speakers(path, {"a"}) is None
    path.write_text("")
    assert count_trained_speakers(path, {"a"}) is None


def test_the_most_frequent_are_named():
    counts = Counter(a=1, b=5, c=2, d=3)
    expected = "4 of them (b, d, c, …; 11 utterances)"
    assert describe_speakers(counts) == expected


def test_a_byte_order_mark_does_not_hide_the_column(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("speaker,ID\nben,b\n", encoding="utf-8-sig")
    assert count_trained_speakers(path, {"ben"}) == {"ben": 1}
