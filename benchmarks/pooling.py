"""Time attentive pooling and its encoder, SpeechBrain's and ours, on one core.

    python benchmarks/pooling.py [--repeats 9]

One ECAPA-TDNN with SpeechBrain's attentive pooling and a copy with ours
(`split_attentive_pooling`), on the same made-up features: the pooling alone,
the encoder forward without gradients (the reference pass, verification), and
forward and backward (a step's encoder). Thin: 128 rows of 1.5 s through the
encoder of hparams/minivox.yaml; its channels doubled; published: 16 rows of
2 s through that of hparams/simclr.yaml. Both take turns in one process, and
their embeddings are compared. Processor time, medians: read the ratios.
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial

import torch
from one_core import median_cpu_seconds, use_one_core
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from torch import Tensor, nn

from ssps_plugin.frameworks.attentive_pooling import split_attentive_pooling

NUM_MELS = 40
# Channels, attention's, embedding's, rows and frames.
SIZES = {
    "thin (MiniVox)": (32, 32, 128, 128, 151),
    "twice as wide": (64, 64, 128, 128, 151),
    "published": (1024, 128, 512, 16, 201),
}


def pool(encoder: nn.Module, frames: Tensor) -> Tensor:
    """Forward and backward through the pooling alone."""
    frames = frames.detach().requires_grad_()
    pooled: Tensor = encoder.asp(frames)
    pooled.square().sum().backward()
    return pooled


def forward(encoder: nn.Module, features: Tensor) -> Tensor:
    """Embed without gradients."""
    with torch.no_grad():
        embedding: Tensor = encoder(features)
    return embedding


def train(encoder: nn.Module, features: Tensor) -> Tensor:
    """Forward and backward."""
    embedding: Tensor = encoder(features)
    embedding.square().sum().backward()
    return embedding


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    use_one_core()
    print("| encoder | part | before, ms | after, ms | ratio | difference |")
    print("| --- " * 6 + "|")
    for name, (width, attention, dim, rows, frames) in SIZES.items():
        torch.manual_seed(1986)
        before = ECAPA_TDNN(
            NUM_MELS,
            lin_neurons=dim,
            channels=[width] * 4 + [3 * width],
            attention_channels=attention,
        )
        after = copy.deepcopy(before)
        split_attentive_pooling(after)
        features = torch.randn(rows, frames, NUM_MELS)
        inside = torch.randn(rows, 3 * width, frames)
        parts: list[tuple[str, Callable[..., Tensor], Tensor]] = [
            ("pooling, forward and backward", pool, inside),
            ("encoder, forward", forward, features),
            ("encoder, forward and backward", train, features),
        ]
        for part, work, given in parts:
            if work is forward:
                before.eval()
                after.eval()
            else:
                before.train()
                after.train()
            difference = work(before, given) - work(after, given)
            calls = [partial(work, one, given) for one in (before, after)]
            seconds = median_cpu_seconds(calls, options.repeats)
            print(
                f"| {name} | {part} | {1e3 * seconds[0]:.1f} | "
                f"{1e3 * seconds[1]:.1f} | {seconds[1] / seconds[0]:.2f} | "
                f"{float(difference.detach().abs().max()):.0e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
