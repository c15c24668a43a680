"""Embeddings of full-length utterances, shared among ranks and cached."""

from __future__ import annotations

import math
import os
import pathlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ssps_plugin.dataio.audio import (
    SAMPLE_RATE,
    AudioError,
    audio_seconds,
    read_audio,
)
from ssps_plugin.distributed import (
    gather_rows,
    rank,
    sum_over_ranks,
    world_size,
)
from ssps_plugin.progress import progress_bar

File = str | os.PathLike[str]
Embed = Callable[[Tensor, Tensor], Tensor]
Item = TypeVar("Item")

#: A file of more seconds is embedded in pieces. An encoder takes memory by the
#: length, for an hour 9 GB; no utterance of VoxCeleb is nearly as long as this.
MAX_SECONDS = 600.0
# Keeps the readers busy while a batch is embedded, and bounds the memory.
_FILES_AHEAD_PER_READER = 4


@torch.no_grad()
def extract_embeddings(
    embed: Embed,
    files: Sequence[File],
    *,
    batch_seconds: float = 200.0,
    max_padding: float = 0.0,
    device: torch.device | str = "cpu",
    num_readers: int = 2,
    read: Callable[..., Tensor] = read_audio,
    seconds: Callable[[File], float] | None = None,
    progress: bool = True,
    max_seconds: float | None = None,
    frame_samples: int = 1,
) -> Tensor:
    """Embed every utterance at its full length.

    Files are read from the longest to the shortest, so that utterances of the
    same length are neighbours and share a batch. With `max_padding` 0, only
    they share one: nothing is padded, and the embeddings are those of one
    utterance at a time. Memory holds one batch and a few files read ahead.

    A file that is longer than `max_seconds` is read and embedded in pieces of
    equal length, as few as are each within it. Its embedding is the mean of
    theirs, each scaled to norm 1 before: memory is bounded, whatever the
    length. The embeddings of all other files are not touched.

    Arguments
    ---------
    embed : callable
        `embed(wavs, lens) -> embeddings`: wavs `(batch, time)` float32, lens
        `(batch,)` relative lengths, embeddings `(batch, dim)` or SpeechBrain's
        `(batch, 1, dim)`. The caller has put its modules in eval mode.
    files : sequence of str or os.PathLike
        One per row of the result.
    batch_seconds : float
        Most audio in a batch, in seconds; a longer utterance has a batch of
        its own.
    max_padding : float
        Fraction of a batch's longest utterance, in [0, 1), by which its
        shortest may be shorter. A value above 0 is faster on varied lengths,
        but exact only if the encoder ignores padding; most do not quite.
    device : torch.device or str
        Where the encoder is.
    num_readers : int
        Threads that read and decode files, at least 1.
    read : callable
        `read(file) -> (samples,)` float32 at 16 kHz. Of a file longer than
        `max_seconds`, `read(file, start_seconds, seconds)`, like `read_audio`.
    seconds : callable, optional
        `seconds(file) -> length`, to sort the files by; if left out, their
        headers are opened one by one.
    progress : bool
        Show a progress bar (switch it off on all but the main process).
    max_seconds : float, optional
        Longest file, in seconds, that is embedded at its full length; if left
        out, `MAX_SECONDS` (600) with `read_audio`, and no limit with any other
        `read`.
    frame_samples : int
        Utterances with as many whole frames of so many samples are of one
        length, too: they share a batch, zeros behind the shorter ones. Exact
        where features are computed from such frames and `embed` ignores its
        `lens`; 1 pads nothing.

    Returns
    -------
    torch.Tensor
        `(files, dim)` float32 on the CPU, without gradient.

    Raises
    ------
    ValueError
        There are no files, a number is out of its range, or `embed` does not
        return one row per utterance.

    Example
    -------
    >>> waves = {"a": torch.ones(4), "b": torch.ones(2), "c": torch.zeros(4)}
    >>> def mean_and_length(wavs, lens):
    ...     return torch.stack([wavs.mean(1), lens * wavs.shape[1]], dim=1)
    >>> extract_embeddings(
    ...     mean_and_length, ["a", "b", "c"], read=waves.get, progress=False
    ... )
    tensor([[1., 4.],
            [1., 2.],
            [0., 4.]])
    """
    if max_seconds is None:
        max_seconds = MAX_SECONDS if read is read_audio else math.inf
    _check_arguments(
        len(files), batch_seconds, max_padding, num_readers, max_seconds
    )
    min_fraction = 1 - max_padding
    max_samples = round(batch_seconds * SAMPLE_RATE)
    seconds_of = header_seconds if seconds is None else seconds
    pieces, num_pieces = _cut_long_files(
        files, [seconds_of(file) for file in files], max_seconds
    )
    order = sorted(range(len(pieces)), key=lambda i: -pieces[i].seconds)
    embeddings = torch.empty(0)
    with (
        ThreadPoolExecutor(num_readers) as readers,
        progress_bar(
            description="Embedding",
            total=len(pieces),
            unit="utterance",
            disable=not progress,
        ) as bar,
    ):
        reads = (
            partial(readers.submit, read, *pieces[i].read_arguments)
            for i in order
        )
        wavs = _read_ahead(reads, _FILES_AHEAD_PER_READER * num_readers)
        rows_and_wavs = zip(order, wavs, strict=True)
        for rows, batch in _batches(
            rows_and_wavs, max_samples, min_fraction, frame_samples
        ):
            output = _embed_batch(embed, batch, device)
            if not len(embeddings):  # dim is known from the first batch
                embeddings = torch.empty(len(pieces), output.shape[1])
            embeddings[rows] = output
            bar.update(len(rows))
    if len(pieces) == len(files):
        return embeddings
    return _average_pieces(embeddings, num_pieces)


