#!/usr/bin/env python3
r"""Train speaker embeddings without labels, with or without SSPS.

On a laptop, on a synthetic corpus that it makes:

    python recipes/voxceleb/train_ssl.py hparams/simclr_ssps.yaml

On VoxCeleb, or any corpus laid out like it:

    python recipes/voxceleb/train_ssl.py hparams/simclr_ssps.yaml \
        --data_folder VOXCELEB2/dev --trials_folder VOXCELEB1
"""

import os
import pathlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import speechbrain as sb
from speechbrain.utils.distributed import if_main_process, run_on_main
from speechbrain.utils.logger import get_logger
from voxceleb_prepare import (
    Trials,
    is_own_manifest,
    prepare_trials,
    prepare_voxceleb,
)

from ssps_plugin.commands.recipe import run_recipe
from ssps_plugin.dataio import (
    CropGroup,
    OracleViewSampler,
    PartnerViewSampler,
    SharedEpoch,
    ViewSampler,
    add_crop_groups,
    load_manifest,
)
from ssps_plugin.dataio.augmentation import Augmentation
from ssps_plugin.dataio.corpus.folders import link_data_folders
from ssps_plugin.dataio.corpus.kept_manifest import keep_manifest
from ssps_plugin.dataio.dataset import read_column
from ssps_plugin.dataio.loading import train_loader_kwargs
from ssps_plugin.dataio.read_failures import ReadFailures
from ssps_plugin.dataio.views.partners import assign_crops
from ssps_plugin.evaluation.results import (
    package_commit,
    results_folder,
    run_settings,
    summarize_training,
    write_verification,
)
from ssps_plugin.evaluation.sampling_report import SamplingReport
from ssps_plugin.evaluation.scoring import Cohort, draw_cohort
from ssps_plugin.pretrained import EncoderEnsemble
from ssps_plugin.simulation import make_minivox
from ssps_plugin.training.brain import SSLBrain
from ssps_plugin.training.checks import (
    check_batch,
    check_crops,
    check_dimensions,
    check_draws_positives,
    check_references,
    check_same_experiment,
    check_spaces,
    check_ssl_folder,
    find_resumable_run,
    has_checkpoints,
    log_changed_settings,
)
from ssps_plugin.training.configuration import (
    Configuration,
    parse_configuration,
)
from ssps_plugin.training.console import LOG_CONFIG
from ssps_plugin.training.run_folder import (
    describe_foreign_files,
    describe_next_steps,
    find_foreign_files,
    hold_output_folder,
)
from ssps_plugin.training.runtime import process_group
from ssps_plugin.training.settings import tag_of
from ssps_plugin.training.train_loggers import check_use_wandb
from ssps_plugin.training.warm_start import (
    check_finished_run,
    check_warm_start,
)
from ssps_plugin.training.weights import check_weights, find_save_folder

logger = get_logger(__name__)

# Above recipes/, where hparams/ is: in a clone, and where pip installs both.
ROOT = pathlib.Path(__file__).resolve().parents[2]
MINIVOX_OVERLAY = "hparams/minivox.yaml"
# What overlays change that are for another encoder.
ENCODER_KEYS = {
    *("features", "normalization", "encoder", "num_mels", "embedding_dim"),
    *("frontend_lr", "ssl_folder", "warm_start_from"),
}


def main(argv: list[str]) -> None:
    """Train as a YAML file and options say."""
    configuration = parse_configuration(argv, ROOT)
    check_before_writing(configuration)
    timeout = configuration.get("rank_timeout_minutes")
    with (
        process_group(configuration.run_opts, timeout),
        output_folder_of(configuration),
    ):
        train(configuration)


