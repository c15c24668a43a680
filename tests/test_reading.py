"""PositiveSampler with partners that are read, and nothing substituted."""

import copy
import pickle

import pytest
import torch

from ssps_plugin import (
    CentroidSampling,
    ClusteringSampling,
    ConsensusSampling,
    NearestNeighborSampling,
    PositiveSampler,
    SharedNeighborSampling,
)
from ssps_plugin.sampling import SamplingStrategy
from tests.test_positive_sampler import (
    DIM,
    IDS,
    NUM,
    filled,
    nearest_other,
    numbered,
    references,
    sampler_of,
)

STRATEGIES = [
    lambda: NearestNeighborSampling(2),
    lambda: NearestNeighborSampling(2, whitening=1.0, rank_decay=0.5),
    lambda: NearestNeighborSampling(
        2, search="faiss", num_lists=3, num_probes=3
    ),
    lambda: ClusteringSampling(3, 1),
    lambda: ClusteringSampling(3, 0),
    lambda: ConsensusSampling(3, 1, num_clusterings=3),
    lambda: ConsensusSampling(3, 1, num_clusterings=3, vote_power=1.0),
    lambda: SharedNeighborSampling(4, 0.1),
    lambda: SharedNeighborSampling(4, 0.1, joined_epochs=2),
]


def reading(strategy=None, **options):
    return sampler_of(strategy, pseudo_positives="read", **options)


def test_the_partner_is_the_nearest_other_utterance():
    sampler = filled(reading(NearestNeighborSampling(1)))
    assert torch.equal(sampler.partners, nearest_other())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_partners_are_what_a_queue_of_every_utterance_gives(strategy):
    queued = filled(sampler_of(strategy(), queue_size=NUM))
    drawn = queued(IDS, references(), numbered()[0])[:, 0].long()
    own = torch.arange(NUM)
    partners = filled(reading(strategy())).partners
    assert torch.equal(torch.where(partners >= 0, partners, own), drawn)
    assert not bool((partners == own).any())


def test_utterances_that_were_not_seen_have_no_partner_and_are_none():
    sampler = reading(NearestNeighborSampling(NUM))
    sampler.begin_epoch(1)
    sampler(IDS[:4], references()[:4], numbered()[0, :4])
    for epoch in range(2, 20):
        sampler.begin_epoch(epoch)
        assert bool((sampler.partners[4:] == -1).all())
        assert set(sampler.partners[:4].tolist()) <= {0, 1, 2, 3}


def test_nobody_has_a_partner_before_the_start_and_all_get_new_ones_after():
    sampler = reading(NearestNeighborSampling(5), start_epoch=3)
    table = sampler.partners
    for epoch in (1, 2):
        sampler.begin_epoch(epoch)
        sampler(IDS, references(), numbered()[0])
        assert bool((table == -1).all())
    drawn = []
    for epoch in (3, 4):
        sampler.begin_epoch(epoch)
        drawn.append(table.tolist())
    assert drawn[0] != drawn[1]
    assert sampler.partners is table  # workers hold it


def test_positives_pass_through_with_their_gradient_and_are_counted():
    sampler = filled(reading(NearestNeighborSampling(1)))
    positives = numbered()[0].requires_grad_()
    assert sampler(IDS, references(), positives) is positives
    assert sampler.metrics()["coverage"] == 1.0
    anchors, drawn = sampler.last_draw
    assert torch.equal(drawn, sampler.partners[anchors])
    assert "queue_fill" not in sampler.metrics()


def test_references_are_remembered_and_nothing_is_queued():
    sampler = filled(reading(NearestNeighborSampling(1)), numbered()[0])
    sampler(IDS, references(seed=1), numbered()[0])
    assert torch.equal(sampler.bank.references, references(seed=1))
    assert int(sampler.queue.num_filled()) == 0


def test_a_batch_may_be_larger_than_the_queue_would_be():
    sampler = reading(NearestNeighborSampling(1), queue_size=1)
    assert torch.equal(filled(sampler).partners, nearest_other())