class _Piece(NamedTuple):
    """What is read at once: a whole file, or a stretch of a long one."""

    seconds: float
    read_arguments: tuple[Any, ...]


def _cut_long_files(
    files: Sequence[File], lengths: Sequence[float], max_seconds: float
) -> tuple[list[_Piece], list[int]]:
    """List the pieces of all files, and how many each file has."""
    pieces, num_pieces = [], []
    for file, seconds in zip(files, lengths, strict=True):
        num = max(1, math.ceil(seconds / max_seconds))
        num_pieces.append(num)
        if num == 1:
            pieces.append(_Piece(seconds, (file,)))
            continue
        length = seconds / num
        pieces += [
            _Piece(length, (file, number * length, length))
            for number in range(num)
        ]
    return pieces, num_pieces


def _average_pieces(embeddings: Tensor, num_pieces: Sequence[int]) -> Tensor:
    """Replace the rows of each long file by the mean of their directions."""
    files = embeddings.split(list(num_pieces))
    return torch.cat(
        [
            rows
            if len(rows) == 1
            else F.normalize(rows, dim=1).mean(0, keepdim=True)
            for rows in files
        ]
    )


def _check_arguments(
    num_files: int,
    batch_seconds: float,
    max_padding: float,
    num_readers: int,
    max_seconds: float,
) -> None:
    if not num_files:
        raise ValueError(
            "Expected at least one file to embed, got none: change `files`."
        )
    if not batch_seconds > 0:
        raise ValueError(
            f"Expected batch_seconds above 0, got {batch_seconds}: change "
            "batch_seconds."
        )
    if not 0 <= max_padding < 1:
        raise ValueError(
            f"Expected max_padding, a fraction in [0, 1), got {max_padding}: "
            "change max_padding."
        )
    if num_readers < 1:
        raise ValueError(
            f"Expected num_readers of at least 1, got {num_readers}: change "
            "num_readers."
        )
    if not max_seconds > 0:
        raise ValueError(
            f"Expected max_seconds above 0, got {max_seconds}: change "
            "max_seconds."
        )


