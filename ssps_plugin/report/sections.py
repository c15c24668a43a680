"""The sections of a report: charts, tables and the words that go with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtri

from ssps_plugin.evaluation.plots import PANELS, Curve
from ssps_plugin.report.charts import GREY, Chart, Mark, Series, Ticks
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
    trial_scores,
)
from ssps_plugin.report.labels import number_labels
from ssps_plugin.report.pseudo_positives import Draws, NotAvailableError
from ssps_plugin.report.run import Run
from ssps_plugin.report.scored_trials import (
    ScoredTrials,
    density,
    score_range,
    thin_curve,
)

_TARGET, _IMPOSTOR = 0, 1  # colours
_KIND_COLORS = {
    SAME_RECORDING: 3,
    CROSS_RECORDING: 0,
    SAME_SPEAKER: 0,
    OTHER_SPEAKER: 1,
}
_RIGHT, _WRONG = 2, 1
# Numbers on DET axes, as rates.
_DET_RATES = (1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
# A list with more curves than this is hard to read.
_MOST_MARKERS = 40
_MOST_CLUSTER_BINS = 60


@dataclass
class Figure:
    """A chart in its place on the page.

    Arguments
    ---------
    name : str
        Name of the PNG, unique within a run.
    charts : list of Chart
        Side by side where there is room.
    caption : str
        What to read off.
    switch : dict of str to str
        Name and words of every choice of colours, the first one at the start.
    """

    name: str
    charts: list[Chart]
    caption: str
    switch: dict[str, str] = field(default_factory=dict)
    #: Set when the page is put together: its anchor, and its charts by name.
    key: str = ""
    panels: list[tuple[str, Chart]] = field(default_factory=list)

    @property
    def is_square(self) -> bool:
        """Whether the charts are as high as they are wide."""
        return self.charts[0].is_square


@dataclass
class Section:
    """A part of a report, with what is missing in it and why.

    Arguments
    ---------
    key, title : str
        Its anchor and its heading.
    text : str
        What it shows.
    figures : list of Figure
        Its charts.
    table : list of list of str
        Rows of a table, the header first.
    table_caption : str
        What the table shows.
    pairs : list of dict
        Pairs to listen to.
    missing : list of str
        What is not shown, and why.
    """

    key: str
    title: str
    text: str = ""
    figures: list[Figure] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)
    table_caption: str = ""
    pairs: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


# -- training curves -------------------------------------------------------


def curves_section(collected: Sequence[Collected]) -> Section:
    """Show loss, EER and pseudo-positives by epoch, with plain twins."""
    section = Section("training", "Training curves")
    shown = [one for one in collected if one.run.history]
    section.missing = [
        f"{one.run.name}: no history.json, or an epoch has not ended yet."
        for one in collected
        if not one.run.history
    ]
    if not shown:
        return section
    section.text = " ".join(
        text for one in shown if (text := explain_loss_jump(one.run))
    )
    charts = [
        chart
        for title, curves in PANELS.items()
        if (chart := _curves_chart(title, curves, shown))
    ]
    twins = [one.twin.name for one in shown if one.twin is not None]
    caption = "The dotted line is where SSPS starts; points are epochs."
    if twins:
        caption += f" Dashed: {' and '.join(twins)}, the same without SSPS."
    section.figures = [Figure("curves", charts, caption)]
    for one in shown:
        section.missing += _missing_of_curves(one)
    return section


def _missing_of_curves(one: Collected) -> list[str]:
    missing, run = [], one.run
    if run.start_epoch is None:
        missing.append(f"{run.name} is a run without SSPS: no start is marked.")
    elif not run.has_started_ssps:
        missing.append(
            f"{run.name}: SSPS starts in epoch {run.start_epoch}, and the "
            f"history ends with epoch {run.last_epoch}: no start is marked."
        )
    elif one.twin is None:
        missing.append(
            f"{run.name}: no plain twin was given or found beside it, so there "
            "is no line without SSPS to compare with."
        )
    if not run.last_verified():
        missing.append(
            f"{run.name}: no EER in the history: no trials, trials without "
            "labels, or no epoch was verified yet."
        )
    return missing


def explain_loss_jump(run: Run) -> str:
    """Say in words why the loss is another one from the start of SSPS on."""
    start = run.start_epoch
    if start is None or not run.has_started_ssps:
        return ""
    before = run.at(start - 1).get("loss")
    after = run.at(start).get("loss")
    values = ""
    if before is not None and after is not None:
        values = f" from {before:.3g} to {after:.3g}"
    wrong = run.at(start).get("speaker_accuracy")
    part = ""
    if wrong is not None:
        part = (
            f", and in that epoch {100 * (1 - wrong):.0f} % of those drawn "
            "were of another speaker"
        )
    return (
        f"{run.name}: the loss goes{values} in epoch {start} because the task "
        "becomes harder, not because the model becomes worse. Until then an "
        "anchor's positive is cut from its own utterance, which has the same "
        "voice in the same recording; from there on it is another utterance, "
        f"most often of another recording{part}. Losses before and after are "
        "of two tasks: compare the EER."
    )


def _curves_chart(
    title: str, curves: Sequence[Curve], collected: Sequence[Collected]
) -> Chart | None:
    series: list[Series] = []
    for number, one in enumerate(collected):
        several = len(collected) > 1
        for place, curve in enumerate(curves):
            color = 2 * number if len(curves) == 1 else place
            name = curve.label if len(curves) > 1 else "with SSPS"
            if several or one.run.start_epoch is None:
                name = one.run.name
                if len(curves) > 1:
                    name += f", {curve.label}"
                    color = (place + 3 * number) % GREY
            series += _curve_series(one.run, curve, name, color % GREY)
            if one.twin is not None and len(curves) == 1:
                name = "without SSPS" if not several else one.twin.name
                series += _curve_series(
                    one.twin, curve, name, GREY, is_dashed=True
                )
    if not series:
        return None
    # A twin that was given as a run of its own has its line already.
    unique = {(s.name, tuple(s.y)): s for s in series}
    starts = sorted(
        {
            one.run.start_epoch
            for one in collected
            if one.run.has_started_ssps and one.run.start_epoch
        }
    )
    marks = [Mark(start - 0.5, f"SSPS from epoch {start}") for start in starts]
    epochs = [x for one in unique.values() for x in one.x]
    is_percent = len(curves) > 1
    return Chart(
        title,
        "epoch",
        "",
        list(unique.values()),
        marks[:2],
        x_range=(min(epochs) - 0.5, max(epochs) + 0.5),
        y_range=(0, 104) if is_percent else (0, _top(unique.values())),
        hover="epoch %{x}: %{y:.4g}",
    )


def _top(series: Any) -> float:
    return 1.08 * max(max(one.y) for one in series) or 1.0


def _curve_series(
    run: Run, curve: Curve, name: str, color: int, is_dashed: bool = False
) -> list[Series]:
    """Return the line of a metric, an empty list without values."""
    points = [
        (row["epoch"], curve.scale * row[curve.key])
        for row in sorted(run.history, key=lambda row: row["epoch"])
        if row.get(curve.key) is not None
    ]
    if not points:
        return []
    epochs, values = zip(*points, strict=True)
    markers = len(points) <= _MOST_MARKERS
    return [
        Series(
            name,
            epochs,
            values,
            color,
            is_dashed=is_dashed,
            has_markers=markers,
        )
    ]


# -- DET -------------------------------------------------------------------


def det_section(collected: Sequence[Collected]) -> Section:
    """Show one DET chart for each trial list, with every run's curve."""
    section = Section("det", "Detection error trade-off")
    by_list: dict[str, list[tuple[str, ScoredTrials, bool]]] = defaultdict(list)
    seen = set()
    for one in collected:
        for run, lists, is_twin in (
            (one.run, one.scored, False),
            (one.twin, one.twin_scored, True),
        ):
            for scored in lists:
                name = run.name if run is not None else ""
                if (name, scored.sha256) in seen:
                    continue
                seen.add((name, scored.sha256))
                if scored.curve is None:
                    section.missing.append(
                        f"{name}, {scored.list_name}: {scored.missing}."
                    )
                    continue
                by_list[scored.sha256].append((name, scored, is_twin))
        if not one.scored:
            section.missing.append(f"{one.run.name}: {one.missing_scores}")
    for number, entries in enumerate(by_list.values()):
        chart = _det_chart(entries)
        if chart is None:
            section.missing.append(
                f"{entries[0][1].list_name}: no error is made at any "
                "threshold, so there is no curve."
            )
            continue
        name = "det" if number == 0 else f"det-{number + 1}"
        num = len(entries[0][1].scores)
        caption = (
            f"{num:,} trials of {entries[0][1].list_name}. The nearer to the "
            "lower left, the better; the dot is the equal error rate, on the "
            "diagonal. Left of it few impostors are let in and more targets "
            "are rejected, right of it the other way round. Axes are probit: "
            "scores that are normally distributed give a straight line."
        )
        section.figures.append(Figure(name, [chart], caption))
    return section


