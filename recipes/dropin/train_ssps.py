#!/usr/bin/env python3
"""Train speaker embeddings by contrast: crops against augmented copies.

An ECAPA-TDNN is trained without speaker labels, on a CSV with the columns
ID, duration and wav. Give the script its YAML and:

    --train_csv train.csv --output_folder results/contrastive
"""

import random
import sys
from typing import Any

import speechbrain as sb
import torch
import torch.nn.functional as F
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.dataio import read_audio
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import DynamicBatchSampler
from speechbrain.utils.data_pipeline import provides, takes
from speechbrain.utils.distributed import ddp_init_group
from ssps_plugin import dataio, reference_representation


class ContrastiveBrain(sb.Brain):
    """Learn to tell the augmented copy of a crop from those of others."""

    def embed(self, wavs: torch.Tensor, lens: torch.Tensor) -> torch.Tensor:
        """Embed waveforms, `(batch, samples)` -> `(batch, emb_dim)`."""
        feats = self.modules.compute_features(wavs)
        feats = self.modules.mean_var_norm(feats, lens)
        return self.modules.embedding_model(feats, lens).squeeze(1)

    def compute_forward(self, batch: Any, stage: sb.Stage) -> torch.Tensor:
        """Embed the crops and, below them, their augmented copies."""
        batch = batch.to(self.device)
        wavs, lens = self.hparams.wav_augment(*batch.sig)
        return self.embed(wavs, lens)

    def compute_objectives(
        self, embeddings: torch.Tensor, batch: Any, stage: sb.Stage
    ) -> torch.Tensor:
        """Compare the crops with their copies, one augmentation at a time."""
        # (1 + num_copies, batch, emb_dim): the crops first
        views = embeddings.unflatten(0, (-1, len(batch.id)))
        anchors, positives = views[0], views[1:]
        if self.modules.sampler.needs_reference:
            reference = reference_representation(self.embed, *batch.reference)
            positives = self.modules.sampler(batch.id, reference, positives)
        return contrastive_loss(anchors, positives, self.hparams.temperature)

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Set the epoch's learning rate."""
        if stage == sb.Stage.TRAIN:
            lr, _ = self.hparams.lr_annealing(epoch)
            sb.nnet.schedulers.update_learning_rate(self.optimizer, lr)
            self.modules.sampler.begin_epoch(epoch)

    def on_stage_end(
        self, stage: sb.Stage, stage_loss: float, epoch: int | None = None
    ) -> None:
        """Log the epoch and save a checkpoint."""
        if stage == sb.Stage.TRAIN:
            self.hparams.train_logger.log_stats(
                stats_meta={"epoch": epoch},
                train_stats={"loss": stage_loss},
            )
            self.checkpointer.save_and_keep_only(meta={"epoch": epoch})


def contrastive_loss(
    anchors: torch.Tensor, positives: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Compute InfoNCE: each anchor picks its positive among the batch's.

    Arguments
    ---------
    anchors : torch.Tensor
        `(batch, dim)`.
    positives : torch.Tensor
        `(copies, batch, dim)`; row i belongs to anchor i.
    temperature : float
        Divides the cosines.

    Returns
    -------
    torch.Tensor
        The mean over anchors and copies, a scalar.
    """
    anchors = F.normalize(anchors, dim=-1)
    positives = F.normalize(positives, dim=-1)
    scores = anchors @ positives.transpose(1, 2) / temperature
    own = torch.arange(len(anchors), device=scores.device)
    return F.cross_entropy(scores.flatten(0, 1), own.repeat(len(positives)))


def dataio_prepare(hparams: dict[str, Any]) -> DynamicItemDataset:
    """Read the CSV; give a clean random crop of each utterance as `sig`."""
    train_data = DynamicItemDataset.from_csv(
        csv_path=hparams["train_csv"],
        replacements={"data_root": hparams["data_folder"]},
    )
    crop_samples = int(hparams["crop_seconds"] * hparams["sample_rate"])

    @takes("wav", "duration")
    @provides("sig")
    def audio_pipeline(wav: str, duration: float) -> torch.Tensor:
        num_samples = int(duration * hparams["sample_rate"])
        start = random.randint(0, max(0, num_samples - crop_samples))
        return read_audio(
            {"file": wav, "start": start, "stop": start + crop_samples}
        )

    train_data.add_dynamic_item(audio_pipeline)
    train_data.set_output_keys(["id", "sig"])
    dataio.add_reference_view(train_data, seconds=4.0)
    hparams["sampler"].bind(train_data)
    return train_data


def dataloader_options(
    hparams: dict[str, Any], train_data: DynamicItemDataset
) -> dict[str, Any]:
    """Choose batches of a fixed number of crops, or of a total duration."""
    if not hparams["dynamic_batching"]:
        return hparams["train_dataloader_opts"]
    batch_sampler = DynamicBatchSampler(
        train_data,
        length_func=lambda row: min(row["duration"], hparams["crop_seconds"]),
        **hparams["dynamic_batch_sampler"],
    )
    return {
        "batch_sampler": batch_sampler,
        "num_workers": hparams["num_workers"],
    }


if __name__ == "__main__":
    hparams_file, run_opts, overrides = sb.parse_arguments(sys.argv[1:])
    ddp_init_group(run_opts)
    with open(hparams_file, encoding="utf-8") as fin:
        hparams = load_hyperpyyaml(fin, overrides)
    sb.create_experiment_directory(
        experiment_directory=hparams["output_folder"],
        hyperparams_to_save=hparams_file,
        overrides=overrides,
    )
    train_data = dataio_prepare(hparams)
    brain = ContrastiveBrain(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.fit(
        hparams["epoch_counter"],
        train_data,
        train_loader_kwargs=dataloader_options(hparams, train_data),
    )
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
