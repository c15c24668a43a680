"""What is counted over an epoch, by hand."""

import torch

from ssps_plugin.memory import EpochCounts

YES, NO = True, False


def test_steps_of_unequal_size_are_counted_by_anchor():
    counts = EpochCounts()
    counts.add(torch.tensor([YES, NO, NO]), torch.tensor([YES, YES, NO]))
    counts.add(torch.tensor([YES]), torch.tensor([NO]))
    assert counts.figures() == {"coverage": 0.5, "not_remembered": 2.0}


def test_an_epoch_without_a_step_has_no_coverage():
    assert EpochCounts().figures()["coverage"] == 0.0


def test_reset_forgets_the_epoch_before():
    counts = EpochCounts()
    counts.add(torch.tensor([NO]), torch.tensor([NO]))
    counts.reset()
    counts.add(torch.tensor([YES]), torch.tensor([YES]))
    assert counts.figures() == {"coverage": 1.0, "not_remembered": 0.0}
