"""Draw error rates and right draws of several runs by epoch, as a PNG.

    python benchmarks/compare_runs.py OUT.png \\
        "SimCLR, MiniVox=4.5:plain=RUN,own draws=RUN" "DINO=9.9:plain=RUN"

Each panel is a title, the error rate that was asked for (or nothing), and runs
by what they are called. Above: EER by epoch, with the final figure, of averaged
weights where a run averages, at the right. Below: of the draws that are used,
how many are of the right speaker, the own recording left out where the
training manifest has recordings.
"""

import argparse
import pathlib
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ssps_plugin.evaluation.plots import STYLE
from ssps_plugin.report.run import Run

COLORS = "#777777", "#D55E00", "#0072B2", "#009E73", "#B0578D"


class Panel(NamedTuple):
    """What is drawn together."""

    title: str
    goal: float | None
    runs: dict[str, Run]


def read_panel(text: str) -> Panel:
    """Read `TITLE=GOAL:NAME=RUN,NAME=RUN`."""
    head, _, runs = text.partition(":")
    title, _, goal = head.partition("=")
    named = (one.partition("=") for one in runs.split(","))
    found = {name: Run(folder) for name, _, folder in named}
    return Panel(title, float(goal) if goal else None, found)


def points(
    history: list[dict[str, Any]], key: str, scale: float
) -> tuple[list[int], list[float]]:
    """Epochs in which a metric is known, and the metric."""
    known = [
        row for row in history if row["epoch"] > 0 and row.get(key) is not None
    ]
    return [row["epoch"] for row in known], [scale * row[key] for row in known]


def draw(panel: Panel, rates: Axes, draws: Axes) -> None:
    """Draw a panel's runs."""
    finals = {}
    for color, (name, run) in zip(COLORS, panel.runs.items(), strict=False):
        epochs, eer = points(run.history, "eer", 1.0)
        last = run.last_epoch
        rates.plot(epochs, eer, "o-", color=color, label=name)
        finals[color] = run.results["eer_percent"]
        rates.plot([last], [finals[color]], "D", color=color)
        epochs, right = points(run.history, "speaker_accuracy", 100.0)
        if epochs:
            draws.plot(epochs, right, "-", color=color, label=name)
    if panel.goal is not None:
        rates.axhline(panel.goal, color="#222222", linestyle=":", linewidth=1.2)
    rates.set_title(panel.title, fontsize=10)
    rates.set_ylim(bottom=0)
    write_beside(rates, finals, last)
    draws.set_ylim(0, 100)
    draws.set_xlabel("epoch")
    for axes in (rates, draws):
        axes.set_xlim(0, last + 2.2)


def write_beside(axes: Axes, finals: dict[str, float], epoch: int) -> None:
    """Write the final figures beside their points, none over another."""
    least = axes.get_ylim()[1] / 14  # the height of a line
    place = 0.0
    for color, value in sorted(finals.items(), key=lambda item: item[1]):
        place = max(place + least, value)
        axes.annotate(
            f"{value:.1f}",
            (epoch, place),
            xytext=(6, -3),
            textcoords="offset points",
            color=color,
            fontsize=9,
        )


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("panels", nargs="+", type=read_panel)
    options = parser.parse_args()
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            2,
            len(options.panels),
            figsize=(2.6 * len(options.panels), 5.0),
            squeeze=False,
            height_ratios=(3, 2),
            layout="constrained",
        )
        for panel, (rates, draws) in zip(options.panels, axes.T, strict=True):
            draw(panel, rates, draws)
        axes[0, 0].set_ylabel("EER, %")
        axes[1, 0].set_ylabel("right draws, %")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=len(labels),
            frameon=False,
        )
        figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
