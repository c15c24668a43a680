"""Sections of trials: DET curves, and scores before SSPS and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from ssps_plugin.report.charts import (
    GREY,
    Chart,
    Mark,
    Series,
    Ticks,
    share_heights,
)
from ssps_plugin.report.collect import Collected
from ssps_plugin.report.embedded import Embedded
from ssps_plugin.report.scored_trials import (
    Floats,
    ScoredTrials,
    density,
    num_bins_for,
    score_range,
    thin_curve,
)
from ssps_plugin.report.section import Figure, Section

_TARGET, _IMPOSTOR = 0, 1  # colours
# Numbers on DET axes, as rates.
_DET_RATES = (
    *(1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4),
    *(0.6, 0.8, 0.9, 0.95),
)
# An EER above this leaves the usual range of a DET chart, up to 50 %.
_HIGH_EER = 0.4


class _Entry(NamedTuple):
    """A curve of a DET chart."""

    name: str
    scored: ScoredTrials
    color: int
    is_dashed: bool


# -- DET -------------------------------------------------------------------


def det_section(collected: Sequence[Collected]) -> Section:
    """Show one DET chart for each trial list, with every run's curve."""
    section = Section("det", "Detection error trade-off")
    by_list: dict[str, dict[str, _Entry]] = {}
    for number, one in enumerate(collected):
        for entry in _entries_of(one, number % GREY, section):
            same_list = by_list.setdefault(entry.scored.sha256, {})
            same_list.setdefault(entry.name, entry)
    for entries in by_list.values():
        chart = _det_chart(list(entries.values()))
        scored = next(iter(entries.values())).scored
        if chart is None:
            section.missing.append(
                f"A DET curve of {scored.list_name}: some threshold makes no "
                "error at all."
            )
            continue
        num = len(section.figures)
        name = "det" if not num else f"det-{num + 1}"
        section.figures.append(Figure(name, [chart], _det_caption(scored)))
    return section


def _det_caption(scored: ScoredTrials) -> str:
    return (
        f"{len(scored.scores):,} trials of {scored.list_name}. A curve nearer "
        "to the lower left is better. The dot is the equal error rate: left of "
        "it fewer impostors are accepted and more targets rejected, right of "
        "it the other way round. Both axes are probit, on which normally "
        "distributed scores give a straight line."
    )


def _entries_of(one: Collected, color: int, section: Section) -> list[_Entry]:
    """List a run's curves and its twin's; note which cannot be drawn."""
    entries = []
    for run, lists, is_twin in (
        (one.run, one.scored, False),
        (one.twin, one.twin_scored, True),
    ):
        for scored in lists:
            name = "" if run is None else run.name
            if scored.curve is None:
                section.missing.append(
                    f"{name}, {scored.list_name}: {scored.missing}."
                )
                continue
            shown = GREY if is_twin else color
            entries.append(_Entry(name, scored, shown, is_twin))
    if not one.scored:
        section.missing.append(f"{one.run.name}: {one.missing_scores}")
    return [*entries, *_embedded_entries(one, color)]


def _embedded_entries(one: Collected, color: int) -> list[_Entry]:
    """List the curves of what was embedded for the report.

    That of the model before SSPS; that of the final one, too, where the run
    has no scores yet.
    """
    embedded = one.embedded
    if embedded is None or not _has_both_labels(embedded):
        return []
    found = {"before": f"{one.run.name} before SSPS", "after": one.run.name}
    digests = [scored.sha256 for scored in one.scored]
    is_scored = embedded.utterances.list_sha256 in digests
    if is_scored:  # by the run itself
        found.pop("after")
    if embedded.utterances.list_sha256 == "" and one.scored:
        return []  # other trials than those of the run's scores
    return [
        _Entry(
            found[name],
            score_embedded(embedded, rows, one.run.name),
            color,
            name == "before",
        )
        for name, rows in embedded.models.items()
        if name in found
    ]


def _det_chart(entries: Sequence[_Entry]) -> Chart | None:
    series, eers = [], []
    for name, scored, color, is_dashed in entries:
        if scored.curve is None:
            continue
        thin, eer = thin_curve(scored.curve), scored.curve.equal_error_rate()[0]
        if not 0 < eer < 1 or not len(thin.miss_rate):
            continue
        eers.append(eer)
        texts = [
            f"{name}: {100 * x:.3g} % of impostors accepted, "
            f"{100 * y:.3g} % of targets rejected"
            for x, y in zip(*thin, strict=True)
        ]
        series.append(
            Series(
                f"{name}: EER {100 * eer:.2f} %",
                ndtri(thin.false_alarm_rate),
                ndtri(thin.miss_rate),
                color,
                is_dashed=is_dashed,
                texts=texts,
            )
        )
        at, text = [float(ndtri(eer))], [f"{name}: EER {100 * eer:.2f} %"]
        series.append(Series("", at, at, color, "points", texts=text))
    if not series:
        return None
    return _det_axes(series, min(eers), max(eers))


def _det_axes(series: Sequence[Series], lowest: float, highest: float) -> Chart:
    """Choose the range of both axes by the lowest and the highest EER."""
    low = max(
        (rate for rate in _DET_RATES if rate <= lowest / 10),
        default=_DET_RATES[0],
    )
    high = 0.5 if highest < _HIGH_EER else _DET_RATES[-1]
    rates = [rate for rate in _DET_RATES if low <= rate <= high]
    ticks = Ticks(
        [float(ndtri(rate)) for rate in rates],
        [f"{100 * rate:g}" for rate in rates],
    )
    limits = (float(ndtri(low)), float(ndtri(high)))
    return Chart(
        "DET curves",
        "impostors accepted (%)",
        "targets rejected (%)",
        series,
        x_ticks=ticks,
        y_ticks=ticks,
        x_range=limits,
        y_range=limits,
        is_square=True,
        hover="%{text}",
    )