def _det_chart(
    entries: Sequence[tuple[str, ScoredTrials, bool]],
) -> Chart | None:
    series = []
    lowest = 0.5
    for number, (name, scored, is_twin) in enumerate(entries):
        curve = scored.curve
        if curve is None:
            continue
        thin = thin_curve(curve)
        eer = curve.equal_error_rate()[0]
        if not 0 < eer < 1 or not len(thin.miss_rate):
            continue
        lowest = min(lowest, eer)
        color = GREY if is_twin else number % GREY
        texts = [
            f"{name}: impostors accepted {100 * x:.3g} %, "
            f"targets rejected {100 * y:.3g} %"
            for x, y in zip(*thin, strict=True)
        ]
        series.append(
            Series(
                f"{name}: EER {100 * eer:.2f} %",
                ndtri(thin.false_alarm_rate),
                ndtri(thin.miss_rate),
                color,
                is_dashed=is_twin,
                texts=texts,
            )
        )
        at = [float(ndtri(eer))]
        series.append(Series("", at, at, color, "points"))
    if not series:
        return None
    low = max(
        (rate for rate in _DET_RATES if rate <= lowest / 10),
        default=_DET_RATES[0],
    )
    rates = [rate for rate in _DET_RATES if rate >= low]
    ticks = Ticks(
        [float(ndtri(rate)) for rate in rates],
        [f"{100 * rate:g}" for rate in rates],
    )
    limits = (float(ndtri(low)), float(ndtri(0.5)))
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
    pair = _scores_before_and_after(one, section)
    panels = [entry for entry in pair if entry is not None]
    if not panels:
        return section
    limits = score_range(*(scored.scores for _, scored in panels))
    charts, overlaps = [], []
    for title, scored in panels:
        chart, overlap = _scores_chart(title, scored, limits)
        charts.append(chart)
        overlaps.append(overlap)
    caption = (
        "Each area is 1, whatever the number of trials. The less the two "
        "overlap, the better; the dotted line is the threshold at which both "
        "errors are equal. Overlap: "
        + " → ".join(f"{100 * overlap:.0f} %" for overlap in overlaps)
        + "."
    )
    section.figures = [Figure("scores", charts, caption)]
    return section


