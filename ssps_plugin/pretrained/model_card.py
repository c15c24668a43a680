"""The model card of an export: a README.md as model hubs read and show it."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any

import ruamel.yaml

from ssps_plugin.pretrained.thresholds import Thresholds

# SpeechBrain's, for all models.
_FIXED_THRESHOLD = 0.25
_FRONT_MATTER_WIDTH = 10**6  # no line breaks within a value
# Settings that say how the model was trained, in this order; what a run does
# not have is left out.
_TRAINING = {
    "num_epochs": "epochs",
    "ssps_start_epoch": "SSPS from epoch",
    "pseudo_positives": "pseudo-positives",
    "coverage": "coverage that was asked for",
    "num_clusters": "clusters (K)",
    "num_neighbors": "neighbouring clusters (M)",
    "queue_size": "positives kept",
    "whitening": "whitening",
    "true_positives": "speaker labels used in training",
    "crop_seconds": "seconds of a view",
    "global_crop_seconds": "seconds of a global view",
    "local_crop_seconds": "seconds of a local view",
    "global_batch_size": "utterances a step",
    "lr": "learning rate",
    "temperature": "temperature",
    "num_mels": "mel bands",
    "encoder_channels": "channels of the encoder",
    "seed": "seed",
}
# Those that only runs of these strategies use.
_OF_CLUSTERS = {"num_clusters", "num_neighbors"}
_CLUSTERING = {"ClusteringSampling", "ConsensusSampling", "CentroidSampling"}
_THRESHOLD_NAMES = {
    "eer": "equal error rates",
    "min_dcf_p01": "minDCF, p_target 0.01",
    "min_dcf_p05": "minDCF, p_target 0.05",
}

_CARD = Template("""\
---
$front_matter---

# $title

A speaker encoder: it maps a recording of speech to $dim numbers, whose cosine
says how alike two voices are. $trained

$needed

## Use

Run this in the folder of this file, or replace `"."` by its path or, if it was
pushed to a model hub, by its name there.

With SpeechBrain (`pip install speechbrain`):

```python
$speechbrain_code
```

With `ssps_plugin`, which knows the threshold, takes any sample rate, and embeds
long recordings in little memory:

```python
$package_code
```

## Threshold

$threshold

## Results

$results

## Training

$training

## Limits

$limits

## Source

$source

