"""One panel of the training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Epoch = Mapping[str, Any]

# Okabe and Ito's palette: told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#B0578D"
GREY, LIGHT_GREY, BLACK = "#777777", "#e6e6e6", "#222222"


@dataclass(frozen=True)
class Curve:
    """A figure of the history: where it is, and how it is drawn."""

    key: str
    label: str
    color: str
    scale: float = 1.0


def draw_panel(
    axes: Axes, records: Sequence[Epoch], curves: Sequence[Curve]
) -> None:
    """The curves of one panel, their last values and its vertical range."""
    drawn = [curve for curve in curves if _draw_curve(axes, records, curve)]
    if not drawn:
        axes.set_yticks([])
        axes.text(
            0.5,
            0.5,
            "not recorded",
            color=GREY,
            ha="center",
            transform=axes.transAxes,
        )
    elif len(curves) > 1:
        axes.set_ylim(-3, 103)
        axes.legend(
            frameon=False,
            loc="upper center",
            ncols=3,
            bbox_to_anchor=(0.5, -0.14),
            handlelength=1.2,
            columnspacing=1.4,
        )
    elif axes.get_ylim()[0] > 0:
        axes.set_ylim(bottom=0)


def _draw_curve(axes: Axes, records: Sequence[Epoch], curve: Curve) -> bool:
    """Draw the epochs that have the figure; False where none has."""
    # An EER taken every few epochs only is one line, without gaps.
    points = [
        (record["epoch"], curve.scale * record[curve.key])
        for record in records
        if record.get(curve.key) is not None
    ]
    if not points:
        return False
    epochs, values = zip(*points, strict=True)
    marker = "o" if len(points) <= 40 else ""
    axes.plot(
        epochs, values, color=curve.color, label=curve.label, marker=marker
    )
    axes.annotate(
        f"{values[-1]:.3g}",
        (epochs[-1], values[-1]),
        (6, 0),
        textcoords="offset points",
        va="center",
        color=curve.color,
        fontweight="bold",
        fontsize=9,
    )
    return True


def mark_start(axes: Axes, start_epoch: int) -> None:
    """A labelled line where positives are substituted for the first time."""
    # Between two epochs: the start epoch's own figure is already with SSPS.
    position = start_epoch - 0.5
    left, right = axes.get_xlim()
    axes.axvspan(position, right, color=GREEN, alpha=0.06, linewidth=0)
    axes.axvline(position, color=BLACK, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.text(
        position,
        1.02,
        f"SSPS from epoch {start_epoch}",
        fontsize=9,
        # A late start's label reads towards the left, or it leaves the panel.
        ha="right" if position > (left + right) / 2 else "left",
        transform=axes.get_xaxis_transform(),
    )
