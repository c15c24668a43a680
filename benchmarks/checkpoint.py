"""Time what training waits for while a checkpoint is saved.

With memories of VoxCeleb2's size (1 092 009 references of 512 dimensions, a
queue of 25 000), by SpeechBrain's Checkpointer and by ours, in turn.

    python benchmarks/checkpoint.py FOLDER    # on the disk to be measured
    python benchmarks/checkpoint.py FOLDER --small
"""

import argparse
import pathlib
import shutil
import statistics
import time
from collections.abc import Callable

import torch
from speechbrain.utils.checkpoints import Checkpointer

from ssps_plugin import ClusteringSampling, PositiveSampler
from ssps_plugin.training import AtomicCheckpointer
from ssps_plugin.training.runtime import keep_freed_memory

NUM_REPEATS = 5


def make_sampler(num_utterances: int, dtype: str) -> PositiveSampler:
    """Return a sampler whose memories are full."""
    sampler = PositiveSampler(
        ClusteringSampling(min(25_000, num_utterances // 4), 1),
        queue_size=min(25_000, num_utterances),
        reference_dim=512,
        positive_dim=512,
        start_epoch=2,
        reference_dtype=dtype,
    )
    sampler.bind(list(map(str, range(num_utterances))))
    for part in torch.arange(num_utterances).split(65_536):
        sampler.bank.write(part, torch.randn(len(part), 512))
    return sampler


def seconds_of(call: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Print a row for each precision of the references."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    keep_freed_memory()
    num_utterances = 100_000 if arguments.small else 1_092_009
    print("references  GB    SpeechBrain s  ours: stall s  until on disk s")
    for dtype in ("float32", "float16"):
        sampler = make_sampler(num_utterances, dtype)
        size = sum(v.nbytes for v in sampler.state_dict().values()) / 1e9
        folders = [arguments.folder / name for name in ("theirs", "ours")]
        theirs = Checkpointer(folders[0], {"sampler": sampler})
        ours = AtomicCheckpointer(folders[1], {"sampler": sampler})
        found: list[tuple[float, float, float]] = []
        for _ in range(NUM_REPEATS):
            plain = seconds_of(theirs.save_and_keep_only)
            stall = seconds_of(ours.save_and_keep_only)
            found.append((plain, stall, stall + seconds_of(ours.wait)))
        plain, stall, whole = map(statistics.median, zip(*found, strict=True))
        print(
            f"{dtype:<11} {size:<5.2f} {plain:<14.2f} {stall:<14.2f} "
            f"{whole:.2f}",
            flush=True,
        )
        for folder in folders:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
