"""The sampler against its definition in plain Python, whatever happens to it.

Batches of any size, order and repetition, rows of NaN, steps that are
discarded, epochs, and resumes through a state_dict between any two of them.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ssps_plugin import (
    ClusteringSampling,
    ConsensusSampling,
    NearestNeighborSampling,
    PositiveSampler,
    SharedNeighborSampling,
)

NUM, DIM, NUM_CLUSTERS = 9, 3, 3
CLOSE = 1e-5  # cosines in float32 against float64
SETTINGS = settings(
    max_examples=40, deadline=None, derandomize=True, database=None
)


def clustering(num_neighbors, **options):
    """Two iterations: what is held here needs no good clusters."""
    return ClusteringSampling(
        NUM_CLUSTERS, num_neighbors, num_iterations=2, **options
    )


def consensus(num_neighbors, **options):
    return ConsensusSampling(
        NUM_CLUSTERS,
        num_neighbors,
        num_clusterings=3,
        num_iterations=1,
        **options,
    )


STRATEGIES = [
    lambda: NearestNeighborSampling(1),
    lambda: NearestNeighborSampling(3, rank_decay=0.5),
    lambda: clustering(0),
    lambda: clustering(1),
    lambda: clustering(2, rank_decay=0.5),
    lambda: clustering(1, reuse_centroids=True),
    lambda: consensus(0, vote_power=1.0),
    lambda: consensus(1),
    lambda: consensus(2, share_cluster=False),
    lambda: SharedNeighborSampling(2, 0.3, whitening=0.0),
    lambda: SharedNeighborSampling(3, 0.1),
    lambda: SharedNeighborSampling(2, 0.3, joined_epochs=2),
]


@st.composite
def histories(draw):
    """A queue size, and what happens: steps, epochs and resumes."""
    size = draw(st.integers(2, NUM + 2))
    row = st.tuples(
        st.integers(0, NUM - 1), st.sampled_from(["fine", "fine", "nan"])
    )
    step = st.tuples(
        st.sampled_from(["forward", "remember", "discard"]),
        st.lists(row, min_size=1, max_size=size),
    )
    # A filling epoch that sees enough for most of what follows.
    order = draw(st.permutations(range(NUM)))
    filling = [
        ("forward", [(utterance, "fine") for utterance in order[start:][:size]])
        for start in range(0, NUM, size)
    ]
    events = st.one_of(step, step, st.just("epoch"), st.just("resume"))
    return size, [*filling, "epoch", *draw(st.lists(events, max_size=14))]


def sampler_of(make_strategy, size):
    sampler = PositiveSampler(
        make_strategy(), size, DIM, 1, start_epoch=2, num_targets=2
    )
    sampler.bind([str(utterance) for utterance in range(NUM)])
    return sampler


class Memories:
    """References and queue by their definition, in plain Python."""

    def __init__(self, size):
        self.size, self.writes, self.bank = size, [], {}

    def write(self, rows, references, positives):
        last = {utterance: place for place, (utterance, _) in enumerate(rows)}
        for place, (utterance, state) in enumerate(rows):
            if last[utterance] != place:
                continue
            fine = state == "fine"
            self.writes.append((utterance, positives[:, place].tolist(), fine))
            if fine:
                self.bank[utterance] = references[place].double().tolist()

    def queue(self):
        latest = {write[0]: place for place, write in enumerate(self.writes)}
        oldest = len(self.writes) - self.size
        return {
            utterance: self.writes[place][1]
            for utterance, place in latest.items()
            if place >= oldest and self.writes[place][2]
        }


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def may_draw_nearest(sampler, memories, anchor, reference):
    """Utterances that may be drawn; None among them where none need be."""
    count = sampler.strategy.num_neighbors
    if not all(map(math.isfinite, reference)):
        return {-1}
    cosines = {
        other: cosine(reference, memories.bank[other])
        for other in memories.queue()
        if other != anchor
    }
    if not cosines:
        return {-1}
    worst = sorted(cosines.values(), reverse=True)[:count][-1]
    return {other for other in cosines if cosines[other] >= worst - CLOSE}


def may_draw_clustered(sampler, memories, anchor, _):
    strategy, count = sampler.strategy, sampler.strategy.num_neighbors
    clusters = strategy.clusters.tolist()
    own = clusters[anchor]
    if own < 0:
        return {-1}
    centroids = strategy.centroids.double().tolist()
    neighbors = [own]
    if count:
        cosines = {
            cluster: cosine(centroids[own], centroid)
            for cluster, centroid in enumerate(centroids)
            if cluster != own
        }
        worst = sorted(cosines.values(), reverse=True)[:count][-1]
        neighbors = [c for c in cosines if cosines[c] >= worst - CLOSE]
    allowed = set()
    for cluster in neighbors:
        eligible = {
            other
            for other in memories.queue()
            if other != anchor and clusters[other] == cluster
        }
        allowed |= eligible or {-1}
    return allowed


def may_draw_voted(sampler, memories, anchor, _):
    """Those with most votes, or with any."""
    strategy, votes = sampler.strategy, {}
    for other in set(memories.queue()) - {anchor}:
        pairs = [(row[anchor], row[other]) for row in strategy.labels.tolist()]
        near = [
            c in row[a] and a >= 0
            for (a, c), row in zip(
                pairs, strategy.neighbors.tolist(), strict=True
            )
        ]
        leaves_out = strategy.num_neighbors and not strategy.share_cluster
        if not (leaves_out and any(a == c for a, c in pairs)):
            votes[other] = sum(near)
    most = max(votes.values(), default=0)
    if not most:
        return {-1}
    least = most if math.isinf(strategy.vote_power) else 1
    return {other for other, num in votes.items() if num >= least}


def may_draw_shared(sampler, memories, anchor, _):
    """Those whose neighbours are the anchor's, in both epochs."""
    strategy = sampler.strategy
    present, former = (
        [set(row) - {-1} for row in rows.tolist()]
        for rows in (strategy.lists.present, strategy.lists.former)
    )

    def jaccard(one, other):
        return len(one & other) / max(len(one | other), 1)

    allowed = {
        other
        for other in set(memories.queue()) - {anchor}
        if jaccard(present[anchor], former[other])
        + jaccard(former[anchor], present[other])
        >= 2 * strategy.min_overlap
    }
    return allowed or {-1}


