"""Training curves with the start of SSPS marked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechbrain.utils.logger import get_logger

if TYPE_CHECKING:
    from matplotlib.axes import Axes
if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = get_logger(__name__)

Epoch = Mapping[str, Any]

# Okabe and Ito's palette: told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#B0578D"
GREY, LIGHT_GREY, BLACK = "#777777", "#e6e6e6", "#222222"

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": BLACK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LIGHT_GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "lines.linewidth": 2.0,
    "lines.markersize": 4.0,
}


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


_PANELS = {
    "Training loss": (Curve("loss", "loss", BLUE),),
    "Equal error rate (%)": (Curve("eer", "EER", ORANGE),),
    "Pseudo-positives (%)": (
        Curve("speaker_accuracy", "same speaker", GREEN, 100),
        Curve("recording_accuracy", "same recording", PURPLE, 100),
        Curve("coverage", "coverage", GREY, 100),
    ),
}


def plot_curves(
    history: Sequence[Epoch],
    path: str | os.PathLike[str],
    start_epoch: int | None = None,
) -> bool:
    """Draw loss, EER and the quality of pseudo-positives over the epochs.

    Arguments
    ---------
    history : sequence of mapping
        One per epoch: ``epoch`` (from 1), ``loss``, ``eer`` (in percent),
        ``speaker_accuracy``, ``recording_accuracy``, ``coverage`` (shares in
        [0, 1]); all but ``epoch`` may be missing or None. Of an epoch that
        comes twice, as after a resume, the last one counts.
    path : str or os.PathLike
        Picture to write, in the format that its suffix says.
    start_epoch : int, optional
        First epoch with substituted positives, marked by a vertical line.

    Returns
    -------
    written : bool
        False where matplotlib is not installed; a warning says how to.

    Raises
    ------
    ValueError
        If the history is empty.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "curves.png"
    >>> history = [{"epoch": 1, "loss": 5.0}, {"epoch": 2, "loss": 3.5}]
    >>> plot_curves(history, path, start_epoch=2) == path.exists()
    True
    """
    if not history:
        raise ValueError("expected the record of an epoch or more, got none.")
    try:
        from matplotlib import rc_context
    except ImportError:
        logger.warning(
            "%s was not drawn for want of matplotlib: "
            "pip install 'ssps_plugin[demo]'",
            path,
        )
        return False
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(_STYLE):
        draw_curves(history, start_epoch).savefig(path, dpi=150)
    return True


def draw_curves(
    history: Sequence[Epoch], start_epoch: int | None = None
) -> Figure:
    """The figure that `plot_curves` writes; needs matplotlib, no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import MaxNLocator

    by_epoch = {record["epoch"]: record for record in history}
    records = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    first, last = records[0]["epoch"], records[-1]["epoch"]
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.02)
    figure = Figure(figsize=(13, 4), layout=layout)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(_PANELS))
    for axes, (title, curves) in zip(panels, _PANELS.items(), strict=True):
        axes.set_title(title, pad=20)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        # Room on the right for the last values.
        axes.set_xlim(first - 0.5, last + 0.5 + 0.06 * (last - first))
        draw_panel(axes, records, curves)
        if start_epoch is not None and first <= start_epoch <= last:
            mark_start(axes, start_epoch)
    return figure
