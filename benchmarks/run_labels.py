"""A run's references of every epoch, and the labels of its training set."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ssps_plugin import PositiveSampler
from ssps_plugin.report.labels import (
    Labels,
    labels_of_manifest,
    number_labels,
)
from ssps_plugin.report.pseudo_positives import Memories, NotAvailableError
from ssps_plugin.report.run import Run
from ssps_plugin.sampling.neighbor_lists import NUM_NEIGHBORS
from ssps_plugin.training import AtomicCheckpointer


def read_run(
    run: Run, parser: argparse.ArgumentParser
) -> tuple[PositiveSampler, Tensor, Tensor]:
    """Return a run's sampler, and the numbers of speakers and recordings.

    As of the newest checkpoint. Ends the program where there are no labels.
    """
    sampler, labels = _read_labels(run, parser)
    if labels.recordings is None:
        parser.error(f"the training manifest of {run.name} has no recordings")
    return (
        sampler,
        torch.from_numpy(number_labels(labels.speakers)),
        torch.from_numpy(number_labels(labels.recordings)),
    )


def read_speakers(
    run: Run, parser: argparse.ArgumentParser
) -> tuple[PositiveSampler, Tensor]:
    """Return a run's sampler, and the numbers of speakers."""
    sampler, labels = _read_labels(run, parser)
    return sampler, torch.from_numpy(number_labels(labels.speakers))


def _read_labels(
    run: Run, parser: argparse.ArgumentParser
) -> tuple[PositiveSampler, Labels]:
    table = run.read_manifest()
    labels = labels_of_manifest(table)
    if labels is None:
        parser.error(f"the training manifest of {run.name} has no speakers")
    return Memories(run, table).sampler, labels


def check_lists(run: Run, num_utterances: int) -> None:
    """Raise a ValueError for fewer utterances than neighbour lists take."""
    if num_utterances <= NUM_NEIGHBORS:
        raise ValueError(
            f"Expected a run of more than {NUM_NEIGHBORS} utterances, whose "
            f"lists of as many neighbours are compared, got {num_utterances} "
            f"in {run.name}: take a larger one."
        )


def run_main(main: Callable[[], None]) -> None:
    """Run a script; what is wrong with a run or an option ends it in words."""
    try:
        main()
    except (NotAvailableError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def load_epochs(run: Run, sampler: PositiveSampler) -> Iterator[int]:
    """Load the sampler's state after each epoch that was kept; yield which.

    Epochs that remembered nothing are left out.
    """
    checkpointer = AtomicCheckpointer(
        os.fspath(run.folder / "save"), {"sampler": sampler}
    )
    checkpoints = sorted(
        checkpointer.list_checkpoints(), key=lambda one: one.meta["unixtime"]
    )
    for checkpoint in checkpoints:
        if not checkpoint.meta.get("end-of-epoch", True):
            continue
        checkpointer.load_checkpoint(checkpoint)
        if bool(sampler.bank.seen.any()):
            yield sampler.epoch or 0