def check_lists(sampler, memories):
    """Who was seen has the nearest others on the list, and oneself."""
    strategy = sampler.strategy
    if not isinstance(strategy, SharedNeighborSampling) or strategy.joined:
        return
    index, references = sampler.bank.read_seen()
    rows = strategy.whitening(references).double()
    cosines = F.normalize(rows) @ F.normalize(rows).T
    cosines.fill_diagonal_(-2)
    place = {utterance: at for at, utterance in enumerate(index.tolist())}
    for utterance, found in enumerate(strategy.lists.present.tolist()):
        if utterance not in memories.bank:
            assert set(found) == {-1}
            continue
        assert found[0] == utterance
        of_one = cosines[place[utterance]]
        worst = of_one.topk(strategy.num_neighbors).values[-1]
        near = torch.stack([of_one[place[other]] for other in found[1:]])
        assert len(set(found)) == strategy.num_neighbors + 1
        assert bool((near >= worst - CLOSE).all())


def check_clusters(sampler, memories):
    """What was seen is in the cluster of its nearest centroid."""
    if not isinstance(sampler.strategy, ClusteringSampling):
        return
    centroids = sampler.strategy.centroids.double().tolist()
    for utterance, cluster in enumerate(sampler.clusters().tolist()):
        if utterance not in memories.bank:
            assert cluster == -1
            continue
        reference = memories.bank[utterance]
        cosines = [cosine(reference, centroid) for centroid in centroids]
        assert cosines[cluster] >= max(cosines) - CLOSE


