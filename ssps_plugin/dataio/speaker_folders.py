"""Where in a data folder the speakers' folders are."""

import os
from collections.abc import Iterable, Iterator

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