def train(configuration: Configuration) -> None:
    """Prepare, train, verify."""
    data_folders = configuration["data_folder"]
    # Now: the checkout may be another when training has ended.
    commit = package_commit() if if_main_process() else None
    settle_data_folder(configuration)
    reference_encoder = load_reference_encoder(configuration)
    hparams = configuration.load()
    check_composition(hparams, reference_encoder)
    check_weights_to_start_from(hparams)
    open_output_folder(configuration)
    check_start_epoch(hparams)
    warn_unusual_settings(hparams)
    log_augmentation(hparams)
    if reference_encoder is not None:
        log_reference_encoder(reference_encoder, hparams["reference_encoder"])
    if "train_manifest" in configuration.overrides:
        warn_missing_manifest(hparams["train_manifest"])

    with data_links(data_folders, hparams):
        trials = prepare_corpus(hparams)
    epoch = SharedEpoch()
    train_data, failures = training_data(hparams, epoch)
    cohort = None
    if trials.verifications and hparams["cohort_size"]:
        cohort = draw_cohort(
            read_column(train_data, "wav"),
            hparams["cohort_size"],
            hparams["cohort_top_n"],
            hparams["seed"],
        )

    brain = SSLBrain(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=configuration.run_opts,
        checkpointer=hparams["checkpointer"],
        epoch=epoch,
        report=SamplingReport.of_dataset(train_data),
        verifications=trials.verifications,
        warm_start_from=hparams.get("warm_start_from"),
        reference_encoder=reference_encoder,
        failures=failures,
    )
    brain.fit(
        hparams["epoch_counter"],
        train_data,
        train_loader_kwargs=train_loader_kwargs(
            len(train_data),
            hparams["global_batch_size"],
            hparams["num_workers"],
        ),
    )
    verify_final_model(brain, hparams, configuration, cohort, commit)


# -- configuration ---------------------------------------------------------


def check_before_writing(configuration: Configuration) -> None:
    """Check what is started from, before any folder is made."""
    settings = configuration.settings()
    features = tag_of(configuration.get("features"))
    check_ssl_folder(features, settings.get("ssl_folder"))
    check_use_wandb(settings.get("use_wandb"))
    warm_start_from = settings.get("warm_start_from")
    if warm_start_from is None or has_checkpoints(settings["save_folder"]):
        return  # the run goes on from its own
    check_warm_start(warm_start_from)


@contextmanager
def output_folder_of(configuration: Configuration) -> Iterator[None]:
    """Hold the output folder, on the main process, for this run alone."""
    if not if_main_process():
        yield
        return
    folder = configuration.settings()["output_folder"]
    foreign = find_foreign_files(folder)
    if foreign:
        configuration.warnings.append(describe_foreign_files(folder, foreign))
    with hold_output_folder(folder):
        yield


def settle_data_folder(configuration: Configuration) -> None:
    """Train on MiniVox where no data is named; make one folder of several."""
    own_manifest = "train_manifest" in configuration.overrides
    if configuration["data_folder"] is None and not own_manifest:
        use_minivox(configuration)
    if isinstance(configuration["data_folder"], list):
        join_data_folders(configuration)


def use_minivox(configuration: Configuration) -> None:
    """Train on MiniVox, with settings that suit it."""
    folder = configuration["minivox_folder"]
    configuration.overrides["data_folder"] = folder
    configuration.notes.append(
        f"No data_folder was given: training on MiniVox, a small synthetic "
        f"corpus, in {folder}. For VoxCeleb: python {sys.argv[0]} "
        f"{configuration.hparams_file} --data_folder VOXCELEB2/dev "
        "--trials_folder VOXCELEB1"
    )
    # Overlays for another encoder, or none, leave the corpus's settings.
    if configuration.overlay_keys() <= ENCODER_KEYS:
        configuration.apply_overlay(MINIVOX_OVERLAY)


def join_data_folders(configuration: Configuration) -> None:
    """Replace several data folders by one, for a link to each of them."""
    output_folder = configuration.settings()["output_folder"]
    joined = os.path.abspath(os.path.join(output_folder, "data"))
    folders = configuration["data_folder"]
    configuration.overrides["data_folder"] = joined
    configuration.notes.append(
        f"{', '.join(folders)} are joined by links in {joined}."
    )


