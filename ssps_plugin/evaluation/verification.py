"""Speaker verification over a trial list: EER and minDCF of an encoder."""

import os
import pathlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from speechbrain.utils.distributed import if_main_process
from torch import Tensor
from tqdm import tqdm

from ssps_plugin.dataio.audio import (
    SAMPLE_RATE,
    AudioError,
    check_audio,
    read_audio,
    tile,
)
from ssps_plugin.distributed import rank
from ssps_plugin.evaluation.embeddings import (
    EmbeddingCache,
    File,
    extract_embeddings,
    extract_over_ranks,
    header_seconds,
)
from ssps_plugin.evaluation.error_rates import detection_curve
from ssps_plugin.evaluation.scoring import Cohort, cosine_scores, s_norm
from ssps_plugin.evaluation.trial_list import TrialList, read_trials
from ssps_plugin.evaluation.trial_lookup import find_trial_files

_NUM_THREADS = 8
_NUM_SHOWN = 3
_SHORTEST_SECONDS = 0.1


@dataclass(frozen=True)
class VerificationResult:
    """Figures and scores of one encoder on one trial list.

    Arguments
    ---------
    eer : float
        Equal error rate in [0, 1].
    eer_threshold : float
        The score at which both error rates meet.
    min_dcf : dict of float to float
        Normalised minimum detection cost by p_target.
    scores : torch.Tensor
        `(trials,)` float32, cosines, normalised where there was a cohort.
    """

    eer: float
    eer_threshold: float
    min_dcf: dict[float, float]
    scores: Tensor


class Verification:
    """Score a trial list with full-length utterances and cosines.

    Arguments
    ---------
    path : str or os.PathLike
        Trial list, lines of `label enrol test`.
    folder : str or os.PathLike
        What the names in the list are relative to.
    p_targets : sequence of float
        Priors for the detection cost.
    batch_seconds : float
        Most audio in a batch, in seconds.
    sample_rate : int
        Samples per second that the encoder takes.

    Raises
    ------
    FileNotFoundError
        The list names files that are not there; found at construction, not
        after training.
    AudioError
        Some of them cannot be read; likewise.
    ValueError
        The list has no target trial, or no impostor trial; likewise.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        folder: str | os.PathLike[str],
        p_targets: tuple[float, ...] = (0.01, 0.05),
        batch_seconds: float = 100.0,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        self.path = pathlib.Path(path)
        self.trials = read_trials(path)
        _check_both_labels(self.trials, self.path)
        self.files = find_trial_files(self.trials, folder)
        self._seconds = dict(
            zip(self.files, _checked_seconds(self.files), strict=True)
        )
        self.p_targets = p_targets
        self.batch_seconds = batch_seconds * sample_rate / SAMPLE_RATE
        self.read = partial(_read_long_enough, sample_rate=sample_rate)

    def run(
        self,
        embed: Callable[[Tensor, Tensor], Tensor],
        device: torch.device | str = "cpu",
        progress: bool = True,
        cohort: Cohort | None = None,
        cache: EmbeddingCache | None = None,
    ) -> VerificationResult | None:
        """Embed every distinct utterance once and score all trials.

        Call it on every rank: each embeds a share, the first scores.

        Arguments
        ---------
        embed : callable
            `embed(wavs (batch, samples), lengths (batch,)) -> (batch, dim)`;
            its modules are in eval mode.
        device : torch.device or str
            Where the encoder is.
        progress : bool
            Show a progress bar.
        cohort : Cohort, optional
            Normalise the scores by it (S-norm).
        cache : EmbeddingCache, optional
            Embeddings of the same encoder, of this run's utterances too
            afterwards: several lists embed an utterance once.

        Returns
        -------
        VerificationResult or None
            None on all ranks but the first.
        """
        cache = EmbeddingCache() if cache is None else cache
        extract = partial(
            extract_embeddings,
            embed,
            batch_seconds=self.batch_seconds,
            device=device,
            read=self.read,
            seconds=self._seconds_of,
            progress=progress,
        )
        extract = partial(extract_over_ranks, extract, device=device)
        embeddings = cache.embeddings_of(self.files, extract)
        others = None
        if cohort is not None:
            others = cache.embeddings_of(cohort.files, extract)
        if rank() != 0:
            return None
        scores = cosine_scores(embeddings, self.trials)
        if cohort is not None and others is not None:
            scores = s_norm(
                scores, embeddings, self.trials, others, cohort.top_n
            )
        curve = detection_curve(scores, self.trials.labels)
        eer, threshold = curve.equal_error_rate()
        min_dcf = {p: curve.min_dcf(p_target=p)[0] for p in self.p_targets}
        return VerificationResult(eer, threshold, min_dcf, scores)

    def _seconds_of(self, file: File) -> float:
        """Length by the check at construction; a cohort's by its header."""
        known = self._seconds.get(pathlib.Path(file))
        return header_seconds(file) if known is None else known


def _check_both_labels(trials: TrialList, path: pathlib.Path) -> None:
    """Refuse a list that has no error rates."""
    num_targets = int(trials.labels.sum())
    if not 0 < num_targets < len(trials):
        raise ValueError(
            "expected target trials (label 1) and impostor trials (label 0), "
            f"got {num_targets} and {len(trials) - num_targets} in {path}: "
            "change `trials`."
        )


def _read_long_enough(file: str | os.PathLike[str], sample_rate: int) -> Tensor:
    """Read an utterance; one of a few frames is repeated.

    Encoders cannot pad less than about 40 ms.
    """
    samples = read_audio(file, sample_rate=sample_rate)
    shortest = round(_SHORTEST_SECONDS * sample_rate)
    return tile(samples, max(len(samples), shortest))


def _checked_seconds(files: list[pathlib.Path]) -> list[float]:
    """Lengths; or an AudioError that names what cannot be read, how many."""
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        checked = threads.map(_seconds_or_problem, files)
        bar = tqdm(checked, "Checking trials", len(files), disable=_is_quiet())
        found = list(bar)
    problems = [str(entry) for entry in found if isinstance(entry, AudioError)]
    if problems:
        shown = "; ".join(problems[:_NUM_SHOWN])
        raise AudioError(
            f"Expected audio that can be read for every trial, but "
            f"{len(problems)} of {len(files)} files cannot be: {shown}. "
            "Replace them, or take their lines out of the trial list."
        )
    return [entry for entry in found if isinstance(entry, float)]


def _is_quiet() -> bool:
    return not if_main_process()


def _seconds_or_problem(file: pathlib.Path) -> float | AudioError:
    try:
        return check_audio(file)
    except AudioError as error:
        return error
