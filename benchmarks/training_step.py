"""What SSPS adds to a training step, and what its memories take.

Reference pass, sampler and clustering in percent of the step without SSPS
(forward, loss, backward, Adam), on one core: SimCLR with the small ECAPA-TDNN
of hparams/minivox.yaml, and with the published one at a batch that a CPU can
bear. Clustering happens once per epoch and is divided by its steps. Then what
a shorter reference, or one in bf16, costs of the small setting's SSPS step.

    python benchmarks/training_step.py
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from one_core import cpu_seconds, median_cpu_seconds, use_one_core
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.processing.features import InputNormalization

from ssps_plugin import (
    ClusteringSampling,
    NTXentLoss,
    PositiveSampler,
    reference_representation,
)
from ssps_plugin.frameworks import EmbeddingModel, SimCLR
from ssps_plugin.frameworks.features import Fbank
from ssps_plugin.training.runtime import keep_freed_memory

RATE = 16000
VOXCELEB2_UTTERANCES = 1_092_009


class Setting(NamedTuple):
    """One row of the table."""

    name: str
    channels: list[int]
    attention_channels: int
    dim: int
    crop_seconds: float
    reference_seconds: float
    batch: int
    num_utterances: int
    num_clusters: int
    queue_size: int


SETTINGS = [
    Setting(
        "small (MiniVox)",
        [32, 32, 32, 32, 96],
        32,
        128,
        1.5,
        3.0,
        64,
        3600,
        600,
        3600,
    ),
    Setting(
        "published, batch 16",
        [1024, 1024, 1024, 1024, 3072],
        128,
        512,
        2.0,
        4.0,
        16,
        20_000,
        500,
        20_000,
    ),
]


def build(setting: Setting) -> SimCLR:
    """Return the framework of a setting."""
    model = EmbeddingModel(
        Fbank(n_fft=512, n_mels=40),
        InputNormalization(norm_type="sentence"),
        ECAPA_TDNN(
            40,
            lin_neurons=setting.dim,
            channels=setting.channels,
            attention_channels=setting.attention_channels,
        ),
    )
    return SimCLR(model)


def measure(setting: Setting, repeats: int) -> str:
    """Return one row of the table."""
    framework, loss = build(setting), NTXentLoss()
    optimizer = torch.optim.Adam(framework.parameters())
    views = torch.randn(setting.batch, 2, int(setting.crop_seconds * RATE))
    clean = torch.randn(setting.batch, int(setting.reference_seconds * RATE))
    sampler = PositiveSampler(
        ClusteringSampling(setting.num_clusters, 1),
        setting.queue_size,
        setting.dim,
        setting.dim,
        start_epoch=2,
    )
    sampler.bind([str(number) for number in range(setting.num_utterances)])
    sampler.begin_epoch(1)
    every = torch.randperm(setting.num_utterances)
    for index in every.split(512):
        vectors = F.normalize(torch.randn(len(index), setting.dim), dim=1)
        sampler(index, vectors, vectors)
    cold, _ = cpu_seconds(lambda: sampler.begin_epoch(2))
    warm, _ = cpu_seconds(lambda: sampler.begin_epoch(3))

    def step() -> None:
        anchors, positives = framework(views)
        loss(anchors, positives).backward()
        optimizer.step()
        optimizer.zero_grad()

    index = every[: setting.batch]
    reference = F.normalize(torch.randn(setting.batch, setting.dim), dim=1)
    plain, embed, sample = median_cpu_seconds(
        [
            step,
            lambda: reference_representation(framework.embed, clean),
            lambda: sampler(index, reference, reference),
        ],
        repeats,
    )
    steps_per_epoch = setting.num_utterances // setting.batch
    shares = [
        embed,
        sample,
        cold / steps_per_epoch,
        warm / steps_per_epoch,
    ]
    cells = " | ".join(f"{100 * share / plain:.2f} %" for share in shares)
    return f"| {setting.name} | {1000 * plain:.0f} ms | {cells} |"


def reference_passes(setting: Setting, repeats: int) -> list[str]:
    """Return rows of shorter references, and of one in bf16."""
    framework, loss = build(setting), NTXentLoss()
    optimizer = torch.optim.Adam(framework.parameters())
    views = torch.randn(setting.batch, 2, int(setting.crop_seconds * RATE))

    def step() -> None:
        anchors, positives = framework(views)
        loss(anchors, positives).backward()
        optimizer.step()
        optimizer.zero_grad()

    whole = setting.reference_seconds
    passes = [(whole * part, None) for part in (1, 2 / 3, 1 / 2, 1 / 3)]
    passes += [(whole, "bf16")]
    crops = [
        torch.randn(setting.batch, int(seconds * RATE)) for seconds, _ in passes
    ]
    plain, *costs = median_cpu_seconds(
        [step]
        + [
            lambda crop=crop, precision=precision: reference_representation(
                framework.embed, crop, precision=precision
            )
            for crop, (_, precision) in zip(crops, passes, strict=True)
        ],
        repeats,
    )
    total = plain + costs[0]
    return [
        f"| {seconds:.1f} s, {precision or 'fp32'} "
        f"| {100 * cost / total:.1f} % "
        f"| {100 * (costs[0] - cost) / total:.1f} % |"
        for (seconds, precision), cost in zip(passes, costs, strict=True)
    ]


def memories(dtype: str) -> tuple[int, int]:
    """Bytes of reference memory and queue for VoxCeleb2, not made."""
    with torch.device("meta"):
        sampler = PositiveSampler(
            ClusteringSampling(25_000, 1),
            queue_size=25_000,
            reference_dim=512,
            positive_dim=512,
            start_epoch=2,
            reference_dtype=dtype,
        )
        sampler.bank.allocate(VOXCELEB2_UTTERANCES)
        sampler.queue.allocate(VOXCELEB2_UTTERANCES)
    bank, queue = (
        sum(buffer.numel() * buffer.element_size() for buffer in part.buffers())
        for part in (sampler.bank, sampler.queue)
    )
    return bank, queue


def main() -> None:
    """Print both tables."""
    use_one_core()
    keep_freed_memory()
    torch.manual_seed(0)
    print(
        "| setting | step without SSPS | reference pass | sampler "
        "| clustering, first | clustering, later |"
    )
    for setting, repeats in zip(SETTINGS, (15, 3), strict=True):
        print(measure(setting, repeats), flush=True)
    print("| reference | of a step with SSPS | saved |")
    print("\n".join(reference_passes(SETTINGS[0], 15)), flush=True)
    for dtype in ("float32", "float16"):
        bank, queue = memories(dtype)
        print(
            f"{dtype}: reference memory {bank:,} bytes, queue {queue:,} bytes"
        )


if __name__ == "__main__":
    main()
