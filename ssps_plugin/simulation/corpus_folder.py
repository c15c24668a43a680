"""A corpus on disk: written whole or not at all, and never over other files."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_UNFINISHED = "unfinished"
_OWN_FILES = {"wav", "trials.txt", "speakers.csv"}


def has_corpus(
    folder: Path, description_name: str, description: Mapping[str, Any]
) -> bool:
    """Whether a folder holds a complete corpus of this description.

    Arguments
    ---------
    folder : Path
        The corpus' folder.
    description_name : str
        Name of the JSON file that describes it, such as ``"minivox.json"``.
    description : mapping
        Format and settings; ``num_files`` says how many waveforms there are.

    Returns
    -------
    bool
        True if the description is the same and no file is missing.
    """
    try:
        found = json.loads((folder / description_name).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    if found != dict(description):
        return False
    present = {path.name for path in folder.iterdir()}
    num_files = sum(1 for _ in (folder / "wav").glob("*/*/*.wav"))
    return present >= _OWN_FILES and num_files == description["num_files"]


@contextmanager
def corpus_in_progress(
    folder: Path, description_name: str, description: Mapping[str, Any]
) -> Iterator[Path]:
    """Give a folder to write to, which becomes the corpus in the end.

    It lies beside the corpus as ``<folder>.partial`` until the block ends;
    what an interrupted run leaves there is deleted by the next one.

    Arguments
    ---------
    folder : Path
        The corpus' folder. An older corpus in it is replaced.
    description_name : str
        Name of the JSON file, written last.
    description : mapping
        Its content.

    Yields
    ------
    Path
        The folder to write to.

    Raises
    ------
    FileExistsError
        If there is anything in the way that is not such a corpus.
    """
    # Replace what a link points to, not the link; "." has no name
    folder = folder.resolve()
    partial = folder.with_name(folder.name + ".partial")
    _check_own(folder, description_name)
    _check_own(partial, _UNFINISHED)
    if partial.exists():
        logger.info("Deleting the unfinished corpus in %s", partial)
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    (partial / _UNFINISHED).touch()
    yield partial
    text = json.dumps(dict(description), indent=2) + "\n"
    (partial / description_name).write_text(text, "utf-8", newline="\n")
    (partial / _UNFINISHED).unlink()
    # Checked again: files may have been put there in the meantime
    _check_own(folder, description_name)
    if folder.exists():
        logger.info("Replacing the corpus in %s", folder)
        shutil.rmtree(folder)
    partial.rename(folder)


def _check_own(folder: Path, marker: str) -> None:
    """Refuse what must not be deleted: anything but a corpus of ours."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; a folder was expected.")
    names = {path.name for path in folder.iterdir()}
    if names and marker not in names:
        raise FileExistsError(
            f"{folder} is not empty and holds no such corpus (there is no "
            f"{marker!r} in it), so it is left alone. Choose another "
            "folder, or empty this one."
        )
    if marker == _UNFINISHED:
        return
    foreign = sorted(names - _OWN_FILES - {marker})
    if foreign:
        raise FileExistsError(
            f"{folder} has to be made anew, but holds files that are not "
            f"the corpus': {foreign[:5]}. Move them away, or choose another "
            "folder."
        )