$made
""")


def write_card(
    path: str | os.PathLike[str], details: Mapping[str, Any]
) -> None:
    """Write the model card of an export.

    Arguments
    ---------
    path : str or os.PathLike
        `README.md` of the export.
    details : mapping
        As `describe_run` collects them, and `export.write_export` completes
        them.
    """
    pathlib.Path(path).write_text(make_card(details), encoding="utf-8")


def make_card(details: Mapping[str, Any]) -> str:
    """Return the text of a model card.

    Arguments
    ---------
    details : mapping
        As for `write_card`; what is missing is not said.

    Returns
    -------
    str
        Markdown, with the YAML front matter that model hubs read.

    Example
    -------
    >>> card = make_card({"name": "mine", "embedding_dim": 8})
    >>> "SpeakerRecognition.from_hparams" in card
    True
    >>> card.splitlines()[:2]
    ['---', 'library_name: speechbrain']
    """
    thresholds = Thresholds(
        details.get("results") or {},
        details.get("missing_threshold") or Thresholds({}).missing,
    )
    return _CARD.substitute(
        front_matter=_front_matter(details),
        title=details.get("name", "Speaker encoder"),
        dim=details.get("embedding_dim", "some"),
        trained=_describe_training_in_a_sentence(details),
        needed=_describe_need(details),
        speechbrain_code=_speechbrain_code(thresholds.value()),
        package_code=_package_code(thresholds.value(), details),
        threshold=_describe_threshold(thresholds, details),
        results=_describe_results(details),
        training=_describe_training(details),
        limits=_describe_limits(details),
        source=_describe_source(details),
        made=_describe_origin(details),
    )


# -- front matter ----------------------------------------------------------


def _front_matter(details: Mapping[str, Any]) -> str:
    tags = ["speechbrain", "speaker-verification", "speaker-recognition"]
    tags += ["speaker-embeddings", "audio", "pytorch"]
    if not details.get("imported_from"):
        tags.insert(4, "self-supervised-learning")
    for key in ("encoder", "framework"):
        if details.get(key):
            tags.append(str(details[key]).lower().replace("_", "-"))
    settings = details.get("settings") or {}
    if settings.get("ssps_start_epoch"):
        tags.append("ssps")
    fields: dict[str, Any] = {
        "library_name": "speechbrain",
        "tags": tags,
        "license": details.get("license", "unknown"),
        "metrics": ["eer", "min_dcf"],
    }
    measured = [_model_index_entry(one) for one in _rated(details)]
    if measured:
        fields["model-index"] = [
            {
                "name": details.get("name", "speaker encoder"),
                "results": measured,
            }
        ]
    text = io.StringIO()
    yaml = ruamel.yaml.YAML()
    yaml.default_flow_style = False
    yaml.width = _FRONT_MATTER_WIDTH
    yaml.dump(fields, text)
    return text.getvalue()


def _model_index_entry(results: Mapping[str, Any]) -> dict[str, Any]:
    metrics = [("eer", "EER (%)", results["eer_percent"])]
    for key, p_target in (("min_dcf_p01", 0.01), ("min_dcf_p05", 0.05)):
        name = f"minDCF (p_target {p_target})"
        metrics.append(("min_dcf", name, results.get(key)))
    name = _list_name(results)
    return {
        "task": {
            "type": "speaker-verification",
            "name": "Speaker verification",
        },
        "dataset": {"type": name, "name": name},
        "metrics": [
            {"type": kind, "name": name, "value": round(float(value), 4)}
            for kind, name, value in metrics
            if value is not None
        ],
    }


# -- sections --------------------------------------------------------------


def _describe_need(details: Mapping[str, Any]) -> str:
    if details.get("needs_package"):
        return (
            "SpeechBrain loads this folder where `ssps_plugin` is installed, "
            "which\nhas its features or its encoder."
        )
    made_with = "trained with"
    if details.get("imported_from"):
        made_with = "brought in with"
    return (
        f"SpeechBrain loads this folder by itself; the package it was "
        f"{made_with},\n`ssps_plugin`, is not needed."
    )


def _describe_training_in_a_sentence(details: Mapping[str, Any]) -> str:
    if details.get("imported_from"):
        return (
            "Its weights were\nbrought in from "
            f"`{details['imported_from']}`, not trained by `ssps_plugin`."
        )
    corpus = details.get("corpus") or {}
    framework = details.get("framework")
    if not framework:
        return ""
    settings = details.get("settings") or {}
    labels = "with speaker labels (`true_positives`, an upper bound)"
    if not settings.get("true_positives"):
        labels = "without speaker labels"
    with_ssps = " with SSPS" if settings.get("ssps_start_epoch") else ""
    if with_ssps and details.get("draws_in_another_space"):
        with_ssps += " (drawn in the space of another encoder)"
    name = corpus.get("name")
    on = f", on {name}" if name else ""
    return f"It was trained {labels}, by {framework}{with_ssps}{on}."


def _speechbrain_code(threshold: float | None) -> str:
    lines = [
        "from speechbrain.inference.speaker import SpeakerRecognition",
        "",
        'encoder = SpeakerRecognition.from_hparams(source=".")',
        'score, _ = encoder.verify_files("a.wav", "b.wav")',
    ]
    if threshold is None:
        lines.append("print(float(score))")
    else:
        lines.append(
            "print(float(score), "
            f'"same" if score >= {threshold:.4f} else "different")'
        )
    lines += [
        "",
        "# Embeddings of a batch, (batch, 1, dim), at the model's sample rate:",
        'wav = encoder.load_audio("a.wav")',
        "embeddings = encoder.encode_batch(wav)",
    ]
    return "\n".join(lines)


def _package_code(threshold: float | None, details: Mapping[str, Any]) -> str:
    dim = details.get("embedding_dim", "dim")
    decision = ""
    if threshold is not None:
        decision = ", comparison.threshold, comparison.same_speaker"
    return "\n".join(
        [
            "from ssps_plugin import SpeakerEncoder",
            "",
            'encoder = SpeakerEncoder.from_export(".")',
            'comparison = encoder.compare("a.wav", "b.wav")',
            f"print(comparison.score{decision})",
            f'embeddings = encoder.embed(["a.wav", "b.wav"])  # (2, {dim})',
        ]
    )


def _describe_threshold(
    thresholds: Thresholds, details: Mapping[str, Any]
) -> str:
    fixed = (
        "SpeechBrain's `verify_files` and `verify_batch` also return a "
        f"decision by a fixed threshold of {_FIXED_THRESHOLD}, which was not "
        "chosen for this model: do not use it."
    )
    value = thresholds.value()
    if value is None:
        return (
            f"None is known: {thresholds.source()}. Choose one on trials of "
            f"your own.\n\n{fixed}"
        )
    rates = thresholds.results.get("rates") or {}
    rows = []
    for name in thresholds.names():
        rate = rates.get(name, {})
        rows.append(
            [
                _name_threshold(name, thresholds.results)
                + (" (as above)" if name == thresholds.names()[0] else ""),
                f"{thresholds.value(name):.4f}",
                _percent(rate.get("false_acceptance")),
                _percent(rate.get("false_rejection")),
            ]
        )
    head = ["chosen for", "cosine", "false acceptances", "false rejections"]
    others = ""
    if len(rows) > 1:
        others = (
            " Others, for other costs, from the same trials:\n\n"
            f"{_table(head, rows)}"
        )
    return (
        f"Two recordings count as of one speaker from a cosine of "
        f"**{value:.4f}** on: it {thresholds.source()}.{others}\n\n"
        "Recordings that are unlike those of the trials need a threshold of "
        f"their own.\n\n{fixed}"
    )


def _name_threshold(name: str, results: Mapping[str, Any]) -> str:
    if name == "false_acceptance":
        rate = 100 * results["false_acceptance_rate"]
        return f"at most {rate:g} % false acceptances"
    return _THRESHOLD_NAMES[name]


def _describe_results(details: Mapping[str, Any]) -> str:
    rows = [
        [
            _list_name(one),
            f"{one['num_trials']:,}" if one.get("num_trials") else "",
            f"{one['eer_percent']:.2f}{_interval(one)}",
            _decimal(one.get("min_dcf_p01")),
            _decimal(one.get("min_dcf_p05")),
            f"S-norm, {one['cohort_size']} utterances"
            if one.get("cohort_size")
            else "cosine",
            str(one.get("trial_list_sha256") or "")[:12],
        ]
        for one in _rated(details)
    ]
    weights = _describe_weights(details)
    if not rows:
        eer = (details.get("verified_in_training") or {}).get("eer")
        known = "There are no results of trials with labels."
        if eer is not None:
            known = (
                f"In training, the EER after this epoch was {eer:.2f} %, by "
                "the run's own trials."
            )
        return f"{known} {weights}".strip()
    head = ["trials", "number", "EER (%)", "minDCF (0.01)", "minDCF (0.05)"]
    head += ["scores", "SHA-256 of the list"]
    return f"{_table(head, rows)}\n\n{weights}".strip()


def _describe_weights(details: Mapping[str, Any]) -> str:
    number, last = details.get("averaged_epochs", 1), details.get("epochs")
    if last is None:
        return ""
    if number > 1:
        return (
            f"The weights are the average of the {number} epochs up to {last}."
        )
    best = {"best": ", the best verified one"}.get(str(details["weights"]), "")
    return f"The weights are those after epoch {last}{best}."


def _describe_training(details: Mapping[str, Any]) -> str:
    corpus, rows = details.get("corpus") or {}, []
    if details.get("framework"):
        rows.append(["framework", str(details["framework"])])
    if details.get("encoder"):
        number = details.get("num_parameters")
        size = f", {number:,} parameters" if number else ""
        rows.append(["encoder", f"{details['encoder']}{size}"])
    if corpus.get("name"):
        amount = ""
        if corpus.get("num_utterances"):
            hours = corpus["hours"]
            length = f"{hours:,.1f} hours"
            if hours < 1:
                length = f"{60 * hours:.0f} minutes"
            amount = f", {corpus['num_utterances']:,} utterances, {length}"
        rows.append(["corpus", f"{corpus['name']}{amount}"])
    if "augmented" in corpus:
        names = {
            "noise": "noise",
            "rir": "rooms (impulse responses)",
            "made_noise": "synthetic noise and babble of the corpus",
            "made_rir": "simulated rooms",
        }
        kinds = [names[one] for one in corpus["augmented"]]
        rows.append(["augmentation", " and ".join(kinds) or "none"])
    settings = details.get("settings") or {}
    strategy = details.get("strategy")
    if strategy:
        rows.append(["draws", f"`{strategy}`"])
    for key, name in _TRAINING.items():
        is_of_queue = key == "queue_size"
        if is_of_queue and settings.get("pseudo_positives") == "read":
            continue
        if key in _OF_CLUSTERS and strategy and strategy not in _CLUSTERING:
            continue
        if settings.get(key) not in (None, False):
            rows.append([f"{name} (`{key}`)", str(settings[key])])
    if details.get("coverage") is not None:
        rows.append(
            ["anchors with a pseudo-positive", _percent(details["coverage"])]
        )
    if not rows:
        return "Nothing is known about it."
    return (
        f"{_table(['what', 'value'], rows)}\n\nAll settings are in "
        "`speaker_encoder.json`."
    )


def _describe_limits(details: Mapping[str, Any]) -> str:
    rate = details.get("sample_rate", 16000)
    corpus = details.get("corpus") or {}
    lines = []
    if corpus.get("is_minivox"):
        lines.append(
            "It was trained on synthetic voices (MiniVox), to show how "
            "training works: **it is of no use on real speech.**"
        )
    lines += [
        "Embeddings carry what the training corpus has, the channel and the "
        "language among it; error rates on other speech, or for groups of "
        "speakers, were not measured. Do not decide about people by it alone.",
        "Results are of whole utterances. Below about two seconds of speech, "
        "errors become frequent.",
        f"It takes {rate:,} Hz. `verify_files` and `load_audio` convert files "
        "of other rates; `encode_batch` and `verify_batch` do not.",
        "SpeechBrain embeds a recording at once, however long it is: an hour "
        "takes gigabytes of memory.",
        "Score normalisation (S-norm) is not part of the export.",
        "There is no classifier: `classify_batch` does nothing of use.",
    ]
    if details.get("front_end"):
        lines.append(
            "Its pre-trained front end is in `front_end/`, at the address "
            "that `hyperparams.yaml` says. Where this folder has moved, give "
            "SpeechBrain's `from_hparams` the argument "
            '`overrides={"front_end_folder": "THIS_FOLDER/front_end"}`.'
        )
    if details.get("license", "unknown") == "unknown":
        lines.append(
            "No license is stated. Before you publish it, set `license` at the "
            "top of this file, as the corpus allows."
        )
    return "\n".join(f"- {line}" for line in lines)


def _describe_source(details: Mapping[str, Any]) -> str:
    origin = details.get("imported_from")
    if origin:
        digest = str(details.get("imported_sha256", ""))[:16]
        return (
            f"The weights are those of `{origin}` (SHA-256 {digest}…), whose "
            "license and\nwhose papers hold. Say here where you have it from."
        )
    return (
        "L. Lepage and R. Dehak, *Self-Supervised Positive Sampling* (SSPS): "
        "Interspeech\n2025 (arXiv 2505.14561) and IEEE TASLP 33, 2025 (arXiv "
        "2501.17772)."
    )


def _describe_origin(details: Mapping[str, Any]) -> str:
    version = details.get("package_version") or "of unknown version"
    commit = details.get("git_commit")
    at = f" ({str(commit)[:12]})" if commit else ""
    date = details.get("created", "")
    return f"Exported by ssps_plugin {version}{at}, {date}.".replace(", .", ".")


# -- words and tables ------------------------------------------------------


def _rated(details: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the results that have error rates."""
    everything = details.get("all_results") or []
    return [one for one in everything if one.get("eer_percent") is not None]


def _list_name(results: Mapping[str, Any]) -> str:
    return pathlib.PurePath(str(results.get("trial_list", "trials"))).name


def _interval(results: Mapping[str, Any]) -> str:
    interval = results.get("eer_percent_interval")
    if not interval:
        return ""
    return f" ({interval[0]:.2f} to {interval[1]:.2f})"


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.2f} %"


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
