"""Speaker verification over a trial list: EER and minDCF of an encoder."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger
from torch import Tensor

from ssps_plugin.dataio.audio import (
    SAMPLE_RATE,
    AudioError,
    check_audio,
    read_audio,
    tile,
)
from ssps_plugin.distributed import rank
from ssps_plugin.evaluation.embeddings import (
    MAX_SECONDS,
    Embed,
    EmbeddingCache,
    File,
    extract_embeddings,
    extract_over_ranks,
    header_seconds,
)
from ssps_plugin.evaluation.error_rates import detection_curve
from ssps_plugin.evaluation.scoring import Cohort, cosine_scores, s_norm
from ssps_plugin.evaluation.trial_list import read_trials, warn_unusual_trials
from ssps_plugin.evaluation.trial_lookup import find_trial_files
from ssps_plugin.progress import progress_bar

logger = get_logger(__name__)

_NUM_THREADS = 8
_NUM_SHOWN = 3  # unreadable files in an error message
# Encoders cannot pad less than about 40 ms.
_SHORTEST_SECONDS = 0.1


@dataclass(frozen=True)
class VerificationResult:
    """Error rates and scores of one encoder on one trial list.

    Arguments
    ---------
    eer : float or None
        Equal error rate in [0, 1]; None where the trials have no labels, or
        those of one kind only.
    eer_threshold : float or None
        The score at which both error rates meet; None likewise.
    min_dcf : dict of float to float
        Normalised minimum detection cost by p_target; empty likewise.
    scores : torch.Tensor
        `(trials,)` float32, cosines, normalised if there was a cohort.
    """

    eer: float | None
    eer_threshold: float | None
    min_dcf: dict[float, float]
    scores: Tensor


class Verification:
    """Score a trial list by cosines of embeddings of full-length utterances.

    A list without labels, or with those of one kind only, is scored, too; it
    has no error rates, and `missing_labels` says why. A file longer than
    `max_seconds` is embedded in pieces, see `extract_embeddings`.

    Arguments
    ---------
    path : str or os.PathLike
        Trial list, lines of `label enrol test` or `enrol test`.
    folder : str or os.PathLike
        What the names in the list are relative to.
    p_targets : tuple of float
        Priors for the detection cost.
    batch_seconds : float
        Most audio in a batch, in seconds.
    sample_rate : int
        Samples per second that the encoder takes.
    max_seconds : float
        Longest file, in seconds, that is embedded at its full length.

    Raises
    ------
    FileNotFoundError
        The list names files that do not exist. Like all errors here, this is
        raised at construction, not after training.
    AudioError
        Some files cannot be read.
    ValueError
        The file is not a trial list.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        folder: str | os.PathLike[str],
        p_targets: tuple[float, ...] = (0.01, 0.05),
        batch_seconds: float = 100.0,
        sample_rate: int = SAMPLE_RATE,
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        self.path = pathlib.Path(path)
        self.trials = read_trials(path)
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
        self.missing_labels = self.trials.missing_labels()
        if self.missing_labels:
            logger.warning(
                "No error rates by %s, since %s: its trials are scored only",
                self.path,
                self.missing_labels,
            )
        self.files = find_trial_files(self.trials, folder)
        warn_unusual_trials(self.trials, self.path, self.files)
        self._seconds = dict(
            zip(self.files, _checked_seconds(self.files), strict=True)
        )
        self.p_targets = p_targets
        self.max_seconds = max_seconds
        self.batch_seconds = batch_seconds * sample_rate / SAMPLE_RATE
        self.read = partial(_read_and_repeat, sample_rate=sample_rate)

    def run(
        self,
        embed: Embed,
        device: torch.device | str = "cpu",
        progress: bool = True,
        cohort: Cohort | None = None,
        cache: EmbeddingCache | None = None,
    ) -> VerificationResult | None:
        """Embed every distinct utterance once and score all trials.

        Call it on every rank: each embeds a part, the first scores.

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
            Embeddings of the same encoder. Those of this run are added, so
            that several lists embed an utterance once.

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
            max_seconds=self.max_seconds,
        )
        extract = partial(extract_over_ranks, extract, device=device)
        embeddings = cache.embeddings_of(self.files, extract)
        cohort_embeddings = None
        if cohort is not None:
            cohort_embeddings = cache.embeddings_of(cohort.files, extract)
        if rank() != 0:
            return None
        scores = cosine_scores(embeddings, self.trials)
        if cohort is not None and cohort_embeddings is not None:
            scores = s_norm(
                scores,
                embeddings,
                self.trials,
                cohort_embeddings,
                cohort.top_n,
            )
        if self.trials.labels is None or self.missing_labels:
            return VerificationResult(None, None, {}, scores)
        curve = detection_curve(scores, self.trials.labels)
        eer, threshold = curve.equal_error_rate()
        min_dcf = {p: curve.min_dcf(p_target=p)[0] for p in self.p_targets}
        return VerificationResult(eer, threshold, min_dcf, scores)

    def _seconds_of(self, file: File) -> float:
        """Return a length: a trial's as checked, a cohort's by its header."""
        seconds = self._seconds.get(pathlib.Path(file))
        return header_seconds(file) if seconds is None else seconds


def score_lists(
    verifications: Sequence[Verification],
    embed: Embed,
    device: torch.device | str = "cpu",
    progress: bool = True,
    cohort: Cohort | None = None,
) -> list[tuple[Verification, VerificationResult]]:
    """Score trial lists by one encoder; an utterance is embedded once.

    Call it on every rank. A list of which a file cannot be read any more is
    left out with a warning, unless it is the first.

    Arguments
    ---------
    verifications : sequence of Verification
        The lists.
    embed, device, progress, cohort
        As `Verification.run` takes them.

    Returns
    -------
    list of (Verification, VerificationResult)
        Those that were scored; empty on all ranks but the first.

    Raises
    ------
    AudioError
        A file of the first list cannot be read.
    """
    cache = EmbeddingCache()
    scored: list[tuple[Verification, VerificationResult]] = []
    for verification in verifications:
        try:
            result = verification.run(embed, device, progress, cohort, cache)
        except AudioError as error:
            if verification is verifications[0]:
                raise AudioError(
                    f"Expected every file of {verification.path}, got one that "
                    f"cannot be read any more. {error} Replace it: the same "
                    "command goes on from the last checkpoint."
                ) from error
            logger.warning(
                "%s is not scored. %s Replace it: the same command then writes "
                "what is missing.",
                verification.path,
                error,
            )
            continue
        if result is not None:
            scored.append((verification, result))
    return scored


def _checked_seconds(files: list[pathlib.Path]) -> list[float]:
    """Measure lengths; raise an AudioError that counts unreadable files."""
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        checked = threads.map(_seconds_or_error, files)
        quiet = not if_main_process()
        bar = progress_bar(
            checked, "Checking trials", len(files), "file", disable=quiet
        )
        found = list(bar)
    errors = [str(entry) for entry in found if isinstance(entry, AudioError)]
    if errors:
        shown = "; ".join(errors[:_NUM_SHOWN])
        raise AudioError(
            "Expected audio that can be read for every trial, got "
            f"{len(errors)} of {len(files)} files that cannot be: {shown}. "
            "Replace them, or take their lines out of the trial list."
        )
    return [entry for entry in found if isinstance(entry, float)]


def _seconds_or_error(file: pathlib.Path) -> float | AudioError:
    try:
        return check_audio(file)
    except AudioError as error:
        return error


def _read_and_repeat(
    file: File,
    start_seconds: float = 0.0,
    seconds: float | None = None,
    *,
    sample_rate: int,
) -> Tensor:
    """Read an utterance; repeat it if it is too short for an encoder."""
    samples = read_audio(file, start_seconds, seconds, sample_rate=sample_rate)
    shortest = round(_SHORTEST_SECONDS * sample_rate)
    return tile(samples, max(len(samples), shortest))
