"""Where recipes and YAML files are: beside the package, or installed by pip."""

from __future__ import annotations

import pathlib

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
#: In every place that holds the recipes.
TRAINING = "recipes/voxceleb/train_ssl.py"
VERIFICATION = "recipes/voxceleb/verify.py"
_SHARED = "share/ssps_plugin"


def find_root() -> pathlib.Path:
    """Find the folder with `recipes/` and `hparams/`.

    Returns
    -------
    pathlib.Path
        The checkout that the package runs from, else where pip has installed
        the recipes.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    tried = [PACKAGE.parent, *_installed_roots()]
    for root in tried:
        if (root / TRAINING).is_file():
            return root
    raise FileNotFoundError(
        "Expected the recipes, in a clone or where pip installs them, got "
        f"none in {', '.join(map(str, dict.fromkeys(tried)))}: install "
        "ssps_plugin again."
    )


def find_recipe(name: str) -> pathlib.Path:
    """Return the file of a recipe, such as `TRAINING`."""
    return find_root() / name


def find_hparams(given: str) -> str:
    """Return the YAML file that is meant by a path or a short name.

    Arguments
    ---------
    given : str
        A file; or one of the installed files, as `hparams/simclr_ssps.yaml`,
        `simclr_ssps.yaml` or `simclr_ssps`.

    Returns
    -------
    str
        `given` itself where it is there, or where nothing is: what reads it
        says so.

    Example
    -------
    >>> pathlib.Path(find_hparams("simclr_ssps")).name
    'simclr_ssps.yaml'
    >>> find_hparams("not_there.yaml")
    'not_there.yaml'
    """
    if pathlib.Path(given).exists():
        return given
    try:
        root = find_root()
    except FileNotFoundError:
        return given
    for name in (given, f"hparams/{given}", f"hparams/{given}.yaml"):
        if (root / name).is_file():
            return str(root / name)
    return given


def list_hparams() -> list[str]:
    """List the short names of the YAML files that can be trained."""
    folder = find_root() / "hparams"
    return [
        path.stem
        for path in sorted(folder.glob("*.yaml"))
        if "\nframework:" in path.read_text(encoding="utf-8")
    ]


def _installed_roots() -> list[pathlib.Path]:
    """List where pip may have put `share/ssps_plugin`, the surest first."""
    import importlib.metadata
    import sysconfig

    roots = []
    try:
        files = importlib.metadata.files("ssps_plugin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.as_posix().endswith(TRAINING):
            path = pathlib.Path(str(file.locate())).resolve()
            roots.append(path.parents[2])
    roots.append(PACKAGE.parent / _SHARED)  # pip install --target
    roots.append(pathlib.Path(sysconfig.get_path("data")) / _SHARED)
    return roots