def _scores_before_and_after(
    one: Collected, section: Section
) -> list[tuple[str, ScoredTrials] | None]:
    """Return scores of the same trials before SSPS and after, as found."""
    embedded = one.embedded
    if embedded is not None and _has_both_labels(embedded):
        if embedded.before is not None:
            section.text = (
                f"Both of the same model's run: {embedded.before_model} (the "
                f"kept snapshot), and {embedded.after_model}. Cosines of the "
                f"trials among {embedded.utterances.source}."
            )
            return [
                (
                    f"Before: {embedded.before_model}",
                    _score(embedded, embedded.before),
                ),
                (
                    f"After: {embedded.after_model}",
                    _score(embedded, embedded.after),
                ),
            ]
        section.missing.append(
            f"The scores before SSPS by this run's own model: "
            f"{embedded.missing_before}."
        )
    found = next((s for s in one.scored if s.labels is not None), None)
    if found is None and embedded is not None and _has_both_labels(embedded):
        found = _score(embedded, embedded.after)
    if found is None:
        section.missing.append(
            f"Scores of trials: {one.missing_scores or ''} "
            f"{one.missing_embedded or ''}".strip()
        )
        return []
    before = None
    for scored in one.twin_scored:
        if scored.sha256 == found.sha256 and scored.labels is not None:
            twin = one.twin.name if one.twin is not None else ""
            before = (f"Without SSPS: {twin}", scored)
            section.text = (
                f"Without SSPS: the plain twin {twin}, at its end; with SSPS: "
                "this run's final model. Scores of all trials of "
                f"{found.list_name}."
            )
    if before is None and one.run.has_started_ssps and one.twin is None:
        section.missing.append(
            "Scores without SSPS: no plain twin was given or found."
        )
    name = "With SSPS" if one.run.has_started_ssps else "Final model"
    return [before, (f"{name}: {one.run.name}", found)]


