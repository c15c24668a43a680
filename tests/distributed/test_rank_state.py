"""Claims about RankState: every rank gets back what was its own."""

import torch
from torch import nn

from ssps_plugin.training.rank_state import RankState


def batch_norm(value):
    module = nn.BatchNorm1d(2)
    module.running_mean.fill_(value)
    module.num_batches_tracked.fill_(2**24 + 1)  # no float32
    return module


def saved_and_restored(rank):
    """Gather, hand the main process's state to all, and restore."""
    state = RankState()
    state.gather([*batch_norm(1 / 3 + rank).buffers()], 0.1 + rank)
    saved, loaded = state.state_dict(), RankState()
    other = [*batch_norm(9.0).buffers()]
    loaded.load_state_dict(saved)
    loss = loaded.restore(other)
    buffers = [buffer.tolist() for buffer in other]
    loaded.forget()
    return loss, buffers, loaded.restore(other), saved


def test_every_rank_gets_its_own_buffers_and_loss_back(run_ranks):
    results = run_ranks(saved_and_restored)
    for rank, (loss, buffers, forgotten, _) in enumerate(results):
        assert loss == 0.1 + rank and forgotten is None
        expected = [b.tolist() for b in batch_norm(1 / 3 + rank).buffers()]
        assert buffers == expected


def test_another_number_of_ranks_goes_on_with_the_main_processs(run_ranks):
    saved = run_ranks(saved_and_restored)[0][-1]
    state, module = RankState(), batch_norm(9.0)
    state.load_state_dict(saved)
    assert state.restore([*module.buffers()]) is None
    assert torch.equal(module.running_mean, torch.full((2,), 9.0))


def test_one_process_keeps_nothing():
    state = RankState()
    state.gather([*batch_norm(1.0).buffers()], 0.5)
    assert state.restore([*batch_norm(2.0).buffers()]) is None
    assert not state.get_extra_state().numel()
