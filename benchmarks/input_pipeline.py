"""The input pipeline alone: utterances a second of one process.

SimCLR-SSPS's views of VoxCeleb2-like utterances (two crops of 2 s, a clean
reference of 4 s, from 8 s of 16 kHz), DINO's (two of 4 s, four of 2 s), from
noise in a temporary folder: WAV and FLAC, noise files of a minute, room
impulse responses of a second. Processor time of one process, the median over
batches, in turn; pages are in memory. Then what `augment_on: device` leaves to
the device, on this CPU or on a GPU (`cuda`). The last part is a DataLoader by
the clock, which wants an otherwise idle machine.

    python benchmarks/input_pipeline.py [SECONDS_PER_STEP] [DEVICE]

With the seconds that a GPU takes for a step of 256 utterances, it says how
many workers keep it busy.
"""

import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import soundfile
import torch
from one_core import median_cpu_seconds, use_one_core
from speechbrain.dataio.batch import PaddedBatch
from torch.utils.data import DataLoader

from ssps_plugin.dataio import (
    Augmentation,
    BatchAugmentation,
    CropGroup,
    SharedEpoch,
    ViewSampler,
)
from ssps_plugin.dataio.loading import collate_views

RATE = 16000
NUM_UTTERANCES, SECONDS = 256, 8.0
BATCH, REPEATS = 32, 15
GLOBAL_BATCH = 256
DEVICE_BATCHES, DEVICE_REPEATS = (64, 256), 3
VIEWS = {
    "SimCLR": (CropGroup("views", 2.0, 2),),
    "SimCLR-SSPS": (
        CropGroup("views", 2.0, 2),
        CropGroup("reference", 4.0, augmented=False),
    ),
    "DINO-SSPS": (
        CropGroup("global_views", 4.0, 2),
        CropGroup("local_views", 2.0, 4),
        CropGroup("reference", 4.0, augmented=False),
    ),
}


def write_noise(path: pathlib.Path, seconds: float, fades: float = 0.0) -> None:
    """Write noise, fading by e every `fades` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)))
    samples = rng.normal(0, 0.1, int(seconds * RATE))
    if fades:
        samples *= np.exp(-np.arange(len(samples)) / (fades * RATE))
    soundfile.write(path, samples, RATE)


def make_files(folder: pathlib.Path) -> None:
    """Write speech in two formats, MUSAN's categories, and responses."""
    for number in range(NUM_UTTERANCES):
        for suffix in ("wav", "flac"):
            path = folder / suffix / f"{number}.{suffix}"
            write_noise(path, SECONDS)
    for category in ("noise", "speech", "music"):
        for number in range(8):
            write_noise(folder / "musan" / category / f"{number}.wav", 60.0)
    for number in range(64):
        write_noise(folder / "rirs" / f"{number}.wav", 1.0, fades=0.1)


class Views(torch.utils.data.Dataset):
    """What the recipe's dataset gives, of one format and one augmentation."""

    def __init__(
        self,
        folder: pathlib.Path,
        suffix: str,
        groups: tuple[CropGroup, ...],
        augmentation: Augmentation | None,
    ) -> None:
        self.paths = [
            str(folder / suffix / f"{number}.{suffix}")
            for number in range(NUM_UTTERANCES)
        ]
        self.sampler = ViewSampler(groups, 1, SharedEpoch(), augmentation)
        self.keys = self.sampler.item_keys()

    def __len__(self) -> int:
        return NUM_UTTERANCES

    def __getitem__(self, index: int) -> dict[str, object]:
        items = self.sampler(str(index), self.paths[index], SECONDS)
        if len(self.keys) == 1:
            items = (items,)
        return {"id": str(index), **dict(zip(self.keys, items, strict=True))}


def augmentations(folder: pathlib.Path) -> dict[str, Augmentation | None]:
    """Nothing, each of the two on every crop, both, and only drawn."""
    noise, rirs = folder / "musan", folder / "rirs"
    return {
        "none": None,
        "noise": Augmentation(noise),
        "reverberation": Augmentation(None, rirs),
        "both": Augmentation(noise, rirs),
        "both, on the device": Augmentation(noise, rirs, augment_on="device"),
    }


