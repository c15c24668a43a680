"""Trial lists by name or address: VoxCeleb1's official ones, or any other."""

from __future__ import annotations

import difflib
import hashlib
import http.client
import os
import pathlib
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Sequence

from speechbrain.utils.logger import get_logger

from ssps_plugin.evaluation.trials import read_trials

logger = get_logger(__name__)

Path = str | os.PathLike[str]

OFFICIAL_ADDRESS = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/"
#: The names of VoxCeleb1's lists, and the files that they are published as.
OFFICIAL_LISTS = {
    "voxceleb1-o": "veri_test.txt",
    "voxceleb1-o-cleaned": "veri_test2.txt",
    "voxceleb1-e": "list_test_all.txt",
    "voxceleb1-e-cleaned": "list_test_all2.txt",
    "voxceleb1-h": "list_test_hard.txt",
    "voxceleb1-h-cleaned": "list_test_hard2.txt",
}
#: Longest wait for a server's next answer.
TIMEOUT_SECONDS = 30.0


def locate_trial_list(
    trials: Path, folders: Sequence[Path], fetched_folder: Path
) -> pathlib.Path:
    """Return where a trial list is, or where it will be once it is fetched.

    Arguments
    ---------
    trials : str or os.PathLike
        A file; or a name of `OFFICIAL_LISTS`, in upper or lower case; or an
        http(s) address.
    folders : sequence of str or os.PathLike
        Where a named list may lie already, as the file that it is published
        as. They come before what was fetched.
    fetched_folder : str or os.PathLike
        Where lists are fetched to.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        `trials` is none of these; the message has the names that are close.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> locate_trial_list("VoxCeleb1-O", [folder], "fetched").as_posix()
    'fetched/veri_test.txt'
    >>> (folder / "veri_test.txt").touch()
    >>> locate_trial_list("VoxCeleb1-O", [folder], "fetched").parent == folder
    True
    """
    given = os.fspath(trials)
    if os.path.isfile(given):
        return pathlib.Path(given)
    address = _address_of(given)
    official = OFFICIAL_LISTS.get(given.lower())
    if official is None:
        return _place_of(address, pathlib.Path(fetched_folder))
    paths = [pathlib.Path(f, official) for f in (*folders, fetched_folder)]
    return next((path for path in paths if path.is_file()), paths[-1])


def fetch_trial_list(
    trials: Path, folders: Sequence[Path], fetched_folder: Path
) -> pathlib.Path:
    """Fetch a trial list, unless it is there already.

    Arguments
    ---------
    trials : str or os.PathLike
        As for `locate_trial_list`, like the rest.
    folders : sequence of str or os.PathLike
        Where a named list may lie already.
    fetched_folder : str or os.PathLike
        Where it is fetched to, whole or not at all.

    Returns
    -------
    pathlib.Path
        The list's file.

    Raises
    ------
    FileNotFoundError
        `trials` is neither a file nor a name nor an address.
    RuntimeError
        The address cannot be fetched.
    ValueError
        What it gives is no trial list.
    """
    path = locate_trial_list(trials, folders, fetched_folder)
    if not path.is_file():
        address = _address_of(os.fspath(trials))
        logger.info("Fetching the trial list %s into %s", address, path)
        _write_checked(path, _download(address), address)
    return path


def _address_of(given: str) -> str:
    """The address of a name, or the one that is given."""
    if given.lower().startswith(("http://", "https://")):
        return given
    official = OFFICIAL_LISTS.get(given.lower())
    if official is None:
        raise FileNotFoundError(
            "expected a trial list's file, its http(s) address or one of "
            f"{', '.join(OFFICIAL_LISTS)}, got {given}, which is no file here"
            f"{_suggestion(given)}: change `trials`."
        )
    return OFFICIAL_ADDRESS + official


def _suggestion(given: str) -> str:
    """Names of a published file that is not here, or names spelt alike."""
    file_name = os.path.basename(given)
    names = [name for name, file in OFFICIAL_LISTS.items() if file == file_name]
    names = names or difflib.get_close_matches(given.lower(), OFFICIAL_LISTS)
    return f", did you mean {' or '.join(names)}?" if names else ""


def _place_of(address: str, fetched_folder: pathlib.Path) -> pathlib.Path:
    """Lists of one file name at two addresses are two lists."""
    name = pathlib.PurePosixPath(urllib.parse.urlsplit(address).path).name
    digest = hashlib.sha256(address.encode()).hexdigest()[:8]
    return fetched_folder / digest / (name.lstrip(".") or "trials.txt")


def _download(address: str) -> bytes:
    request = urllib.request.Request(
        address, headers={"User-Agent": "ssps_plugin"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            # All at once: only then is an answer that was cut short an error.
            content: bytes = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise RuntimeError(
            f"could not fetch the trial list {address}: {error}. Download it "
            "where there is a network, and give its path with --trials."
        ) from None
    return content


def _write_checked(path: pathlib.Path, content: bytes, address: str) -> None:
    """Write a trial list, or nothing where it is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        fetched = pathlib.Path(folder, path.name)
        fetched.write_bytes(content)
        try:
            read_trials(fetched)
        except ValueError as error:
            problem = str(error).removeprefix(f"{fetched}").lstrip(",: ")
            raise ValueError(
                f"expected a trial list at {address}, got something else: "
                f"{problem} Is it the address of the file itself?"
            ) from None
        os.replace(fetched, path)
