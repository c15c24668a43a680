"""Training of the published encoder on one GPU, end to end, by the clock.

    python benchmarks/gpu_training.py [SETTING ...] [--num_workers 14]

`hparams/simclr_ssps.yaml` as published (ECAPA-TDNN of 1 024 channels, 256
utterances a step, two crops of 2 s and a clean reference of 4 s), but for the
number of clusters, on WAV files of noise of 5 s in a temporary folder, read by
workers. Two epochs, SSPS in the second, which is timed from its start, with
clustering, to its last step. Then its last batch is trained on again and again:
what the GPU could do if reading took no time. Each setting is a process of its
own. GPU utilisation is the mean of what nvidia-smi says during the epoch.

    python benchmarks/gpu_training.py --syncs bf16

prints where a step waits for the GPU, and how often in ten steps.

    python benchmarks/gpu_training.py --tiny fp32   # does it run at all, a CPU

An otherwise idle machine is wanted.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from typing import Any

import torch
from input_pipeline import write_noise

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "recipes" / "voxceleb"))
VOXCELEB2_UTTERANCES = 1_092_009
NUM_REPEATED = 20
TIMED_OUT = subprocess.TimeoutExpired
SECONDS, UTTERANCES_A_RECORDING, RECORDINGS_A_SPEAKER = 5.0, 8, 8
AUGMENTED = ["--noise_folder", "{noise}", "--rir_folder", "{rirs}"]
SETTINGS = {
    "fp32": ["simclr_ssps.yaml"],
    "tf32": ["simclr_ssps.yaml"],
    "bf16": ["simclr_ssps.yaml", "--precision", "bf16"],
    "fp16": ["simclr_ssps.yaml", "--precision", "fp16"],
    "bf16, no SSPS": ["simclr.yaml", "--precision", "bf16"],
    "bf16, workers augment": [
        *("simclr_ssps.yaml", "--precision", "bf16"),
        *AUGMENTED,
    ],
    "bf16, GPU augments": [
        *("simclr_ssps.yaml", "--precision", "bf16"),
        *(*AUGMENTED, "--augment_on", "device"),
    ],
    "bf16, compiled": [
        *("simclr_ssps.yaml", "--precision", "bf16"),
        *("--compile_backend", "inductor"),
    ],
}
TINY = [
    *("--encoder_channels", "[8,8,8,8,24]", "--attention_channels", "8"),
    *("--embedding_dim", "8", "--global_batch_size", "32"),
]


def write_utterance(path: str) -> None:
    write_noise(pathlib.Path(path), SECONDS)


def write_corpus(folder: pathlib.Path, num_utterances: int) -> None:
    """Write noise, laid out as VoxCeleb is, and noise and rooms to add."""
    paths = []
    for number in range(num_utterances):
        recording = number // UTTERANCES_A_RECORDING
        speaker = recording // RECORDINGS_A_SPEAKER
        place = folder / "wav" / f"id{speaker:05d}" / f"rec{recording:05d}"
        paths.append(str(place / f"{number:07d}.wav"))
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        pool.map(write_utterance, paths, chunksize=64)
    for category in ("noise", "speech", "music"):
        for number in range(8):
            path = folder / "musan" / category / f"{number}.wav"
            write_noise(path, 60.0)
    for number in range(64):
        write_noise(folder / "rirs" / f"{number}.wav", 1.0, fades=0.1)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Utilisation:
    """What nvidia-smi says of the GPU, a few times a second."""

    def __init__(self) -> None:
        self.percents: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu"]
        command += ["--format=csv,noheader,nounits"]
        while not self._stop.wait(0.2):
            with contextlib.suppress(OSError, ValueError, TIMED_OUT):
                found = subprocess.run(
                    command, capture_output=True, text=True, timeout=5
                )
                self.percents.append(float(found.stdout.splitlines()[0]))

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self._stop.set()
        self._thread.join()


class Timed(Exception):
    """What was to be timed is: a run may end here."""


class TimedEpoch:
    """Times the second epoch of a run of the recipe in this process.

    Arguments
    ---------
    num_steps_watched : int
        So many steps, from the tenth on, are watched for waits instead.
    """

    def __init__(self, num_steps_watched: int) -> None:
        self.utilisation = Utilisation()
        self._born = time.perf_counter()
        self.seconds = 0.0
        self.step_seconds = 0.0
        self.steps: list[float] = []
        self.waits: Counter[str] = Counter()
        self._watched = range(10, 10 + num_steps_watched)

    def say(self, what: str) -> None:
        """Print when something is, in seconds from the start on."""
        print(f"{time.perf_counter() - self._born:7.1f} s: {what}", flush=True)

    def before_epoch(self) -> None:
        """Start the clock."""
        synchronize()
        self.utilisation.start()
        self._start = time.perf_counter()

    def before_step(self, step: int) -> None:
        """Begin to watch, in the steps that are watched."""
        if step in self._watched:
            torch.cuda.set_sync_debug_mode("warn")

    def after_step(self) -> None:
        """Note when a step ended, for the processor."""
        if self._watched:
            torch.cuda.set_sync_debug_mode("default")
        self.steps.append(time.perf_counter())

    def after_epoch(self) -> None:
        """Stop the clock, when the GPU is done."""
        synchronize()
        self.seconds = time.perf_counter() - self._start
        self.utilisation.stop()

    def repeat(self, brain: Any) -> None:
        """Time steps on the last batch."""
        for number in range(NUM_REPEATED + 2):
            if number == 2:
                synchronize()
                start = time.perf_counter()
            self._fit_batch(brain, self._batch)
        synchronize()
        self.step_seconds = (time.perf_counter() - start) / NUM_REPEATED

    def note(self, message: Warning | str, category: Any, *where: Any) -> None:
        """Count a warning of a wait by the code it comes from."""
        if "synchronizing" not in str(message):
            return
        frames = traceback.extract_stack()[:-1]
        own = [frame for frame in frames if "ssps_plugin/" in frame.filename]
        frame = (own or frames)[-1]
        self.waits[f"{frame.filename}:{frame.lineno} {frame.line}"] += 1

    def hook_into(self, brain_class: Any) -> None:
        """Have the epochs of all brains of this process timed."""
        start, end = brain_class.on_stage_start, brain_class.on_stage_end
        fit_batch = self._fit_batch = brain_class.fit_batch

        def on_stage_start(brain: Any, stage: Any, epoch: Any = None) -> None:
            self.say(f"epoch {epoch} begins")
            if epoch == 2:
                self.before_epoch()
            start(brain, stage, epoch)
            self.say("is prepared")

        def timed_fit_batch(brain: Any, batch: Any) -> Any:
            if brain.step in (1, 2):
                self.say(f"step {brain.step} begins")
            if brain.epoch_counter.current != 2:
                return fit_batch(brain, batch)
            self._batch = batch
            self.before_step(brain.step)
            loss = fit_batch(brain, batch)
            self.after_step()
            return loss

        def on_stage_end(brain: Any, *args: Any) -> None:
            self.say("the last step is taken")
            if brain.epoch_counter.current == 2:
                self.after_epoch()
                self.repeat(brain)
                raise Timed
            end(brain, *args)

        brain_class.on_stage_start = on_stage_start
        brain_class.on_stage_end = on_stage_end
        brain_class.fit_batch = timed_fit_batch


def train_once(arguments: list[str], batch: int, num_watched: int) -> None:
    """Train in this process, and print what was found as a line of JSON."""
    from train_ssl import main as train

    from ssps_plugin.training.brain import SSLBrain

    timed = TimedEpoch(num_watched)
    timed.hook_into(SSLBrain)
    warnings.simplefilter("always")
    warnings.showwarning = timed.note  # type: ignore[assignment]
    with contextlib.suppress(Timed):
        train(arguments)
    steps = timed.steps
    gaps = [after - one for one, after in zip(steps, steps[1:], strict=False)]
    found = {
        "utterances_per_second": len(steps) * batch / timed.seconds,
        "median_step_ms": 1000 * statistics.median(gaps),
        "without_reading": batch / timed.step_seconds,
        "utilisation": statistics.mean(timed.utilisation.percents or [0.0]),
        "waits": dict(timed.waits),
    }
    if torch.cuda.is_available():
        found["peak_gb"] = torch.cuda.max_memory_reserved() / 1e9
    print("FOUND " + json.dumps(found), flush=True)
    os._exit(0)  # workers that read ahead need not end in order


def measure(
    name: str, folder: pathlib.Path, options: argparse.Namespace, watched: int
) -> dict[str, Any]:
    """Train by a setting in a process of its own; return what it found."""
    hparams, *more = SETTINGS[name]
    places = {"{noise}": folder / "musan", "{rirs}": folder / "rirs"}
    batch = 32 if options.tiny else 256
    given = {
        "data_folder": folder,
        "output_folder": tempfile.mkdtemp(dir=folder),
        "num_epochs": 2,
        "num_workers": options.num_workers,
        "verify_interval": 9,
        "averaged_epochs": 0,
        "num_held_out_speakers": 2,
        "num_made_trials": 100,
    }
    if "ssps" in hparams:
        given |= {
            "ssps_start_epoch": 2,
            "num_clusters": options.num_utterances // 8,
            "queue_size": options.num_utterances // 2,
        }
    command = [str(ROOT / "hparams" / hparams), "--noprogressbar"]
    command += [str(places.get(word, word)) for word in more]
    for key, value in given.items():
        command += [f"--{key}", str(value)]
    command += TINY if options.tiny else []
    environment = {**os.environ, "PYTHONPATH": python_path()}
    if name == "fp32":
        environment["SB_DISABLE_QUIRKS"] = "allow_tf32"
    code = (
        "import sys, json, gpu_training; "
        "gpu_training.train_once(json.loads(sys.argv[1]), "
        "int(sys.argv[2]), int(sys.argv[3]))"
    )
    argv = [sys.executable, "-c", code, json.dumps(command), str(batch)]
    log = folder / "log.txt"
    with contextlib.suppress(subprocess.TimeoutExpired), log.open("w") as fout:
        subprocess.run(
            [*argv, str(watched)],
            stdout=fout,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=options.timeout,
        )
    said = log.read_text()
    for line in said.splitlines():
        if line.startswith("FOUND "):
            return json.loads(line.removeprefix("FOUND "))
    print(said[-4000:], flush=True)
    return {}


def python_path() -> str:
    """Where a process finds this script, the package, and all else."""
    own = [str(ROOT), str(ROOT / "benchmarks")]
    return os.pathsep.join([*own, os.environ.get("PYTHONPATH", "")])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="*", metavar="SETTING")
    parser.add_argument("--num_utterances", type=int, default=16_384 + 1_024)
    parser.add_argument("--num_workers", type=int, default=14)
    parser.add_argument("--syncs", help="the setting whose waits are shown")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--timeout", type=float, help="seconds a setting")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name(), torch.__version__)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_corpus(folder, options.num_utterances)
        if options.syncs:
            found = measure(options.syncs, folder, options, watched=10)
            for place, count in sorted(found.get("waits", {}).items()):
                print(f"{count:4d} {place}")
        columns = "utterances/s", "hours an epoch of VoxCeleb2"
        columns += "GPU utilisation, %", "median step, ms", "peak, GB"
        columns += ("utterances/s, one batch again and again",)
        print("| setting | " + " | ".join(columns) + " |")
        print("| --- " * (len(columns) + 1) + "|")
        for setting in options.settings:
            found = measure(setting, folder, options, watched=0)
            if options.verbose:
                print((folder / "log.txt").read_text(), file=sys.stderr)
            if not found:
                print(f"| {setting} | failed, see above |", flush=True)
                continue
            rate = found["utterances_per_second"]
            hours = VOXCELEB2_UTTERANCES / rate / 3600
            print(
                f"| {setting} | {rate:,.0f} | {hours:.2f} "
                f"| {found['utilisation']:.0f} | {found['median_step_ms']:.0f} "
                f"| {found.get('peak_gb', 0):.1f} "
                f"| {found['without_reading']:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