def utterances_per_second(datasets: list[Views]) -> list[float]:
    """Rates of one process, without a DataLoader."""
    rng = np.random.default_rng(0)

    def batch(dataset: Views) -> None:
        chosen = rng.integers(NUM_UTTERANCES, size=BATCH)
        collate_views([dataset[int(index)] for index in chosen])

    calls: list[Callable[[], object]] = [partial(batch, d) for d in datasets]
    return [BATCH / s for s in median_cpu_seconds(calls, REPEATS)]


def device_seconds(
    folder: pathlib.Path, groups: tuple[CropGroup, ...], device: str
) -> dict[str, float]:
    """Seconds to augment batches where they are trained on, the median.

    On a GPU by its clock. On a CPU processor time, in turn with what workers
    take for the smallest batch: with all of it, and to read and draw.
    """
    by_workers, on_device = (
        Views(folder, "wav", groups, augmentations(folder)[name])
        for name in ("both", "both, on the device")
    )
    augment = BatchAugmentation.of(
        on_device.sampler.augmentation, groups, device
    )
    keys = [group.key for group in groups if group.augmented]

    def load(dataset: Views, size: int) -> PaddedBatch:
        return collate_views([dataset[index] for index in range(size)])

    def step(batch: PaddedBatch) -> None:
        for key in keys:
            augment(batch, key)

    calls: dict[str, Callable[[], object]] = {
        f"device, {size}": partial(step, load(on_device, size).to(device))
        for size in DEVICE_BATCHES
    }
    if device != "cpu":
        return {name: median_gpu_seconds(c) for name, c in calls.items()}
    size = DEVICE_BATCHES[0]
    calls[f"workers, {size}"] = partial(load, by_workers, size)
    calls[f"workers that only draw, {size}"] = partial(load, on_device, size)
    seconds = median_cpu_seconds(list(calls.values()), DEVICE_REPEATS)
    return dict(zip(calls, seconds, strict=True))


def median_gpu_seconds(call: Callable[[], object]) -> float:
    """Median seconds of a call by the GPU's clock."""
    times = []
    for _ in range(REPEATS + 1):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / 1000)
    return statistics.median(times[1:])


def loaded_per_second(dataset: Views, num_workers: int) -> float:
    """Rate of a DataLoader by the clock, workers started before."""
    repeated = torch.utils.data.ConcatDataset([dataset] * 8)
    loader = DataLoader(
        repeated,
        BATCH,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=collate_views,
    )
    rates = []
    for _ in range(3):
        batches = iter(loader)
        next(batches)
        start = time.perf_counter()
        for _ in batches:
            pass
        rates.append((len(repeated) - BATCH) / (time.perf_counter() - start))
    return max(rates)


def main(seconds_per_step: float | None, device: str) -> None:
    """Print the tables."""
    use_one_core()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_files(folder)
        augment = augmentations(folder)
        print(f"| views | format | {' | '.join(augment)} |")
        print("| --- | --- " + "| --- " * len(augment) + "|")
        for views, groups in VIEWS.items():
            for suffix in ("wav", "flac"):
                rates = utterances_per_second(
                    [Views(folder, suffix, groups, a) for a in augment.values()]
                )
                shown = " | ".join(f"{rate:,.0f}" for rate in rates)
                print(f"| {views} | {suffix} | {shown} |", flush=True)
        print(f"\nms of SimCLR with both, by the size of the batch ({device}):")
        step_seconds = device_seconds(folder, VIEWS["SimCLR"], device)
        for name, seconds in step_seconds.items():
            print(f"{name}: {1000 * seconds:,.0f}")
        dataset = Views(folder, "flac", VIEWS["SimCLR-SSPS"], augment["both"])
        print("DataLoader, SimCLR-SSPS, flac, both:")
        for num_workers in (0, 1, 2):
            rate = loaded_per_second(dataset, num_workers)
            print(f"{num_workers} workers: {rate:,.0f} utterances/s")
    # With both, by workers.
    if seconds_per_step is not None:
        needed = GLOBAL_BATCH / seconds_per_step / rates[3]
        print(f"Workers that keep up with a GPU in DINO-SSPS: {needed:.1f}")


if __name__ == "__main__":
    numbers = [text for text in sys.argv[1:] if text[0].isdigit()]
    devices = [text for text in sys.argv[1:] if not text[0].isdigit()]
    main(
        float(numbers[0]) if numbers else None,
        devices[0] if devices else "cpu",
    )
