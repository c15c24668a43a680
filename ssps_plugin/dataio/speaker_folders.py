"""Where in a data folder the speakers' folders are."""

import os
from collections.abc import Iterator

SUFFIXES = (".wav", ".flac", ".ogg")
#: Known, though not read: told apart from "no audio at all".
COMPRESSED = (".m4a", ".mp4", ".aac")

# Folders of the corpora as they are unpacked, never speakers.
_CONTAINERS = {"wav", "aac", "flac", "m4a", "dev", "test", "dev_wav"}
# Corpora of noise and of rooms that may lie beside them.
_NO_SPEECH = {"musan", "rirs_noises", "simulated_rirs"}
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
            if not entry.name.startswith(".") and entry.is_dir()
        )


def _find(root: str, prefix: str, depth: int) -> Iterator[str]:
    folder = os.path.join(root, prefix)
    inner = [n for n in folders_in(folder) if n.lower() not in _NO_SPEECH]
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
