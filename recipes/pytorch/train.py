"""Train speaker embeddings in plain PyTorch, with SSPS: no labels, no Brain.

    python train.py --data_folder speech --output_folder results/pytorch

On several GPUs or CPUs: torchrun --nproc_per_node=2 train.py ...; the same
command goes on from the last epoch. What SSPS adds is marked `# SSPS`.
"""

import argparse
import os
import pathlib
import sys

import ssps_plugin as ssps
import torch
import torch.distributed as dist
import torch.nn.functional as F
from ssps_plugin import dataio
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchaudio.transforms import MelSpectrogram

# For a corpus like VoxCeleb2: on a smaller one, lower num_clusters.
DEFAULTS = {"num_epochs": 120, "start_epoch": 101, "num_clusters": 25000}
DEFAULTS |= {"queue_size": 25000, "batch_size": 256, "num_workers": 4}
DEFAULTS |= {"crop_seconds": 2.0, "reference_seconds": 4.0, "lr": 1e-3}
DEFAULTS |= {"dim": 192, "seed": 0, "output_folder": "results/pytorch"}


class TwoCrops(Dataset):
    """Two random crops of a file, augmented, and its position."""

    def __init__(self, files: list[pathlib.Path], seconds: float) -> None:
        self.files, self.length = files, round(16000 * seconds)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        wav = dataio.read_audio(self.files[index])
        wav = wav.repeat(-(-self.length // len(wav)))  # short ones: repeated
        return self.crop(wav), self.crop(wav), index

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


def contrastive_loss(anchors: Tensor, positives: Tensor) -> Tensor:
    """Pick each anchor's positive among the batch's. It knows no SSPS."""
    cosines = F.normalize(anchors) @ F.normalize(positives).T
    return -F.log_softmax(cosines / 0.07, dim=1).diagonal().mean()


def train(args: argparse.Namespace, rank: int, device: torch.device) -> None:
    files = sorted(pathlib.Path(args.data_folder).rglob("*.wav"))
    dataset = ssps.add_reference_view(  # SSPS: an item ends with a clean crop
        TwoCrops(files, args.crop_seconds), args.reference_seconds, files=files
    )
    shares = DistributedSampler(dataset) if dist.is_initialized() else None
    options = {"num_workers": args.num_workers, "drop_last": True}
    options |= {"sampler": shares} if shares else {"shuffle": True}
    loader = DataLoader(dataset, args.batch_size, **options)

    torch.manual_seed(args.seed)
    encoder = Encoder(args.dim).to(device)
    model = DistributedDataParallel(encoder) if shares else encoder
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    strategy = ssps.ClusteringSampling(args.num_clusters, num_neighbors=1)
    dims = {"reference_dim": args.dim, "positive_dim": args.dim}
    sampler = ssps.PositiveSampler(  # SSPS: without parameters, so without DDP
        strategy, args.queue_size, start_epoch=args.start_epoch, **dims
    ).to(device)
    sampler.bind(len(dataset))  # SSPS: before its state is loaded

    parts = {"encoder": encoder, "optimizer": optimizer, "sampler": sampler}
    checkpoint = pathlib.Path(args.output_folder, "checkpoint.pt")
    done = 0
    if checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device)
        done = saved.pop("epoch")
        for name, state in saved.items():
            parts[name].load_state_dict(state)
    for epoch in range(done + 1, args.num_epochs + 1):
        torch.manual_seed(args.seed + 1000 * epoch + rank)  # also on a resume
        dataset.epoch.set(epoch)  # SSPS: another clean crop
        if shares:
            shares.set_epoch(epoch)
        sampler.begin_epoch(epoch)  # SSPS: clusters, once it has started
        losses = 0.0
        for *views, index, clean in loader:
            anchors, positives = model(torch.cat(views).to(device)).chunk(2)
            if sampler.needs_reference:  # SSPS, these four lines
                clean = clean.to(device)
                reference = ssps.reference_representation(encoder, clean)
                positives = sampler(index, reference, positives)
            loss = contrastive_loss(anchors, positives)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item() / len(loader)
        if rank == 0:
            coverage = sampler.metrics().get("coverage", 0.0)  # SSPS
            print(f"epoch {epoch}: loss {losses:.3f}, coverage {coverage:.2f}")
            state = {name: part.state_dict() for name, part in parts.items()}
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"epoch": epoch, **state}, f"{checkpoint}.new")
            os.replace(f"{checkpoint}.new", checkpoint)  # whole, or the last


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_folder", required=True, help="of .wav files")
    for name, value in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    rank, device = int(os.environ.get("RANK", 0)), torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if "RANK" in os.environ:  # torchrun's
        dist.init_process_group("gloo" if device.type == "cpu" else "nccl")
    train(parser.parse_args(argv), rank, device)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