# -- scores before and after -----------------------------------------------


def scores_section(one: Collected) -> Section:
    """Show the scores of target and impostor trials, before and after."""
    section = Section("scores", "Scores of trials before and after SSPS")
    panels = _scores_of_run(one, section) or _scores_of_files(one, section)
    if not panels:
        return section
    limits = score_range(*(scored.scores for _, scored in panels))
    charts, overlaps = [], []
    for title, scored in panels:
        chart, overlap = _scores_chart(title, scored, limits)
        charts.append(chart)
        overlaps.append(f"{100 * overlap:.0f} %")
    caption = (
        "Target trials (two utterances of one speaker) should score above "
        "impostor trials. Each area is 1, whatever the number of trials; the "
        "dotted line is the threshold of the equal error rate. Overlap of the "
        f"two areas: {' → '.join(overlaps)}; less is better."
    )
    section.figures = [Figure("scores", share_heights(charts), caption)]
    return section


def _scores_of_run(
    one: Collected, section: Section
) -> list[tuple[str, ScoredTrials]]:
    """Return scores by the run's own models of before and after, if kept."""
    embedded = one.embedded
    if embedded is None or not _has_both_labels(embedded):
        return []
    if embedded.before is None:
        section.missing.append(
            f"Scores before SSPS by this run's own model: "
            f"{embedded.missing_before}."
        )
        return []
    num = len(embedded.utterances.trials or ())
    section.text = (
        f"Two models of this run: that of {embedded.before_model}, which was "
        "kept from before SSPS (a snapshot), and the final one "
        f"({embedded.after_model}). Cosines of the {num:,} trials among "
        f"{embedded.utterances.source}, so that error rates may differ from "
        "those of the whole list."
    )
    if embedded.utterances.list_sha256:
        section.text = section.text.partition(", so that")[0] + "."
    return [
        (
            f"Before SSPS: {embedded.before_model}",
            score_embedded(embedded, embedded.before),
        ),
        (
            f"With SSPS: {embedded.after_model}",
            score_embedded(embedded, embedded.after),
        ),
    ]


def _scores_of_files(
    one: Collected, section: Section
) -> list[tuple[str, ScoredTrials]]:
    """Return the scores that the run and its twin wrote."""
    found = next((s for s in one.scored if s.labels is not None), None)
    embedded = one.embedded
    if found is None and embedded is not None and _has_both_labels(embedded):
        found = score_embedded(embedded, embedded.after, one.run.name)
    if found is None:
        reasons = [one.missing_scores, one.missing_embedded]
        reasons += [f"{scored.missing}." for scored in one.scored]
        text = " ".join(dict.fromkeys(filter(None, reasons)))
        section.missing.append(f"Scores of trials: {text or 'no labels.'}")
        return []
    name = "With SSPS" if one.run.has_started_ssps else "Final model"
    panels = [(f"{name}: {one.run.name}", found)]
    twin = one.twin.name if one.twin is not None else ""
    for scored in one.twin_scored:
        if scored.sha256 == found.sha256 and scored.labels is not None:
            panels.insert(0, (f"Without SSPS: {twin}", scored))
            section.text = (
                f"Without SSPS: the final model of {twin}, the plain twin. "
                "With SSPS: this run's. Scores of all "
                f"{len(found.scores):,} trials of {found.list_name}."
            )
            break
    else:
        if one.run.has_started_ssps:
            section.missing.append(
                f"Scores by a plain twin: {twin} has none of this list."
                if twin
                else "Scores by a plain twin: none was given or found."
            )
    return panels


def _has_both_labels(embedded: Embedded) -> bool:
    trials = embedded.utterances.trials
    return trials is not None and not trials.missing_labels()


def score_embedded(
    embedded: Embedded, embeddings: Floats, run: str = ""
) -> ScoredTrials:
    """Score the trials among the utterances that were embedded."""
    utterances = embedded.utterances
    trials = utterances.trials
    if trials is None:
        raise ValueError("Expected trials to score, got none.")
    scores = np.einsum(
        "nd,nd->n", embeddings[trials.enrol], embeddings[trials.test]
    )
    return ScoredTrials(
        scores,
        trials.labels,
        f"{utterances.list_name} (those among {utterances.source})",
        # A part of a list is another list for each run.
        utterances.list_sha256 or f"part of {run}",
    )


def _scores_chart(
    title: str, scored: ScoredTrials, limits: tuple[float, float]
) -> tuple[Chart, float]:
    """Draw the two densities; also return how much of them overlaps."""
    of_targets = scored.scores[scored.labels == 1]
    of_impostors = scored.scores[scored.labels == 0]
    num_bins = num_bins_for(min(len(of_targets), len(of_impostors)))
    targets = density(of_targets, limits, num_bins)
    impostors = density(of_impostors, limits, num_bins)
    width = float(targets[0][1] - targets[0][0])
    overlap = float(np.minimum(targets[1], impostors[1]).sum() * width)
    marks = []
    if scored.curve is not None:
        eer, threshold = scored.curve.equal_error_rate()
        marks = [Mark(threshold, f"EER {100 * eer:.2f} % at {threshold:.2f}")]
    chart = Chart(
        title,
        "score",
        "density",
        [
            Series("impostor trials", *impostors, _IMPOSTOR, "area"),
            Series("target trials", *targets, _TARGET, "area"),
        ],
        marks,
        x_range=limits,
        hover="%{y:.3g} at %{x:.3f}",
    )
    return chart, overlap
