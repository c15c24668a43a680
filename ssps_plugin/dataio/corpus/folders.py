"""Folders of a corpus: which hold speakers, and several linked as one."""

import os
import pathlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence

from speechbrain.utils.logger import get_logger

logger = get_logger(__name__)

Folder = str | os.PathLike[str]

_USUAL_SUFFIXES = (".wav", ".flac", ".ogg")
# libsndfile reads these too. They are taken where there is no file of the same
# stem with a usual suffix.
_OTHER_SUFFIXES = (
    *(".mp3", ".mp2", ".opus", ".oga", ".aif", ".aiff", ".aifc", ".au"),
    *(".snd", ".caf", ".w64", ".rf64", ".sph", ".nist", ".voc"),
)
#: Audio that is read, by its suffix in lower case.
AUDIO_SUFFIXES = _USUAL_SUFFIXES + _OTHER_SUFFIXES
#: Recognised, though not read: so that an error can say what to convert.
COMPRESSED_SUFFIXES = (
    *(".m4a", ".mp4", ".aac", ".wma", ".m4b", ".mov", ".3gp", ".amr"),
    *(".awb", ".webm", ".mka", ".mkv", ".ac3", ".ape", ".wv", ".mpc"),
    *(".tta", ".spx", ".ra", ".dts", ".alac"),
)

# Corpora of noise and of room impulse responses that may lie beside speech, in
# lower case: OpenSLR-17, and OpenSLR-28 as it is unpacked.
MUSAN, RIRS_NOISES, SIMULATED_RIRS = "musan", "rirs_noises", "simulated_rirs"
_NOISE_OR_RIRS = {MUSAN, RIRS_NOISES, SIMULATED_RIRS}
# VoxCeleb's annotations, whose folders are as deep as those of its audio.
_ANNOTATIONS = {"txt", "meta"}
# Folders that corpora are unpacked into, never speakers.
_CONTAINERS = {"wav", "aac", "flac", "m4a", "dev", "test", "dev_wav"}
_LARGEST_DEPTH = 4
# So many folders are enough to recognise a layout by.
_NUM_TRIED = 20


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
    found = _search_for_speakers(data_folder, "", _LARGEST_DEPTH, set())
    return sorted(found)


def list_speakers(path: str) -> list[str]:
    """List the folders in a folder that may be speakers' by name, sorted.

    Corpora of noise or of room impulse responses and annotations are left out.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("id1", "RIRS_NOISES", "txt"):
    ...     (folder / name).mkdir()
    >>> list_speakers(str(folder))
    ['id1']
    """
    return [
        name
        for name in list_folders(path)
        if not is_noise_or_rirs(name) and name.lower() not in _ANNOTATIONS
    ]


def list_folders(path: str) -> list[str]:
    """List the names of the folders in a folder, sorted, but hidden ones.

    A folder that cannot be read counts as empty, with a warning.
    """
    try:
        with os.scandir(path) as entries:
            return sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and _is_folder(entry)
            )
    except OSError as error:
        _warn_of_folder(error)
        return []


def list_names(path: str) -> list[str]:
    """List all names in a folder; none, with a warning, if it fails."""
    try:
        return os.listdir(path)
    except OSError as error:
        _warn_of_folder(error)
        return []