def inputs_of(rows, number):
    """References and positives of a step, with NaN where the rows say so."""
    generator = torch.Generator().manual_seed(number)
    references = torch.randn(len(rows), DIM, generator=generator)
    references = F.normalize(references, dim=1)
    positives = torch.randn(2, len(rows), 1, generator=generator)
    for place, (_, state) in enumerate(rows):
        if state == "nan":
            damaged = (references, positives[number % 2])[place % 2]
            damaged[place] = math.nan
    return references, positives


def take_step(sampler, how, rows, references, positives):
    ids = [str(utterance) for utterance, _ in rows]
    if how == "forward":
        return sampler(ids, references, positives)
    substituted = sampler.substitute(ids, references, positives)
    if how == "remember":
        sampler.remember()
    return substituted


def check_draws(sampler, memories, rows, references, positives, substituted):
    """Every draw is one of those allowed, and its positives are given out."""
    find_allowed = (
        may_draw_clustered if sampler.has_clusters else may_draw_nearest
    )
    if isinstance(sampler.strategy, ConsensusSampling):
        find_allowed = may_draw_voted
    if isinstance(sampler.strategy, SharedNeighborSampling):
        find_allowed = may_draw_shared
    queue = memories.queue()
    anchors, drawn = (column.tolist() for column in sampler.last_draw)
    assert anchors == [utterance for utterance, _ in rows]
    for place, (anchor, other) in enumerate(zip(anchors, drawn, strict=True)):
        allowed = find_allowed(
            sampler, memories, anchor, references[place].double().tolist()
        )
        assert other in allowed
        assert other != anchor
        own = positives[:, place]
        expected = torch.tensor(queue[other]) if other >= 0 else own
        assert torch.equal(
            substituted[:, place].nan_to_num(7.0), expected.nan_to_num(7.0)
        )


def check_memories(sampler, memories):
    queue = {
        utterance: sampler.queue.positives[:, slot].tolist()
        for slot, utterance in enumerate(sampler.queue.utterances.tolist())
        if utterance >= 0
    }
    assert queue == memories.queue()
    index, references = sampler.bank.read_seen()
    assert dict(
        zip(index.tolist(), references.double().tolist(), strict=True)
    ) == (memories.bank)


def resumed(sampler, make_strategy):
    state = {
        name: value.clone() for name, value in sampler.state_dict().items()
    }
    other = sampler_of(make_strategy, sampler.queue.size)
    other.load_state_dict(state)
    return other


@pytest.mark.parametrize("place", range(len(STRATEGIES)))
@SETTINGS
@given(history=histories())
def test_whatever_happens_it_does_what_its_definition_says(place, history):
    make_strategy, (size, events) = STRATEGIES[place], history
    memories = Memories(size)
    sampler = sampler_of(make_strategy, size)
    undisturbed = sampler_of(make_strategy, size)  # which is never resumed
    for one in (sampler, undisturbed):
        one.begin_epoch(1)
    for number, event in enumerate(events):
        if event == "resume":
            sampler = resumed(sampler, make_strategy)
            continue
        if event == "epoch":
            for one in (sampler, undisturbed):
                one.begin_epoch(one.epoch + 1)
            check_clusters(sampler, memories)
            check_lists(sampler, memories)
            continue
        how, rows = event
        references, positives = inputs_of(rows, number)
        drawn = [
            take_step(one, how, rows, references, positives.clone())
            for one in (sampler, undisturbed)
        ]
        assert torch.equal(*(one.nan_to_num(7.0) for one in drawn))
        if sampler.substituting:
            check_draws(
                sampler, memories, rows, references, positives, drawn[0]
            )
        if how == "discard":
            for one in (sampler, undisturbed):
                one.discard()
                one.remember()  # of which nothing is left
                assert one.last_draw is None
        else:
            memories.write(rows, references, positives)
        check_memories(sampler, memories)
    assert sampler.metrics() == undisturbed.metrics()
    ours, theirs = sampler.state_dict(), undisturbed.state_dict()
    for name, value in theirs.items():
        assert torch.equal(ours[name].nan_to_num(7.0), value.nan_to_num(7.0)), (
            name
        )
