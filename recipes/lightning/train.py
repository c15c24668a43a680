"""Train speaker embeddings in Lightning, with SSPS: no labels, no Brain.

    python train.py --data_folder speech --output_folder results/lightning

All devices of the machine are used, or those of --devices and --accelerator;
the same command goes on from the last epoch. What SSPS adds is marked `# SSPS`.
"""

import argparse
import pathlib
import sys
from typing import Any

import lightning as L
import ssps_plugin as ssps
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from ssps_plugin import dataio
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchaudio.transforms import MelSpectrogram

# For a corpus like VoxCeleb2: on a smaller one, lower num_clusters.
DEFAULTS = {"num_epochs": 120, "start_epoch": 101, "num_clusters": 25000}
DEFAULTS |= {"queue_size": 25000, "batch_size": 256, "num_workers": 4}
DEFAULTS |= {"crop_seconds": 2.0, "reference_seconds": 4.0, "lr": 1e-3}
DEFAULTS |= {"dim": 192, "seed": 0, "output_folder": "results/lightning"}
DEFAULTS |= {"accelerator": "auto", "devices": "auto"}


class TwoCrops(Dataset):
    """Two random crops of a file, augmented, its path and its position."""

    def __init__(self, files: list[pathlib.Path], seconds: float) -> None:
        self.files, self.length = files, round(16000 * seconds)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = str(self.files[index])
        wav = dataio.read_audio(path)
        wav = wav.repeat(-(-self.length // len(wav)))  # short ones: repeated
        views = torch.stack([self.crop(wav), self.crop(wav)])
        return {"views": views, "wav": path, "index": index}

    def crop(self, wav: Tensor) -> Tensor:
        start = int(torch.randint(len(wav) - self.length + 1, ()))
        crop = wav[start : start + self.length]
        return crop + 0.1 * crop.std() * torch.randn(self.length)  # or MUSAN


class Encoder(nn.Module):
    """A small x-vector: waveforms `(batch, samples)` to `(batch, dim)`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mels = MelSpectrogram(n_fft=512, hop_length=160, n_mels=40)
        self.frames = nn.Sequential(
            *(nn.Conv1d(40, 128, 5), nn.BatchNorm1d(128), nn.ReLU()),
            *(nn.Conv1d(128, 128, 3, dilation=2), nn.ReLU()),
        )
        self.output = nn.Linear(256, dim)

    def forward(self, wavs: Tensor) -> Tensor:
        mels = self.mels(wavs).clamp(min=1e-6).log()
        frames = self.frames(mels - mels.mean(2, keepdim=True))
        return self.output(torch.cat([frames.mean(2), frames.std(2)], dim=1))


class Contrastive(L.LightningModule):
    """SimCLR on two crops of an utterance, with SSPS."""

    def __init__(self, args: argparse.Namespace, num_utterances: int) -> None:
        super().__init__()
        self.lr, self.encoder = args.lr, Encoder(args.dim)
        strategy = ssps.ClusteringSampling(args.num_clusters, num_neighbors=1)
        dims = {"reference_dim": args.dim, "positive_dim": args.dim}
        sampler = ssps.PositiveSampler(
            strategy, args.queue_size, start_epoch=args.start_epoch, **dims
        )
        sampler.bind(num_utterances)  # before its state is loaded
        # SSPS: any loss(anchors, positives) and the sampler, in one module:
        # Lightning moves it and saves it. This loss sees all devices.
        loss = ssps.NTXentLoss(temperature=0.07)
        self.loss = ssps.PositiveSamplingLoss(loss, sampler)

    def on_train_epoch_start(self) -> None:
        epoch = self.current_epoch + 1
        self.trainer.train_dataloader.dataset.epoch.set(epoch)  # SSPS
        self.loss.sampler.begin_epoch(epoch)  # SSPS: clusters, once started

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        views = batch["views"].transpose(0, 1).flatten(0, 1)
        anchors, positives = self.encoder(views).chunk(2)
        ids, clean, reference = batch["index"], batch["reference"], None
        if self.loss.sampler.needs_reference:  # SSPS
            reference = ssps.reference_representation(self.encoder, clean)
        loss = self.loss(anchors, positives, ids=ids, reference=reference)
        self.log("loss", loss, prog_bar=True, batch_size=len(clean))
        return loss

    def on_train_epoch_end(self) -> None:
        coverage = self.loss.sampler.metrics().get("coverage", 0.0)  # SSPS
        self.log("coverage", coverage, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def main(argv: list[str]) -> L.Trainer:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_folder", required=True, help="of .wav files")
    for name, value in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    args = parser.parse_args(argv)
    L.seed_everything(args.seed, workers=True)
    files = sorted(pathlib.Path(args.data_folder).rglob("*.wav"))
    dataset = TwoCrops(files, args.crop_seconds)
    dataset = ssps.add_reference_view(dataset, args.reference_seconds)  # SSPS
    options = {"num_workers": args.num_workers, "drop_last": True}
    loader = DataLoader(dataset, args.batch_size, shuffle=True, **options)
    trainer = L.Trainer(
        accelerator=args.accelerator,
        devices=args.devices,
        # SSPS: all devices hold the same memories; DDP need not send them.
        strategy=DDPStrategy(broadcast_buffers=False),
        max_epochs=args.num_epochs,
        default_root_dir=args.output_folder,
        callbacks=[ModelCheckpoint(args.output_folder, save_last=True)],
    )
    trainer.fit(Contrastive(args, len(files)), loader, ckpt_path="last")
    return trainer


if __name__ == "__main__":
    main(sys.argv[1:])
