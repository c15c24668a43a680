"""Keep the manifest of a run that goes on, whatever happened to its corpus."""

import csv
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio.audio import AudioError, check_audio
from ssps_plugin.dataio.corpus.corpus import AudioCorpus
from ssps_plugin.dataio.corpus.manifest import (
    digest_file,
    make_corpus,
    manifest_settings,
    prepare_manifest,
    read_manifest_record,
)
from ssps_plugin.dataio.dataset import load_manifest, read_column
from ssps_plugin.dataio.read_failures import ReadFailures

logger = get_logger(__name__)

# Files that a message names.
_NUM_SHOWN = 5
# A corpus that was moved is recognised by the lengths of so many files.
_NUM_COMPARED = 20
_TOLERANCE_SECONDS = 0.05


def keep_manifest(
    data_folder: str | os.PathLike[str],
    manifest: str | os.PathLike[str],
    min_seconds: float = 0.0,
    *,
    layout: str = "speakers",
    max_unreadable: float = 0.01,
) -> None:
    """Check the manifest of a run that goes on against the corpus.

    A run's manifest is the run's: its rows are the places in its memories. A
    file that was lost keeps its row, and another one is used when its turn
    comes; a file that was added is left for a new run. Both are reported.
    Nothing is written, but for a manifest that is damaged: it is made again
    if that gives the same one.

    Arguments
    ---------
    data_folder, min_seconds, layout
        As for `prepare_manifest`.
    manifest : str or os.PathLike
        The run's manifest, as `prepare_manifest` wrote it.
    max_unreadable : float
        The fraction of the files that may be lost; a handful always may,
        unless it is 0.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such corpus.
    RuntimeError
        It is another corpus than the manifest's, too many of its files are
        lost, or the manifest is damaged and cannot be made again.
    """
    manifest = os.fspath(manifest)
    stored = read_manifest_record(manifest)
    before = stored.get("settings", {})
    corpus = make_corpus(
        data_folder,
        layout,
        before.get("exclude_speakers", ()),
        before.get("exclude_utterances", ()),
    )
    settings = manifest_settings(corpus, layout, min_seconds)
    intact = stored.get("sha256") in (None, digest_file(manifest))
    if intact and stored.get("settings") == settings:
        logger.info("The manifest %s is the run's, as it was", manifest)
        return
    if not intact:
        _restore(manifest, corpus, stored)
        return
    _warn_changed_settings(manifest, settings, stored)
    _compare(manifest, corpus, layout, stored, max_unreadable)


def _warn_changed_settings(
    manifest: str, settings: dict[str, Any], stored: dict[str, Any]
) -> None:
    """Warn of settings that a run's manifest does not follow any more."""
    before = stored.get("settings", {})
    for key, name in (("min_seconds", ""), ("layout", "folder_")):
        if key in before and before[key] != settings[key]:
            logger.warning(
                "%s%s %s has no effect on the run's manifest %s, which was "
                "made with %s: for another one, change output_folder.",
                name,
                key,
                settings[key],
                manifest,
                before[key],
            )


def _compare(
    manifest: str,
    corpus: AudioCorpus,
    layout: str,
    stored: dict[str, Any],
    max_unreadable: float,
) -> None:
    """Compare the files of a manifest with those of a corpus."""
    folder = corpus.data_folder
    dataset = load_manifest(manifest, folder)
    listed = read_column(dataset, "wav")
    present = {
        os.path.join(folder, file.path)
        for file in make_corpus(folder, layout).files()
    }
    lost = [path for path in listed if path not in present]
    # Without the record nobody knows whom the run left out.
    added = _find_added(manifest, corpus, listed) if stored else []
    moved = stored.get("settings", {}).get("data_folder", folder) != folder
    if moved:
        _check_same_corpus(manifest, dataset, folder, lost, added)
    limit = ReadFailures(listed, max_unreadable).limit
    if len(lost) > limit:
        raise RuntimeError(
            f"Expected the corpus of the run's manifest {manifest} at "
            f"data_folder {folder}, got one without {len(lost)} of its "
            f"{len(listed)} files ({_join(lost)}), where max_unreadable "
            f"{max_unreadable:g} allows {limit}: change data_folder, bring "
            "them back, or change max_unreadable; or change output_folder to "
            "train anew on what is there."
        )
    if lost:
        logger.warning(
            "%d of the %d files of the run's manifest %s are not there any "
            "more: %s. Another one is used for each when its turn comes.",
            len(lost),
            len(listed),
            manifest,
            _join(lost),
        )
    if added:
        logger.warning(
            "%d files of %s are not in the run's manifest %s, and so not "
            "trained on: %s. A new run (another output_folder) takes them.",
            len(added),
            folder,
            manifest,
            _join(added),
        )


