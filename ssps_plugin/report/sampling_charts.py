"""Sections of the sampler: sizes of clusters, audit of pseudo-positives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssps_plugin.report.charts import Chart, Series
from ssps_plugin.report.collect import Collected
from ssps_plugin.report.labels import Labels, number_labels
from ssps_plugin.report.pseudo_positives import (
    Draws,
    Memories,
    NotAvailableError,
)
from ssps_plugin.report.scored_trials import density, score_range
from ssps_plugin.report.section import Figure, Section

_RIGHT, _WRONG = 2, 1  # colours
_MOST_BINS = 60


def clusters_section(one: Collected) -> Section:
    """Show how many utterances the clusters have."""
    section = Section("clusters", "Sizes of clusters")
    if one.memories is None:
        section.missing.append(f"Clusters: {one.missing_memories}")
        return section
    try:
        sizes = one.memories.cluster_sizes()
    except NotAvailableError as error:
        section.missing.append(f"Clusters: {error}.")
        return section
    counts, edges = np.histogram(sizes, _bin_edges(sizes))
    num_empty = int((sizes == 0).sum())
    section.text = (
        f"{len(sizes):,} clusters of {int(sizes.sum()):,} utterances in epoch "
        f"{one.memories.epoch}: the median has {np.median(sizes):.0f}, the "
        f"largest {int(sizes.max()):,}, {num_empty or 'none'} "
        f"{'is' if num_empty < 2 else 'are'} empty."
    )
    if one.labels is not None:
        section.text += _describe_labels(one.labels)
    chart = Chart(
        "Clusters by size",
        "utterances in a cluster",
        "clusters",
        [Series("", (edges[1:] + edges[:-1]) / 2, counts, 0, "bar")],
        hover="%{y} clusters of about %{x:.0f} utterances",
    )
    caption = (
        "Clusters should be smaller than a speaker, so that a neighbouring "
        "cluster is likely the same speaker in another recording. One broad "
        "hill is healthy. One cluster with much of the corpus, or many that "
        "are empty, means that references hardly differ: try whitening, or a "
        "later start of SSPS."
    )
    section.figures = [Figure("clusters", [chart], caption)]
    return section


def _bin_edges(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return edges of bins that are whole numbers of utterances wide."""
    largest = int(sizes.max())
    step = max(1, -(-(largest + 1) // _MOST_BINS))
    return np.arange(0, largest + 1 + step, step).astype(np.float64) - 0.5


def _describe_labels(labels: Labels) -> str:
    per_speaker = np.bincount(number_labels(labels.speakers))
    text = f" By the labels, a speaker has {np.median(per_speaker):.0f}"
    if labels.recordings is not None:
        per_recording = np.bincount(number_labels(labels.recordings))
        text += f", a recording {np.median(per_recording):.0f}"
    return f"{text} (medians)."


def audit_section(one: Collected, pairs: list[dict[str, Any]]) -> Section:
    """Show what is drawn: similarities, and pairs to listen to.

    Arguments
    ---------
    one : Collected
        The run.
    pairs : list of dict
        From `choose_pairs`.

    Returns
    -------
    Section
    """
    section = Section("audit", "Audit of pseudo-positives")
    draws, memories = one.draws, one.memories
    if draws is None or memories is None:
        section.missing.append(f"Pseudo-positives: {one.missing_draws}")
        return section
    section.text = _describe_draws(memories, draws)
    if draws.same_speaker is None:
        section.missing.append(
            "Right or wrong: the training manifest names no speakers. Listen, "
            "and judge."
        )
    caption = "Cosine of the references of an anchor and of what was drawn."
    if draws.same_speaker is not None:
        caption += (
            " The areas are the fractions of right and wrong ones. The "
            "further they lie apart, the more a stricter choice would help "
            "(rank_decay, whitening)."
        )
    section.figures = [Figure("draws", [_draws_chart(draws)], caption)]
    section.pairs = pairs
    without = [pair for pair in pairs if pair["missing"]]
    if without:
        section.missing.append(
            f"Audio of {len(without)} of {len(pairs)} pairs: "
            f"{without[0]['missing']}"
        )
    return section


def _describe_draws(memories: Memories, draws: Draws) -> str:
    when = "at its end"
    if memories.is_inside_epoch:
        when = "before its end"
    epoch, saved = memories.epoch, f"the newest checkpoint (saved {when})"
    text = (
        f"Drawn anew for {draws.num_anchors:,} anchors as in epoch {epoch}, "
        f"from the memories in {saved} and by the sampler's own strategy: "
    )
    if memories.sampler.reads_partners:
        text = (
            f"The partners of {draws.num_anchors:,} anchors in epoch {epoch}, "
            f"as they are in {saved}: "
        )
    found = len(draws.anchors) / draws.num_anchors
    text += f"{100 * found:.1f} % found a pseudo-positive."
    if draws.same_speaker is not None:
        text += f" {100 * draws.same_speaker.mean():.1f} % of these are right, "
        text += "that is of the anchor's speaker"
        if draws.same_recording is not None:
            text += f", and {100 * draws.same_recording.mean():.1f} % of its "
            text += "own recording, which teaches little"
        text += ". Labels are read for this page only, never in training."
    if memories.draws_centroids:
        return text + (
            " This run substitutes centroids; what is compared and played is "
            "the utterance nearest to the centroid."
        )
    if memories.sampler.reads_partners:
        return text + " The second view was cut from the partner's file."
    return text + (
        " An anchor's step in training may have drawn another utterance, since "
        "the queue has moved on."
    )


def _draws_chart(draws: Draws) -> Chart:
    limits = score_range(draws.cosines)
    series = []
    if draws.same_speaker is None:
        series = [Series("", *density(draws.cosines, limits), 0, "area")]
    else:
        for name, mask, color in (
            ("right: the anchor's speaker", draws.same_speaker, _RIGHT),
            ("wrong: another speaker", ~draws.same_speaker, _WRONG),
        ):
            if mask.any():
                centres, values = density(draws.cosines[mask], limits)
                series.append(
                    Series(name, centres, values * mask.mean(), color, "area")
                )
    return Chart(
        "Similarity of anchors and pseudo-positives",
        "cosine of references",
        "density",
        series,
        x_range=limits,
        hover="%{y:.3g} at %{x:.3f}",
    )