def test_a_resume_inside_an_epoch_reads_the_same_partners():
    sampler = filled(reading(ClusteringSampling(3, 1)))
    sampler(IDS[:5], references(seed=1)[:5], numbered()[0, :5])
    state = copy.deepcopy(sampler.state_dict())
    resumed = reading(ClusteringSampling(3, 1))
    table = resumed.partners
    resumed.load_state_dict(state)
    resumed.begin_epoch(2)
    assert torch.equal(table, sampler.partners)
    for one in (sampler, resumed):
        one(IDS[5:], references(seed=1)[5:], numbered()[0, 5:])
        one.begin_epoch(3)
    assert torch.equal(table, sampler.partners)


def test_a_state_of_the_queue_is_not_loaded_for_reading():
    sampler = reading(ClusteringSampling(3, 1))
    with pytest.raises(RuntimeError, match="resume"):
        sampler.load_state_dict(
            sampler_of(ClusteringSampling(3, 1)).state_dict()
        )


def test_a_partner_out_of_range_is_refused():
    sampler = filled(reading(ClusteringSampling(3, 1)))
    state = copy.deepcopy(sampler.state_dict())
    state["partner_table.partners"][0] = NUM
    with pytest.raises(RuntimeError, match="partner"):
        reading(ClusteringSampling(3, 1)).load_state_dict(state)


def test_centroids_and_unknown_ways_are_refused():
    with pytest.raises(ValueError, match="CentroidSampling, which selects no"):
        reading(CentroidSampling(3, 1), positive_dim=DIM)
    with pytest.raises(ValueError, match="queue or read, got 'file'"):
        sampler_of(pseudo_positives="file")


def test_partners_are_refused_of_a_queue_and_before_bind():
    with pytest.raises(RuntimeError, match="pseudo_positives read for"):
        _ = sampler_of().partners
    unbound = PositiveSampler(
        NearestNeighborSampling(1), 4, DIM, 1, 2, pseudo_positives="read"
    )
    with pytest.raises(RuntimeError, match="never bound"):
        _ = unbound.partners


class Own(NearestNeighborSampling):
    """Returns what it is made with."""

    def __init__(self, partners):
        super().__init__(1)
        self.found = partners

    def select_partners(self, anchors, bank):
        return self.found(anchors.index)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda index: index + NUM, f"to {NUM - 1}, got torch.int64 .*Own"),
        (lambda index: index - 2, "from -2"),
        (lambda index: index[:-1], r"got torch.int64 of shape"),
        (lambda index: index.float(), "got torch.float32"),
        (lambda index: index.tolist(), r"got \[0, 1"),
        (lambda index: None, "got None"),
    ],
)
def test_partners_of_a_strategy_of_ones_own_are_checked(found, message):
    with pytest.raises(ValueError, match=message):
        filled(reading(Own(found))).begin_epoch(2)


def test_the_own_utterance_is_no_partner_and_int32_will_do():
    sampler = filled(reading(Own(lambda index: (index // 2 * 2).int())))
    sampler.begin_epoch(2)
    expected = [-1 if u % 2 == 0 else u - 1 for u in range(NUM)]
    assert sampler.partners.tolist() == expected


def test_a_strategy_that_only_names_the_method_does_not_select():
    class Mine(SamplingStrategy):
        def __init__(self):
            super().__init__(0.0, 0.0)

    with pytest.raises(ValueError, match="give it a method select_partners"):
        reading(Mine())
    with pytest.raises(ValueError, match="no method select: give it one"):
        sampler_of(Mine())


def test_a_copy_of_a_sampler_has_a_table_of_its_own_that_workers_share():
    sampler = filled(reading(NearestNeighborSampling(1)))
    for one in (copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        assert one.partners.is_shared()
        assert torch.equal(one.partners, sampler.partners)
        one.partners.fill_(-1)
        assert bool((sampler.partners >= 0).any())


def test_what_is_copied_with_a_sampler_holds_the_copys_partners():
    sampler = filled(reading(NearestNeighborSampling(1)))
    for one, held in (
        copy.deepcopy((sampler, sampler.partners)),
        copy.deepcopy([sampler.partners, sampler])[::-1],
    ):
        one.begin_epoch(3)
        assert held is one.partners and bool((held >= 0).any())
