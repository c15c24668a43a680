"""What each part of a training step costs, framework by framework.

Each in a process of its own, on one core, with its `_ssps.yaml` under
hparams/minivox.yaml, noise for audio, SSPS on. A step is the framework's
forward pass, reference pass, sampler, loss and the objective's updates,
backward pass, and the optimiser with what follows it.

    python benchmarks/frameworks.py [NAME ...]
"""

import itertools
import pathlib
import resource
import subprocess
import sys
import time
from typing import Any

import torch
import torch.nn.functional as F
from one_core import use_one_core

from ssps_plugin import reference_representation
from ssps_plugin.training.configuration import parse_configuration
from ssps_plugin.training.runtime import keep_freed_memory

ROOT = pathlib.Path(__file__).parents[1]
NAMES = ("simclr", "moco", "swav", "vicreg", "dino", "sdpn")
PARTS = ("views", "reference", "sampler", "loss", "backward", "optimiser")
NUM_UTTERANCES = 3600
WARM_UP, REPEATS = 3, 12


def load(name: str) -> dict[str, Any]:
    """Build what the YAML describes, with the overlay over it."""
    configuration = parse_configuration(
        [
            str(ROOT / "hparams" / f"{name}_ssps.yaml"),
            "--overlay",
            str(ROOT / "hparams" / "minivox.yaml"),
        ]
    )
    return configuration.load()


def switch_on(hparams: dict[str, Any]) -> None:
    """Bring sampler and objective into an epoch with SSPS."""
    sampler, dim = hparams["sampler"], hparams["embedding_dim"]
    sampler.bind([str(number) for number in range(NUM_UTTERANCES)])
    start = sampler.start_epoch
    sampler.begin_epoch(start - 1)
    targets = sampler.layout.num_targets, sampler.layout.dim
    for index in torch.randperm(NUM_UTTERANCES).split(64):
        reference = F.normalize(torch.randn(len(index), dim), dim=1)
        positives = torch.randn(targets[0], len(index), targets[1])
        sampler(index, reference, positives)
    sampler.begin_epoch(start)
    for part in hparams["modules"].values():
        if part is not sampler:
            part.begin_epoch(start)


def measure(name: str) -> str:
    """Return one row of the table."""
    use_one_core()
    keep_freed_memory()
    hparams = load(name)
    switch_on(hparams)
    modules = torch.nn.ModuleDict(hparams["modules"])
    framework, sampling = modules["framework"], hparams["loss"]
    operands = {
        key: module
        for key, module in modules.items()
        if key not in ("framework", "sampler")
    }
    optimizer = hparams["opt_class"](modules.parameters())
    batch, rate = hparams["global_batch_size"], hparams["sample_rate"]
    views = [
        torch.randn(batch, group.num_crops, group.lengths(rate)[0])
        for group in hparams["crop_groups"]
    ]
    clean = torch.randn(batch, int(hparams["reference_seconds"] * rate))
    index = torch.arange(batch)

    def step() -> list[float]:
        times = [time.process_time()]

        def lap() -> None:
            times.append(time.process_time())

        anchors, positives = framework(*views)
        lap()
        reference = reference_representation(
            framework.embed,
            clean,
            in_eval_mode=hparams["reference_in_eval_mode"],
        )
        lap()
        drawn, _ = sampling.substitute(positives, index, reference)
        lap()
        targets = framework.targets(drawn)
        loss = sampling.loss(anchors, targets, **operands)
        for module in operands.values():
            module.update_anchors(anchors.detach())
            module.update_positives(positives.detach())
            module.update(targets.detach())
        lap()
        loss.backward()
        lap()
        if hparams["clip_gradients"] is not None:
            hparams["clip_gradients"](modules.parameters())
        optimizer.step()
        optimizer.zero_grad()
        framework.update(0.5)
        lap()
        return [after - before for before, after in itertools.pairwise(times)]

    laps = torch.tensor([step() for _ in range(WARM_UP + REPEATS)])
    parts = laps[WARM_UP:].median(0).values
    total = parts.sum()
    shares = " | ".join(f"{100 * part / total:.1f} %" for part in parts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return f"| {name} | {1000 * total:.0f} ms | {shares} | {peak} MiB |"


def main(names: list[str]) -> None:
    """Print the table."""
    print(f"| framework | step | {' | '.join(PARTS)} | peak memory |")
    for name in names or NAMES:
        # A process of its own, for its peak memory.
        subprocess.run([sys.executable, __file__, "--row", name], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--row"]:
        print(measure(sys.argv[2]), flush=True)
    else:
        main(sys.argv[1:])
