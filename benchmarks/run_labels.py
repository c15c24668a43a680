"""Speakers and recordings of a run's training set, for its draws only."""

import argparse

import torch
from torch import Tensor

from ssps_plugin import PositiveSampler
from ssps_plugin.dataio.dataset import read_manifest
from ssps_plugin.report.labels import labels_of_manifest, number_labels
from ssps_plugin.report.pseudo_positives import Memories
from ssps_plugin.report.run import Run


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
