"""Everything that a report shows of a run, and what is missing and why."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.dataio.dataset import Table
from ssps_plugin.report.audio_clips import read_clip
from ssps_plugin.report.embedded import Embedded, embed_before_and_after
from ssps_plugin.report.labels import Labels, labels_of_manifest
from ssps_plugin.report.pseudo_positives import (
    Draws,
    Memories,
    NotAvailableError,
)
from ssps_plugin.report.run import Run, find_twin, find_twin_among
from ssps_plugin.report.scored_trials import ScoredTrials, load_scored_lists

# What goes wrong with a file of a run, all of it worth a sentence.
_FAULTS = (OSError, RuntimeError, ValueError, ImportError)


@dataclass
class Collected:
    """A run, and what could be found out about it.

    Arguments
    ---------
    run : Run
        The run.
    twin : Run or None
        The plain run beside it.
    scored, twin_scored : list of ScoredTrials
        Scores as the runs wrote them.
    table, labels, memories, draws, embedded
        See there; None where missing.
    missing_scores, missing_memories, missing_draws, missing_embedded : str
        Why they are.
    """

    run: Run
    twin: Run | None = None
    scored: list[ScoredTrials] = field(default_factory=list)
    twin_scored: list[ScoredTrials] = field(default_factory=list)
    table: Table | None = None
    labels: Labels | None = None
    memories: Memories | None = None
    draws: Draws | None = None
    embedded: Embedded | None = None
    missing_scores: str = ""
    missing_memories: str = ""
    missing_draws: str = ""
    missing_embedded: str = ""


def collect(
    runs: Sequence[Run],
    *,
    max_utterances: int | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = False,
) -> list[Collected]:
    """Collect all that a report shows of runs; raise for nothing missing.

    Arguments
    ---------
    runs : sequence of Run
        One may be the plain twin of another.
    max_utterances : int, optional
        How many utterances are embedded at most, 0 for none; by default, as
        many as do not take long.
    seed : int
        Of all choices.
    device : str, optional
        Where to embed.
    progress : bool
        Show progress bars.

    Returns
    -------
    list of Collected
    """
    scores: dict[pathlib.Path, list[ScoredTrials]] = {}
    collected = []
    for run in runs:
        found = Collected(run, find_twin_among(run, runs) or find_twin(run))
        _collect_scores(found, scores)
        missing_table = _collect_table(found)
        _collect_memories(found, missing_table, seed)
        _collect_embedded(found, max_utterances, seed, device, progress)
        collected.append(found)
    return collected


def _collect_scores(
    found: Collected, known: dict[pathlib.Path, list[ScoredTrials]]
) -> None:
    """Load the scores of a run and its twin; note what is damaged."""
    for run in (found.run, found.twin):
        if run is None:
            continue
        if run.folder not in known:
            try:
                known[run.folder] = load_scored_lists(run)
            except (OSError, ValueError) as error:
                known[run.folder] = []
                found.missing_scores = _sentence(error)
    found.scored = known[found.run.folder]
    if found.twin is not None:
        found.twin_scored = known[found.twin.folder]
    if not found.scored and not found.missing_scores:
        found.missing_scores = (
            "there is no scores.txt: the run has no trials, or is not at its "
            f"end (epoch {found.run.last_epoch} of "
            f"{found.run.num_epochs or 'unknown'})."
        )


def _collect_table(found: Collected) -> str:
    """Read the manifest; return why that is not possible."""
    try:
        found.table = found.run.read_manifest()
    except _FAULTS as error:
        return str(error)
    found.labels = labels_of_manifest(found.table)
    return ""


def _collect_memories(found: Collected, missing_table: str, seed: int) -> None:
    if found.run.start_epoch is None:
        found.missing_memories = "this run is without SSPS."
    elif found.table is None:
        found.missing_memories = _sentence(missing_table)
    else:
        try:
            found.memories = Memories(found.run, found.table)
            found.draws = found.memories.draw(found.labels, seed=seed)
        except NotAvailableError as error:
            found.missing_draws = _sentence(error)
        except _FAULTS as error:
            found.missing_draws = _sentence(f"they cannot be read: {error}")
    if found.memories is None:
        found.missing_memories = found.missing_memories or found.missing_draws
        found.missing_draws = found.missing_memories


def _collect_embedded(
    found: Collected,
    most: int | None,
    seed: int,
    device: str | None,
    progress: bool,
) -> None:
    if most is not None and most < 2:
        found.missing_embedded = (
            f"max_utterances is {most}, so that nothing was embedded."
        )
        return
    try:
        found.embedded = embed_before_and_after(
            found.run, found.table, most, seed, device, progress
        )
    except _FAULTS as error:
        found.missing_embedded = _sentence(error)


def _sentence(reason: object) -> str:
    text = " ".join(str(reason).split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


# -- pairs to listen to ----------------------------------------------------


def choose_pairs(
    found: Collected, num_pairs: int, seed: int
) -> list[dict[str, Any]]:
    """Choose pairs of anchor and pseudo-positive, with their audio.

    They are drawn at random. Where labels exist, as many of those that are
    wrong, and most alike, come after them: the errors that cost most.

    Arguments
    ---------
    found : Collected
        The run.
    num_pairs : int
        How many at random; a third as many wrong ones.
    seed : int
        Seed of the choice.

    Returns
    -------
    list of dict
        `anchor`, `drawn` (names), `cosine`, `verdict` ("right", "wrong",
        "unknown"), `words`, `group`, `anchor_audio`, `drawn_audio` (addresses,
        empty without audio) and `missing` (why).
    """
    draws, table = found.draws, found.table
    if draws is None or table is None or not num_pairs:
        return []
    order = np.random.default_rng(seed).permutation(len(draws.anchors))
    groups = [("Drawn at random", order[:num_pairs])]
    if draws.same_speaker is not None:
        wrong = np.flatnonzero(~draws.same_speaker)
        surest = wrong[np.argsort(-draws.cosines[wrong], kind="stable")]
        num_wrong = -(-num_pairs // 3)
        groups.append(("Wrong, and most alike", surest[:num_wrong]))
    return [
        _describe_pair(draws, table, int(row), group)
        for group, rows in groups
        for row in rows
    ]


def _describe_pair(
    draws: Draws, table: Table, row: int, group: str
) -> dict[str, Any]:
    anchor, drawn = int(draws.anchors[row]), int(draws.drawn[row])
    verdict, words = _judge(draws, row)
    pair = {
        "group": group,
        "anchor": table.ids[anchor],
        "drawn": table.ids[drawn],
        "cosine": float(draws.cosines[row]),
        "verdict": verdict,
        "words": words,
        "anchor_audio": "",
        "drawn_audio": "",
        "missing": "",
    }
    for side, index in (("anchor", anchor), ("drawn", drawn)):
        path = pathlib.Path(table.columns["wav"][index])
        try:
            pair[f"{side}_audio"] = read_clip(path)
        except (AudioError, OSError) as error:
            pair["missing"] = f"it was moved away or is damaged: {error}"
    return pair


def _judge(draws: Draws, row: int) -> tuple[str, str]:
    """Say whether a pair is right, as far as that is known."""
    if draws.same_speaker is None:
        return "unknown", "no labels"
    if not draws.same_speaker[row]:
        return "wrong", "another speaker"
    if draws.same_recording is None:
        return "right", "same speaker"
    if draws.same_recording[row]:
        return "right", "same speaker, same recording"
    return "right", "same speaker, other recording"
