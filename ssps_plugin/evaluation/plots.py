"""Training curves with the start of SSPS marked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechbrain.utils.logger import get_logger

from ssps_plugin.evaluation.curve_panel import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    PURPLE,
    Curve,
    Epoch,
    draw_panel,
    mark_start,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = get_logger(__name__)

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
