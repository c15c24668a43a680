"""A step is left out by all ranks or by none."""

import math
from types import SimpleNamespace

import torch

from ssps_plugin.training.brain import SSLBrain


def leaves_out(rank):
    brain = SSLBrain.__new__(SSLBrain)
    brain.scaler = SimpleNamespace(is_enabled=lambda: False)
    brain.epoch_counter = SimpleNamespace(current=1)
    brain.step, brain.nonfinite_count, brain.nonfinite_patience = 1, 0, 3
    brain._leaves_step_out = False
    brain.check_loss_isfinite(torch.tensor(math.nan if rank else 1.0))
    return brain._leaves_step_out


def test_a_loss_of_one_rank_that_is_not_finite_stops_the_step_of_all(run_ranks):
    assert run_ranks(leaves_out) == [True, True]
