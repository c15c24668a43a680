"""Folders of speakers: where they lie, and several joined as one."""

import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

SUFFIXES = (".wav", ".flac", ".ogg")
#: Known, though not read: told apart from "no audio at all".
COMPRESSED = (".m4a", ".mp4", ".aac")

# Folders of the corpora as they are unpacked, never speakers.
_CONTAINERS = {"wav", "aac", "flac", "m4a", "dev", "test", "dev_wav"}
# Corpora of noise and of rooms that may lie beside them, in lower case:
# OpenSLR-17, and OpenSLR-28 as it is unpacked.
MUSAN, RIRS_NOISES, SIMULATED_RIRS = "musan", "rirs_noises", "simulated_rirs"
_NO_SPEECH = {MUSAN, RIRS_NOISES, SIMULATED_RIRS}
# VoxCeleb's annotations, as deep as its audio.
_NO_AUDIO = {"txt", "meta"}
_LARGEST_DEPTH = 4
_NUM_TRIED = 20

Folder = str | os.PathLike[str]


def find_speaker_folders(data_folder: str) -> list[str]:
    """Find the folders that hold speakers, whatever they are unpacked into.

    `wav/`, `dev/aac/`, `vox1_dev_wav/wav/`, `voxceleb1/dev/wav/` beside
    `voxceleb2/dev/aac/`, or the data folder itself. Links are followed.

    Arguments
    ---------
    data_folder : str
        Where to look, at most four folders deep.

    Returns
    -------
    list of str
        Relative to the data folder, each empty or with a slash at its end, in
        sorted order: below each lies `<speaker>/<recording>/<audio file>`.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("vox1/wav/id1/a/1.wav", "vox2/dev/aac/id2/b/1.m4a"):
    ...     (folder / name).parent.mkdir(parents=True)
    ...     (folder / name).touch()
    >>> find_speaker_folders(str(folder))
    ['vox1/wav/', 'vox2/dev/aac/']
    """
    return sorted(_find(data_folder, "", _LARGEST_DEPTH))


def folders_in(path: str) -> list[str]:
    """Return the names of the folders in a folder, sorted; no hidden ones."""
    with os.scandir(path) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and is_folder(entry)
        )


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one, and no circle of links."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def speakers_in(path: str) -> list[str]:
    """Return the names of the folders that may be speakers', sorted.

    Corpora of noise and of rooms beside them are none, nor are annotations.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("id1", "RIRS_NOISES", "txt"):
    ...     (folder / name).mkdir()
    >>> speakers_in(str(folder))
    ['id1']
    """
    return [
        name
        for name in folders_in(path)
        if not is_no_speech(name) and name.lower() not in _NO_AUDIO
    ]


def is_no_speech(name: str) -> bool:
    """Whether a folder of that name is a corpus of noise or of rooms."""
    return name.lower() in _NO_SPEECH


def is_compressed(name: str) -> bool:
    """Whether a file is compressed audio, which must be converted."""
    return name.lower().endswith(COMPRESSED)


def audio_among(names: Iterable[str]) -> list[str]:
    """Return the names of audio files among those in one folder, sorted.

    Compressed files are among them where no converted one of the same stem
    is: they are a loss that should be told.

    Example
    -------
    >>> audio_among(["b.m4a", "a.m4a", "a.flac", "._a.flac", "notes.txt"])
    ['a.flac', 'b.m4a']
    """
    shown = [name for name in names if not name.startswith(".")]
    readable = [name for name in shown if name.lower().endswith(SUFFIXES)]
    stems = {os.path.splitext(name)[0] for name in readable}
    compressed = (name for name in shown if is_compressed(name))
    lost = [n for n in compressed if os.path.splitext(n)[0] not in stems]
    return sorted(readable + lost)


def how_to_convert(data_folder: str) -> str:
    """Return the command that converts what is compressed in a folder."""
    return f"python -m ssps_plugin.dataio.convert {data_folder} TARGET"


def _find(root: str, prefix: str, depth: int) -> Iterator[str]:
    folder = os.path.join(root, prefix)
    inner = speakers_in(folder)
    if not _CONTAINERS & {name.lower() for name in inner} and any(
        _is_speaker(os.path.join(folder, name)) for name in _some(inner)
    ):
        yield prefix
        return
    if depth > 0:
        for name in inner:
            yield from _find(root, f"{prefix}{name}/", depth - 1)


def _is_speaker(folder: str) -> bool:
    """Whether a folder holds a recording's folder with audio in it."""
    return any(
        _holds_audio(os.path.join(folder, recording))
        for recording in _some(folders_in(folder))
    )


def _holds_audio(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return any(
            entry.name.lower().endswith(SUFFIXES + COMPRESSED)
            and not entry.name.startswith(".")
            for entry in entries
        )


def _some(names: list[str]) -> list[str]:
    """Enough names to recognise a layout by."""
    return names[:_NUM_TRIED]


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
