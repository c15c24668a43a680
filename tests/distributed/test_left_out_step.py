"""A step is left out by all ranks or by none."""

import math
import signal
from types import SimpleNamespace

import torch

from ssps_plugin.training.brain import SSLBrain
from ssps_plugin.training.left_out_steps import LeftOutSteps
from ssps_plugin.training.runtime import StopRequest


def leaves_out(rank):
    brain = SSLBrain.__new__(SSLBrain)
    brain.scaler = SimpleNamespace(is_enabled=lambda: False)
    brain.epoch_counter = SimpleNamespace(current=1)
    brain.step, brain._left_out = 1, LeftOutSteps(patience=3)
    brain._stop, brain._remembered = StopRequest(), None
    brain._leaves_step_out, brain._batch_counts = False, True
    if rank:
        brain._stop._received = signal.SIGTERM
    brain.check_loss_isfinite(torch.tensor(math.nan if rank else 1.0))
    return brain._leaves_step_out, brain._batch_counts, brain._stops


def test_a_loss_of_one_rank_that_is_not_finite_stops_the_step_of_all(run_ranks):
    # And a signal to one of them stops all of them.
    assert run_ranks(leaves_out) == [(True, False, True)] * 2
