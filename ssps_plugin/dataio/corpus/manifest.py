"""Prepare a corpus: write its manifest, a CSV that training reads."""

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from speechbrain.utils.logger import get_logger

from ssps_plugin.atomic_write import atomic_write
from ssps_plugin.dataio.corpus.corpus import (
    AudioCorpus,
    Corpus,
    InspectedFile,
    UnlabelledCorpus,
    inspect_files,
)

logger = get_logger(__name__)

# Those that SpeechBrain's recipes have, and that `load_manifest` needs.
COLUMNS = ("ID", "duration", "wav")
# Those of a corpus whose folders name its speakers.
LABEL_COLUMNS = ("recording", "speaker")
LAYOUTS = ("speakers", "any")


@dataclass(frozen=True)
class Summary:
    """What a manifest holds and what was left out of it.

    Arguments
    ---------
    num_utterances, num_recordings, num_speakers : int
        What the manifest lists; 0 recordings and speakers where they are
        unknown.
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
    <utterance>.{wav,flac,ogg}`. The rows are sorted by id; `wav` starts with
    `$data_root`, which is used in place of `data_folder`. Files are opened,
    not decoded. A manifest of the same folder and settings is used again
    unless a file was added, renamed or removed since; after a change inside a
    file, delete it. One that is not as it was written is set aside, as
    `<manifest>.changed`, and made again.

    Arguments
    ---------
    data_folder : str or os.PathLike
        The corpus.
    manifest : str or os.PathLike
        The CSV to write. Beside it: `<manifest>.json` (its settings) and
        `<manifest>.skipped.csv` (what was left out and why).
    exclude_speakers : iterable of str
        Speakers to leave out, such as those of the trials.
    min_seconds : float
        Utterances below this length are left out.
    num_threads : int
        Files opened at the same time; a network file system wants more.
    layout : str
        `speakers`, as above; or `any`: every audio file at any depth, its
        speaker unknown, without the columns `recording` and `speaker`.
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
        The corpus is not laid out like this, none of its files can be used,
        or `layout` is unknown.
    FileExistsError
        There is a `manifest` that this function did not write.

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
    corpus = make_corpus(
        data_folder, layout, exclude_speakers, exclude_utterances
    )
    settings = manifest_settings(corpus, layout, min_seconds)
    summary = _find_summary(manifest, settings)
    if summary is None:
        files = inspect_files(corpus, float(min_seconds), num_threads)
        summary = _summarize(files, corpus, manifest)
        columns = COLUMNS + LABEL_COLUMNS if corpus.labelled else COLUMNS
        _write_skipped_list(summary.skipped_list, files)
        _write_manifest(manifest, columns, files, settings, summary)
    _log_summary(manifest, summary)
    return summary


def make_corpus(
    data_folder: str | os.PathLike[str],
    layout: str,
    exclude_speakers: Iterable[str] = (),
    exclude_utterances: Iterable[str] = (),
) -> AudioCorpus:
    """Return the corpus in a folder; the arguments are `prepare_manifest`'s."""
    if layout == "speakers":
        return Corpus(data_folder, exclude_speakers)
    if layout == "any":
        return UnlabelledCorpus(data_folder, exclude_utterances)
    raise ValueError(
        f"Expected a layout of {', '.join(LAYOUTS)}, got {layout!r}: "
        "change folder_layout"
    )


def manifest_settings(
    corpus: AudioCorpus, layout: str, min_seconds: float
) -> dict[str, Any]:
    """Return what decides the rows of a manifest."""
    return {
        "layout": layout,
        "min_seconds": float(min_seconds),
        **corpus.settings(),
    }


def read_manifest_record(manifest: str) -> dict[str, Any]:
    """Read what `<manifest>.json` says of a manifest; empty if it is damaged.

    Returns
    -------
    dict
        `settings`, `summary` and, but for older ones, the manifest's `sha256`.
    """
    try:
        with open(f"{manifest}.json", encoding="utf-8") as file:
            stored = json.load(file)
        Summary(**stored["summary"])
        return {"sha256": None, **stored, "settings": {**stored["settings"]}}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def digest_file(path: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _find_summary(manifest: str, settings: dict[str, Any]) -> Summary | None:
    """Find the summary of a manifest that was made for these settings."""
    if not os.path.exists(manifest):
        return None
    if not os.path.exists(f"{manifest}.json"):
        raise FileExistsError(
            "Expected a manifest that this preparation wrote, with a .json "
            f"beside it, got {manifest} without one: delete it, or change "
            "train_manifest, or train on it as it is"
        )
    stored = read_manifest_record(manifest)
    if stored.get("settings") != settings:
        return None
    if stored["sha256"] not in (None, digest_file(manifest)):
        os.replace(manifest, f"{manifest}.changed")
        logger.warning(
            "The manifest %s is not as it was written (damaged, or edited): "
            "it is kept as %s.changed, and made again of the corpus. To train "
            "on that one as it is, name a copy of it by train_manifest.",
            manifest,
            manifest,
        )
        return None
    return replace(Summary(**stored["summary"]), reused=True)


def _summarize(
    files: list[InspectedFile], corpus: AudioCorpus, manifest: str
) -> Summary:
    kept = [entry for entry in files if not entry.reason]
    skipped = Counter(entry.reason for entry in files if entry.reason)
    if not kept:
        raise ValueError(
            f"Expected audio that can be read in {corpus.data_folder}, got "
            f"{len(files)} files and none to use ({_join_counts(skipped)}; "
            f"the first: {files[0].detail}): change data_folder or min_seconds"
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


def _write_skipped_list(path: str, files: list[InspectedFile]) -> None:
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("wav", "reason", "detail"))
        for entry in files:
            if entry.reason:
                # A name that is no text, as the file system gave it.
                wav = entry.file.path.encode("utf-8", "replace").decode()
                writer.writerow((wav, entry.reason, entry.detail))


def _write_manifest(
    manifest: str,
    columns: tuple[str, ...],
    files: list[InspectedFile],
    settings: dict[str, Any],
    summary: Summary,
) -> None:
    # After a crash, old settings would be taken for those of a new manifest.
    with suppress(FileNotFoundError):
        os.remove(f"{manifest}.json")
    with atomic_write(manifest) as file:
        writer = csv.writer(file, lineterminator="\n")
        # Blanks after a comma are skipped in reading, but not within quotes.
        quoting = csv.writer(
            file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC
        )
        writer.writerow(columns)
        for entry in files:
            if not entry.reason:
                row = {
                    "ID": entry.file.utterance_id,
                    "duration": entry.seconds,
                    "wav": f"$data_root/{entry.file.path}",
                    "recording": entry.file.recording,
                    "speaker": entry.file.speaker,
                }
                values = [row[column] for column in columns]
                has_blank = any(str(value)[:1] == " " for value in values)
                (quoting if has_blank else writer).writerow(values)
    record = {
        "settings": settings,
        "summary": asdict(summary),
        "sha256": digest_file(manifest),
    }
    with atomic_write(f"{manifest}.json") as file:
        json.dump(record, file)


def _log_summary(manifest: str, summary: Summary) -> None:
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
            _join_counts(summary.num_skipped),
            summary.skipped_list,
        )


def _join_counts(num_skipped: Mapping[str, int]) -> str:
    return ", ".join(f"{num} {why}" for why, num in num_skipped.items())
