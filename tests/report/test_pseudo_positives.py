"""Draws come from the memories by the sampler's strategy, which stay as is."""

import hashlib
import random

import numpy as np
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
from ssps_plugin.dataio.dataset import Table, TextColumn
from ssps_plugin.report.collect import Collected
from ssps_plugin.report.labels import Labels
from ssps_plugin.report.pseudo_positives import Memories, NotAvailableError
from ssps_plugin.report.run import Run
from ssps_plugin.report.sampling_charts import audit_section
from ssps_plugin.training.checkpoints import AtomicCheckpointer
from tests.report.conftest import write_run

NUM, DIM = 24, 4
IDS = [f"u{i}" for i in range(NUM)]
STRATEGIES = {
    "ClusteringSampling": (
        ClusteringSampling,
        {"num_clusters": 6, "num_neighbors": 1},
    ),
    "NearestNeighborSampling": (
        NearestNeighborSampling,
        {"num_neighbors": 3},
    ),
    "ConsensusSampling": (
        ConsensusSampling,
        {"num_clusters": 6, "num_neighbors": 1, "num_clusterings": 3},
    ),
    "SharedNeighborSampling": (
        SharedNeighborSampling,
        {"num_neighbors": 6, "min_overlap": 0.1},
    ),
    "CentroidSampling": (
        CentroidSampling,
        {"num_clusters": 6, "num_neighbors": 1},
    ),
}
SAMPLER = """
sampler: !new:ssps_plugin.PositiveSampler
    strategy: !new:ssps_plugin.{name}
{options}
    queue_size: 24
    reference_dim: 4
    positive_dim: 4
    start_epoch: 3
    seed: 5
    pseudo_positives: {way}
"""


def write_memories(folder, name, last_epoch=3, way="queue"):
    """Train a sampler on random references; return it, and the run."""
    make, options = STRATEGIES[name]
    sampler = PositiveSampler(
        make(**options), 24, DIM, DIM, 3, seed=5, pseudo_positives=way
    )
    sampler.bind(IDS)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(NUM, DIM, generator=generator)
    drawn = None
    for epoch in range(1, last_epoch + 1):
        sampler.begin_epoch(epoch)
        noise = torch.randn(NUM, DIM, generator=generator)
        reference = torch.nn.functional.normalize(start + noise / 9, dim=1)
        sampler(IDS, reference, torch.zeros(NUM, DIM))
        drawn = sampler.last_draw
    lines = "\n".join(f"        {k}: {v}" for k, v in options.items())
    run = write_run(
        folder, settings=SAMPLER.format(name=name, options=lines, way=way)
    )
    checkpointer = AtomicCheckpointer(run / "save", {"sampler": sampler})
    checkpointer.save_checkpoint()
    checkpointer.wait()
    return Run(run), drawn


def table():
    return Table(TextColumn(IDS), {"wav": TextColumn(IDS)})


def draws_by_anchor(draws):
    return dict(zip(draws.anchors.tolist(), draws.drawn.tolist(), strict=True))


@pytest.mark.parametrize(
    "name", ["ClusteringSampling", "NearestNeighborSampling"]
)
def test_draws_are_those_that_training_makes_next(tmp_path, name):
    run, _ = write_memories(tmp_path / "run", name)
    memories = Memories(run, table())
    found = draws_by_anchor(memories.draw(None))
    # What a step of the same epoch draws with these memories.
    sampler = memories.sampler.train()
    index, references = memories.references()
    sampler.substitute(torch.from_numpy(index), references, references)
    anchors, drawn = sampler.last_draw
    expected = {
        int(a): int(d) for a, d in zip(anchors, drawn, strict=True) if d >= 0
    }
    assert found == expected and len(found) > NUM / 2


