"""A chart is the same data for Plotly and for Matplotlib."""

import json

import pytest

from ssps_plugin.report.charts import (
    DARK,
    LIGHT,
    Chart,
    Mark,
    Series,
    Ticks,
    plotly_figure,
    plotly_text,
    share_heights,
    write_png,
)

HOSTILE = "<img src=x onerror=alert(1)>$x_{$&\x07"


def test_plotly_gets_the_points_and_no_nan():
    series = Series("a", [1, 2, 3], [0.123456789, float("nan"), 3.0])
    (trace,) = plotly_figure(Chart("t", "x", "y", [series]))["data"]
    assert trace["x"] == [1, 2, 3] and trace["y"] == [0.12346, None, 3]
    json.dumps(trace, allow_nan=False)


def test_names_are_escaped_for_plotly():
    assert plotly_text(HOSTILE) == (
        "&lt;img src=x onerror=alert(1)&gt;$x_{$&amp;�"
    )
    series = Series(HOSTILE, [1], [1], kind="points", texts=[HOSTILE])
    chart = Chart("t", HOSTILE, "y", [series], [Mark(1, HOSTILE)])
    assert "<img" not in json.dumps(plotly_figure(chart))


def test_legend_is_shown_for_several_names_only():
    one = Series("a", [1], [1])
    layouts = [
        plotly_figure(Chart("t", "x", "y", series))["layout"]
        for series in ([one], [one, Series("", [1], [1])], [one, one])
    ]
    assert [layout["showlegend"] for layout in layouts] == [False, False, True]


def test_label_of_a_late_mark_lies_on_its_left():
    chart = Chart("t", "x", "y", [Series("", [0, 10], [0, 1])])
    for x, side in ((2, "left"), (8, "right")):
        marked = Chart(**{**chart.__dict__, "marks": [Mark(x, "here")]})
        (label,) = plotly_figure(marked)["layout"]["annotations"]
        assert label["xanchor"] == side


def test_charts_to_compare_have_one_height():
    charts = [
        Chart("t", "x", "y", [Series("", [0, 1], [0, top])]) for top in (2, 5)
    ]
    for one in share_heights(charts):
        assert one.y_range == pytest.approx((0.0, 5.3))


def test_there_is_a_dark_colour_for_every_light_one():
    assert len(set(LIGHT)) == len(set(DARK)) == len(LIGHT) == len(DARK)


@pytest.mark.parametrize("kind", ["line", "area", "bar", "points"])
def test_every_kind_is_drawn_as_png(tmp_path, kind):
    series = Series(
        HOSTILE,
        [1, 2, 3],
        [1, 3, 2],
        kind=kind,
        is_dashed=True,
        has_markers=True,
        switch={"speaker": [0, 1, 2]},
    )
    ticks = Ticks([1, 2], ["one", "two"])
    chart = Chart(
        HOSTILE,
        HOSTILE,
        HOSTILE,
        [series, series],
        [Mark(2, HOSTILE)],
        ticks,
        ticks,
        is_square=kind == "points",
        has_axes=kind != "points",
    )
    write_png(tmp_path / "new" / "a.png", [chart, chart], "speaker")
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
