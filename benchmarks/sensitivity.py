"""How SSPS depends on its settings, on MiniVox: runs, a table and a plot.

SimCLR for five epochs without SSPS, once; from there six epochs with SSPS
for each setting of K and M (clustering), M (nearest neighbours) and the size of
the queue. The rest is the overlay's. EER is of the average of the last four
epochs' weights.

    python benchmarks/sensitivity.py FOLDER MINIVOX

Settings that FOLDER has are not run again, so several of these may share the
work; the last one that ends writes FOLDER/sensitivity.png.
"""

import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import matplotlib.pyplot as plt

ROOT = pathlib.Path(__file__).parents[1]
OVERLAY = ROOT / "hparams" / "minivox.yaml"
PLAIN_EPOCHS, EPOCHS = 5, 11
K, M, QUEUE = 600, 1, 3600
CLUSTERING = [
    *[(k, M, QUEUE) for k in (150, 300, K, 1200)],
    *[(K, m, QUEUE) for m in (0, 2, 4)],
    *[(K, M, queue) for queue in (300, 900, 1800)],
]
NEAREST = [1, 10, 30, 100]
INK, ACCENT = "#333333", "#c1440e"


def name_of(k: int, m: int, queue: int) -> str:
    """How a setting of clustering is called in the table."""
    return f"K {k}, M {m}, queue {queue}"


def along(place: int) -> dict[int, str]:
    """Names of the settings that differ in K, M or the queue only, by it."""
    fixed = [(place + step) % 3 for step in (1, 2)]
    default = (K, M, QUEUE)
    return {
        setting[place]: name_of(*setting)
        for setting in sorted(CLUSTERING)
        if all(setting[other] == default[other] for other in fixed)
    }


def train(hparams: pathlib.Path, output: pathlib.Path, **keys: Any) -> None:
    """Run the recipe, unless somebody has begun to."""
    try:
        output.mkdir(parents=True)
    except FileExistsError:
        return
    options = {
        "overlay": OVERLAY,
        "output_folder": output / "run",
        "verify_interval": 99,
        **keys,
    }
    argv = [f"--{key}={value}" for key, value in options.items()]
    script = ROOT / "recipes" / "voxceleb" / "train_ssl.py"
    subprocess.run(
        [sys.executable, script, hparams, *argv, "--noprogressbar"],
        check=True,
        cwd=output,
    )


def nearest_neighbors(folder: pathlib.Path) -> pathlib.Path:
    """Write SimCLR-SSPS's YAML with the other strategy."""
    text = (ROOT / "hparams" / "simclr_ssps.yaml").read_text()
    strategy = (
        "strategy: !new:ssps_plugin.NearestNeighborSampling\n"
        "        num_neighbors: !ref <num_neighbors>\n    queue_size"
    )
    text, found = re.subn(
        r"strategy: (.*\n)*?    queue_size", strategy, text, count=1
    )
    if not found:
        raise RuntimeError("expected a strategy in simclr_ssps.yaml, got none")
    path = folder / "nearest_ssps.yaml"
    path.write_text(text)
    return path


def outcome(output: pathlib.Path) -> dict[str, float] | None:
    """EER in %, coverage and speaker accuracy at the end, if it ended."""
    results = output / "run" / "results.json"
    if not results.is_file():
        return None
    last = json.loads((output / "run" / "history.json").read_text())[-1]
    return {
        "eer": json.loads(results.read_text())["eer_percent"],
        "coverage": 100 * last.get("coverage", 0),
        "speaker_accuracy": 100 * last.get("speaker_accuracy", 0),
    }


def main(folder: pathlib.Path, minivox: pathlib.Path) -> None:
    """Run what is missing, then print and plot what there is."""
    hparams = ROOT / "hparams"
    shared = {"data_folder": minivox.resolve()}
    folder = folder.resolve()
    plain = folder / "plain"
    train(hparams / "simclr.yaml", plain, num_epochs=PLAIN_EPOCHS, **shared)
    longer = folder / "plain_longer"
    train(hparams / "simclr.yaml", longer, num_epochs=EPOCHS, **shared)
    shared |= {
        "num_epochs": EPOCHS,
        "warm_start_from": plain / "run" / "save",
    }
    runs = {}
    for k, m, queue in CLUSTERING:
        output = runs[name_of(k, m, queue)] = (
            folder / f"clustering_{k}_{m}_{queue}"
        )
        train(
            hparams / "simclr_ssps.yaml",
            output,
            num_clusters=k,
            num_neighbors=m,
            queue_size=queue,
            **shared,
        )
    nearest = nearest_neighbors(folder)
    for m in NEAREST:
        output = runs[f"nearest neighbours, M {m}"] = folder / f"nearest_{m}"
        train(nearest, output, num_neighbors=m, **shared)
    runs = {"no SSPS": longer, **runs}
    found = {name: outcome(output) for name, output in runs.items()}
    print("| setting | EER % | coverage | speaker accuracy |")
    print("| --- | --- | --- | --- |")
    for name, row in found.items():
        if row is not None:
            print(
                f"| {name} | {row['eer']:.2f} | {row['coverage']:.0f} % "
                f"| {row['speaker_accuracy']:.0f} % |"
            )
    if all(found.values()):
        plot(found, folder / "sensitivity.png")


def plot(found: dict[str, Any], path: pathlib.Path) -> None:
    """Draw a panel for each of the settings, EER above speaker accuracy."""
    panels = {
        f"K (clustering, M = {M})": along(0),
        f"M (clustering, K = {K})": along(1),
        f"queue (clustering, K = {K}, M = {M})": along(2),
        "M (nearest neighbours)": {
            m: f"nearest neighbours, M {m}" for m in NEAREST
        },
    }
    figure, axes = plt.subplots(
        2, len(panels), figsize=(11, 4.6), sharex="col", sharey="row"
    )
    for column, (title, names) in enumerate(panels.items()):
        ticks = range(len(names))
        rows = [found[name] for name in names.values()]
        upper, lower = axes[0, column], axes[1, column]
        upper.plot(ticks, [row["eer"] for row in rows], "o-", color=ACCENT)
        upper.axhline(found["no SSPS"]["eer"], color=INK, ls=":", lw=1)
        lower.plot(
            ticks,
            [row["speaker_accuracy"] for row in rows],
            "o-",
            color=ACCENT,
            label="right speaker",
        )
        lower.plot(
            ticks,
            [row["coverage"] for row in rows],
            "s--",
            color=INK,
            mfc="none",
            label="coverage",
        )
        lower.set_xticks(ticks, [str(value) for value in names])
        lower.set_xlabel(title)
        lower.set_ylim(0, 105)
        for axis in (upper, lower):
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("EER, %")
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].annotate(
        "no SSPS",
        (0, found["no SSPS"]["eer"]),
        xytext=(0, 3),
        textcoords="offset points",
        color=INK,
    )
    axes[1, 0].set_ylabel("pseudo-positives, %")
    axes[1, 0].legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
