"""Claims about what is built and installed."""

import ast
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest

import ssps_plugin

ROOT = pathlib.Path(__file__).parents[1]
# Names of imports that are not those of their distributions.
DISTRIBUTIONS = {
    "ruamel": "ruamel.yaml",
    "yaml": "pyyaml",
    "espeakng_loader": "espeakng-loader",
}


def imported_packages():
    """Top-level names of what package and recipes import, wherever in them."""
    names = set()
    for folder in ("ssps_plugin", "recipes"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_every_import_is_declared():
    declared = {
        re.match(r"[\w.-]+", requirement)[0].lower()
        for requirement in re.findall(
            r'^ +"([^"]+)",', (ROOT / "setup.py").read_text(), flags=re.M
        )
    }
    own = {"ssps_plugin", "voxceleb_prepare", *sys.stdlib_module_names}
    needed = {
        DISTRIBUTIONS.get(name, name) for name in imported_packages() - own
    }
    assert {"torch", "scipy", "ruamel.yaml"} <= needed
    # PyAV's requirement stands in a list of one.
    assert needed - {"av"} <= declared


def test_the_version_is_that_of_the_package():
    installed = importlib.metadata.version("ssps_plugin")
    assert ssps_plugin.__version__ == installed


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder)]
    # An sdist, and a wheel made from it: what the one lacks, the other does.
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.mark.slow
def test_wheel_imports_and_is_typed(built, tmp_path):
    wheel, _ = built
    install = [sys.executable, "-m", "pip", "install", "--no-deps"]
    subprocess.run(
        [*install, "--target", str(tmp_path), str(wheel)],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "ssps_plugin" / "py.typed").is_file()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import ssps_plugin, ssps_plugin.training, ssps_plugin.simulation\n"
        "print(ssps_plugin.__file__)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert shown.stdout.startswith(str(tmp_path))


@pytest.mark.slow
def test_wheel_brings_every_yaml_and_recipe(built):
    wheel, _ = built
    names = {
        name.partition("/data/")[2]
        for name in zipfile.ZipFile(wheel).namelist()
    }
    wanted = [*ROOT.glob("hparams/*.yaml"), *ROOT.glob("recipes/*/*.py")]
    for path in wanted:
        assert f"share/ssps_plugin/{path.relative_to(ROOT)}" in names


@pytest.mark.slow
def test_sdist_brings_tests_and_license(built):
    _, sdist = built
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("LICENSE", "README.md", "tests/test_packaging.py", "setup.py"):
        assert name in names
