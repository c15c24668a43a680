"""Claims about copying recipes, and where they are found."""

import importlib.metadata
import pathlib

import pytest

from ssps_plugin.commands import installed_files
from ssps_plugin.commands.installed_files import (
    find_hparams,
    find_root,
    list_hparams,
)
from ssps_plugin.commands.recipes import list_files
from tests.commands.conftest import is_one_message
from tests.recipes.running import ROOT


def test_in_a_checkout_they_are_beside_the_package():
    assert find_root() == ROOT


def test_all_python_files_and_yamls_are_copied(ssps, tmp_path):
    answer = ssps("recipes", tmp_path / "mine")
    assert answer.status == 0
    for path in [*ROOT.glob("hparams/*.yaml"), *ROOT.glob("recipes/*/*.py")]:
        copy = tmp_path / "mine" / path.relative_to(ROOT)
        assert copy.read_bytes() == path.read_bytes()
    again = ssps("recipes", tmp_path / "mine")
    assert "Copied 0 files" in again.out


def test_a_file_that_was_changed_is_never_overwritten_silently(ssps, tmp_path):
    ssps("recipes", tmp_path)
    changed = tmp_path / "hparams" / "simclr.yaml"
    gone = tmp_path / "hparams" / "dino.yaml"
    changed.write_text("mine")
    gone.unlink()
    answer = ssps("recipes", tmp_path)
    assert answer.status == 1
    assert is_one_message(answer.err)
    assert str(changed) in answer.err
    assert changed.read_text() == "mine"
    assert not gone.exists()  # all or none
    assert ssps("recipes", tmp_path, "--overwrite").status == 0
    assert changed.read_text() != "mine"
    assert gone.is_file()


def test_without_a_folder_they_are_listed(ssps):
    listed = ssps("recipes").out.split()
    assert "recipes/voxceleb/train_ssl.py" in listed
    assert listed == [path.as_posix() for path in list_files(ROOT)]


def test_short_names_are_of_files_that_describe_a_training():
    names = list_hparams()
    assert {"simclr", "simclr_ssps", "dino_ssps"} <= set(names)
    assert "minivox" not in names


@pytest.mark.parametrize(
    "given",
    ["simclr_ssps", "simclr_ssps.yaml", "hparams/simclr_ssps.yaml"],
)
def test_a_short_name_is_found_from_any_folder(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = str(ROOT / "hparams" / "simclr_ssps.yaml")
    assert find_hparams(given) == wanted
    pathlib.Path(given).parent.mkdir(exist_ok=True)
    pathlib.Path(given).touch()  # one's own comes first
    assert find_hparams(given) == given


def test_pip_says_where_it_has_put_them(tmp_path, monkeypatch):
    shared = tmp_path / "data" / "share" / "ssps_plugin"
    recipe = shared / installed_files.TRAINING
    recipe.parent.mkdir(parents=True)
    recipe.touch()

    class File(type(pathlib.PurePosixPath())):
        def locate(self):
            return recipe

    monkeypatch.setattr(installed_files, "PACKAGE", tmp_path / "site" / "p")
    monkeypatch.setattr(
        importlib.metadata,
        "files",
        lambda name: [
            File("../../share/ssps_plugin/" + recipe.name),
            File(f"../../share/x/{installed_files.TRAINING}"),
        ],
    )
    assert find_root() == shared.resolve()
    recipe.unlink()
    with pytest.raises(FileNotFoundError, match="Expected the recipes"):
        find_root()