def walk_folders(
    top: Folder, is_skipped: Callable[[str], bool] = lambda name: False
) -> Iterator[tuple[str, list[str]]]:
    """Walk a folder and all below it, through links, each folder once.

    Links to folders are followed last: what they lead to is listed where it
    really is, if that is below `top` too. A folder that cannot be read is
    passed over with a warning.

    Arguments
    ---------
    top : str or os.PathLike
        Where to start.
    is_skipped : callable
        Takes a folder's name and says whether to pass over it and all below.

    Yields
    ------
    tuple of str and list of str
        A folder, relative to `top`, empty or with a slash at its end; and the
        names of the files in it, sorted, without hidden ones.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "calls").mkdir()
    >>> (folder / "calls" / "a.wav").touch()
    >>> (folder / "calls" / "itself").symlink_to(folder / "calls")
    >>> list(walk_folders(folder))
    [('', []), ('calls/', ['a.wav'])]
    """
    visited: set[tuple[int, int]] = set()
    folders, links = [""], list[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        path = os.path.join(top, folder)
        entries: list[os.DirEntry[str]] = []
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(path) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            if not folder and not isinstance(error, PermissionError):
                raise
            _warn_of_folder(error)
        names = []
        for entry in entries:
            if not _is_folder(entry):
                if not entry.name.startswith("."):
                    names.append(entry.name)
            elif not is_skipped(entry.name):
                inner = links if entry.is_symlink() else folders
                inner.append(f"{folder}{entry.name}/")
        yield folder, names


def is_noise_or_rirs(name: str) -> bool:
    """Whether a folder's name is that of a corpus of noise or of rooms."""
    return name.lower() in _NOISE_OR_RIRS


def is_compressed(name: str) -> bool:
    """Whether a file is compressed audio, which must be converted."""
    return name.lower().endswith(COMPRESSED_SUFFIXES)


def select_audio(names: Iterable[str]) -> list[str]:
    """Select the audio files among the names in one folder, sorted.

    Compressed files are among them where there is no converted one of the
    same stem, so that they can be reported; and so are those of other formats
    that can be read where there is no .wav, .flac or .ogg.

    Example
    -------
    >>> select_audio(["b.m4a", "a.m4a", "a.flac", "._a.flac", "notes.txt"])
    ['a.flac', 'b.m4a']
    """
    names = [name for name in names if not name.startswith(".")]
    selected: list[str] = []
    for suffixes in (_USUAL_SUFFIXES, _OTHER_SUFFIXES, COMPRESSED_SUFFIXES):
        stems = {os.path.splitext(name)[0] for name in selected}
        selected += [
            name
            for name in names
            if name.lower().endswith(suffixes)
            and os.path.splitext(name)[0] not in stems
        ]
    return sorted(selected)


def conversion_command(data_folder: str) -> str:
    """Return the command that converts the compressed files of a folder."""
    quoted = shlex.quote(os.fspath(data_folder))
    return f"python -m ssps_plugin.dataio.convert {quoted} TARGET"


def link_data_folders(
    folders: Sequence[Folder], target: Folder
) -> dict[str, str]:
    """Join data folders by symbolic links in one folder.

    A link is named as the folder it leads to, with a number where several
    folders have that name. Links that are right already stay; those to folders
    that are no longer given are removed.

    Arguments
    ---------
    folders : sequence of str or os.PathLike
        The data folders.
    target : str or os.PathLike
        The folder of the links; made where there is none.

    Returns
    -------
    dict of str to str
        The absolute path of each data folder by the name of its link.

    Raises
    ------
    FileNotFoundError
        There is no such data folder.
    ValueError
        No data folder, or one given twice.
    FileExistsError
        There is something else than a link where a link is to be made.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("old/dev", "new/dev"):
    ...     (folder / name).mkdir(parents=True)
    >>> folders = [folder / "old" / "dev", folder / "new" / "dev"]
    >>> list(link_data_folders(folders, folder / "joined"))
    ['dev', 'dev-2']
    """
    _check_distinct_folders(folders)
    target = pathlib.Path(target)
    target.mkdir(parents=True, exist_ok=True)
    path_of = _name_links(folders)
    for link in target.iterdir():
        if link.is_symlink() and os.readlink(link) != path_of.get(link.name):
            link.unlink()
    for name, path in path_of.items():
        link = target / name
        if link.is_symlink():
            continue
        if link.exists():
            raise FileExistsError(
                f"Expected to make a link to {path} at {link}, got something "
                "else there: move it, or change output_folder"
            )
        link.symlink_to(path, target_is_directory=True)
    return path_of


def path_in_data_folder(file: Folder, data_folder: Folder) -> str:
    """Return a file's path relative to a data folder, through its links.

    Arguments
    ---------
    file : str or os.PathLike
        The file, named through the folder or by where it really is.
    data_folder : str or os.PathLike
        The folder, perhaps made by `link_data_folders`.

    Returns
    -------
    str
        The path by which a corpus lists the file; starting with `..` where
        the file is elsewhere.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "vox").mkdir()
    >>> _ = link_data_folders([folder / "vox"], folder / "joined")
    >>> path_in_data_folder(folder / "vox" / "a.wav", folder / "joined")
    'vox/a.wav'
    """
    direct = os.path.relpath(
        os.path.abspath(file), os.path.abspath(data_folder)
    )
    if not _is_outside(direct) or not os.path.isdir(data_folder):
        return direct
    real = os.path.realpath(file)
    with os.scandir(data_folder) as entries:
        links = [entry for entry in entries if entry.is_symlink()]
    for link in links:
        through = os.path.relpath(real, os.path.realpath(link.path))
        if not _is_outside(through):
            return os.path.join(link.name, through)
    return direct


def _search_for_speakers(
    root: str, prefix: str, depth: int, visited: set[tuple[int, int]]
) -> Iterator[str]:
    folder = os.path.join(root, prefix)
    try:
        status = os.stat(folder)
    except OSError as error:
        _warn_of_folder(error)
        return
    # By its number, since links may lead to it again.
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    inner = list_speakers(folder)
    if not _CONTAINERS & {name.lower() for name in inner} and any(
        _holds_recordings(os.path.join(folder, name))
        for name in inner[:_NUM_TRIED]
    ):
        yield prefix
        return
    if depth > 0:
        # Links last: what they lead to is found where it really is.
        inner.sort(key=lambda name: os.path.islink(os.path.join(folder, name)))
        for name in inner:
            yield from _search_for_speakers(
                root, f"{prefix}{name}/", depth - 1, visited
            )


def _holds_recordings(folder: str) -> bool:
    """Whether a folder is laid out as a speaker's, with audio two levels in."""
    return any(
        _holds_audio(os.path.join(folder, recording))
        for recording in list_folders(folder)[:_NUM_TRIED]
    )


def _holds_audio(folder: str) -> bool:
    return any(
        name.lower().endswith(AUDIO_SUFFIXES + COMPRESSED_SUFFIXES)
        and not name.startswith(".")
        for name in list_names(folder)
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _warn_of_folder(error: OSError) -> None:
    logger.warning("Passed over a folder that cannot be read: %s", error)


def _check_distinct_folders(folders: Sequence[Folder]) -> None:
    if not folders:
        raise ValueError("Expected folders, got none: change data_folder")
    real: set[str] = set()
    for folder in folders:
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"Expected data folders, got no folder at {folder}: change "
                "data_folder"
            )
        if os.path.realpath(folder) in real:
            raise ValueError(
                f"Expected distinct data folders, got {folder} twice: change "
                "data_folder"
            )
        real.add(os.path.realpath(folder))


def _name_links(folders: Sequence[Folder]) -> dict[str, str]:
    """Return absolute paths by distinct names, none of which is hidden."""
    path_of: dict[str, str] = {}
    for path in map(os.path.abspath, folders):
        base = os.path.basename(path).lstrip(".") or "root"
        name, number = base, 1
        while name in path_of:
            number += 1
            name = f"{base}-{number}"
        path_of[name] = path
    return path_of


def _is_outside(path: str) -> bool:
    return path.split(os.sep, 1)[0] == os.pardir
