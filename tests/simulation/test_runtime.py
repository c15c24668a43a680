"""What simulation needs of the machine: the demo extra, and processes."""

import importlib
import sys

import pytest

from ssps_plugin.simulation import make_minivox, simulate_recordings


@pytest.mark.parametrize("module", ["espeakng_loader", "pyroomacoustics"])
def test_minivox_without_an_extra_says_what_to_install(
    tmp_path, monkeypatch, module
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeError, match=rf"{module}.*\[demo\]"):
        make_minivox(tmp_path / "minivox")
    assert list(tmp_path.iterdir()) == []


def test_recordings_without_the_extra_say_what_to_install(
    tmp_path, monkeypatch
):
    (tmp_path / "clean/anna").mkdir(parents=True)
    (tmp_path / "clean/anna/1.wav").touch()
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(RuntimeError, match=r"\[demo\]"):
        simulate_recordings(tmp_path / "clean", tmp_path / "out")


def test_import_does_not_need_the_extras(monkeypatch):
    for name in list(sys.modules):
        if name.startswith("ssps_plugin.simulation"):
            monkeypatch.delitem(sys.modules, name)
    for name in ("pyroomacoustics", "espeakng_loader"):
        monkeypatch.setitem(sys.modules, name, None)
    importlib.import_module("ssps_plugin.simulation.__main__")
