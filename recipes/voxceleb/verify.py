#!/usr/bin/env python3
"""Score trial lists with a trained encoder.

    python recipes/voxceleb/verify.py OUTPUT_FOLDER/hyperparams.yaml \
        --trials LIST --trials_folder FOLDER

A list has lines of `label enrol test`, names relative to the folder; it is a
file, an http(s) address or the name of one of VoxCeleb1's (`voxceleb1-e`).
Several, as `--trials "[LIST, LIST]"`, embed an utterance once. Without the two
keys, the trials of the training run are scored again. With
`--cohort_size 3000`, scores are normalised. Scores and `results.json` go to
`OUTPUT_FOLDER/verify/<name of the list>`.
"""

import pathlib
import sys

from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.distributed import infer_device
from speechbrain.utils.logger import setup_logging
from voxceleb_prepare import load_cohort, load_verifications, prepare_trials

from ssps_plugin.configuration import parse_configuration
from ssps_plugin.devices import check_devices
from ssps_plugin.evaluation.embedding_cache import EmbeddingCache
from ssps_plugin.history import History
from ssps_plugin.outcome import write_outcome
from ssps_plugin.snapshots import Snapshots


def main(argv: list[str]) -> None:
    """Load the last epochs' encoder, embed, score, write."""
    configuration = parse_configuration(argv)
    check_devices(configuration.run_opts)
    saved = configuration.hparams_file
    if saved.name == "hyperparams.yaml":
        # Found from any folder, whatever folder the training was started in;
        # and nothing is augmented here.
        for key, value in {
            "output_folder": str(saved.parent),
            "save_folder": str(saved.parent / "save"),
            "made_trials": str(saved.parent / "trials.txt"),
            "noise_folder": None,
            "rir_folder": None,
        }.items():
            configuration.overrides.setdefault(key, value)
    with open(configuration.hparams_file, encoding="utf-8") as fin:
        hparams = load_hyperpyyaml(fin, configuration.overrides)
    setup_logging()
    prepare_trials(hparams)
    verifications = load_verifications(hparams)
    if not verifications:
        raise ValueError(
            "No trials to score: set --trials and --trials_folder."
        )

    framework, counter = hparams["framework"], hparams["epoch_counter"]
    trained = {"framework": framework, "epoch_counter": counter}
    checkpoint = Checkpointer(hparams["save_folder"], trained)
    if checkpoint.recover_if_possible() is None:
        raise FileNotFoundError(
            f"Expected a checkpoint in {hparams['save_folder']}, found none: "
            "train first, with the same output_folder."
        )
    device = configuration.run_opts["device"] or infer_device()
    framework.to(device).eval()
    output_folder = pathlib.Path(hparams["output_folder"])
    snapshots = Snapshots(
        output_folder / "snapshots", hparams["averaged_epochs"]
    )
    averaged_epochs = snapshots.average_into(
        framework.exported_model, counter.current
    )

    history = History(output_folder / "history.json")
    cohort, known = load_cohort(hparams), EmbeddingCache()
    for verification in verifications:
        result = verification.run(
            framework.embed, device, cohort=cohort, known=known
        )
        folder = output_folder / "verify" / verification.path.stem
        folder.mkdir(parents=True, exist_ok=True)
        write_outcome(
            folder,
            verification,
            result,
            trial_list=verification.path,
            config=configuration.hparams_file,
            seed=hparams["seed"],
            epochs=counter.current,
            averaged_epochs=averaged_epochs,
            coverage=history.at(counter.current).get("coverage"),
            cohort_size=0 if cohort is None else len(cohort.files),
            num_resamples=hparams["num_resamples"],
            false_acceptance_rate=hparams["false_acceptance_rate"],
        )


if __name__ == "__main__":
    main(sys.argv[1:])
