"""Every framework with every strategy: steps, state, and what is refused."""

import pathlib

import pytest
import torch
import torch.nn.functional as F
from hyperpyyaml import load_hyperpyyaml

from ssps_plugin import (
    CentroidSampling,
    ClusteringSampling,
    ConsensusSampling,
    NearestNeighborSampling,
    PositiveSampler,
    PositiveSamplingLoss,
    SharedNeighborSampling,
    reference_representation,
)
from ssps_plugin.frameworks import Framework, MoCo, SimCLR
from ssps_plugin.frameworks.momentum import MomentumSchedule
from ssps_plugin.training.checks import check_spaces

HPARAMS = pathlib.Path(__file__).parents[2] / "hparams"
NAMES = sorted(
    path.name.removesuffix("_ssps.yaml") for path in HPARAMS.glob("*_ssps.yaml")
)
SMALL = {
    "crop_seconds": 0.3,
    "global_crop_seconds": 0.4,
    "local_crop_seconds": 0.3,
    "embedding_dim": 8,
    "encoder_channels": [8, 8, 8, 8, 24],
    "attention_channels": 8,
    "num_clusters": 4,
    "queue_size": 12,
    "negatives_size": 8,
    "hidden_dim": 8,
    "projection_dim": 6,
    "num_prototypes": 5,
    "feature_queue_size": 8,
    "feature_queue_start_epoch": 2,
    "bottleneck_dim": 6,
    "num_outputs": 10,
}
STRATEGIES = {
    "clustering": lambda: ClusteringSampling(4, 1),
    "nearest": lambda: NearestNeighborSampling(2, rank_decay=0.5),
    "consensus": lambda: ConsensusSampling(4, 1, num_clusterings=3),
    "shared": lambda: SharedNeighborSampling(5, 0.1),
    "centroid": lambda: CentroidSampling(4, 1),
}
NUM, BATCH, RATE = 12, 4, 16000
IDS = [f"utterance{number}" for number in range(NUM)]


class Training:
    """A few steps, as the Brain takes them."""

    device = "cpu"

    def __init__(self, name, strategy):
        torch.manual_seed(0)
        path = HPARAMS / f"{name}_ssps.yaml"
        text = path.read_text()
        overrides = {
            key: value for key, value in SMALL.items() if f"\n{key}: " in text
        }
        with open(path) as fin:
            self.hparams = load_hyperpyyaml(
                fin, {**overrides, "checkpointer": None}
            )
        layout = self.hparams["sampler"].layout
        sampler = PositiveSampler(
            STRATEGIES[strategy](),
            NUM,
            SMALL["embedding_dim"],
            layout.dim,
            start_epoch=3,
            num_targets=layout.num_targets,
        )
        sampler.bind(IDS)
        modules = {**self.hparams["modules"], "sampler": sampler}
        self.modules = torch.nn.ModuleDict(modules)
        self.optimizer = torch.optim.SGD(self.modules.parameters(), lr=0.1)

    def begin(self, epoch):
        for module in self.modules.values():
            if hasattr(module, "begin_epoch"):
                module.begin_epoch(epoch)

    def step(self, number):
        generator = torch.Generator().manual_seed(number)

        def noise(*shape):
            return torch.randn(shape, generator=generator).to(self.device)

        views = [
            noise(BATCH, group.num_crops, group.lengths(RATE)[0])
            for group in self.hparams["crop_groups"]
        ]
        ids = [IDS[(BATCH * number + place) % NUM] for place in range(BATCH)]
        framework = self.modules["framework"]
        anchors, positives = framework(*views)
        reference = reference_representation(
            framework.embed, noise(BATCH, 4800)
        )
        sampling = PositiveSamplingLoss(
            self.hparams["ssl_loss"], self.modules["sampler"]
        )
        drawn, _ = sampling.substitute(positives, ids, reference)
        targets = framework.targets(drawn)
        operands = {
            key: module
            for key, module in self.modules.items()
            if key not in ("framework", "sampler")
        }
        loss = sampling.loss(anchors, targets, **operands)
        for operand in operands.values():
            operand.update_anchors(anchors.detach())
            operand.update_positives(positives.detach())
            operand.update(targets.detach())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        framework.update(0.5)
        return loss.detach()

    def filled(self):
        """Fill the memories in epochs 1 and 2, begin epoch 3, take a step."""
        for epoch in (1, 2):
            self.begin(epoch)
            for number in range(3):
                self.step(number)
        self.begin(3)
        self.step(3)
        return self


