"""Claims about the wheel, installed: its program, from any folder.

The environment has what is installed here, but not this checkout: its own
`ssps_plugin` comes first.
"""

import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest

from tests.commands.conftest import Answer
from tests.commands.test_command_line import COMMANDS
from tests.recipes.running import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with the wheel; returns the folder of programs."""
    folder = tmp_path_factory.mktemp("installed")
    build = ["-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    python = folder / "env" / "bin" / "python"
    steps = [
        [sys.executable, *build],
        [sys.executable, "-m", "venv", str(folder / "env")],
    ]
    for step in steps:
        subprocess.run(step, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = [python, "-I", "-m", "pip", "install", "--no-deps", wheel]
    subprocess.run(install, check=True, capture_output=True)
    # What is installed beside the tests, without the .pth of this checkout,
    # and only now: pip would find this package among it, as by PYTHONPATH.
    others = sysconfig.get_path("purelib")
    site = next((folder / "env").glob("lib/python*/site-packages"))
    (site / "others.pth").write_text(f"import sys; sys.path.append({others!r})")
    return python.parent


@pytest.fixture
def call(installed, tmp_path):
    def call(*arguments, name="ssps"):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
        for variable in ("PYTHONPATH", "SSPS_MODEL", "SSPS_DEBUG"):
            environment.pop(variable, None)
        done = subprocess.run(
            [installed / name, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return call


def test_it_is_the_installed_package(call, installed):
    code = "import ssps_plugin; print(ssps_plugin.__file__)"
    path = pathlib.Path(call("-c", code, name="python").out.strip())
    assert path.is_relative_to(installed.parent)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command, call):
    answer = call(command, "--help")
    assert answer.status == 0, answer.err
    assert answer.out.startswith(f"Usage: ssps {command} ")


def test_recipes_come_along(call, installed, tmp_path):
    path = pathlib.Path(call("recipes", "--path").out.strip())
    assert path.is_relative_to(installed.parent.resolve())
    answer = call("recipes", "mine")
    assert answer.status == 0, answer.err
    copied = tmp_path / "mine" / "hparams" / "simclr_ssps.yaml"
    assert (
        copied.read_bytes()
        == (ROOT / "hparams" / "simclr_ssps.yaml").read_bytes()
    )


def test_the_keys_of_an_installed_yaml_are_listed(call):
    answer = call("train", "--help", "hparams/simclr_ssps.yaml")
    assert answer.status == 0, answer.err
    assert "--num_clusters 25000" in answer.out


def test_it_trains_compares_embeds_and_exports(call, corpus, tmp_path):
    from tests.commands.test_train import options

    trained = call("train", "simclr_ssps", *options(corpus, "run"))
    assert trained.status == 0, trained.err
    pair = sorted((corpus / "wav").rglob("*.wav"))[:2]
    for arguments in (
        ("export", "run", "model"),
        ("compare", "run", *pair),
        ("compare", "model", *pair),
        ("embed", "model", corpus, "-o", "all.ark"),
        ("score", "run", "run/trials.txt", "-f", corpus),
        ("verify", "run"),
    ):
        answer = call(*arguments)
        assert answer.status == 0, (arguments, answer.err)
        assert answer.err == ""
    assert (tmp_path / "all.scp").is_file()


def test_an_error_is_one_message(call):
    answer = call("compare", "nowhere", "a.wav", "b.wav")
    assert answer.status == 1
    assert answer.err.startswith("Error: Expected the output folder of a run")
    assert "Traceback" not in answer.err
