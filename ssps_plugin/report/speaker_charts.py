"""Sections of embeddings: similarities by what is shared, and a map."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssps_plugin.report.charts import GREY, Chart, Series, share_heights
from ssps_plugin.report.collect import Collected
from ssps_plugin.report.embedded import (
    CROSS_RECORDING,
    OTHER_SPEAKER,
    SAME_RECORDING,
    SAME_SPEAKER,
    Embedded,
    Similarities,
    choose_map_points,
    map_to_plane,
    similarities,
)
from ssps_plugin.report.labels import Labels, number_labels
from ssps_plugin.report.scored_trials import density, num_bins_for, score_range
from ssps_plugin.report.section import Figure, Section

_KIND_COLORS = {
    SAME_RECORDING: 3,
    CROSS_RECORDING: 0,
    SAME_SPEAKER: 0,
    OTHER_SPEAKER: 1,
}
_FEWEST_POINTS = 5  # of a map

# -- similarity ------------------------------------------------------------


def similarity_section(one: Collected) -> Section:
    """Show how alike the embeddings of a recording and a speaker are."""
    section = Section("similarity", "Similarity within and across recordings")
    embedded = one.embedded
    if embedded is None:
        section.missing.append(f"Similarities: {one.missing_embedded}")
        return section
    labels = embedded.utterances.labels
    if labels is None:
        section.missing.append(
            "Similarities by speaker and recording: there are no labels. They "
            "are read from names of trials of the form "
            "speaker/recording/utterance, or from the columns `speaker` and "
            "`recording` of the training manifest."
        )
        return section
    found = {
        name: similarities(rows, labels)
        for name, rows in embedded.models.items()
    }
    if not any(one.by_kind for one in found.values()):
        section.missing.append("Similarities: there is one utterance only.")
        return section
    limits = score_range(
        *(cosines for s in found.values() for cosines in s.by_kind.values())
    )
    section.text = (
        "SSPS is to make a speaker's embeddings depend less on the recording. "
        "So two utterances of a speaker in two recordings should become as "
        "alike as two within one, and stay unlike those of other speakers. "
        f"Measured on {embedded.utterances.source}."
    )
    if embedded.before is None:
        section.missing.append(f"Before SSPS: {embedded.missing_before}.")
    if labels.recordings is None:
        section.missing.append(
            "Pairs of one recording: the recordings are not known."
        )
    charts = [
        _similarity_chart(model_title(embedded, name), similarity, limits)
        for name, similarity in found.items()
    ]
    caption = (
        "Cosines of pairs of utterances; each area is 1. Pairs across "
        "recordings (blue) should move to the right, and away from those of "
        "different speakers (orange)."
    )
    section.figures = [Figure("similarity", share_heights(charts), caption)]
    section.table = _similarity_table(found)
    section.table_caption = (
        "Mean cosine ± standard deviation over pairs. Variance within "
        "speakers (the intra-speaker variance that SSPS is to lower): mean "
        "squared distance of embeddings, scaled to length 1, from their "
        "speaker's mean. Variance between speakers: that of the means from "
        "their own mean."
    )
    return section


def model_title(embedded: Embedded, name: str) -> str:
    """Return the title of a chart of the model before SSPS or after."""
    if name == "before":
        return f"Before SSPS: {embedded.before_model}"
    if embedded.before is None:
        return f"Final model: {embedded.after_model}"
    return f"With SSPS: {embedded.after_model}"


def _similarity_chart(
    title: str, found: Similarities, limits: tuple[float, float]
) -> Chart:
    num_bins = num_bins_for(min(map(len, found.by_kind.values())))
    series = [
        Series(
            kind,
            *density(cosines, limits, num_bins),
            _KIND_COLORS[kind],
            "area",
        )
        for kind, cosines in found.by_kind.items()
    ]
    return Chart(
        title,
        "cosine",
        "density",
        series,
        x_range=limits,
        hover="%{y:.3g} at %{x:.3f}",
    )


def _similarity_table(found: dict[str, Similarities]) -> list[list[str]]:
    names = {"before": "before SSPS", "after": "final model"}
    rows = [["", *(names[name] for name in found)]]
    models = list(found.values())
    for kind, cosines in models[0].by_kind.items():
        values = [one.by_kind[kind] for one in models]
        means = [f"{v.mean():.3f} ± {v.std():.3f}" for v in values]
        rows.append([f"{kind} ({len(cosines):,} pairs)", *means])
    within = [one.intra_speaker_variance for one in models]
    between = [one.inter_speaker_variance for one in models]
    rows.append(["variance within speakers", *(f"{v:.3f}" for v in within)])
    rows.append(["variance between speakers", *(f"{v:.3f}" for v in between)])
    ratios = [
        f"{w / b:.2f}" if b else "–"
        for w, b in zip(within, between, strict=True)
    ]
    rows.append(["within / between (lower is better)", *ratios])
    return rows


# -- map -------------------------------------------------------------------


def map_section(one: Collected, seed: int = 0) -> Section:
    """Show the embeddings in two dimensions, by speaker and by recording."""
    section = Section("map", "Map of embeddings")
    embedded = one.embedded
    if embedded is None:
        section.missing.append(f"The map: {one.missing_embedded}")
        return section
    utterances = embedded.utterances
    labels = utterances.labels
    chosen = choose_map_points(labels, len(utterances.names), seed)
    if len(chosen) < _FEWEST_POINTS:
        section.missing.append(
            f"The map: there are fewer than {_FEWEST_POINTS} utterances."
        )
        return section
    charts = [
        _map_chart(
            model_title(embedded, name),
            map_to_plane(rows[chosen], seed),
            [utterances.names[i] for i in chosen],
            None if labels is None else labels.choose(chosen),
        )
        for name, rows in embedded.models.items()
    ]
    caption = (
        f"A point is an utterance, {len(chosen):,} of those that were embedded "
        f"({utterances.source}), placed by t-SNE of their cosines (seed "
        f"{seed}). Read off which points are neighbours; how far groups are "
        "apart, and how large they are, means nothing."
    )
    switch = {}
    if labels is None:
        section.missing.append("Colours by speaker: there are no labels.")
    else:
        caption += (
            " Good: one group for each speaker, in which the colours of "
            "recordings are mixed. Bad: islands of single recordings. By "
            "recording, colours tell apart the recordings within a speaker's "
            "group; two speakers share them."
        )
        switch["speaker"] = "Colour by speaker"
        if labels.recordings is not None:
            switch["recording"] = "Colour by recording"
    if embedded.before is None:
        section.missing.append(f"Before SSPS: {embedded.missing_before}.")
    section.figures = [Figure("map", charts, caption, switch)]
    return section


def _map_chart(
    title: str, points: Any, names: list[str], labels: Labels | None
) -> Chart:
    if labels is None:
        series = [
            Series("", points[:, 0], points[:, 1], 0, "points", texts=names)
        ]
    else:
        series = _points_by_speaker(points, names, labels)
    return Chart(
        title, "", "", series, has_axes=False, is_square=True, hover="%{text}"
    )


def _points_by_speaker(
    points: Any, names: list[str], labels: Labels
) -> list[Series]:
    series = []
    speakers = np.array(labels.speakers)
    for number, speaker in enumerate(dict.fromkeys(labels.speakers)):
        rows = np.flatnonzero(speakers == speaker)
        color = number % (GREY + 1)
        switch = {"speaker": [color] * len(rows)}
        if labels.recordings is not None:
            recordings = number_labels(
                [labels.recordings[int(i)] for i in rows]
            )
            switch["recording"] = (recordings % (GREY + 1)).tolist()
        series.append(
            Series(
                speaker,
                points[rows, 0],
                points[rows, 1],
                color,
                "points",
                texts=[names[i] for i in rows],
                switch=switch,
            )
        )
    return series
