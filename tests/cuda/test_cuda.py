"""Claims that only a GPU can show; skipped where there is none."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin import (
    ClusteringSampling,
    ConsensusSampling,
    NearestNeighborSampling,
    PositiveSampler,
    SharedNeighborSampling,
)
from ssps_plugin.clustering import SphericalKMeans, nearest_clusters
from ssps_plugin.dataio import BatchAugmentation
from ssps_plugin.frameworks import Fbank
from tests.dataio.augmentation import test_batch_augmentation
from tests.frameworks.test_every_strategy import Training
from tests.recipes.running import (
    RECIPES,
    ROOT,
    SMALL,
    copy_inside_last_epoch,
    history,
    newest_checkpoint,
    run,
)
from tests.recipes.test_frameworks import FRAMEWORKS

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no GPU"
)

NUM, DIM, BATCH = 600, 16, 100
STRATEGIES = {
    "clustering": lambda: ClusteringSampling(60, 2),
    "whitened": lambda: ClusteringSampling(60, 1, whitening=1.0),
    "widening": lambda: ClusteringSampling([60, 20], 1, schedule_epochs=2),
    "consensus": lambda: ConsensusSampling(60, 1, num_clusterings=3),
    "nearest": lambda: NearestNeighborSampling(5, rank_decay=0.5),
    "shared": lambda: SharedNeighborSampling(10, 0.1),
    "joined": lambda: SharedNeighborSampling(10, 0.1, joined_epochs=2),
}
# SimCLR's are those that all share.
ALL = {"simclr": {}, **FRAMEWORKS}
SSPS = {"ssps_start_epoch": 2, "num_epochs": 2}


def references(epoch):
    """Of 60 speakers, as another epoch would have them."""
    generator = torch.Generator().manual_seed(0)
    speakers = torch.randn(60, DIM, generator=generator).repeat(NUM // 60, 1)
    noise = torch.randn(NUM, DIM, generator=generator.manual_seed(epoch))
    return F.normalize(speakers + 0.4 * noise, dim=1)


class Epochs:
    """A sampler on a device that is told of the same references."""

    def __init__(self, strategy, device, **options):
        made = STRATEGIES[strategy]()
        self.start = 1 + made.num_fill_epochs
        options = {"positive_dim": DIM, "start_epoch": self.start, **options}
        self.device = device
        self.sampler = PositiveSampler(made, NUM // 2, DIM, **options)
        self.sampler.bind([str(number) for number in range(NUM)])
        self.sampler.to(device)

    def begin(self, epoch):
        self.sampler.begin_epoch(epoch)
        self.rows = references(epoch).to(self.device)

    def step(self, number):
        """Take a step of the epoch; return what was drawn."""
        index = torch.arange(BATCH) + BATCH * number
        rows = self.rows[index[0] : index[-1] + 1]
        self.sampler([str(one) for one in index.tolist()], rows, rows[None])
        return self.sampler.last_draw[1]

    def draws(self, num_epochs):
        """Draw for everybody in the first epochs with SSPS."""
        drawn = []
        for epoch in range(1, self.start + num_epochs):
            self.begin(epoch)
            of_epoch = [self.step(step) for step in range(NUM // BATCH)]
            if epoch >= self.start:
                drawn += of_epoch
        return torch.cat(drawn).cpu()


@pytest.fixture
def without_tf32():
    """Products in float32 proper, whatever ran before."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    yield
    for backend, value in zip(backends, before, strict=True):
        backend.allow_tf32 = value


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_draws_are_those_of_the_cpu(strategy, without_tf32):
    expected = Epochs(strategy, "cpu").draws(2)
    found = Epochs(strategy, "cuda").draws(2)
    assert (expected >= 0).any()
    # Rounding may decide between two that are as near.
    assert (found == expected).double().mean() > 0.98