COMBINATIONS = [
    (name, strategy)
    for name in NAMES
    for strategy in STRATEGIES
    if strategy != "centroid" or name in ("simclr", "moco")
]


@pytest.mark.parametrize(("name", "strategy"), COMBINATIONS)
def test_steps_are_taken_and_a_resume_goes_on_identically(name, strategy):
    whole = Training(name, strategy).filled()
    saved = whole.modules.state_dict()
    resumed = Training(name, strategy)
    with torch.no_grad():  # nothing but the checkpoint may decide
        for parameter in resumed.modules.parameters():
            parameter.add_(1.0)
    resumed.modules.load_state_dict(saved)
    resumed.begin(3)
    for number in (4, 5):
        expected = whole.step(number)
        assert torch.isfinite(expected)
        assert resumed.step(number) == expected
        drawn = whole.modules["sampler"].last_draw[1]
        if strategy != "centroid":
            assert (drawn >= 0).any()
            assert torch.equal(resumed.modules["sampler"].last_draw[1], drawn)


@pytest.mark.parametrize("name", NAMES)
def test_every_state_is_tensors_that_survive_a_copy_to_the_cpu(name):
    used = Training(name, "clustering").filled()
    fresh = Training(name, "clustering")
    for entry, module in used.modules.items():
        state = module.state_dict()
        assert state, entry
        for key, value in state.items():
            assert torch.is_tensor(value), f"{entry}: {key}"
        restored = fresh.modules[entry]
        restored.load_state_dict({k: v.clone().cpu() for k, v in state.items()})
        found = restored.state_dict()
        assert found.keys() == state.keys()
        for key, value in state.items():
            torch.testing.assert_close(
                found[key], value, rtol=0, atol=0, equal_nan=True
            )


@pytest.mark.parametrize("name", NAMES)
def test_bf16_autocast_gives_finite_float32_losses(name):
    training = Training(name, "clustering")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        training.filled()
        loss = training.step(4)
    assert torch.isfinite(loss) and loss.dtype == torch.float32
    queue = training.modules["sampler"].queue
    assert queue.positives.dtype == torch.float32
    assert int(queue.num_filled()) == NUM


@pytest.mark.parametrize("name", NAMES)
def test_what_is_verified_is_part_of_the_framework(name):
    framework = Training(name, "nearest").modules["framework"].eval()
    assert isinstance(framework, Framework)
    wavs = torch.randn(2, 8000)
    expected = framework.exported_model(wavs)
    assert torch.equal(framework.embed(wavs), expected)
    assert expected.shape == (2, SMALL["embedding_dim"])
    assert F.normalize(expected, dim=1).isfinite().all()


def test_every_framework_is_tested():
    assert {"simclr", "moco", "swav", "vicreg", "dino", "sdpn"} <= set(NAMES)


@pytest.mark.parametrize("name", ["swav", "vicreg", "dino", "sdpn"])
def test_centroids_of_another_space_are_refused(name):
    with pytest.raises(ValueError, match="CentroidSampling substitutes"):
        Training(name, "centroid")


@pytest.mark.parametrize("has_head", [False, True])
@pytest.mark.parametrize("kind", [SimCLR, MoCo])
def test_a_head_of_equal_dimensions_makes_another_space_all_the_same(
    kind, has_head
):
    head = torch.nn.Linear(8, 8) if has_head else None
    momentum = {"momentum": MomentumSchedule(0.9)} if kind is MoCo else {}
    framework = kind(torch.nn.Identity(), projector=head, **momentum)
    sampler = PositiveSampler(CentroidSampling(4, 1), NUM, 8, 8, start_epoch=2)
    if not has_head:
        check_spaces(framework, sampler)
        return
    with pytest.raises(ValueError, match="there is a head between them"):
        check_spaces(framework, sampler)