@pytest.mark.parametrize(
    "name", ["ClusteringSampling", "SharedNeighborSampling"]
)
def test_draws_of_a_run_that_reads_are_its_partners(tmp_path, name):
    run, _ = write_memories(tmp_path / "run", name, way="read")
    memories = Memories(run, table())
    partners = memories.sampler.partners.tolist()
    expected = {a: d for a, d in enumerate(partners) if d >= 0}
    assert draws_by_anchor(memories.draw(None)) == expected
    assert expected


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("queue", "the queue has moved on"),
        ("read", "view was cut from the partner's file"),
    ],
)
def test_the_audit_says_how_what_was_drawn_is_used(tmp_path, way, said):
    run, _ = write_memories(tmp_path / "run", "ClusteringSampling", way=way)
    memories = Memories(run, table())
    one = Collected(run, draws=memories.draw(None), memories=memories)
    text = audit_section(one, pairs=[]).text
    assert said in text
    assert text.startswith("Drawn anew") == (way == "queue")


def test_an_utterance_never_draws_itself(tmp_path):
    run, _ = write_memories(tmp_path / "run", "NearestNeighborSampling")
    draws = Memories(run, table()).draw(None)
    assert (draws.anchors != draws.drawn).all()
    assert draws.same_speaker is None and draws.same_recording is None


def test_pairs_are_compared_by_labels_and_cosine(tmp_path):
    run, _ = write_memories(tmp_path / "run", "NearestNeighborSampling")
    memories = Memories(run, table())
    speakers = [f"s{i % 3}" for i in range(NUM)]
    recordings = [f"s{i % 3}/{i % 6}" for i in range(NUM)]
    draws = memories.draw(Labels(speakers, recordings))
    _, references = memories.references()
    for row, (a, d) in enumerate(zip(draws.anchors, draws.drawn, strict=True)):
        assert draws.same_speaker[row] == (a % 3 == d % 3)
        assert draws.same_recording[row] == (a % 6 == d % 6)
        cosine = float(references[a] @ references[d])
        assert draws.cosines[row] == pytest.approx(cosine, abs=1e-6)


def test_nearest_member_is_shown_for_a_centroid(tmp_path):
    run, _ = write_memories(tmp_path / "run", "CentroidSampling")
    memories = Memories(run, table())
    assert memories.draws_centroids
    draws = memories.draw(None)
    strategy = memories.sampler.strategy
    _, references = memories.references()
    for anchor, drawn in draws_by_anchor(draws).items():
        cluster = int(strategy.clusters[drawn])
        assert cluster == strategy.neighbors[strategy.clusters[anchor], 0]
        members = (strategy.clusters == cluster).nonzero().flatten()
        cosines = references[members] @ strategy.centroids[cluster]
        assert drawn == int(members[cosines.argmax()])


def test_clusters_are_counted(tmp_path):
    run, _ = write_memories(tmp_path / "run", "ClusteringSampling")
    sizes = Memories(run, table()).cluster_sizes()
    assert len(sizes) == 6 and sizes.sum() == NUM


def test_nothing_of_the_run_or_the_process_changes(tmp_path):
    run, _ = write_memories(tmp_path / "run", "ClusteringSampling")
    before = files_of(run.folder)
    python_state = random.getstate()
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    Memories(run, table()).draw(None)
    assert files_of(run.folder) == before
    assert random.getstate() == python_state
    assert np.random.get_state()[1].tolist() == numpy_state  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def files_of(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_reasons_say_what_is_missing(tmp_path):
    nearest, _ = write_memories(tmp_path / "nn", "NearestNeighborSampling")
    with pytest.raises(NotAvailableError, match="without clusters"):
        Memories(nearest, table()).cluster_sizes()
    early, _ = write_memories(tmp_path / "early", "ClusteringSampling", 2)
    memories = Memories(early, table())
    for ask in (memories.cluster_sizes, lambda: memories.draw(None)):
        with pytest.raises(NotAvailableError, match="starts in epoch 3"):
            ask()
    other = Table(TextColumn(["x"] * 1), {"wav": TextColumn(["x"])})
    with pytest.raises((NotAvailableError, ValueError)):
        Memories(nearest, other)


def test_run_without_checkpoint_or_without_ssps_says_so(tmp_path):
    run, _ = write_memories(tmp_path / "run", "ClusteringSampling")
    for path in (run.folder / "save").iterdir():
        path.rename(tmp_path / path.name)
    with pytest.raises(NotAvailableError, match="no checkpoint"):
        Memories(run, table())
    plain = write_run(tmp_path / "plain", [], start_epoch=None)
    with pytest.raises(NotAvailableError, match="without SSPS"):
        Memories(Run(plain), table())
