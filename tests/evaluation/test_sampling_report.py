"""Accuracies against hand counts, mutual information against scikit-learn."""

import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

from ssps_plugin.evaluation.sampling_report import (
    SamplingReport,
    normalized_mutual_information,
)


class Rows:
    """Used in place of a dataset: ids and rows."""

    def __init__(self, rows):
        self.data = {str(place): row for place, row in enumerate(rows)}
        self.data_ids = list(self.data)


def labelled(*pairs):
    return Rows([{"speaker": s, "recording": r} for s, r in pairs])


def random_labels(num_labels, num_utterances, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(num_labels, (num_utterances,), generator=generator)


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


@pytest.mark.parametrize("sizes", [(2, 3), (10, 10), (300, 40), (1, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_nmi_equals_scikit_learn(sizes, seed):
    a = random_labels(sizes[0], 1000, seed)
    b = random_labels(sizes[1], 1000, seed + 100)
    b = torch.where(torch.arange(1000) % 3 == 0, a % sizes[1], b)
    expected = normalized_mutual_info_score(a.numpy(), b.numpy())
    assert normalized_mutual_information(a, b) == pytest.approx(
        expected, abs=1e-9
    )


def test_renaming_labels_changes_nothing():
    a = random_labels(20, 500, seed=0)
    renamed = torch.randperm(20)[a] * 1_000_003 - 7
    assert normalized_mutual_information(a, renamed) == pytest.approx(1.0)


def test_nmi_is_symmetric():
    a, b = random_labels(20, 500, seed=0), random_labels(7, 500, seed=1)
    assert normalized_mutual_information(a, b) == pytest.approx(
        normalized_mutual_information(b, a), abs=1e-12
    )


def test_constant_labelings_share_everything_or_nothing():
    same, split = torch.zeros(4).long(), torch.tensor([0, 0, 1, 1])
    assert normalized_mutual_information(same, same + 3) == 1.0
    assert normalized_mutual_information(same, split) == 0.0


def test_independent_labelings_give_exactly_nothing():
    a = torch.arange(12) % 3
    b = torch.arange(12) // 3
    assert normalized_mutual_information(a, b) == 0.0


@pytest.mark.parametrize("sizes", [(3, 4), (0, 0)])
def test_refuses_labelings_that_do_not_pair(sizes):
    a, b = (torch.zeros(size).long() for size in sizes)
    with pytest.raises(ValueError, match=rf"got \({sizes[0]},\) and"):
        normalized_mutual_information(a, b)


def test_nmi_equals_scikit_learn_on_voxceleb2s_size():
    # A full table of 25 000 × 6 000 would take 1.2 GB.
    a = random_labels(25_000, 1_000_000, seed=0)
    noise = random_labels(6_000, 1_000_000, seed=1)
    b = torch.where(torch.arange(1_000_000) % 4 == 0, noise, a % 6_000)
    expected = normalized_mutual_info_score(a.numpy(), b.numpy())
    assert normalized_mutual_information(a, b) == pytest.approx(
        expected, abs=1e-9
    )