def _has_both_labels(embedded: Embedded) -> bool:
    trials = embedded.utterances.trials
    return trials is not None and not trials.missing_labels()


def _score(embedded: Embedded, embeddings: Any) -> ScoredTrials:
    trials = embedded.utterances.trials
    return ScoredTrials(trial_scores(embeddings, trials), trials.labels, "", "")


def _scores_chart(
    title: str, scored: ScoredTrials, limits: tuple[float, float]
) -> tuple[Chart, float]:
    targets = density(scored.scores[scored.labels == 1], limits)
    impostors = density(scored.scores[scored.labels == 0], limits)
    eer, threshold = scored.curve.equal_error_rate()
    width = targets[0][1] - targets[0][0]
    overlap = float(np.minimum(targets[1], impostors[1]).sum() * width)
    chart = Chart(
        title,
        "score",
        "density",
        [
            Series("impostor trials", *impostors, _IMPOSTOR, "area"),
            Series("target trials", *targets, _TARGET, "area"),
        ],
        [Mark(threshold, f"EER {100 * eer:.2f} % at {threshold:.2f}")],
        x_range=limits,
        hover="%{y:.3g} at %{x:.3f}",
    )
    return chart, overlap


# -- similarity ------------------------------------------------------------


def similarity_section(one: Collected) -> Section:
    """Show how alike the embeddings of a recording and a speaker are."""
    section = Section("similarity", "Same recording, same speaker, others")
    embedded = one.embedded
    if embedded is None:
        section.missing.append(f"Similarities: {one.missing_embedded}")
        return section
    labels = embedded.utterances.labels
    if labels is None:
        section.missing.append(
            "Similarities by speaker and recording: there are no labels. They "
            "come from the manifest's columns `speaker` and `recording`, or "
            "from names of the form speaker/recording/utterance."
        )
        return section
    found = {
        name: similarities(rows, labels)
        for name, rows in embedded.models.items()
    }
    limits = score_range(
        *(cosines for s in found.values() for cosines in s.by_kind.values())
    )
    section.text = (
        "SSPS is to make the embeddings of a speaker depend less on the "
        "recording: the similarity of two utterances of one speaker in two "
        "recordings should come nearer to that within a recording, and stay "
        f"away from that of two speakers. Measured on "
        f"{embedded.utterances.source}."
    )
    if embedded.before is None:
        section.missing.append(
            f"The same before SSPS: {embedded.missing_before}."
        )
    charts = [
        _similarity_chart(_model_title(embedded, name), similarity, limits)
        for name, similarity in found.items()
    ]
    caption = (
        "Cosines of pairs of utterances; each area is 1. Blue should lie near "
        "purple and far from orange."
    )
    if labels.recordings is None:
        section.missing.append(
            "Pairs of the same recording: the recordings are not known."
        )
        caption = caption.replace("near purple and ", "")
    section.figures = [Figure("similarity", charts, caption)]
    section.table = _similarity_table(found)
    section.table_caption = (
        "Mean cosine ± standard deviation. Variance within speakers: mean "
        "squared distance of an embedding, of length 1, from its speaker's "
        "mean (the intra-speaker variance of the SSPS paper, which should "
        "fall); between speakers: that of the means from their own mean."
    )
    return section


