"""Claims about a push to a model hub, by a hub that is made up."""

import sys

import pytest

from ssps_plugin.pretrained import push_to_hub

hub = pytest.importorskip("huggingface_hub")


class Answer:
    def __init__(self, status_code):
        self.status_code = status_code


class HubError(Exception):
    def __init__(self, message, status_code):
        super().__init__(message)
        self.response = Answer(status_code)


@pytest.fixture
def calls(monkeypatch):
    """What the made-up hub is asked for; an error in it is raised."""
    made = []

    class Api:
        def __init__(self, token=None):
            made.append(("token", token))

        def create_repo(self, repo_id, **options):
            made.append(("create", repo_id, options))

        def upload_folder(self, **options):
            made.append(("upload", options))
            for error in [one for one in made if isinstance(one, Exception)]:
                raise error

    monkeypatch.setattr(hub, "HfApi", Api)
    return made


def test_an_export_is_pushed_to_a_repository_that_is_made(exported, calls):
    address = push_to_hub(exported, "me/model", private=True, token="secret")
    assert address == "https://huggingface.co/me/model"
    token, create, upload = calls
    assert token == ("token", "secret")
    assert create == ("create", "me/model", {"private": True, "exist_ok": True})
    assert upload[1]["folder_path"] == str(exported)
    assert upload[1]["repo_id"] == "me/model"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("Name or service not known"), "Check the network"),
        (HubError("no rights", 403), "may write to me/model|token that may"),
        (HubError("too large", 413), "its answer 413: too large"),
        (ValueError("bad name"), "can be pushed to, got: bad name"),
    ],
)
def test_what_the_hub_refuses_is_one_clear_error(
    error, message, exported, calls
):
    calls.append(error)
    with pytest.raises(RuntimeError, match=message) as caught:
        push_to_hub(exported, "me/model")
    assert "\n" not in str(caught.value)


def test_without_network_there_is_one_clear_error(exported, monkeypatch):
    """By the real library, sent to an address where nobody answers."""
    from huggingface_hub import HfApi

    monkeypatch.setattr(
        hub, "HfApi", lambda token: HfApi("http://127.0.0.1:9", token="x")
    )
    with pytest.raises(RuntimeError, match="Expected to reach the hub"):
        push_to_hub(exported, "me/model")


@pytest.mark.parametrize("name", ["model", "/model", "me/", "a/b/c", ""])
def test_a_wrong_name_of_a_repository_is_an_error(name, exported, calls):
    with pytest.raises(ValueError, match="your-name/your-model"):
        push_to_hub(exported, name)
    assert not calls


def test_only_an_export_is_pushed(finished, tmp_path, calls):
    with pytest.raises(ValueError, match="which is a run's"):
        push_to_hub(finished, "me/model")
    with pytest.raises(FileNotFoundError, match="folder of an export"):
        push_to_hub(tmp_path, "me/model")
    assert not calls


def test_without_the_extra_the_error_says_what_to_install(
    exported, monkeypatch
):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RuntimeError, match=r"pip install 'ssps_plugin\[hub\]'"):
        push_to_hub(exported, "me/model")