@contextmanager
def data_links(folders: Any, hparams: dict[str, Any]) -> Iterator[None]:
    """Link several data folders; after an error, a run's links are as before.

    Other folders than those of the run that goes on may be a mistake, which
    is found when they are compared.
    """
    if not isinstance(folders, list):
        yield
        return
    joined = pathlib.Path(hparams["data_folder"])
    before: dict[str, str] = {}
    if joined.is_dir() and has_checkpoints(hparams["save_folder"]):
        links = filter(os.path.islink, joined.iterdir())
        before = {str(link): os.readlink(link) for link in links}
    run_on_main(link_data_folders, [folders, str(joined)])
    try:
        yield
    except BaseException:
        if before and if_main_process():
            for link in filter(os.path.islink, joined.iterdir()):
                link.unlink()
            for path, target in before.items():
                os.symlink(target, path)
        raise


def check_composition(
    hparams: dict[str, Any], reference_encoder: EncoderEnsemble | None
) -> None:
    """Check that what is composed goes together, before any data are read.

    Raises
    ------
    ValueError
        It does not; the message names the keys.
    """
    check_true_positives(hparams)
    parts = hparams["framework"], hparams["sampler"], reference_encoder
    check_spaces(*parts)
    check_references(
        hparams.get("reference_from", "clean"),
        hparams.get("reference_precision"),
        has_encoder=reference_encoder is not None,
    )
    rate, groups = hparams["sample_rate"], all_crop_groups(hparams)
    check_partner_crops(hparams, groups)
    check_batch(hparams)
    check_dimensions(*parts[:2], rate, reference_encoder)
    check_crops(hparams["framework"], groups, rate, reference_encoder)


def check_true_positives(hparams: dict[str, Any]) -> None:
    """Check that the upper bound is trained without SSPS.

    Raises
    ------
    ValueError
        True positives and SSPS are both on.
    """
    if hparams["true_positives"] and hparams["sampler"].enabled:
        raise ValueError(
            "Expected true_positives without SSPS, which would replace them by "
            f"pseudo-positives from epoch {hparams['sampler'].start_epoch} on: "
            "train the twin without _ssps, or leave true_positives out."
        )


def open_output_folder(configuration: Configuration) -> None:
    """Create the output folder and its log, and save the configuration.

    That of a run that is resumed is saved at the end, once it is known to fit.

    Raises
    ------
    ValueError
        The folder holds a run of another experiment.
    """
    settings, started = configuration.settings(), None
    output_folder = settings["output_folder"]
    if if_main_process():
        started = find_started_run(configuration)
        if started is not None:
            check_same_experiment(settings, started)
    sb.create_experiment_directory(output_folder, log_config=LOG_CONFIG)
    logger.info("The run's folder is %s", output_folder)
    if if_main_process() and started is None:
        configuration.save(output_folder)
    for note in configuration.notes:
        logger.info(note)
    if started is not None:
        log_changed_settings(settings, started, configuration.arguments())
    for warning in configuration.warnings:
        logger.warning(warning)


def find_started_run(configuration: Configuration) -> dict[str, Any] | None:
    """Find the settings of the run that goes on; set damaged ones aside."""
    settings = configuration.settings()
    try:
        return find_resumable_run(settings)
    except ValueError as error:
        saved = os.path.join(settings["output_folder"], "hyperparams.yaml")
        os.replace(saved, f"{saved}.damaged")
        configuration.warnings.append(
            f"{error} It is kept as {saved}.damaged, and written anew with the "
            "settings that are given now: see to it that they are those that "
            "the run was started with."
        )
        return None


def load_reference_encoder(
    configuration: Configuration,
) -> EncoderEnsemble | None:
    """Load the trained encoders in whose space is drawn, if any are given.

    The configuration's `reference_dim` becomes theirs.

    Raises
    ------
    ValueError
        There is none in a folder, or they do not go with the settings.
    """
    settings = configuration.settings()
    sources = settings.get("reference_encoder")
    if sources is None:
        return None
    sampler = configuration.load(keys=["sampler"])["sampler"]
    if not sampler.enabled:
        return None
    check_draws_positives(sampler)
    if not isinstance(sources, list):
        sources = [sources]
    twice = [one for one in sources if sources.count(one) > 1]
    if twice:
        configuration.warnings.append(
            f"reference_encoder has {twice[0]} more than once: it counts as "
            "often, and takes as many passes."
        )
    try:
        encoder = EncoderEnsemble.from_folders(sources, device="cpu")
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            "Expected finished runs or exports as reference_encoder. "
            f"{error} Or leave reference_encoder out."
        ) from error
    if encoder.sample_rate != settings["sample_rate"]:
        raise ValueError(
            f"Expected a reference_encoder for {settings['sample_rate']} Hz, "
            f"got one for {encoder.sample_rate}: change reference_encoder."
        )
    dim = encoder.embedding_dim
    asked = configuration.overrides.get("reference_dim", dim)
    if asked != dim:
        raise ValueError(
            f"Expected reference_dim {dim}, that of reference_encoder, got "
            f"{asked}: leave reference_dim out."
        )
    if "reference_dim" in settings:
        configuration.overrides["reference_dim"] = dim
    return encoder