def _model_title(embedded: Embedded, name: str) -> str:
    if name == "before":
        return f"Before: {embedded.before_model}"
    if embedded.before is None:
        return embedded.after_model
    return f"After: {embedded.after_model}"


def _similarity_chart(
    title: str, found: Similarities, limits: tuple[float, float]
) -> Chart:
    series = [
        Series(kind, *density(cosines, limits), _KIND_COLORS[kind], "area")
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
    header = {"before": "before SSPS", "after": "after"}
    rows = [["", *(header[name] for name in found)]]
    kinds = next(iter(found.values())).by_kind
    for kind, cosines in kinds.items():
        row = [f"{kind} ({len(cosines):,} pairs)"]
        for one in found.values():
            values = one.by_kind[kind]
            row.append(f"{values.mean():.3f} ± {values.std():.3f}")
        rows.append(row)
    within = [one.intra_speaker_variance for one in found.values()]
    between = [one.inter_speaker_variance for one in found.values()]
    rows.append(["variance within speakers", *(f"{v:.3f}" for v in within)])
    rows.append(["variance between speakers", *(f"{v:.3f}" for v in between)])
    ratios = [
        f"{w / b:.2f}" if b else "–"
        for w, b in zip(within, between, strict=True)
    ]
    rows.append(["within / between", *ratios])
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
    chosen = choose_map_points(utterances.labels, len(utterances.names), seed)
    if len(chosen) < 5:
        section.missing.append("The map: there are fewer than 5 utterances.")
        return section
    charts = [
        _map_chart(
            _model_title(embedded, name),
            map_to_plane(rows[chosen], seed),
            [utterances.names[i] for i in chosen],
            utterances.labels and utterances.labels.choose(chosen),
        )
        for name, rows in embedded.models.items()
    ]
    switch = {}
    if utterances.labels is None:
        section.missing.append("Colours by speaker: there are no labels.")
    else:
        switch["speaker"] = "Colour by speaker"
        if utterances.labels.recordings is not None:
            switch["recording"] = "Colour by recording"
    if embedded.before is None:
        section.missing.append(f"The map before: {embedded.missing_before}.")
    caption = (
        f"A point is an utterance, {len(chosen)} of {utterances.source}; t-SNE "
        f"of cosines, seed {seed}. Read off which points are neighbours, not "
        "how far groups are apart. Good: one group for each speaker, and "
        "colours by recording mixed within it. Bad: islands of one recording."
    )
    section.figures = [Figure("map", charts, caption, switch)]
    return section


def _map_chart(title: str, points: Any, names: list[str], labels: Any) -> Chart:
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
    points: Any, names: list[str], labels: Any
) -> list[Series]:
    series = []
    speakers = np.array(labels.speakers)
    for number, speaker in enumerate(dict.fromkeys(labels.speakers)):
        rows = np.flatnonzero(speakers == speaker)
        color = number % (GREY + 1)
        switch = {"speaker": [color] * len(rows)}
        if labels.recordings is not None:
            recordings = number_labels([labels.recordings[i] for i in rows])
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