@pytest.mark.parametrize("strategy", ["clustering", "consensus", "shared"])
def test_partners_of_an_epoch_are_those_of_the_cpu(strategy, without_tf32):
    partners = []
    for device in ("cpu", "cuda"):
        epochs = Epochs(strategy, device, pseudo_positives="read")
        epochs.draws(1)
        epochs.begin(epochs.start + 1)
        partners.append(epochs.sampler.partners.clone())
    assert (partners[0] >= 0).any()
    assert (partners[0] == partners[1]).double().mean() > 0.98


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_step_of_the_sampler_does_not_wait_for_the_gpu(strategy):
    epochs = Epochs(strategy, "cuda")
    epochs.draws(1)
    epochs.begin(epochs.start + 1)
    epochs.step(0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        epochs.step(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_clusters_are_those_of_the_cpu(without_tf32):
    points = references(0)
    one, other = (
        SphericalKMeans(60).fit(points.to(device), seed=1)
        for device in ("cpu", "cuda")
    )
    assert (one.labels == other.labels.cpu()).double().mean() > 0.98
    assert one.objective == pytest.approx(other.objective, abs=1e-4)
    near = nearest_clusters(one.centroids.cuda(), 3).cpu()
    expected = nearest_clusters(one.centroids, 3)
    assert (near == expected).double().mean() > 0.98


def test_the_gpu_augments_as_workers_do(files, monkeypatch):
    of, collate = BatchAugmentation.of, test_batch_augmentation.collate_views
    monkeypatch.setattr(
        BatchAugmentation, "of", lambda one, two, _: of(one, two, "cuda")
    )
    monkeypatch.setattr(
        test_batch_augmentation,
        "collate_views",
        lambda items: collate(items).to("cuda"),
    )
    options = {"noise_folder": files / "musan", "rir_folder": files / "rirs"}
    by_workers, by_gpu = test_batch_augmentation.batches(files, options)
    for key, views in by_workers.items():
        assert views.is_cuda
        assert torch.allclose(views, by_gpu[key], rtol=0, atol=1e-5), key


def test_features_are_those_of_the_cpu_and_do_not_wait_for_the_gpu():
    wavs = torch.randn(4, 32000)
    features = Fbank(n_fft=512)
    expected = features(wavs)
    features.cuda()
    found = features(wavs.cuda())
    assert torch.allclose(found.cpu(), expected, atol=1e-2)  # decibels
    wavs = wavs.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        features(wavs)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", ALL)
def test_every_framework_trains(name, precision, corpus, tmp_path):
    options = {**ALL[name], **SSPS, "precision": precision}
    # The scaler of fp16 looks for its scale in the first steps, and takes none.
    options |= {"num_epochs": 4, "ssps_start_epoch": 4}
    run(f"{name}_ssps.yaml", tmp_path / "run", data_folder=corpus, **options)
    rows = history(tmp_path / "run")
    assert all(torch.tensor(row["loss"]).isfinite() for row in rows)
    assert rows[-1]["coverage"] > 0


@pytest.mark.parametrize("name", ALL)
def test_the_first_step_is_that_of_the_cpu(name, without_tf32):
    on_cpu = Training(name, "clustering")
    on_gpu = Training(name, "clustering")
    on_gpu.modules.cuda()
    on_gpu.device = "cuda"
    for training in (on_cpu, on_gpu):
        training.begin(1)
    expected, found = on_cpu.step(0), on_gpu.step(0)
    assert float(found) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_a_resume_inside_an_epoch_draws_the_same(name, corpus, tmp_path):
    options = {**ALL[name], **SSPS, "data_folder": corpus}
    options |= {"num_checkpoints": 9, "ckpt_interval_steps": 3}
    whole, again = tmp_path / "whole", tmp_path / "again"
    run(f"{name}_ssps.yaml", whole, **options)
    copy_inside_last_epoch(whole, again)
    run(f"{name}_ssps.yaml", again, **options)
    one, other = history(whole)[1], history(again)[1]
    assert one["coverage"] == other["coverage"]
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-2)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_a_run_goes_on_on_another_device(device, corpus, tmp_path):
    options = {**SSPS, "data_folder": corpus}
    options |= {"num_checkpoints": 9, "ckpt_interval_steps": 3}
    whole, again = tmp_path / "whole", tmp_path / "again"
    first = {"cpu": "cuda:0", "cuda:0": "cpu"}[device]
    run("simclr_ssps.yaml", whole, device=first, **options)
    copy_inside_last_epoch(whole, again)
    run("simclr_ssps.yaml", again, device=device, **options)
    assert len(history(again)) == 2


def test_small_corpora_are_read_and_drawn_for_on_the_gpu(corpus, tmp_path):
    options = {"overlay": "hparams/small_corpus.yaml", "num_epochs": 4}
    run("simclr_ssps.yaml", tmp_path / "run", data_folder=corpus, **options)
    assert history(tmp_path / "run")[-1]["coverage"] > 0


def test_a_coverage_of_0_is_the_plain_run(corpus, tmp_path):
    plain, none = tmp_path / "plain", tmp_path / "none"
    options = {"data_folder": corpus, "num_epochs": 2}
    run("simclr.yaml", plain, **options)
    run("simclr_ssps.yaml", none, **options, ssps_start_epoch=2, coverage=0)
    for one, other in zip(history(plain), history(none), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_two_ranks_share_the_gpu_and_its_batch_statistics(
    name, corpus, tmp_path
):
    options = {**SMALL, **ALL[name], **SSPS, "data_folder": corpus}
    options |= {"overlay": "hparams/minivox.yaml", "device": "cuda:0"}
    options |= {"output_folder": tmp_path / "two"}
    launcher = ["-m", "torch.distributed.run", "--standalone"]
    argv = [sys.executable, *launcher, "--nproc_per_node=2"]
    argv += [str(RECIPES / "train_ssl.py")]
    argv += [str(ROOT / "hparams" / f"{name}_ssps.yaml")]
    argv += ["--distributed_backend", "gloo", "--noprogressbar"]
    for key, value in options.items():
        if value is not None:
            argv += [f"--{key}", str(value)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert newest_checkpoint(tmp_path / "two").exists()
    rows = history(tmp_path / "two")
    assert rows[1]["coverage"] > 0
    one = {**ALL[name], **SSPS, "data_folder": corpus, "device": "cuda:0"}
    run(f"{name}_ssps.yaml", tmp_path / "one", **one)
    alone = history(tmp_path / "one")[0]["loss"]
    # MoCo shuffles its keys between ranks instead, SwAV's and SDPN's queues
    # and noise differ.
    if name in ("simclr", "vicreg", "dino"):
        assert rows[0]["loss"] == pytest.approx(alone, rel=2e-2)