def log_reference_encoder(encoder: EncoderEnsemble, sources: Any) -> None:
    """Log in whose space is drawn; warn if that space was made by labels."""
    sources = sources if isinstance(sources, list) else [sources]
    names = []
    for source, one in zip(sources, encoder.encoders, strict=True):
        known = {**(one.details.get("settings") or {}), **one.details}
        framework = known.get("framework") or "not trained by ssps_plugin"
        names.append(f"{source} ({framework})")
        if known.get("true_positives"):
            logger.warning(
                "reference_encoder READ SPEAKER LABELS (true_positives of %s): "
                "by its draws, so does what is trained here",
                source,
            )
    logger.info(
        "References are embedded by %s: pseudo-positives are drawn in that "
        "space, which stays as it is.",
        " and ".join(names),
    )


def check_weights_to_start_from(hparams: dict[str, Any]) -> None:
    """Check that what to start from fits, before any folder is made."""
    source, sampler = hparams.get("warm_start_from"), hparams["sampler"]
    if source is None or has_checkpoints(hparams["save_folder"]):
        return
    finished = find_save_folder(source) if sampler.enabled else None
    if finished is None:
        check_weights(hparams["framework"], source)
    else:
        check_finished_run(finished, sampler.start_epoch)


def check_start_epoch(hparams: dict[str, Any]) -> None:
    """Check that the memories can be filled before SSPS starts.

    Raises
    ------
    ValueError
        SSPS starts in the first epoch, of an encoder that is not trained.
    """
    starts_at_once = hparams["sampler"].start_epoch == 1
    if starts_at_once and hparams.get("warm_start_from") is None:
        raise ValueError(
            "Expected ssps_start_epoch of at least 2, since the epoch before "
            "fills the memories, got 1: set 2, or start from a trained encoder "
            "by warm_start_from."
        )


def warn_unusual_settings(hparams: dict[str, Any]) -> None:
    """Warn of settings that have another effect than is likely meant."""
    sampler, num_epochs = hparams["sampler"], hparams["num_epochs"]
    if sampler.enabled and num_epochs < sampler.start_epoch:
        logger.warning(
            "SSPS never starts: num_epochs is %d, ssps_start_epoch %d",
            num_epochs,
            sampler.start_epoch,
        )
    warn_idle_references(hparams)
    if hparams.get("reference_encoder") and not sampler.enabled:
        logger.warning(
            "reference_encoder does nothing without SSPS: there are no "
            "references"
        )
    if hparams.get("partner_crops") and not sampler.reads_partners:
        logger.warning(
            "partner_crops does nothing with pseudo_positives queue: nothing "
            "is cut from another file"
        )
    if not sampler.enabled and hparams.get("mask_false_negatives"):
        logger.warning(
            "mask_false_negatives does nothing without SSPS: there are no "
            "clusters to tell false negatives by"
        )
    framework, length = hparams["framework"], hparams["schedule_epochs"]
    if framework.final_momentum == 1.0 and num_epochs > length:
        logger.warning(
            "The momentum network, which is verified, stands still after "
            "epoch %d: num_epochs is %d, schedule_epochs %d",
            length,
            num_epochs,
            length,
        )


def warn_idle_references(hparams: dict[str, Any]) -> None:
    """Warn of settings of references that do nothing."""
    num_epochs = hparams["num_epochs"]
    last_epoch = hparams.get("last_reference_epoch")
    if last_epoch is not None and last_epoch >= num_epochs:
        logger.warning(
            "last_reference_epoch does nothing: it is %d, num_epochs %d",
            last_epoch,
            num_epochs,
        )


