"""A run's references of every epoch, and the labels of its training set."""

import argparse
import os
from collections.abc import Iterator

import torch
from torch import Tensor

from ssps_plugin import PositiveSampler
from ssps_plugin.dataio.dataset import read_manifest
from ssps_plugin.report.labels import labels_of_manifest, number_labels
from ssps_plugin.report.pseudo_positives import Memories
from ssps_plugin.report.run import Run
from ssps_plugin.training import AtomicCheckpointer


def read_run(
    run: Run, parser: argparse.ArgumentParser
) -> tuple[PositiveSampler, Tensor, Tensor]:
    """Return a run's sampler, and the numbers of speakers and recordings.

    As of the newest checkpoint. Ends the program where there are no labels.
    """
    table = read_manifest(
        run.folder / "train.csv", run.settings.get("data_folder")
    )
    labels = labels_of_manifest(table)
    if labels is None or labels.recordings is None:
        parser.error("the training manifest has no speakers and recordings")
    speakers = torch.from_numpy(number_labels(labels.speakers))
    recordings = torch.from_numpy(number_labels(labels.recordings))
    return Memories(run, table).sampler, speakers, recordings


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