def _read_ahead(
    reads: Iterable[Callable[[], Future[Tensor]]], num_ahead: int
) -> Iterator[Tensor]:
    """Yield waveforms in order while the readers work on the next few."""
    pending: deque[Future[Tensor]] = deque()
    for start_read in reads:
        pending.append(start_read())
        if len(pending) > num_ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _batches(
    rows_and_wavs: Iterable[tuple[int, Tensor]],
    max_samples: int,
    min_fraction: float,
    frame_samples: int,
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Group neighbours whose length is at least a fraction of the longest.

    Lengths are those of the waveforms: headers only decide the order, so a
    wrong one costs speed and nothing else.
    """
    rows: list[int] = []
    wavs: list[Tensor] = []
    for row, wav in rows_and_wavs:
        if wavs:
            longest = len(wavs[0])
            fits = min_fraction * longest <= len(wav) <= longest
            fits |= longest // frame_samples == len(wav) // frame_samples
            if not fits or longest * (len(wavs) + 1) > max_samples:
                yield rows, wavs
                rows, wavs = [], []
        rows.append(row)
        wavs.append(wav)
    yield rows, wavs


def _embed_batch(
    embed: Embed, wavs: list[Tensor], device: torch.device | str
) -> Tensor:
    """Embed a batch of waveforms: `(batch, dim)` float32 on the CPU."""
    lengths = torch.tensor([len(wav) for wav in wavs])
    padded = pad_sequence(wavs, batch_first=True)  # (batch, time)
    lens = lengths / padded.shape[1]
    output = embed(padded.to(device), lens.to(device))
    if output.ndim == 3 and output.shape[1] == 1:
        output = output.squeeze(1)
    if output.ndim != 2 or len(output) != len(wavs):
        raise ValueError(
            f"Expected `embed` to return ({len(wavs)}, dim) for as many "
            f"utterances, got {tuple(output.shape)}: change the encoder."
        )
    return output.float().cpu()


def header_seconds(file: File) -> float:
    """Return the length in a file's header; 0 if it cannot be read."""
    try:
        return audio_seconds(file)
    except AudioError:
        return 0.0


def extract_over_ranks(
    extract: Callable[[Sequence[Item]], Tensor],
    files: Sequence[Item],
    device: torch.device | str = "cpu",
) -> Tensor:
    """Extract embeddings of files, dividing the work among the ranks.

    Arguments
    ---------
    extract : callable
        `extract(files) -> (files, dim)`, on the CPU.
    files : sequence
        The same on every rank.
    device : torch.device or str
        Where the ranks exchange tensors.

    Returns
    -------
    torch.Tensor
        `(files, dim)` on the CPU, the same on every rank.

    Raises
    ------
    AudioError
        A rank cannot read a file of its part. All ranks raise.

    Example
    -------
    >>> extract_over_ranks(lambda files: torch.ones(len(files), 2), ["a"])
    tensor([[1., 1.]])
    """
    num_ranks = world_size()
    if num_ranks == 1 or len(files) < num_ranks:
        return extract(files)
    error, own = None, torch.empty(0)
    try:
        own = extract(files[rank() :: num_ranks])
    except AudioError as found:
        error = found
    # No rank waits for one that cannot go on.
    failed = torch.tensor(float(error is not None), device=device)
    if bool(sum_over_ranks(failed)):
        raise error or AudioError("Another rank cannot read a file of its own.")
    (gathered,) = gather_rows(own.to(device))
    # Rows come rank by rank; each rank had every num_ranks-th file.
    order = torch.cat(
        [torch.arange(r, len(files), num_ranks) for r in range(num_ranks)]
    )
    embeddings = torch.empty(gathered.shape, dtype=gathered.dtype)
    embeddings[order] = gathered.cpu()
    return embeddings


class EmbeddingCache:
    """Embeddings of one encoder by file, each extracted once.

    Example
    -------
    >>> cache = EmbeddingCache()
    >>> def extract(files):
    ...     print("embedding", *files)
    ...     return torch.tensor([[float(len(str(file)))] for file in files])
    >>> a, bb = pathlib.Path("a"), pathlib.Path("bb")
    >>> cache.embeddings_of([a], extract).tolist()
    embedding a
    [[1.0]]
    >>> cache.embeddings_of([bb, a], extract).tolist()
    embedding bb
    [[2.0], [1.0]]
    """

    def __init__(self) -> None:
        self._row_of: dict[pathlib.Path, int] = {}
        self._table: Tensor | None = None

    def embeddings_of(
        self,
        files: Sequence[pathlib.Path],
        extract: Callable[[list[pathlib.Path]], Tensor],
    ) -> Tensor:
        """Return embeddings of files, extracting those not in the cache yet.

        Arguments
        ---------
        files : sequence of pathlib.Path
            In the order of the result; a file may occur more than once.
        extract : callable
            `extract(files) -> (files, dim)`.

        Returns
        -------
        torch.Tensor
            `(files, dim)`. It may be the cache's own table: do not write to it.

        Raises
        ------
        ValueError
            There are no files, in this call or an earlier one.
        """
        missing = [file for file in files if file not in self._row_of]
        missing = list(dict.fromkeys(missing))
        if missing:
            extracted = extract(missing)
            for row, file in enumerate(missing, start=len(self._row_of)):
                self._row_of[file] = row
            cached = [] if self._table is None else [self._table]
            self._table = torch.cat([*cached, extracted])
        if self._table is None:
            raise ValueError(
                "Expected at least one file to embed, got none: change `files`."
            )
        rows = [self._row_of[file] for file in files]
        # A single list is the whole table in order: spare a copy of it.
        if rows == list(range(len(self._table))):
            return self._table
        return self._table[torch.tensor(rows, device=self._table.device)]
