"""Accuracies of draws against hand counts."""

import pytest
import torch

from ssps_plugin.evaluation.sampling_report import SamplingReport


class Rows:
    """Used in place of a dataset: ids and rows."""

    def __init__(self, rows):
        self.data = {str(place): row for place, row in enumerate(rows)}
        self.data_ids = list(self.data)


def labelled(*pairs):
    return Rows([{"speaker": s, "recording": r} for s, r in pairs])


def test_accuracies_count_drawn_anchors_only():
    report = SamplingReport.of_dataset(
        labelled(("a", "x"), ("a", "y"), ("b", "x"), ("a", "x"))
    )
    # 0 draws 1: same speaker. 1 draws 2: neither (b's x is another
    # recording than a's). 3 draws 0: both. 2 draws nothing.
    report.update(torch.tensor([0, 1]), torch.tensor([1, 2]))
    report.update(torch.tensor([3, 2]), torch.tensor([0, -1]))
    metrics = report.metrics()
    assert metrics["speaker_accuracy"] == pytest.approx(2 / 3)
    assert metrics["recording_accuracy"] == pytest.approx(1 / 3)
    # One right in another recording, one of the own.
    assert metrics["gauge"] == pytest.approx(1 / 3 - 1 / 3)
    report.update(torch.tensor([0]), torch.tensor([1]))
    assert report.metrics()["gauge"] == pytest.approx(2 / 4 - 1 / 4)


def test_without_labels_nothing_is_reported():
    report = SamplingReport.of_dataset(Rows([{"wav": "x"}, {"wav": "y"}]))
    report.update(torch.tensor([0]), torch.tensor([1]))
    assert report.metrics(torch.tensor([0, 1])) == {}


def test_a_label_that_some_rows_lack_is_not_used():
    rows = Rows([{"speaker": "a"}, {"speaker": ""}])
    assert SamplingReport.of_dataset(rows).names == []


def test_without_draws_there_is_no_accuracy():
    report = SamplingReport.of_dataset(labelled(("a", "x"), ("b", "y")))
    report.update(torch.tensor([0]), torch.tensor([-1]))
    assert "speaker_accuracy" not in report.metrics()


def test_nmi_leaves_unclustered_utterances_out():
    report = SamplingReport.of_dataset(
        labelled(("a", "x"), ("a", "x"), ("b", "y"), ("b", "z"))
    )
    metrics = report.metrics(torch.tensor([0, 0, 1, -1]))
    assert metrics["speaker_nmi"] == pytest.approx(1.0)


def test_reset_and_state_carry_the_counts():
    report = SamplingReport.of_dataset(labelled(("a", "x"), ("a", "y")))
    report.update(torch.tensor([0]), torch.tensor([1]))
    other = SamplingReport.of_dataset(labelled(("a", "x"), ("a", "y")))
    other.load_state_dict(report.state_dict())
    assert other.metrics() == report.metrics()
    report.reset()
    assert report.metrics() == {}
