"""Claims about the figures: those in docs/_static are what draw.py draws."""

import importlib.util
import pathlib
import xml.etree.ElementTree as ElementTree

import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"
SPEC = importlib.util.spec_from_file_location(
    "draw", DOCS / "figures" / "draw.py"
)
draw = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(draw)


@pytest.mark.parametrize("palette", ["light", "dark"])
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("picture", draw.picture),
        ("data-flow", draw.data_flow),
        ("results", draw.results),
    ],
)
def test_figures_are_up_to_date(name, function, palette):
    file = DOCS / "_static" / f"{name}-{palette}.svg"
    assert file.read_text() == function(draw.PALETTES[palette])
    tree = ElementTree.fromstring(file.read_text())
    assert tree[0].text and tree[1].text  # a title and a description


def test_figure_of_results_has_the_means_of_the_runs():
    plain, ssps, true = draw.mean_rates()["SimCLR"]
    assert plain == pytest.approx((14.52 + 15.06 + 15.22) / 3)
    assert ssps == pytest.approx((6.58 + 5.06 + 5.64) / 3)
    assert true == pytest.approx((3.16 + 2.78 + 3.04) / 3)
