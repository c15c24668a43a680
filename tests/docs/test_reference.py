"""Claims about the reference: every key and every public name is there."""

import importlib
import inspect
import re

import pytest
from public_names import names_of, public_paths, rooms
from yaml_keys import (
    ROOT,
    is_overlay,
    known_comments,
    read_keys,
    yaml_files,
)

DOCS = ROOT / "docs"
FILES = [
    pytest.param(path, id=path.relative_to(ROOT).as_posix())
    for path in yaml_files()
]


@pytest.mark.parametrize("path", FILES)
def test_every_key_has_its_comment(path):
    known = known_comments() if is_overlay(path) else {}
    bare = [
        key.name
        for key in read_keys(path)
        if not key.description and key.name not in known
    ]
    assert not bare, f"Write a comment beside {', '.join(bare)} in {path.name}."


def test_a_key_without_a_comment_is_found(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("# ---- Data\nseed: 3   # of draws\nlr: 0.1\n")
    first, second = read_keys(path)
    assert (first.name, first.value, first.section) == ("seed", "3", "Data")
    assert first.description == "of draws"
    assert second.name == "lr" and not second.description


def test_objects_are_described_by_their_class():
    keys = {k.name: k for k in read_keys(ROOT / "hparams" / "simclr_ssps.yaml")}
    assert keys["sampler"].value == "ssps_plugin.PositiveSampler"
    assert keys["sampler"].description == (
        "Substitute same-utterance positives by pseudo-positives."
    )
    assert keys["output_folder"].value == "results/<experiment>/<seed>"


def test_every_file_of_keys_is_on_the_site():
    text = (DOCS / "keys.md").read_text()
    assert "yaml-overlays::" in text
    frameworks = [p for p in yaml_files() if not is_overlay(p)]
    assert frameworks
    missing = [path.name for path in frameworks if path.name not in text]
    assert not missing


def test_every_public_name_is_on_the_site():
    pages = {
        (room, names.strip()): page.name
        for page in (DOCS / "api").glob("*.md")
        for room, names in re.findall(
            r"public-names:: ([\w.]+)\n(.*?)```", page.read_text(), re.DOTALL
        )
    }
    shown = {}
    for (room, text), page in pages.items():
        option = re.search(r":elsewhere: (.+)", text)
        elsewhere = set(option[1].split()) if option else set()
        listed = text.replace(option[0], "").split() if option else text.split()
        if "all" in elsewhere:
            continue
        for name in set(listed or names_of(room)) - elsewhere:
            path = public_paths()[f"{room}.{name}"]
            shown.setdefault(path, []).append(page)
    documented = set(public_paths().values())
    assert documented - shown.keys() == set()
    assert {path: p for path, p in shown.items() if len(p) > 1} == {}


def test_every_public_name_has_a_docstring():
    for room in rooms():
        module = importlib.import_module(room)
        for name in names_of(room):
            assert inspect.getdoc(getattr(module, name)), f"{room}.{name}"
