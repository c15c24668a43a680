"""Claims about trial lists by name or address."""

import socket

import pytest

from ssps_plugin.evaluation import named_trials
from ssps_plugin.evaluation.named_trials import (
    OFFICIAL_ADDRESS,
    OFFICIAL_LISTS,
    fetch_trial_list,
    locate_trial_list,
)
from ssps_plugin.evaluation.trials import read_trials
from tests.evaluation.list_server import standing_for_voxcelebs

LIST = "1 id1/a/1.wav id1/b/1.wav\n0 id1/a/1.wav id2/a/1.wav\n"


@pytest.fixture
def server(monkeypatch):
    with standing_for_voxcelebs(monkeypatch) as server:
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


def test_names_stand_for_the_lists_as_voxceleb_publishes_them():
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
def test_a_name_is_fetched_once_and_kept(server, tmp_path, name):
    server.lists["list_test_hard.txt"] = LIST
    fetched = tmp_path / "out" / "trials"
    for _ in range(2):
        path = fetch_trial_list(name, [tmp_path], fetched)
    assert path == fetched / "list_test_hard.txt"
    assert path.read_text() == LIST
    assert server.asked == ["list_test_hard.txt"]
    assert files_below(tmp_path) == [path]


def test_a_list_beside_the_audio_serves_without_a_network(
    unreachable, monkeypatch, tmp_path
):
    monkeypatch.setattr(named_trials, "OFFICIAL_ADDRESS", unreachable)
    folders = [tmp_path / "empty", tmp_path / "vox1"]
    folders[1].mkdir()
    (folders[1] / "veri_test2.txt").write_text(LIST)
    path = fetch_trial_list("voxceleb1-o-cleaned", folders, tmp_path / "t")
    assert path == folders[1] / "veri_test2.txt"


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voxceleb1-o").write_text(LIST)
    path = fetch_trial_list("voxceleb1-o", [], "fetched")
    assert path.as_posix() == "voxceleb1-o"


def test_an_address_is_fetched_once_and_where_it_is_looked_for(
    server, tmp_path
):
    server.lists["my/own.txt"] = LIST
    address = f"{server.address}my/own.txt?dl=1"
    for _ in range(2):
        path = fetch_trial_list(address, [], tmp_path)
    assert path == locate_trial_list(address, [], tmp_path)
    assert path.name == "own.txt"
    assert len(read_trials(path)) == 2
    assert server.asked == ["my/own.txt"]


def test_lists_of_one_name_at_two_addresses_are_two_lists(server, tmp_path):
    server.lists |= {"a/trials.txt": LIST, "b/trials.txt": LIST[:26]}
    lengths = [
        len(read_trials(fetch_trial_list(server.address + name, [], tmp_path)))
        for name in ("a/trials.txt", "b/trials.txt", "a/trials.txt")
    ]
    assert lengths == [2, 1, 2]


@pytest.mark.parametrize("path", ["", "..", "a/../.."])
def test_no_address_leaves_the_folder_of_fetched_lists(tmp_path, path):
    place = locate_trial_list(f"http://here/{path}", [], tmp_path)
    assert place.parent.parent == tmp_path
    assert place.name == "trials.txt"


def test_offline_the_error_says_which_address_why_and_what_to_do(
    unreachable, monkeypatch, tmp_path
):
    monkeypatch.setattr(named_trials, "OFFICIAL_ADDRESS", unreachable)
    with pytest.raises(RuntimeError) as caught:
        fetch_trial_list("voxceleb1-o", [], tmp_path)
    message = str(caught.value)
    assert f"{unreachable}veri_test.txt" in message
    assert "refused" in message
    assert "Download it" in message and "--trials" in message
    assert not files_below(tmp_path)


def test_an_address_that_the_server_does_not_know_is_named(server, tmp_path):
    with pytest.raises(RuntimeError, match=r"gone\.txt: HTTP Error 404"):
        fetch_trial_list(f"{server.address}gone.txt", [], tmp_path)


def test_a_server_that_does_not_answer_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(named_trials, "TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/list.txt"
        with pytest.raises(RuntimeError, match="timed out"):
            fetch_trial_list(address, [], tmp_path)


def test_a_list_that_is_cut_short_is_not_kept(server, tmp_path):
    server.lists["list.txt"] = LIST
    server.announced_too_many = 10
    with pytest.raises(RuntimeError, match="10 more expected"):
        fetch_trial_list(f"{server.address}list.txt", [], tmp_path)
    assert not files_below(tmp_path)


@pytest.mark.parametrize("content", ["<!doctype html>\n<p>Log in</p>\n", ""])
def test_what_is_no_trial_list_is_not_kept(server, tmp_path, content):
    server.lists["page"] = content
    with pytest.raises(ValueError, match=rf"{server.address}page.*label enrol"):
        fetch_trial_list(f"{server.address}page", [], tmp_path)
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
        locate_trial_list(given, [tmp_path], tmp_path)
    assert f"got {given}" in str(caught.value)
    assert f"did you mean {meant}" in str(caught.value)


def test_a_file_that_is_not_there_is_asked_for_as_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.txt.*change `trials`"):
        locate_trial_list("gone.txt", [tmp_path], tmp_path)
