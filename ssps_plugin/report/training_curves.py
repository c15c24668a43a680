"""Section of the training curves: loss, EER and pseudo-positives by epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ssps_plugin.evaluation.plots import PANELS, Curve
from ssps_plugin.report.charts import GREY, Chart, Mark, Series, Ticks
from ssps_plugin.report.collect import Collected
from ssps_plugin.report.run import Run
from ssps_plugin.report.section import Figure, Section

# A line with more points than this has no markers.
_MOST_MARKERS = 40
# Start epochs that are marked, where runs start SSPS in different ones.
_MOST_MARKS = 2
_NUM_TICKS = 8
# From this coverage on, what is said of all anchors is true.
_NEARLY_ALL = 0.95


def curves_section(collected: Sequence[Collected]) -> Section:
    """Show loss, EER and pseudo-positives by epoch, with plain twins."""
    section = Section("training", "Training curves")
    shown = [one for one in collected if one.run.history]
    section.missing = [
        f"{one.run.name}: history.json is missing, or no epoch has ended yet."
        for one in collected
        if not one.run.history
    ]
    for one in shown:
        section.missing += _missing_of_curves(one)
    if not shown:
        return section
    section.text = _explain_all(shown)
    runs = [run for one in shown for run in (one.run, one.twin) if run]
    epochs = [row["epoch"] for run in runs for row in run.history]
    limits = (min(epochs) - 0.5, max(epochs) + 0.5)
    charts = [
        chart
        for title, curves in PANELS.items()
        if (chart := _curves_chart(title, curves, shown, limits))
    ]
    if charts:
        section.figures = [Figure("curves", charts, _caption(shown))]
    return section


def _caption(shown: Sequence[Collected]) -> str:
    caption = "One point an epoch that was measured."
    if any(one.run.has_started_ssps for one in shown):
        caption += " The dotted line is where SSPS starts."
    own = {one.run.folder.resolve() for one in shown}
    for one in shown:
        if one.twin is None:
            continue
        if one.twin.folder.resolve() in own:
            caption += f" {one.twin.name} is {one.run.name} without SSPS."
        else:
            caption += f" Dashed, grey: {one.twin.name}, the same without SSPS."
    if any(one.run.start_epoch is not None for one in shown):
        caption += (
            " Pseudo-positives: of the anchor's speaker should be many, of its "
            "own recording few; coverage is the fraction of anchors that got "
            "one at all."
        )
    return caption


def _missing_of_curves(one: Collected) -> list[str]:
    missing, run = [], one.run
    if run.start_epoch is None:
        missing.append(
            f"{run.name} is a run without SSPS: no start is marked, and there "
            "are no pseudo-positives."
        )
    elif run.has_substituted_nothing:
        missing.append(
            f"{run.name}: SSPS was to start in epoch {run.start_epoch} and "
            f"substituted nothing ({run.why_nothing}), so this is the run "
            "without SSPS: no start is marked, and there are no "
            "pseudo-positives."
        )
    elif not run.has_started_ssps:
        missing.append(
            f"{run.name}: SSPS starts in epoch {run.start_epoch}, and the "
            f"history ends with epoch {run.last_epoch}: no start is marked."
        )
    elif one.twin is None:
        missing.append(
            f"{run.name}: no plain twin was given, and none is beside it, so "
            "there is no line without SSPS to compare with."
        )
    if run.history and not run.last_verified():
        missing.append(
            f"{run.name}: no epoch has an EER: there are no trials, they have "
            "no labels, or none was verified yet."
        )
    has_rights = any("speaker_accuracy" in row for row in run.history)
    if run.has_started_ssps and not has_rights:
        missing.append(
            f"{run.name}: how many pseudo-positives are right is not known, "
            "since the training manifest names no speakers."
        )
    return missing


def _explain_all(shown: Sequence[Collected]) -> str:
    """Explain the jump of each run's loss, and name runs if there are more."""
    texts = {one.run.name: explain_loss_jump(one.run) for one in shown}
    texts = {name: text for name, text in texts.items() if text}
    if len(shown) == 1:
        return next(iter(texts.values()), "")
    return " ".join(f"{name}: {text}" for name, text in texts.items())


