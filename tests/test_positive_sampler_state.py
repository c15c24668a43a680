"""What survives: state_dict, SpeechBrain's Checkpointer, a resume."""

import pytest
import torch
import torch.nn.functional as F
from speechbrain.utils.checkpoints import Checkpointer

from ssps_plugin import (
    CentroidSampling,
    ClusteringSampling,
    NearestNeighborSampling,
    PositiveSampler,
)

NUM, DIM, BATCH = 40, 6, 8
IDS = [f"utterance{i}" for i in range(NUM)]

strategies = pytest.mark.parametrize(
    "make_strategy",
    [
        lambda: ClusteringSampling(8, 2, rank_decay=0.5),
        lambda: ClusteringSampling(8, 1, whitening=0.5),
        lambda: NearestNeighborSampling(4),
        lambda: NearestNeighborSampling(4, whitening=0.5),
        lambda: NearestNeighborSampling(
            4, whitening=0.5, search="faiss", num_lists=5, num_probes=2
        ),
        lambda: CentroidSampling(8, 1),
    ],
    ids=[
        "clustering",
        "whitened",
        "nearest",
        "nearest whitened",
        "nearest in lists",
        "centroid",
    ],
)


def sampler_of(make_strategy, ids=IDS, **options):
    sampler = PositiveSampler(
        make_strategy(), 25, DIM, DIM, start_epoch=2, **options
    )
    sampler.bind(ids)
    return sampler


def run(sampler, epoch, steps):
    """Some steps of an epoch; each is a function of epoch and step."""
    drawn = []
    sampler.begin_epoch(epoch)
    for number in steps:
        generator = torch.Generator().manual_seed(100 * epoch + number)
        index = torch.randint(NUM, (BATCH,), generator=generator)
        index[: BATCH // 2] = (torch.arange(4) + 4 * number) % NUM
        reference = torch.randn(BATCH, DIM, generator=generator)
        positives = torch.randn(BATCH, DIM, generator=generator)
        drawn.append(sampler(index, F.normalize(reference, dim=1), positives))
    return torch.stack(drawn)


def assert_same_state(sampler, other):
    ours, theirs = sampler.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if torch.is_tensor(value):
            assert torch.equal(theirs[name], value), name
        else:
            assert theirs[name] == value, name


@pytest.fixture
def refuse_clustering(monkeypatch):
    def refuse(sampler):
        def clustered(*args, **kwargs):
            raise AssertionError("clustered again inside an epoch")

        monkeypatch.setattr(sampler.strategy, "prepare", clustered)

    return refuse


@strategies
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_resume_inside_an_epoch_goes_on_as_if_uninterrupted(
    make_strategy, dtype, refuse_clustering, monkeypatch
):
    sampler = sampler_of(make_strategy, reference_dtype=dtype)
    run(sampler, 1, range(10))
    run(sampler, 2, range(10))
    run(sampler, 3, range(4))
    state = {
        name: value.clone() if torch.is_tensor(value) else value
        for name, value in sampler.state_dict().items()
    }
    resumed = sampler_of(make_strategy, reference_dtype=dtype)
    resumed.load_state_dict(state)
    refuse_clustering(resumed)
    expected, drawn = (run(s, 3, range(4, 10)) for s in (sampler, resumed))
    assert torch.equal(drawn, expected)
    assert_same_state(resumed, sampler)
    assert resumed.metrics() == sampler.metrics()
    monkeypatch.undo()
    expected, drawn = (run(s, 4, range(3)) for s in (sampler, resumed))
    assert torch.equal(drawn, expected)
    assert_same_state(resumed, sampler)


@strategies
def test_speechbrains_checkpointer_brings_it_back(make_strategy, tmp_path):
    sampler = sampler_of(make_strategy)
    run(sampler, 1, range(10))
    run(sampler, 2, range(3))
    Checkpointer(tmp_path, {"sampler": sampler}).save_checkpoint()
    recovered = sampler_of(make_strategy)
    Checkpointer(tmp_path, {"sampler": recovered}).recover_if_possible()
    assert_same_state(recovered, sampler)
    assert torch.equal(
        run(recovered, 2, range(3, 6)), run(sampler, 2, range(3, 6))
    )


@strategies
def test_a_weights_only_load_brings_it_back(make_strategy, tmp_path):
    sampler = sampler_of(make_strategy)
    run(sampler, 1, range(10))
    run(sampler, 2, range(2))
    torch.save(sampler.state_dict(), tmp_path / "sampler.ckpt")
    state = torch.load(tmp_path / "sampler.ckpt", weights_only=True)
    recovered = sampler_of(make_strategy)
    recovered.load_state_dict(state)
    assert_same_state(recovered, sampler)


@pytest.mark.parametrize(
    "others",
    [IDS[:-1], [*IDS[:-1], "another"], IDS[::-1]],
    ids=["fewer", "one other", "another order"],
)
def test_a_checkpoint_from_another_manifest_is_refused(others, tmp_path):
    sampler = sampler_of(lambda: ClusteringSampling(8, 1), others)
    sampler.begin_epoch(1)
    reference = F.normalize(torch.ones(2, DIM), dim=1)
    sampler(others[:2], reference, torch.ones(2, DIM))
    Checkpointer(tmp_path, {"sampler": sampler}).save_checkpoint()
    ours = sampler_of(lambda: ClusteringSampling(8, 1))
    recovery = Checkpointer(tmp_path, {"sampler": ours})
    with pytest.raises(RuntimeError, match="another training manifest"):
        recovery.recover_if_possible()
    assert not ours.bank.seen.any()
    assert ours.epoch is None


def assert_refused_whole(name, value, message):
    """A state with one wrong entry is refused, and nothing of it loaded."""
    sampler = sampler_of(lambda: ClusteringSampling(8, 1))
    run(sampler, 1, range(10))
    run(sampler, 2, range(2))
    state = {**sampler.state_dict(), name: value}
    ours = sampler_of(lambda: ClusteringSampling(8, 1))
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(RuntimeError, match=message):
        ours.load_state_dict(state)
    after = ours.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert ours.epoch is None
    run(ours, 1, range(10))  # and trains


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_fingerprint", torch.rand(32)),
        ("_fingerprint", torch.ones(3).byte()),
        ("_fingerprint", torch.ones(32).long()),
        ("_fingerprint", "garbage"),
        ("_fingerprint", None),
        ("_epoch", torch.tensor(2.5)),
        ("_epoch", torch.tensor([2])),
        ("_epoch", torch.tensor(-1)),
        ("_epoch", torch.tensor(2**40)),
        ("_epoch", 2),
        ("_counts", torch.tensor([-1, 0, 0])),
        ("_counts", torch.zeros(2).long()),
        ("queue.cursor", torch.tensor(25)),
        ("queue._utterance_of_slot", torch.full((26,), NUM)),
        ("queue._slot_of_utterance", torch.full((NUM + 1,), 25).int()),
        ("queue._rows", torch.zeros(1, 31, DIM)),
        ("bank._table", torch.zeros(NUM + 1, DIM + 1)),
        ("bank._seen", torch.zeros(NUM + 1)),
        ("strategy.clusters", torch.full((NUM,), 8)),
        ("strategy.clusters", torch.zeros(NUM - 1).long()),
        ("strategy.neighbors", torch.full((8, 1), -1)),
        ("strategy.centroids", torch.zeros(9, DIM)),
    ],
)
def test_a_damaged_state_is_named_and_nothing_of_it_is_loaded(name, value):
    assert_refused_whole(
        name, value, f"Expected {name} .* saved state of a Pos"
    )


