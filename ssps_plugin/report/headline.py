"""The first figures of a report: EER before SSPS and after, and their ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ssps_plugin.report.collect import Collected
from ssps_plugin.report.run import Run

_UNKNOWN = "–"
# What a strategy says of its draws without labels, by the history's key.
_OF_DRAWS = {
    "sure_draws": "draws that are sure",
    "votes": "votes of a draw",
    "overlap": "mean overlap",
    "kept_neighbors": "neighbours kept",
}
# What is known without labels of the space that it draws in.
_OF_SPACE = {
    "mutual_neighbors": "mutual nearest neighbours",
    "reciprocal_clusters": "reciprocal neighbour clusters",
    "cluster_agreement": "clusters agree with the epoch before",
    "clusterings_agree": "clusterings agree",
}


@dataclass(frozen=True)
class Rates:
    """Error rates of a model, and which one it is.

    Arguments
    ---------
    eer : float or None
        In percent.
    min_dcf, min_dcf_05 : float or None
        With p_target 0.01 and 0.05.
    model : str
        Which epochs it is of.
    interval : list of float or None
        Of the EER, 95 %.
    """

    eer: float | None
    min_dcf: float | None
    min_dcf_05: float | None
    model: str
    interval: list[float] | None = None


@dataclass(frozen=True)
class Card:
    """A figure, what it is, and what to know of it."""

    label: str
    value: str
    note: str = ""
    is_main: bool = False


def final_rates(run: Run) -> Rates:
    """Return the error rates of the final model, else of the last verified."""
    results = run.results
    if as_number(results.get("eer_percent")) is not None:
        num = int(as_number(results.get("averaged_epochs")) or 1)
        model = f"epoch {results.get('epochs') or run.last_epoch}"
        if num > 1:
            model = f"average of the last {num} epochs"
        if results.get("cohort_size"):
            model += ", S-norm"
        return Rates(
            as_number(results["eer_percent"]),
            as_number(results.get("min_dcf_p01")),
            as_number(results.get("min_dcf_p05")),
            model,
            _interval(results.get("eer_percent_interval")),
        )
    row = run.last_verified()
    start = run.start_epoch
    if not row or (start is not None and row["epoch"] < start):
        return Rates(None, None, None, "not verified with SSPS yet")
    return _rates_of_epoch(row)


def rates_before(run: Run) -> Rates:
    """Return the error rates of the epoch before SSPS starts."""
    if run.start_epoch is None:
        return Rates(None, None, None, "without SSPS")
    row = run.at(run.start_epoch - 1)
    if row.get("eer") is None:
        return Rates(
            None, None, None, f"epoch {run.start_epoch - 1} was not verified"
        )
    return _rates_of_epoch(row)


def _rates_of_epoch(row: dict[str, Any]) -> Rates:
    return Rates(
        row["eer"],
        as_number(row.get("min_dcf_0.01")),
        as_number(row.get("min_dcf_0.05")),
        f"epoch {row['epoch']}",
    )


def headline_cards(one: Collected) -> list[Card]:
    """Return the figures at the top of a report of one run."""
    run = one.run
    after = final_rates(run)
    if run.start_epoch is None or run.has_substituted_nothing:
        return [
            Card("EER", _percent(after.eer), _note(after), is_main=True),
            Card("minDCF(0.01)", _cost(after.min_dcf), after.model),
            Card("minDCF(0.05)", _cost(after.min_dcf_05), after.model),
            Card("Epochs", _epochs(run), _progress(run)),
        ]
    before = rates_before(run)
    cards = [
        Card("EER before SSPS", _percent(before.eer), before.model),
        Card("EER with SSPS", _percent(after.eer), _note(after), is_main=True),
        Card(
            "Ratio",
            _ratio(before.eer, after.eer),
            "of the EER: with SSPS / before",
        ),
        Card(
            "minDCF(0.01) with SSPS",
            _cost(after.min_dcf),
            f"{_cost(before.min_dcf)} before",
        ),
    ]
    if one.twin is not None:
        plain = final_rates(one.twin)
        cards.append(
            Card(
                "EER of the plain twin",
                _percent(plain.eer),
                f"{one.twin.name}, {plain.model}",
            )
        )
    last = run.at(run.last_epoch)
    accuracy = as_number(last.get("speaker_accuracy"))
    if accuracy is not None:
        other = as_number(last.get("recording_accuracy"))
        note = f"epoch {run.last_epoch}"
        if other is not None:
            note += f"; {100 * other:.1f} % of the same recording"
        gauge = as_number(last.get("gauge"))
        if gauge is not None:
            note += (
                ". Gauge: right in another recording minus the same recording, "
                f"{100 * gauge:+.1f}"
            )
        cards.append(
            Card("Pseudo-positives right", f"{100 * accuracy:.1f} %", note)
        )
    covered = as_number(last.get("coverage"))
    if covered is not None:
        note = f"epoch {run.last_epoch}{_percentages(last, _OF_DRAWS)}"
        cards.append(Card("Anchors covered", f"{100 * covered:.1f} %", note))
    rank = as_number(last.get("effective_rank"))
    if rank is not None:
        note = f"directions that references lie on, epoch {run.last_epoch}"
        note += _percentages(last, _OF_SPACE)
        cards.append(Card("Effective rank", f"{rank:.1f}", note))
    cards.append(Card("Epochs", _epochs(run), _progress(run)))
    return cards


def _percentages(row: dict[str, Any], names: dict[str, str]) -> str:
    """Return the parts of a note that are there, each after a semicolon."""
    values = {name: as_number(row.get(key)) for key, name in names.items()}
    return "".join(
        f"; {name} {100 * value:.1f} %"
        for name, value in values.items()
        if value is not None
    )


def headline_table(collected: list[Collected]) -> list[list[str]]:
    """Return a table of several runs, the header first."""
    rows = [
        [
            *("run", "EER before SSPS (%)", "EER (%)", "ratio"),
            *("minDCF(0.01)", "minDCF(0.05)", "epochs"),
        ]
    ]
    for one in collected:
        before, after = rates_before(one.run), final_rates(one.run)
        rows.append(
            [
                one.run.name,
                _number(before.eer),
                _number(after.eer),
                _ratio(before.eer, after.eer),
                _cost(after.min_dcf),
                _cost(after.min_dcf_05),
                _epochs(one.run),
            ]
        )
    return rows


def as_number(value: object) -> float | None:
    """Return a finite number of a file that anybody may have edited, or None.

    Example
    -------
    >>> as_number(2), as_number("2"), as_number(None), as_number(math.nan)
    (2.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _interval(value: object) -> list[float] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    numbers = [one for one in map(as_number, value) if one is not None]
    return numbers if len(numbers) == 2 else None


def _note(rates: Rates) -> str:
    if rates.interval:
        low, high = rates.interval
        return f"{rates.model}; 95 %: {low:.2f} to {high:.2f}"
    return rates.model


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f} %"


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}"


def _cost(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3f}"


def _ratio(before: float | None, after: float | None) -> str:
    if before is None or after is None or not before:
        return _UNKNOWN
    return f"{after / before:.2f}"


def _epochs(run: Run) -> str:
    total = f" of {run.num_epochs}" if run.num_epochs else ""
    return f"{run.last_epoch}{total}"


def _progress(run: Run) -> str:
    if run.has_substituted_nothing:
        return f"SSPS substituted nothing: {run.why_nothing}"
    if run.is_finished:
        start = run.start_epoch
        return f"SSPS from epoch {start}" if start else "finished"
    return "not at its end: still training, or stopped"
