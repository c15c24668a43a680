"""Claims about what is built and installed."""

import ast
import importlib.metadata
import pathlib
import re
import runpy
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
    "sklearn": "scikit-learn",
    "faiss": "faiss-cpu",
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


def declared_requirements():
    """Names of all that setup.py requires, extras included."""
    given = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("setuptools.setup", given.update)
        runpy.run_path(str(ROOT / "setup.py"))
    lists = [given["install_requires"], *given["extras_require"].values()]
    return {re.match(r"[\w.-]+", one)[0].lower() for one in sum(lists, [])}


def test_every_import_is_declared():
    own = {"ssps_plugin", "voxceleb_prepare", *sys.stdlib_module_names}
    needed = {
        DISTRIBUTIONS.get(name, name) for name in imported_packages() - own
    }
    assert {"torch", "scipy", "ruamel.yaml"} <= needed
    assert needed <= declared_requirements()


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
    wanted = [
        *ROOT.glob("hparams/**/*.yaml"),
        *ROOT.glob("recipes/*/*.py"),
        *ROOT.glob("recipes/*/*.yaml"),
        *ROOT.glob("recipes/*/*.md"),
    ]
    for path in wanted:
        assert f"share/ssps_plugin/{path.relative_to(ROOT)}" in names


@pytest.mark.slow
def test_wheel_brings_every_template_and_the_command(built):
    wheel, _ = built
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    command = ["git", "ls-files", "ssps_plugin"]
    tracked = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    inside = tracked or [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "ssps_plugin").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert any(name.endswith(".jinja") for name in inside)
    assert set(inside) <= names
    (points,) = [one for one in names if one.endswith("entry_points.txt")]
    assert b"ssps = ssps_plugin.commands." in archive.read(points)


@pytest.mark.slow
def test_twine_has_nothing_to_say(built):
    command = [sys.executable, "-m", "twine", "check", "--strict"]
    checked = subprocess.run(
        [*command, *map(str, built)], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("PASSED") == 2


@pytest.mark.slow
def test_sdist_brings_tests_and_license(built):
    _, sdist = built
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        *("LICENSE", "README.md", "CITATION.cff", "setup.py"),
        *("tests/test_packaging.py", "docs/conf.py", ".ci/run", "Dockerfile"),
    ):
        assert name in names
    assert not [name for name in names if name.startswith("docs/_build")]
