"""Half a million trials: the page stays small, and is there soon."""

import json
import time

import numpy as np
import pytest

from ssps_plugin.report import write_report
from tests.report.conftest import write_run

NUM_TRIALS = 581_480  # of VoxCeleb1-E
NUM_UTTERANCES = 145_000


@pytest.mark.slow
def test_voxceleb1_e_is_reported_within_10_mb_and_30_s(tmp_path):
    rng = np.random.default_rng(0)
    sides = rng.integers(0, NUM_UTTERANCES, (NUM_TRIALS, 2))
    labels = rng.integers(0, 2, NUM_TRIALS)
    # Two hundred utterances a speaker, twenty a recording.
    names = [
        f"id{i // 200:05d}/rec{i // 20:06d}/{i:06d}.wav"
        for i in range(NUM_UTTERANCES)
    ]
    pairs = [(names[a], names[b]) for a, b in sides]
    trials = tmp_path / "voxceleb1-e.txt"
    trials.write_text(
        "".join(
            f"{label} {a} {b}\n"
            for label, (a, b) in zip(labels, pairs, strict=True)
        )
    )
    runs = []
    for name, start_epoch, shift in (("a_ssps", 3, 3.0), ("a", None, 2.0)):
        history = [{"epoch": 1, "loss": 1.0, "eer": 9.0}]
        folder = write_run(tmp_path / name / "1", history, "", start_epoch)
        scores = rng.normal(shift * labels, 1.0)
        (folder / "scores.txt").write_text(
            "".join(
                f"{score:.9g} {a} {b}\n"
                for score, (a, b) in zip(scores, pairs, strict=True)
            )
        )
        results = {"trial_list": str(trials), "eer_percent": 9.0}
        (folder / "results.json").write_text(json.dumps(results))
        runs.append(folder)
    start = time.perf_counter()
    path = write_report(runs)
    seconds = time.perf_counter() - start
    page = path.read_bytes()
    assert len(page) < 10_000_000
    assert seconds < 30
    text = page.decode()
    # The EER of two normal distributions, a shift apart.
    assert "a_ssps/1: EER 6.6" in text or "a_ssps/1: EER 6.7" in text
    assert "a/1: EER 15." in text
    assert f"{NUM_TRIALS:,} trials of voxceleb1-e.txt" in text