def log_augmentation(hparams: dict[str, Any]) -> None:
    """Log which folders noise and rooms come from; warn if from none.

    MiniVox has its own noise and rooms.
    """
    is_demo = hparams["data_folder"] == hparams["minivox_folder"]
    given = (hparams["noise_folder"], hparams["rir_folder"])
    if given == (None, None) and not is_demo:
        logger.warning(
            "No augmentation: noise_folder and rir_folder are not given. The "
            "published results on VoxCeleb use both (MUSAN, simulated RIRs). "
            "Without a download: --noise_folder synthetic --rir_folder "
            "simulated."
        )
    if hparams.get("augment_on") == "device":
        warn_of_device(hparams["augmentation"], given)
    # An augmentation of one's own need not have notes.
    for note in getattr(hparams["augmentation"], "notes", []):
        logger.info(note)


def warn_of_device(augmentation: Any, folders: tuple[Any, Any]) -> None:
    """Warn where augment_on: device does nothing."""
    reason = None
    if not isinstance(augmentation, Augmentation):
        reason = (
            "it is an argument of ssps_plugin.dataio.Augmentation, and "
            f"augmentation is {type(augmentation).__name__}. Workers augment."
        )
    elif folders == (None, None):
        reason = "there is neither noise_folder nor rir_folder."
    if reason is not None:
        logger.warning("augment_on: device does nothing: %s", reason)


def warn_missing_manifest(manifest: str) -> None:
    """Warn if a manifest that is given is not there, and so will be made."""
    if not pathlib.Path(manifest).is_file():
        logger.warning(
            "There is no train_manifest %s: it is made, of what is found in "
            "data_folder.",
            manifest,
        )


# -- data ------------------------------------------------------------------


def prepare_corpus(hparams: dict[str, Any]) -> Trials:
    """Make MiniVox, the trial lists and the manifest, where they are missing.

    The main process writes; the others read what it has written.
    """
    if hparams["data_folder"] == hparams["minivox_folder"]:
        run_on_main(make_minivox, [hparams["minivox_folder"]])
    trials = Trials.from_hparams(hparams)
    manifest, layout = hparams["train_manifest"], hparams["folder_layout"]
    # Before the trials: another corpus by mistake lacks those, too.
    is_kept = keep_manifest_of_run(hparams)
    run_on_main(
        prepare_trials,
        [trials, manifest, layout],
        {
            "num_speakers": hparams["num_held_out_speakers"],
            "num_trials": hparams["num_made_trials"],
            "seed": hparams["seed"],
            "min_seconds": hparams["min_seconds"],
        },
    )
    # Read before the corpus: what is wrong with them ends the run at once.
    trials.read()
    run_on_main(
        prepare_voxceleb,
        [trials, manifest, layout, hparams["min_seconds"], is_kept],
    )
    return trials


def keep_manifest_of_run(hparams: dict[str, Any]) -> bool:
    """Compare the manifest of a run that goes on with the corpus, if any.

    Returns
    -------
    bool
        Whether there is such a manifest, which is not to be written.
    """
    manifest = hparams["train_manifest"]
    if (
        hparams["data_folder"] is None
        or is_own_manifest(manifest)
        or not has_checkpoints(hparams["save_folder"])
    ):
        return False
    if not pathlib.Path(manifest).is_file():
        logger.warning(
            "The run's manifest %s is not there: it is made of what is in %s "
            "now.",
            manifest,
            hparams["data_folder"],
        )
        return False
    run_on_main(
        keep_manifest,
        [hparams["data_folder"], manifest, hparams["min_seconds"]],
        {
            "layout": hparams["folder_layout"],
            "max_unreadable": hparams.get("max_unreadable", 0.01),
        },
    )
    return True