def _find_added(
    manifest: str, corpus: AudioCorpus, listed: Sequence[str]
) -> list[str]:
    """List the corpus's files that the preparation did not see."""
    known, skipped = set(listed), set()
    with (
        suppress(OSError, csv.Error),
        open(
            f"{manifest}.skipped.csv",
            encoding="utf-8",
            errors="replace",
            newline="",
        ) as file,
    ):
        skipped = {row[0] for row in csv.reader(file) if row}
    return [
        file.path
        for file in corpus.files()
        if os.path.join(corpus.data_folder, file.path) not in known
        and file.path not in skipped
    ]


def _check_same_corpus(
    manifest: str,
    dataset: Any,
    folder: str,
    lost: Sequence[str],
    added: Sequence[str],
) -> None:
    """Check that what is in another folder is the corpus that was moved."""
    listed = read_column(dataset, "wav")
    seconds = read_column(dataset, "duration")
    gone = set(lost)
    step = max(len(listed) // _NUM_COMPARED, 1)
    others = [
        listed[place]
        for place in range(0, len(listed), step)
        if listed[place] not in gone
        and not _is_as_long(listed[place], float(seconds[place]))
    ]
    if others or added:
        what = f"{len(added)} others ({_join(added)})"
        if others:
            what = f"files of other lengths ({_join(others)})"
        raise RuntimeError(
            f"Expected the corpus of the run's manifest {manifest} at "
            f"data_folder {folder}, got another training manifest's: {what}. "
            "Change data_folder; or change output_folder to train anew."
        )


def _is_as_long(path: str, seconds: float) -> bool:
    try:
        return abs(check_audio(path) - seconds) <= _TOLERANCE_SECONDS
    except AudioError:
        return True  # damaged, not another one


def _restore(
    manifest: str,
    corpus: AudioCorpus,
    stored: dict[str, Any],
) -> None:
    """Make a damaged manifest again, if that gives the run's."""
    candidate = f"{manifest}.restored"
    before = stored["settings"]
    try:
        prepare_manifest(
            corpus.data_folder,
            candidate,
            before.get("exclude_speakers", ()),
            before["min_seconds"],
            layout=before["layout"],
            exclude_utterances=before.get("exclude_utterances", ()),
        )
        same = digest_file(candidate) == stored["sha256"]
        if same:
            os.replace(manifest, f"{manifest}.changed")
            os.replace(candidate, manifest)
    finally:
        for path in (
            candidate,
            f"{candidate}.json",
            f"{candidate}.skipped.csv",
        ):
            if os.path.exists(path):
                os.remove(path)
    if not same:
        raise RuntimeError(
            f"Expected the run's manifest {manifest} as it was written, got a "
            "damaged one, and the corpus has changed since, so that it cannot "
            f"be made again of {corpus.data_folder}: put a copy of it back, "
            "or the corpus's files; or change output_folder to train anew."
        )
    logger.warning(
        "The run's manifest %s was damaged or edited: it is kept as "
        "%s.changed, and made again as it was.",
        manifest,
        manifest,
    )


def _join(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_NUM_SHOWN])
    return shown + (", …" if len(paths) > _NUM_SHOWN else "")
