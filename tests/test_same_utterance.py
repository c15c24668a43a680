"""The baseline stands wherever a PositiveSampler stands."""

import inspect

import torch

from ssps_plugin import PositiveSampler, SameUtterancePositives


def test_positives_come_back_themselves_in_any_mode_and_epoch():
    positives = torch.ones(2, 3)
    sampler = SameUtterancePositives()
    for epoch in (None, 1, 200, 1):
        sampler.begin_epoch(epoch)
        assert sampler.train()(["a", "b"], None, positives) is positives
        assert sampler.eval()(None, None, positives) is positives
    assert not sampler.remembering
    assert not sampler.substituting
    assert not sampler.needs_reference
    assert sampler.end_epoch() is None


def test_no_utterance_has_a_cluster():
    sampler = SameUtterancePositives()
    assert sampler.cluster_of(["a", "b", "c"]).tolist() == [-1, -1, -1]
    assert sampler.cluster_of(torch.tensor([4, 2])).tolist() == [-1, -1]


def test_its_methods_take_what_those_of_the_sampler_take():
    for name in (
        *("bind", "begin_epoch", "end_epoch", "reset", "cluster_of", "forward"),
        *("cluster_of_positives", "metrics"),
    ):
        ours = inspect.signature(getattr(SameUtterancePositives, name))
        theirs = inspect.signature(getattr(PositiveSampler, name))
        assert list(ours.parameters) == list(theirs.parameters)


def test_it_leaves_nothing_in_a_checkpoint():
    (saved,) = SameUtterancePositives().state_dict().values()
    assert saved.numel() == 0
