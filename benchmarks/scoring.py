"""Time and memory from a trial list to EER and minDCF, on one core.

Two synthetic lists of the sizes of VoxCeleb1-O and VoxCeleb1-E. Each runs in
a process of its own, so that its peak memory is its own; scikit-learn, which
the curve is compared with, is loaded only when the peak has been read.

    python benchmarks/scoring.py [--s-norm]

Ends with status 1 where a limit is missed. With `--s-norm` instead: adaptive
S-norm of the larger list's scores by a cohort of 20 000, on all cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ssps_plugin.evaluation.error_rates import DetectionCurve, detection_curve
from ssps_plugin.evaluation.scoring import cosine_scores, s_norm
from ssps_plugin.evaluation.trial_list import (
    TrialList,
    read_trials,
    write_trials,
)

DIM = 512
UTTERANCES_PER_SPEAKER = 116
REPEATS = 5
#: Trials, utterances, limit in seconds and the steps that it is set for.
LISTS = {
    "VoxCeleb1-O": (37_720, 4_708, 0.05, ("score", "rates")),
    "VoxCeleb1-E": (581_480, 145_375, 2.0, ("read", "score", "rates")),
}
MAX_MIB = 150
MAX_DIFFERENCE = 1e-12
COHORT_SIZE, COHORT_TOP_N = 20_000, 300


def synthetic_trials(num_trials: int, num_utterances: int) -> TrialList:
    """Every utterance enrols a few times in a row, against earlier ones.

    So utterances first appear in the order of the embeddings.
    """
    generator = np.random.default_rng(0)
    enrol = np.sort(np.arange(num_trials) % num_utterances)
    labels = generator.integers(0, 2, num_trials).astype(np.uint8)
    speaker_start = enrol - enrol % UTTERANCES_PER_SPEAKER
    test = generator.integers(np.where(labels, speaker_start, 0), enrol + 1)
    names = [
        f"id1{i // UTTERANCES_PER_SPEAKER:04d}/{i // 7:011x}/{i % 7:05d}.wav"
        for i in range(num_utterances)
    ]
    return TrialList(names, labels, enrol, test)


def synthetic_embeddings(num_utterances: int) -> torch.Tensor:
    """Speakers' means in noise; made in place, for peaks are measured."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.empty(num_utterances, DIM).normal_(generator=generator)
    for of_speaker in embeddings.split(UTTERANCES_PER_SPEAKER):
        of_speaker += 0.3 * torch.randn(DIM, generator=generator)
    return embeddings


def memory_mib(field: str) -> float:
    """A line of this process's status: VmRSS (now) or VmHWM (peak)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"expected {field} in /proc/self/status, got none.")


def measure(path: str, num_utterances: int) -> dict[str, float]:
    """Best time of every step, peak memory, difference to scikit-learn."""
    torch.set_num_threads(1)
    embeddings = synthetic_embeddings(num_utterances)
    before, peak = memory_mib("VmRSS"), 0.0
    times: dict[str, list[float]] = {"read": [], "score": [], "rates": []}
    for _ in range(REPEATS):
        start = time.perf_counter()
        trials = read_trials(path)
        times["read"].append(time.perf_counter() - start)
        start = time.perf_counter()
        scores = cosine_scores(embeddings, trials)
        times["score"].append(time.perf_counter() - start)
        start = time.perf_counter()
        curve = detection_curve(scores, trials.labels)
        eer, _ = curve.equal_error_rate()
        curve.min_dcf(0.01), curve.min_dcf(0.05)
        times["rates"].append(time.perf_counter() - start)
        # Later rounds read a list while the last one's is still held.
        peak = peak or memory_mib("VmHWM") - before
    best = {step: min(of_step) for step, of_step in times.items()}
    difference = difference_to_scikit_learn(curve, scores.numpy(), trials)
    return best | {"mib": peak, "difference": difference, "eer": eer}


def difference_to_scikit_learn(
    curve: DetectionCurve, scores: np.ndarray, trials: TrialList
) -> float:
    """Largest difference of a rate, at any threshold, or of the EER."""
    from sklearn.metrics import roc_curve

    alarm, hit, thresholds = roc_curve(
        trials.labels, scores, drop_intermediate=False
    )
    if not np.array_equal(thresholds, curve.thresholds):
        return float("inf")
    theirs = DetectionCurve(thresholds, 1 - hit, alarm)
    return max(
        float(np.abs(alarm - curve.false_alarm_rate).max()),
        float(np.abs(1 - hit - curve.miss_rate).max()),
        abs(theirs.equal_error_rate()[0] - curve.equal_error_rate()[0]),
        abs(theirs.min_dcf(0.01)[0] - curve.min_dcf(0.01)[0]),
        abs(theirs.min_dcf(0.05)[0] - curve.min_dcf(0.05)[0]),
    )


def measure_s_norm() -> None:
    """Print seconds and peak memory of normalising the larger list."""
    num_trials, num_utterances, *_ = LISTS["VoxCeleb1-E"]
    trials = synthetic_trials(num_trials, num_utterances)
    embeddings = synthetic_embeddings(num_utterances)
    cohort = torch.randn(COHORT_SIZE, DIM)
    scores = cosine_scores(embeddings, trials)
    before = memory_mib("VmRSS")
    start = time.perf_counter(), time.process_time()
    s_norm(scores, embeddings, trials, cohort, COHORT_TOP_N)
    clock, processor = time.perf_counter(), time.process_time()
    print(
        f"adaptive S-norm, {num_trials} trials over {num_utterances} "
        f"utterances, cohort {COHORT_SIZE}, top {COHORT_TOP_N}: "
        f"{clock - start[0]:.1f} s ({processor - start[1]:.1f} s of processor "
        f"time, {torch.get_num_threads()} threads), "
        f"{memory_mib('VmHWM') - before:.0f} MiB above the embeddings"
    )


def measure_in_subprocess(name: str, folder: Path) -> dict[str, float]:
    """Write the list here, measure it there."""
    num_trials, num_utterances, *_ = LISTS[name]
    path = folder / f"{name}.txt"
    write_trials(path, synthetic_trials(num_trials, num_utterances))
    command = [sys.executable, __file__, str(path), str(num_utterances)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(answer.stdout)


def main() -> int:
    """Print a row a list; 1 if a limit is missed."""
    print(f"best of {REPEATS}, one core, {DIM} dimensions, times in s")
    print(
        "list         trials   read    score   rates   timed   limit  "
        "MiB  limit  vs sklearn"
    )
    all_met = True
    with tempfile.TemporaryDirectory() as folder:
        for name, (num_trials, _, limit, steps) in LISTS.items():
            got = measure_in_subprocess(name, Path(folder))
            timed = sum(got[step] for step in steps)
            met = timed < limit and got["mib"] < MAX_MIB
            met = met and got["difference"] <= MAX_DIFFERENCE
            all_met = all_met and met
            print(
                f"{name:11s} {num_trials:7d} {got['read']:7.3f} "
                f"{got['score']:7.3f} {got['rates']:7.3f} {timed:7.3f} "
                f"{limit:7.2f} {got['mib']:4.0f} {MAX_MIB:6d}  "
                f"{got['difference']:.0e}  {'met' if met else 'MISSED'} "
                f"({' + '.join(steps)})"
            )
    return 0 if all_met else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["--s-norm"]:
        measure_s_norm()
    elif len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        sys.exit(main())
