"""Embeddings of some utterances, before SSPS and after: scores, map, spread."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from ssps_plugin import pretrained
from ssps_plugin.dataio.dataset import Table
from ssps_plugin.evaluation.trial_list import TrialList
from ssps_plugin.evaluation.trial_lookup import find_trial_files
from ssps_plugin.report.labels import (
    Labels,
    labels_of_manifest,
    labels_of_trials,
    number_labels,
)
from ssps_plugin.report.run import Run
from ssps_plugin.report.scored_trials import (
    Floats,
    digest_of,
    read_trials_once,
)

# Points of the map, and speakers, that can be told apart.
_MAP_POINTS = 400
_MAP_SPEAKERS = 12
_PERPLEXITY = 30
# Utterances that are embedded by default; fewer by a large encoder on a CPU, in
# proportion to its parameters (chosen, not measured).
_MOST_UTTERANCES = 400
_LEAST_UTTERANCES = 60
_LARGE_ENCODER = 1_000_000  # parameters
# Pairs of different speakers whose similarity is drawn.
_NUM_PAIRS = 20_000


@dataclass
class Utterances:
    """The utterances that are embedded for a report.

    Arguments
    ---------
    files : list of pathlib.Path
        The audio.
    names : list of str
        What they are called.
    labels : Labels or None
        Who speaks in them.
    trials : TrialList or None
        The trials among them, by position in `files`.
    source : str
        Where they come from, for a caption.
    list_name : str
        The name of the trial list, if it is one.
    list_sha256 : str
        Its digest, if all of its utterances are here.
    """

    files: list[pathlib.Path]
    names: list[str]
    labels: Labels | None
    trials: TrialList | None
    source: str
    list_name: str = ""
    list_sha256: str = ""


@dataclass
class Embedded:
    """Embeddings of the same utterances before SSPS and after.

    Arguments
    ---------
    utterances : Utterances
        What was embedded.
    after : numpy.ndarray
        `(num, dim)`, L2-normalised, of the run's final model.
    before : numpy.ndarray or None
        Likewise before SSPS.
    after_model, before_model : str
        Which models these are, for a caption.
    missing_before : str
        Why there is none before.
    """

    utterances: Utterances
    after: Floats
    before: Floats | None = None
    after_model: str = ""
    before_model: str = ""
    missing_before: str = ""

    @property
    def models(self) -> dict[str, Floats]:
        """The embeddings by name, those before SSPS first."""
        before = {} if self.before is None else {"before": self.before}
        return {**before, "after": self.after}


# -- which utterances ------------------------------------------------------


def choose_utterances(
    run: Run, table: Table | None, most: int, seed: int = 0
) -> Utterances:
    """Choose those of the trials, else those of the training set.

    Whole speakers are chosen where they are known, so that there are pairs of
    one speaker.

    Arguments
    ---------
    run : Run
        The run.
    table : Table or None
        Its training manifest.
    most : int
        How many utterances at most.
    seed : int
        Seed of the choice.

    Returns
    -------
    Utterances

    Raises
    ------
    FileNotFoundError
        Neither trials nor training set have audio.
    """
    reasons = []
    try:
        return _choose_of_trials(run, most, seed)
    except (OSError, ValueError) as error:
        reasons.append(str(error))
    if table is not None:
        try:
            return _choose_of_manifest(table, most, seed)
        except OSError as error:
            reasons.append(str(error))
    raise FileNotFoundError("; ".join(reasons))


def _choose_of_trials(run: Run, most: int, seed: int) -> Utterances:
    trial_list, folder = run.trial_list(), run.trials_folder()
    if trial_list is None or folder is None:
        raise FileNotFoundError("there is no trial list, or no folder for it")
    digest = digest_of(trial_list)
    trials = read_trials_once(trial_list, digest)
    labels = labels_of_trials(trials)
    chosen = _choose(len(trials.utterances), labels, most, seed, trials)
    some = _trials_among(trials, chosen)
    files = find_trial_files(some, folder)
    num, of = len(chosen), len(trials.utterances)
    source = f"{num:,} of the {of:,} utterances of {trial_list.name}"
    if num == of:
        source = f"the {of:,} utterances of {trial_list.name}"
    return Utterances(
        files,
        some.utterances,
        None if labels is None else labels.choose(chosen),
        some if len(some) else None,
        source,
        trial_list.name,
        digest if num == of else "",
    )


def _choose_of_manifest(table: Table, most: int, seed: int) -> Utterances:
    labels = labels_of_manifest(table)
    chosen = _choose(len(table), labels, most, seed)
    files = [pathlib.Path(table.columns["wav"][int(i)]) for i in chosen]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(files)} files of the training set are not "
            f"there, the first {missing[0]}"
        )
    return Utterances(
        files,
        [table.ids[int(i)] for i in chosen],
        None if labels is None else labels.choose(chosen),
        None,
        f"{len(chosen):,} of the {len(table):,} training utterances",
    )


def _choose(
    num: int,
    labels: Labels | None,
    most: int,
    seed: int,
    trials: TrialList | None = None,
) -> NDArray[np.int64]:
    """Choose at most so many utterances, ascending."""
    if num <= most:
        return np.arange(num)
    rng = np.random.default_rng(seed)
    if labels is not None:
        chosen = _whole_speakers(number_labels(labels.speakers), most, rng)
    elif trials is not None:  # both sides of as many trials
        order = rng.permutation(len(trials))
        sides = np.stack([trials.enrol[order], trials.test[order]], 1).ravel()
        _, first = np.unique(sides, return_index=True)
        chosen = sides[np.sort(first)][:most]
    else:
        chosen = rng.permutation(num)[:most]
    return np.sort(chosen)


def _whole_speakers(
    numbers: NDArray[np.int64], most: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose some utterances of as many speakers as leave each enough."""
    num_speakers = int(numbers.max()) + 1
    wanted = min(num_speakers, max(2, most // 20))
    speakers = rng.permutation(num_speakers)[:wanted]
    order = rng.permutation(len(numbers))
    per_speaker = max(2, most // wanted)
    chosen = [order[numbers[order] == one][:per_speaker] for one in speakers]
    return np.concatenate(chosen)[:most]


def _trials_among(trials: TrialList, chosen: NDArray[np.int64]) -> TrialList:
    """Keep the trials whose two sides are chosen."""
    place = np.full(len(trials.utterances), -1)
    place[chosen] = np.arange(len(chosen))
    enrol, test = place[trials.enrol], place[trials.test]
    kept = (enrol >= 0) & (test >= 0)
    return TrialList(
        [trials.utterances[i] for i in chosen],
        None if trials.labels is None else trials.labels[kept],
        enrol[kept],
        test[kept],
    )


# -- embeddings ------------------------------------------------------------


def embed_before_and_after(
    run: Run,
    table: Table | None,
    most: int | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = False,
) -> Embedded:
    """Embed utterances by the final model, and by that before SSPS.

    Arguments
    ---------
    run : Run
        The run.
    table : Table or None
        Its training manifest, for a run without trials.
    most : int, optional
        How many utterances at most.
    seed : int
        Seed of the choice.
    device : str, optional
        Where to.
    progress : bool
        Show progress bars.

    Returns
    -------
    Embedded

    Raises
    ------
    FileNotFoundError, RuntimeError, ValueError
        The run has no model that can be loaded, or audio cannot be read.
    """

    load = partial(
        pretrained.SpeakerEncoder.from_run, run.folder, device=device
    )
    encoder = load(weights="averaged")
    if most is None:
        most = _affordable(encoder)
    utterances = choose_utterances(run, table, most, seed)

    def embed(encoder: pretrained.SpeakerEncoder) -> Floats:
        rows = encoder.embed(utterances.files, progress=progress)
        return F.normalize(rows, dim=1).numpy()

    result = Embedded(
        utterances,
        embed(encoder),
        after_model=_describe_model(run, encoder.details),
    )
    start = run.start_epoch
    if start is None:
        result.missing_before = "this run is without SSPS"
    elif run.has_substituted_nothing:
        result.missing_before = "SSPS substituted nothing in this run"
    elif not run.has_started_ssps:
        result.missing_before = f"SSPS starts in epoch {start} only"
    else:
        result.before_model = f"epoch {start - 1}"
        try:
            result.before = embed(load(weights=start - 1))
        except (OSError, RuntimeError, ValueError) as error:
            result.missing_before = (
                f"the model of epoch {start - 1} was not kept, as in a run of "
                f"an earlier version, or cannot be loaded ({error})"
            )
    return result


def _affordable(encoder: pretrained.SpeakerEncoder) -> int:
    """Return how many utterances an encoder embeds in reasonable time."""
    if encoder.device.type != "cpu":
        return _MOST_UTTERANCES
    size = sum(one.numel() for one in encoder.parameters())
    fraction = min(1.0, _LARGE_ENCODER / max(size, 1))
    return max(_LEAST_UTTERANCES, round(fraction * _MOST_UTTERANCES))


def _describe_model(run: Run, details: Mapping[str, Any]) -> str:
    """Name the epochs that a loaded model is of."""
    last = details.get("epochs") or run.last_epoch
    num_averaged = details.get("averaged_epochs") or 1
    if num_averaged > 1:
        return f"average of {num_averaged} epochs up to {last}"
    return f"epoch {last}"


# -- similarities ----------------------------------------------------------


@dataclass(frozen=True)
class Similarities:
    """Cosines of pairs by what they share, and the spread within speakers.

    Arguments
    ---------
    by_kind : dict of str to numpy.ndarray
        `(pairs,)` cosines by the kind of the pair.
    intra_speaker_variance : float
        Mean squared distance of an embedding of length 1 from its speaker's
        mean: 0 where all of a speaker's are the same.
    inter_speaker_variance : float
        Mean squared distance of the speakers' means from their mean.
    """

    by_kind: dict[str, Floats]
    intra_speaker_variance: float
    inter_speaker_variance: float


SAME_RECORDING = "same recording"
CROSS_RECORDING = "same speaker, other recording"
SAME_SPEAKER = "same speaker"
OTHER_SPEAKER = "different speakers"


def similarities(
    embeddings: Floats, labels: Labels, seed: int = 0
) -> Similarities:
    """Compare all pairs of a speaker, and as many of two speakers.

    Arguments
    ---------
    embeddings : numpy.ndarray
        `(num, dim)`, L2-normalised.
    labels : Labels
        Who speaks.
    seed : int
        Seed of the choice of pairs.

    Returns
    -------
    Similarities
        A kind without pairs is left out.

    Example
    -------
    >>> embeddings = np.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> labels = Labels("aaab", ["a/1", "a/1", "a/2", "b/1"])
    >>> found = similarities(embeddings, labels)
    >>> {kind: len(cosines) for kind, cosines in found.by_kind.items()}
    {'same recording': 1, 'same speaker, other recording': 2, \
'different speakers': 3}
    >>> round(found.intra_speaker_variance, 4)
    0.1778
    """
    speakers = number_labels(labels.speakers)
    one, other = np.triu_indices(len(speakers), k=1)
    is_same = speakers[one] == speakers[other]
    kinds: dict[str, NDArray[np.bool_]] = {SAME_SPEAKER: is_same}
    if labels.recordings is not None:
        recordings = number_labels(labels.recordings)
        shared = recordings[one] == recordings[other]
        kinds = {
            SAME_RECORDING: is_same & shared,
            CROSS_RECORDING: is_same & ~shared,
        }
    kinds[OTHER_SPEAKER] = ~is_same
    rng = np.random.default_rng(seed)
    by_kind = {}
    for kind, mask in kinds.items():
        pairs = np.flatnonzero(mask)
        if len(pairs) > _NUM_PAIRS:
            pairs = np.sort(rng.choice(pairs, _NUM_PAIRS, replace=False))
        if len(pairs):
            left, right = embeddings[one[pairs]], embeddings[other[pairs]]
            by_kind[kind] = np.einsum("nd,nd->n", left, right)
    return Similarities(by_kind, *_variances(embeddings, speakers))


def _variances(
    embeddings: Floats, speakers: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the variance within speakers, and between their means.

    A speaker with one utterance has no variance, and is left out.
    """
    counts = np.bincount(speakers)
    sums = np.zeros((len(counts), embeddings.shape[1]))
    np.add.at(sums, speakers, embeddings)
    means = sums / counts[:, None]
    squared = ((embeddings - means[speakers]) ** 2).sum(1)
    repeated = counts[speakers] > 1
    within = float(squared[repeated].mean()) if repeated.any() else 0.0
    between = float(((means - means.mean(0)) ** 2).sum(1).mean())
    return within, between


# -- map -------------------------------------------------------------------


def choose_map_points(
    labels: Labels | None, num: int, seed: int = 0
) -> NDArray[np.int64]:
    """Choose the utterances of a map: all of a few speakers, if known."""
    rng = np.random.default_rng(seed)
    if labels is None:
        return np.sort(rng.permutation(num)[:_MAP_POINTS])
    numbers = number_labels(labels.speakers)
    counts = np.bincount(numbers)
    ties = rng.permutation(len(counts))  # among speakers with as many
    speakers = ties[np.argsort(-counts[ties], kind="stable")][:_MAP_SPEAKERS]
    per_speaker = max(2, _MAP_POINTS // len(speakers))
    chosen = [np.flatnonzero(numbers == s)[:per_speaker] for s in speakers]
    return np.sort(np.concatenate(chosen))


def map_to_plane(embeddings: Floats, seed: int = 0) -> Floats:
    """Map embeddings to two dimensions by t-SNE, `(num, 2)`.

    Source: L. van der Maaten and G. Hinton, Visualizing Data using t-SNE,
    JMLR 9, 2008.
    """
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, max(1, (len(embeddings) - 1) // 3))
    tsne = TSNE(
        perplexity=perplexity, init="pca", random_state=seed, metric="cosine"
    )
    points: Floats = tsne.fit_transform(embeddings.astype(np.float32))
    return points
