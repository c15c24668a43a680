"""Several data folders as one: a folder of links to them."""

import os
import pathlib
from collections.abc import Sequence

Folder = str | os.PathLike[str]


def join_roots(roots: Sequence[Folder], joined: Folder) -> dict[str, str]:
    """Join data folders by symbolic links in one folder.

    A link is named as its root's folder, with a number where several roots
    have that name. Links that are right already stay; those of roots that are
    no longer given go.

    Arguments
    ---------
    roots : sequence of str or os.PathLike
        The data folders.
    joined : str or os.PathLike
        Where the links go; made where it is not there.

    Returns
    -------
    dict of str to str
        Absolute path of the root by the name of its link.

    Raises
    ------
    FileNotFoundError
        A root is not there.
    ValueError
        No root, or one given twice.
    FileExistsError
        Something else than a link lies where a link is to go.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("old/dev", "new/dev"):
    ...     (folder / name).mkdir(parents=True)
    >>> roots = [folder / "old" / "dev", folder / "new" / "dev"]
    >>> list(join_roots(roots, folder / "joined"))
    ['dev', 'dev-2']
    """
    _check(roots)
    joined = pathlib.Path(joined)
    joined.mkdir(parents=True, exist_ok=True)
    target_of = _named(roots)
    for path in joined.iterdir():
        right = target_of.get(path.name)
        if path.is_symlink() and os.readlink(path) != right:
            path.unlink()
    for name, root in target_of.items():
        path = joined / name
        if path.is_symlink():
            continue
        if path.exists():
            raise FileExistsError(
                f"Expected to put a link to {root} at {path}, got something "
                "else that lies there: move it, or change output_folder"
            )
        path.symlink_to(root, target_is_directory=True)
    return target_of


def path_below(file: Folder, folder: Folder) -> str:
    """Return a file's path relative to a folder, or to one linked in it.

    Arguments
    ---------
    file : str or os.PathLike
        The file, named through the folder or not.
    folder : str or os.PathLike
        A data folder, joined roots perhaps.

    Returns
    -------
    str
        As the folder's files are listed; starting with `..` where the file
        lies elsewhere.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "vox").mkdir()
    >>> _ = join_roots([folder / "vox"], folder / "joined")
    >>> path_below(folder / "vox" / "a.wav", folder / "joined")
    'vox/a.wav'
    """
    direct = os.path.relpath(os.path.abspath(file), os.path.abspath(folder))
    if not _is_outside(direct) or not os.path.isdir(folder):
        return direct
    real = os.path.realpath(file)
    with os.scandir(folder) as entries:
        links = [entry for entry in entries if entry.is_symlink()]
    for link in links:
        behind = os.path.relpath(real, os.path.realpath(link.path))
        if not _is_outside(behind):
            return os.path.join(link.name, behind)
    return direct


def _is_outside(path: str) -> bool:
    return path.split(os.sep, 1)[0] == os.pardir


def _check(roots: Sequence[Folder]) -> None:
    if not roots:
        raise ValueError("Expected folders, got none: change data_folder")
    real: set[str] = set()
    for root in roots:
        if not os.path.isdir(root):
            raise FileNotFoundError(
                f"Expected data folders, got no folder at {root}: change "
                "data_folder"
            )
        if os.path.realpath(root) in real:
            raise ValueError(
                f"Expected distinct data folders, got {root} twice: change "
                "data_folder"
            )
        real.add(os.path.realpath(root))


def _named(roots: Sequence[Folder]) -> dict[str, str]:
    """Absolute paths by distinct names; none is hidden."""
    target_of: dict[str, str] = {}
    for root in map(os.path.abspath, roots):
        base = os.path.basename(root).lstrip(".") or "root"
        name, number = base, 1
        while name in target_of:
            number += 1
            name = f"{base}-{number}"
        target_of[name] = root
    return target_of