def training_data(
    hparams: dict[str, Any], epoch: SharedEpoch
) -> tuple[Any, ReadFailures]:
    """Read the manifest and add the views, and SSPS's reference segment.

    Sizes the sampler's memories by it. Also returns what counts the files that
    cannot be read.
    """
    train_data = load_manifest(
        hparams["train_manifest"], hparams["data_folder"]
    )
    warn_short_utterances(train_data, hparams["crop_groups"])
    sampler = hparams["sampler"]
    sampler.bind(train_data)
    options = {
        "groups": all_crop_groups(hparams),
        "seed": hparams["seed"],
        "epoch": epoch,
        "augmentation": hparams["augmentation"],
        "sample_rate": hparams["sample_rate"],
    }
    if hparams["true_positives"]:
        logger.warning("true_positives: READS SPEAKER LABELS, an upper bound")
        views = OracleViewSampler(train_data, **options)
    elif sampler.reads_partners:
        options["partner_crops"] = hparams.get("partner_crops")
        views = PartnerViewSampler(
            train_data, partners=sampler.partners, **options
        )
    else:
        views = ViewSampler(**options)
    add_crop_groups(train_data, views, hparams.get("max_unreadable", 0.01))
    return train_data, views.failures


def all_crop_groups(hparams: dict[str, Any]) -> list[CropGroup]:
    """Return the groups of crops that there are, SSPS's reference the last."""
    groups = [group for group in hparams["crop_groups"] if group.num_crops != 0]
    if hparams["sampler"].enabled and hparams.get("reference_from") != "view":
        seconds = hparams["reference_seconds"]
        groups.append(CropGroup("reference", seconds, augmented=False))
    return groups


def check_partner_crops(
    hparams: dict[str, Any], groups: list[CropGroup]
) -> None:
    """Check whose crops are whose, where positives are read from partners."""
    if not hparams["sampler"].reads_partners or not groups:
        return
    is_partners = assign_crops(groups, hparams.get("partner_crops"))
    # A reference out of the first view has to be the utterance's own.
    if is_partners[0] and hparams.get("reference_from") == "view":
        first, *others = (group.key for group in groups)
        raise ValueError(
            "Expected a first view of the utterance itself with reference_from "
            f"view, got partner_crops {hparams.get('partner_crops')}, by which "
            f"{first} is cut from the partner's file: change reference_from to "
            "clean, or partner_crops"
            + (f" to {{{others[0]}: 1}}." if others else ".")
        )


def warn_short_utterances(train_data: Any, groups: list[CropGroup]) -> None:
    """Warn of utterances that are repeated to fill a view.

    All views of them are the same audio.
    """
    longest = max(group.seconds for group in groups)
    seconds = [float(value) for value in read_column(train_data, "duration")]
    num_short = sum(value < longest for value in seconds)
    if num_short:
        logger.warning(
            "%d of %d utterances are shorter than a view of %g s: they are "
            "repeated, and without augmentation such views of them are all "
            "alike. min_seconds leaves short ones out.",
            num_short,
            len(seconds),
            longest,
        )


# -- results ---------------------------------------------------------------


def verify_final_model(
    brain: SSLBrain,
    hparams: dict[str, Any],
    configuration: Configuration,
    cohort: Cohort | None,
    commit: str | None,
) -> None:
    """Verify the final model by every list, and write the results.

    Those of the first list go to the output folder, those of the others to
    where `verify.py` writes them.
    """
    scored, averaged_epochs = brain.verify_average(cohort)
    if not if_main_process():
        return
    output_folder, history = hparams["output_folder"], brain.history
    configuration.save(output_folder)
    for verification, result in scored:
        folder = output_folder
        if verification is not brain.verifications[0]:
            folder = results_folder(output_folder, verification)
        write_verification(
            folder,
            verification,
            result,
            config=configuration.hparams_file,
            epochs=hparams["epoch_counter"].current,
            averaged_epochs=averaged_epochs,
            coverage=history.rows[-1].get("coverage") if history.rows else None,
            git_commit=commit,
            **run_settings(hparams, cohort),
        )
    summarize_training(
        output_folder,
        history,
        hparams["sampler"].start_epoch,
        # Of the list that verifies epochs.
        next((one for _, one in scored if one.eer is not None), None),
    )
    logger.info(describe_next_steps(output_folder))


if __name__ == "__main__":
    sys.exit(run_recipe(main, sys.argv[1:]))