def explain_loss_jump(run: Run) -> str:
    """Say in words why the loss is another one from the start of SSPS on.

    Arguments
    ---------
    run : Run
        With or without SSPS.

    Returns
    -------
    str
        Empty where SSPS has not started.
    """
    start = run.start_epoch
    if start is None or not run.has_started_ssps:
        return ""
    before, after = run.at(start - 1).get("loss"), run.at(start).get("loss")
    values = ""
    if before is not None and after is not None:
        values = f" from {before:.3g} to {after:.3g}"
    accuracy = run.at(start).get("speaker_accuracy")
    covered = run.at(start).get("coverage")
    whose = "From there on it is another utterance"
    if covered is not None and covered < _NEARLY_ALL:
        whose = (
            f"From there on it is, for {100 * covered:.0f} % of the anchors, "
            "another utterance"
        )
    part = ""
    if accuracy is not None:
        part = (
            f", and {100 * (1 - accuracy):.0f} % of those drawn in that epoch "
            "were of another speaker"
        )
    return (
        f"The loss goes{values} in epoch {start} because the task changes, "
        "not because the model gets worse. Until then an anchor's positive is "
        "cut from its own utterance: the same voice in the same recording. "
        f"{whose}, most often of another "
        f"recording, which is harder to match{part}. The losses before and "
        "after are those of two tasks: compare the EER."
    )


def _curves_chart(
    title: str,
    curves: Sequence[Curve],
    collected: Sequence[Collected],
    limits: tuple[float, float],
) -> Chart | None:
    """Draw one panel: one curve of all runs, or several curves."""
    if len(curves) == 1:
        series = _one_curve(curves[0], collected)
    else:
        series = _several_curves(curves, collected)
    if not series:
        return None
    starts = {one.run.start_epoch for one in collected if _has_started(one)}
    marks = [
        Mark(start - 0.5, f"SSPS from epoch {start}")
        for start in sorted(start for start in starts if start is not None)
    ]
    top = 104.0 if len(curves) > 1 else _top(series)
    return Chart(
        title,
        "epoch",
        "",
        series,
        marks[:_MOST_MARKS],
        x_ticks=_epoch_ticks(limits),
        x_range=limits,
        y_range=(0.0, top),
        hover="epoch %{x}: %{y:.4g}",
    )


def _epoch_ticks(limits: tuple[float, float]) -> Ticks:
    """Return whole epochs, about seven of them."""
    first, last = round(limits[0] + 0.5), round(limits[1] - 0.5)
    step = -(-(last - first + 1) // _NUM_TICKS)
    epochs = list(range(first + (-first % step), last + 1, step))
    return Ticks(epochs, [str(epoch) for epoch in epochs])


def _has_started(one: Collected) -> bool:
    return one.run.has_started_ssps


def _top(series: Iterable[Series]) -> float:
    return 1.08 * max(max(one.y) for one in series) or 1.0


def _one_curve(curve: Curve, collected: Sequence[Collected]) -> list[Series]:
    """Draw a metric of every run, and of their twins in grey."""
    series = []
    own = [one.run.folder.resolve() for one in collected]
    for number, one in enumerate(collected):
        name = one.run.name
        if len(collected) == 1 and one.run.start_epoch is not None:
            name = "with SSPS"
        series += _curve_series(one.run, curve, name, number % GREY)
        twin = one.twin
        if twin is not None and twin.folder.resolve() not in own:
            name = "without SSPS" if len(collected) == 1 else twin.name
            series += _curve_series(twin, curve, name, GREY, is_dashed=True)
    return series


def _several_curves(
    curves: Sequence[Curve], collected: Sequence[Collected]
) -> list[Series]:
    """Draw the metrics of pseudo-positives; the second run's are dashed."""
    series = []
    runs = [one.run for one in collected if one.run.start_epoch is not None]
    for number, run in enumerate(runs):
        for place, curve in enumerate(curves):
            name = curve.label
            if len(runs) > 1:
                name = f"{run.name}: {name}"
            color = (2 + place + len(curves) * number) % GREY
            series += _curve_series(
                run, curve, name, color, is_dashed=number > 0
            )
    return series


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
    return [
        Series(
            name,
            epochs,
            values,
            color,
            is_dashed=is_dashed,
            has_markers=len(points) <= _MOST_MARKERS,
        )
    ]
