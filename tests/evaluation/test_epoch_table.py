"""Claims about the table that a training prints."""

import logging

import pytest

from ssps_plugin.evaluation.epoch_table import SPANS, EpochTable

ROW = {
    "epoch": 5,
    "loss": 0.0444,
    "learning_rate": 6.561e-4,
    "coverage": 0.9997,
    "speaker_accuracy": 0.7086,
    "recording_accuracy": 0.0458,
    "eer": 15.456,
    "min_dcf_0.01": 0.8826,
}
LABELS = ("speaker", "recording")


def test_a_line_shows_what_is_of_training_and_what_of_verification():
    table = EpochTable(15, verifies=True, start_epoch=6, labels=LABELS)
    shown = " ".join(table.line(ROW, seconds=21).split())
    assert shown == "5/15 0.044 6.6e-04 15.46 0.883 100.0 70.9 4.6 0:21 3:30"
    groups, names = table.heading().splitlines()
    assert groups.split() == ["verification", "SSPS", "%"]
    assert " ".join(names.split()) == (
        "epoch loss rate EER % minDCF drawn same spk same rec time left"
    )


def test_lines_are_aligned_and_fit_a_terminal():
    table = EpochTable(120, verifies=True, start_epoch=6, labels=LABELS)
    row = {"epoch": 120, "loss": 9.1234, "learning_rate": 1e-3}
    lines = [table.line(ROW, 5), table.line(row, 86000), *table.heading()[1:2]]
    assert {len(line) for line in lines[:2]} == {79}
    assert max(map(len, table.heading().splitlines())) <= 79


def test_an_epoch_without_a_metric_has_a_dash():
    table = EpochTable(15, verifies=True, start_epoch=6)
    row = {"epoch": 1, "loss": 3.0, "learning_rate": 1e-3}
    assert table.line(row, 1).split()[3:6] == ["-", "-", "-"]


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        ({"verifies": False, "start_epoch": 2}, {"EER", "minDCF", "same"}),
        ({"verifies": True}, {"drawn", "same", "SSPS"}),
        ({"verifies": True, "start_epoch": 2}, {"same"}),
    ],
)
def test_columns_that_a_run_cannot_have_are_left_out(arguments, absent):
    table = EpochTable(15, **arguments)
    words = set(table.heading().split())
    assert not words & absent
    assert words & {"EER", "drawn"}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0:00"), (61, "1:01"), (3661, "1:01:01"), (90061, "1d 1h")],
)
def test_times_are_short(seconds, shown):
    row = {"epoch": 15, "loss": 3.0, "learning_rate": 1e-3}
    assert EpochTable(15, verifies=False).line(row, seconds).split()[-2:] == [
        *shown.split()[-1:],
        "0:00",
    ]


def test_the_heading_comes_once_and_the_lowest_eer_is_marked(caplog):
    caplog.set_level(logging.INFO)
    table = EpochTable(15, verifies=True)
    for epoch, eer in ((1, 20.0), (2, 21.0), (3, 19.0)):
        table.log({**ROW, "epoch": epoch, "eer": eer}, 1.0)
    heading, *lines = caplog.records
    assert "EER %" in heading.getMessage()
    marked = []
    for record in lines:
        for start, end, _ in getattr(record, SPANS):
            marked.append(record.getMessage()[start:end].strip())
    assert marked == ["20.00", "19.00"]
