"""The training curves show what the history says."""

import logging
import sys

import pytest

from ssps_plugin.evaluation import plots
from ssps_plugin.evaluation.plots import draw_curves, plot_curves

HISTORY = [
    {"epoch": 1, "loss": 5.0, "eer": 20.0},
    {"epoch": 2, "loss": 3.0, "eer": None, "speaker_accuracy": 0.4},
    {
        "epoch": 3,
        "loss": 4.0,
        "eer": 10.0,
        "speaker_accuracy": 0.6,
        "recording_accuracy": 0.05,
        "coverage": 0.9,
    },
]


def curves(figure):
    """Label of every drawn curve: its epochs and values."""
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for axes in figure.axes
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    }


def start_lines(axes):
    """Where the vertical lines of a panel are, across its whole height."""
    return [
        line.get_xdata()[0]
        for line in axes.get_lines()
        if line.get_label().startswith("_") and list(line.get_ydata()) == [0, 1]
    ]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_every_recorded_metric_is_drawn_and_nothing_else():
    assert curves(draw_curves(HISTORY)) == {
        "loss": ([1, 2, 3], [5.0, 3.0, 4.0]),
        "EER": ([1, 3], [20.0, 10.0]),
        "same speaker": ([2, 3], [40.0, 60.0]),
        "same recording": ([3], [5.0]),
        "coverage": ([3], [90.0]),
    }


def test_start_of_ssps_is_marked_and_named_in_every_panel():
    figure = draw_curves(HISTORY, start_epoch=2)
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert start_lines(axes) == [1.5]  # before the first epoch with it
        assert "SSPS from epoch 2" in texts(axes)


@pytest.mark.parametrize("start_epoch", [None, 4])
def test_start_that_was_not_reached_is_not_marked(start_epoch):
    figure = draw_curves(HISTORY, start_epoch)
    for axes in figure.axes:
        assert start_lines(axes) == []
        assert axes.get_xlim()[1] < 4


def test_labels_stay_inside_the_picture_wherever_the_start_is():
    history = [{"epoch": epoch, "loss": 1.0} for epoch in range(1, 121)]
    for start_epoch in (2, 60, 120):
        figure = draw_curves(history, start_epoch)
        figure.draw_without_rendering()
        for axes in figure.axes:
            (label,) = [t for t in axes.texts if "SSPS" in t.get_text()]
            box = label.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
            assert box.y1 <= axes.title.get_window_extent().y0


def test_panel_without_metrics_says_so():
    loss, eer, pseudo_positives = draw_curves([{"epoch": 1, "loss": 5.0}]).axes
    assert "not recorded" not in texts(loss)
    assert "not recorded" in texts(eer)
    assert "not recorded" in texts(pseudo_positives)


def test_epoch_gone_through_again_counts_once():
    history = [*HISTORY, {"epoch": 2, "loss": 2.5}]
    epochs, losses = curves(draw_curves(history))["loss"]
    assert epochs == [1, 2, 3]
    assert losses == [5.0, 2.5, 4.0]


def test_picture_is_written(tmp_path):
    path = tmp_path / "new" / "curves.png"
    assert plot_curves(HISTORY, path, start_epoch=2)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_settings_of_the_callers_own_plots_are_left_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot_curves(HISTORY, tmp_path / "curves.png")
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_a_warning_says_what_to_install(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(plots, "logger", logging.getLogger("plots"))
    with caplog.at_level(logging.WARNING):
        assert not plot_curves(HISTORY, tmp_path / "curves.png")
    assert "matplotlib is not installed: pip install" in caplog.text
    assert "pip install 'ssps_plugin[demo]'" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_empty_history_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="Expected the metrics of at least one epoch"
    ):
        plot_curves([], tmp_path / "curves.png")