def test_a_state_of_other_sizes_names_the_setting_to_change_back():
    saved = sampler_of(lambda: ClusteringSampling(8, 1))
    run(saved, 1, range(10))
    larger = PositiveSampler(ClusteringSampling(8, 1), 30, DIM, DIM, 2)
    larger.bind(IDS)
    with pytest.raises(RuntimeError, match=r"change queue_size, .* back"):
        larger.load_state_dict(saved.state_dict())
    finer = sampler_of(lambda: ClusteringSampling(9, 1))
    with pytest.raises(
        RuntimeError, match=r"change the strategy .*num_cluster"
    ):
        finer.load_state_dict(saved.state_dict())
    assert not finer.bank.seen.any()


def test_a_state_that_lacks_a_part_is_refused_whole():
    saved = sampler_of(lambda: NearestNeighborSampling(1))
    run(saved, 1, range(10))
    ours = sampler_of(lambda: ClusteringSampling(8, 1))
    with pytest.raises(RuntimeError, match=r"without strategy\.centroids, str"):
        ours.load_state_dict(saved.state_dict())
    assert not ours.bank.seen.any()


def test_a_step_from_before_a_load_is_forgotten():
    sampler = sampler_of(lambda: NearestNeighborSampling(1))
    run(sampler, 1, range(10))
    state = {
        name: value.clone() for name, value in sampler.state_dict().items()
    }
    sampler.substitute(IDS[:2], torch.eye(2, DIM), torch.ones(2, DIM))
    sampler.load_state_dict(state)
    sampler.remember()
    after = sampler.state_dict()
    assert all(torch.equal(after[name], state[name]) for name in state)


def test_recovering_before_bind_says_so():
    state = sampler_of(lambda: NearestNeighborSampling(1)).state_dict()
    unbound = PositiveSampler(NearestNeighborSampling(1), 25, DIM, DIM, 2)
    with pytest.raises(RuntimeError, match="never bound"):
        unbound.load_state_dict(state)


def test_a_checkpoint_before_the_start_resumes_before_the_start():
    make_strategy = lambda: ClusteringSampling(8, 1)  # noqa: E731
    sampler = PositiveSampler(make_strategy(), 25, DIM, DIM, start_epoch=9)
    sampler.bind(IDS)
    sampler.begin_epoch(3)
    resumed = PositiveSampler(make_strategy(), 25, DIM, DIM, start_epoch=9)
    resumed.bind(IDS)
    resumed.load_state_dict(sampler.state_dict())
    assert resumed.epoch == 3
    assert resumed.metrics() == {}
    with pytest.raises(RuntimeError, match="backwards|go forward"):
        resumed.begin_epoch(2)