# -- clusters --------------------------------------------------------------


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
    counts, edges = np.histogram(sizes, _cluster_bins(sizes))
    centres = (edges[1:] + edges[:-1]) / 2
    largest = int(sizes.max())
    section.text = (
        f"{len(sizes):,} clusters of {int(sizes.sum()):,} utterances in epoch "
        f"{one.memories.epoch}: the median has {np.median(sizes):.0f}, the "
        f"largest {largest}, {int((sizes == 0).sum())} are empty. Clusters "
        "should be smaller than a speaker and larger than a recording: then a "
        "neighbouring cluster is likely the same speaker elsewhere."
    )
    if one.labels is not None:
        section.text += _label_sizes(one)
    chart = Chart(
        "Clusters by size",
        "utterances in a cluster",
        "clusters",
        [Series("", centres, counts, 0, "bar")],
        hover="%{y} clusters of about %{x:.0f}",
    )
    caption = (
        "One broad hill is healthy. A cluster that holds a large part of the "
        "utterances, or many empty ones, means that references hardly differ: "
        "try whitening, or a later start."
    )
    section.figures = [Figure("clusters", [chart], caption)]
    return section


def _cluster_bins(sizes: Any) -> Any:
    step = max(1, -(-(int(sizes.max()) + 1) // _MOST_CLUSTER_BINS))
    return np.arange(0, int(sizes.max()) + 1 + step, step) - 0.5


def _label_sizes(one: Collected) -> str:
    per_speaker = np.bincount(number_labels(one.labels.speakers))
    text = f" A speaker has {np.median(per_speaker):.0f} utterances here"
    if one.labels.recordings is not None:
        per_recording = np.bincount(number_labels(one.labels.recordings))
        text += f", a recording {np.median(per_recording):.0f}"
    return f"{text} (medians)."


# -- audit of pseudo-positives ---------------------------------------------


def audit_section(one: Collected, pairs: list[dict[str, Any]]) -> Section:
    """Show what is drawn: similarities, and pairs to listen to."""
    section = Section("audit", "Audit of pseudo-positives")
    draws = one.draws
    if draws is None:
        section.missing.append(f"Pseudo-positives: {one.missing_draws}")
        return section
    section.text = _describe_draws(one, draws)
    if draws.same_speaker is None:
        section.missing.append(
            "Right or wrong: the manifest names no speakers. Listen to judge."
        )
    section.figures = [
        Figure(
            "draws",
            [_draws_chart(draws)],
            "Cosine of an anchor's reference and that of what was drawn. "
            "Where right and wrong lie apart, drawing fewer or surer ones "
            "(rank_decay, num_neighbors) could help.",
        )
    ]
    section.pairs = pairs
    if pairs and not any(pair["anchor_audio"] for pair in pairs):
        section.missing.append(f"Audio: {pairs[0]['missing']}.")
    return section


def _describe_draws(one: Collected, draws: Draws) -> str:
    memories = one.memories
    found = len(draws.anchors)
    inside = ", inside which it was saved" if memories.is_inside_epoch else ""
    text = (
        f"Drawn once more for {draws.num_anchors:,} anchors from the newest "
        f"checkpoint's memories, by the sampler's own strategy, as of epoch "
        f"{memories.epoch}{inside}: {100 * found / draws.num_anchors:.1f} % of "
        "them found a pseudo-positive."
    )
    if draws.same_speaker is not None:
        text += f" {100 * draws.same_speaker.mean():.1f} % of what was drawn "
        text += "is of the anchor's speaker"
        if draws.same_recording is not None:
            text += f", {100 * draws.same_recording.mean():.1f} % of its "
            text += "recording, which teaches little"
        text += " (the labels are read here, never in training)."
    if memories.draws_centroids:
        text += (
            " This run substitutes centroids: what is shown is the utterance "
            "nearest to the drawn one."
        )
    else:
        text += (
            " The queue has moved on since, so that single draws may have been "
            "of another utterance of the same cluster."
        )
    return text


def _draws_chart(draws: Draws) -> Chart:
    limits = score_range(draws.cosines)
    if draws.same_speaker is None:
        series = [Series("", *density(draws.cosines, limits), 0, "area")]
    else:
        kinds = {
            "right: the anchor's speaker": (draws.same_speaker, _RIGHT),
            "wrong: another speaker": (~draws.same_speaker, _WRONG),
        }
        series = []
        for name, (mask, color) in kinds.items():
            if mask.any():
                centres, values = density(draws.cosines[mask], limits)
                # Areas are the fractions of right and wrong ones.
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
