"""The preparation of a corpus: its manifest, as CSV."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from speechbrain.utils.logger import get_logger

from ssps_plugin.atomic_write import atomic_write
from ssps_plugin.dataio.corpus.corpus import (
    AudioTree,
    CheckedFile,
    Corpus,
    check_files,
)

logger = get_logger(__name__)

COLUMNS = ("ID", "duration", "wav")
LABELS = ("recording", "speaker")
LAYOUTS = ("speakers", "any")


@dataclass(frozen=True)
class Summary:
    """What a manifest holds and what was left out of it.

    Arguments
    ---------
    num_utterances, num_recordings, num_speakers : int
        What the manifest lists; no recordings and speakers where the folders
        do not tell them.
    hours : float
        Its total duration.
    num_skipped : dict
        Number of files left out for each reason: unreadable, empty,
        truncated, too short, duplicate, name, compressed.
    num_excluded_speakers : int
        Speakers found and left out by `exclude_speakers`.
    skipped_list : str
        The CSV that names each file left out (`wav,reason,detail`).
    reused : bool
        Whether the manifest was there already.
    """

    num_utterances: int
    num_recordings: int
    num_speakers: int
    hours: float
    num_skipped: dict[str, int]
    num_excluded_speakers: int
    skipped_list: str
    reused: bool = False


def prepare_manifest(
    data_folder: str | os.PathLike[str],
    manifest: str | os.PathLike[str],
    exclude_speakers: Iterable[str] = (),
    min_seconds: float = 0.0,
    num_threads: int = 8,
    *,
    layout: str = "speakers",
    exclude_utterances: Iterable[str] = (),
) -> Summary:
    """Write the manifest of a corpus, leaving out what cannot be used.

    The corpus is laid out as `data_folder/[wav/]<speaker>/<recording>/
    <utterance>.{wav,flac,ogg}`. The rows are in sorted order; `wav` starts
    with `$data_root`, which stands for `data_folder`. Files are opened, not
    decoded. A manifest of the same folder and settings is used again unless
    a file was added, renamed or removed since; after a change inside a file,
    delete it.

    Arguments
    ---------
    data_folder : str or os.PathLike
        The corpus.
    manifest : str or os.PathLike
        The CSV to write. Beside it: `<manifest>.json` (its settings) and
        `<manifest>.skipped.csv` (what was left out and why).
    exclude_speakers : iterable of str
        Speakers to leave out: those of the trials.
    min_seconds : float
        Utterances below this length are left out.
    num_threads : int
        Files opened at the same time: more help where the disk is far away.
    layout : str
        `speakers`, as above; or `any`: every audio file at any depth, of
        speakers unknown, without the columns `recording` and `speaker`.
    exclude_utterances : iterable of str
        Files to leave out in the layout `any`, relative to `data_folder`.

    Returns
    -------
    Summary
        What was written.

    Raises
    ------
    FileNotFoundError
        There is no folder at `data_folder`.
    ValueError
        It is not laid out like this, or none of its files can be used, or
        an unknown layout.
    FileExistsError
        `manifest` was written by somebody else, who may want to keep it.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path") / "id1" / "video1"
    >>> folder.mkdir(parents=True)
    >>> soundfile.write(folder / "utt1.wav", [0.0] * 16000, 16000)
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> prepare_manifest(getfixture("tmp_path"), path).num_utterances
    1
    >>> print(path.read_text().strip())
    ID,duration,wav,recording,speaker
    id1/video1/utt1,1.0,$data_root/id1/video1/utt1.wav,video1,id1
    """
    manifest = os.fspath(manifest)
    corpus: Corpus | AudioTree
    if layout == "speakers":
        corpus = Corpus(data_folder, exclude_speakers)
    elif layout == "any":
        corpus = AudioTree(data_folder, exclude_utterances)
    else:
        raise ValueError(
            f"Expected a layout of {', '.join(LAYOUTS)}, got {layout!r}: "
            "change folder_layout"
        )
    settings = {
        "layout": layout,
        "min_seconds": float(min_seconds),
        **corpus.settings(),
    }
    summary = _reusable(manifest, settings)
    if summary is None:
        checked = check_files(corpus, float(min_seconds), num_threads)
        summary = _summarize(checked, corpus, manifest)
        columns = COLUMNS + LABELS if corpus.labelled else COLUMNS
        _write(manifest, columns, checked, settings, summary)
    _log(manifest, summary)
    return summary


def _reusable(manifest: str, settings: dict[str, Any]) -> Summary | None:
    """Return the summary of a manifest made for these settings, if any."""
    if not os.path.exists(manifest):
        return None
    if not os.path.exists(f"{manifest}.json"):
        raise FileExistsError(
            f"{manifest} was not written by this preparation (no .json beside "
            "it): delete it, or choose another manifest, or train on it as is"
        )
    try:
        with open(f"{manifest}.json", encoding="utf-8") as file:
            stored = json.load(file)
        if stored["settings"] != settings:
            return None
        return replace(Summary(**stored["summary"]), reused=True)
    except (ValueError, KeyError, TypeError):
        return None


def _summarize(
    checked: list[CheckedFile], corpus: Corpus | AudioTree, manifest: str
) -> Summary:
    kept = [entry for entry in checked if not entry.reason]
    skipped = Counter(entry.reason for entry in checked if entry.reason)
    if not kept:
        counts = ", ".join(f"{n} {reason}" for reason, n in skipped.items())
        first = checked[0]
        raise ValueError(
            f"Expected audio that can be read in {corpus.data_folder}, got "
            f"{len(checked)} files and none to use ({counts}; the first: "
            f"{first.detail}): change data_folder or min_seconds"
        )
    labelled = kept if corpus.labelled else []
    speakers = {entry.file.speaker for entry in labelled}
    recordings = {(e.file.speaker, e.file.recording) for e in labelled}
    return Summary(
        num_utterances=len(kept),
        num_recordings=len(recordings),
        num_speakers=len(speakers),
        hours=sum(entry.seconds for entry in kept) / 3600,
        num_skipped=dict(skipped),
        num_excluded_speakers=corpus.num_excluded,
        skipped_list=f"{manifest}.skipped.csv",
    )


def _write(
    manifest: str,
    columns: tuple[str, ...],
    checked: list[CheckedFile],
    settings: dict[str, Any],
    summary: Summary,
) -> None:
    with atomic_write(summary.skipped_list) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("wav", "reason", "detail"))
        writer.writerows(
            (
                e.file.path.encode("utf-8", "replace").decode(),
                e.reason,
                e.detail,
            )
            for e in checked
            if e.reason
        )
    # Old settings beside a new manifest would be believed after a crash.
    with suppress(FileNotFoundError):
        os.remove(f"{manifest}.json")
    with atomic_write(manifest) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for e in checked:
            if not e.reason:
                wav, f = f"$data_root/{e.file.path}", e.file
                row = (f.utterance_id, e.seconds, wav, f.recording, f.speaker)
                writer.writerow(row[: len(columns)])
    with atomic_write(f"{manifest}.json") as file:
        json.dump({"settings": settings, "summary": asdict(summary)}, file)


def _log(manifest: str, summary: Summary) -> None:
    logger.info(
        "%s manifest %s: %d utterances, %d recordings, %d speakers, %.1f h; "
        "%d speakers excluded",
        "Reused the" if summary.reused else "Wrote the",
        manifest,
        summary.num_utterances,
        summary.num_recordings,
        summary.num_speakers,
        summary.hours,
        summary.num_excluded_speakers,
    )
    if summary.num_skipped:
        logger.warning(
            "Left out %d files (%s); they are named in %s",
            sum(summary.num_skipped.values()),
            ", ".join(f"{n} {why}" for why, n in summary.num_skipped.items()),
            summary.skipped_list,
        )
