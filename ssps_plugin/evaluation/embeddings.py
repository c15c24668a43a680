"""Embeddings of full-length utterances."""

from __future__ import annotations

import os
import pathlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from ssps_plugin.dataio.audio import (
    SAMPLE_RATE,
    AudioError,
    audio_seconds,
    read_audio,
)
from ssps_plugin.distributed import gather_rows, rank, world_size

File = str | os.PathLike[str]
Embed = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Read = Callable[[File], torch.Tensor]
#: The rows of the result that a batch fills, and its waveforms.
Batch = tuple[list[int], list[torch.Tensor]]

_FILES_AHEAD_PER_READER = 4

Item = TypeVar("Item")


@torch.no_grad()
def extract_embeddings(
    embed: Embed,
    files: Sequence[File],
    *,
    batch_seconds: float = 200.0,
    max_padding: float = 0.0,
    device: torch.device | str = "cpu",
    num_readers: int = 2,
    read: Read = read_audio,
    seconds: Callable[[File], float] | None = None,
    progress: bool = True,
) -> torch.Tensor:
    """Embed every utterance at its full length.

    Files are taken from the longest to the shortest, so that utterances of
    one length come together and share a batch. With ``max_padding`` 0 no
    others do: nothing is padded, and the embeddings are those of one utterance
    at a time. Memory holds a batch and a few files read ahead.

    Arguments
    ---------
    embed : callable
        ``embed(wavs, lens) -> embeddings``: wavs (batch, time) float32, lens
        (batch,) relative lengths, embeddings (batch, dim) or SpeechBrain's
        (batch, 1, dim). The caller has put its modules in eval mode.
    files : sequence of str or os.PathLike
        One a row of the result.
    batch_seconds : float
        Most audio in a batch, in seconds; a longer utterance goes alone.
    max_padding : float
        Share of the longest utterance of a batch, in [0, 1), that its shortest
        may lack. Above 0 is faster on varied lengths, but exact only if the
        encoder ignores padding, which most do not quite.
    device : torch.device or str
        Where the encoder is.
    num_readers : int
        Threads that read and decode files, at least 1.
    read : callable
        ``read(file) -> (samples,)`` float32 at 16 kHz.
    seconds : callable, optional
        ``seconds(file) -> length``, to order the files by; their headers are
        opened one by one where it is left out.
    progress : bool
        Show a progress bar (to be switched off on all but the main process).

    Returns
    -------
    embeddings : torch.Tensor
        (files, dim) float32 on the CPU, without gradient.

    Raises
    ------
    ValueError
        If there are no files, a number is out of its range, or `embed` does
        not return one row per utterance.

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
    _check_arguments(len(files), batch_seconds, max_padding, num_readers)
    shortest_share = 1 - max_padding
    max_samples = round(batch_seconds * SAMPLE_RATE)
    seconds_of = header_seconds if seconds is None else seconds
    order = sorted(range(len(files)), key=lambda i: -seconds_of(files[i]))
    embeddings = torch.empty(0)
    with (
        ThreadPoolExecutor(num_readers) as readers,
        tqdm(total=len(files), unit="utt", disable=not progress) as bar,
    ):
        reads = (partial(readers.submit, read, files[i]) for i in order)
        wavs = _ahead(reads, _FILES_AHEAD_PER_READER * num_readers)
        numbered = zip(order, wavs, strict=True)
        for rows, batch in _batches(numbered, max_samples, shortest_share):
            output = _embed_batch(embed, batch, device)
            if not len(embeddings):  # the first batch tells the dimension
                embeddings = torch.empty(len(files), output.shape[1])
            embeddings[rows] = output
            bar.update(len(rows))
    return embeddings


def _batches(
    numbered_wavs: Iterable[tuple[int, torch.Tensor]],
    max_samples: int,
    shortest_share: float,
) -> Iterator[Batch]:
    """Group neighbours of about one length; exactly one where the share is 1.

    Lengths are those of the waveforms: headers only decide the order, so a
    wrong one costs speed and nothing else.
    """
    rows: list[int] = []
    wavs: list[torch.Tensor] = []
    for row, wav in numbered_wavs:
        if wavs:
            longest = len(wavs[0])
            fits = shortest_share * longest <= len(wav) <= longest
            if not fits or longest * (len(wavs) + 1) > max_samples:
                yield rows, wavs
                rows, wavs = [], []
        rows.append(row)
        wavs.append(wav)
    yield rows, wavs


def _embed_batch(
    embed: Embed, wavs: list[torch.Tensor], device: torch.device | str
) -> torch.Tensor:
    """Embeddings (batch, dim) float32 of a batch of waveforms."""
    lengths = torch.tensor([len(wav) for wav in wavs])
    padded = pad_sequence(wavs, batch_first=True)  # (batch, time)
    lens = lengths / padded.shape[1]
    output = embed(padded.to(device), lens.to(device))
    if output.ndim == 3 and output.shape[1] == 1:
        output = output.squeeze(1)
    if output.ndim != 2 or len(output) != len(wavs):
        raise ValueError(
            f"expected `embed` to return ({len(wavs)}, dim) for as many "
            f"utterances, got {tuple(output.shape)}."
        )
    return output.float().cpu()


def _ahead(
    reads: Iterable[Callable[[], Future[torch.Tensor]]], num_ahead: int
) -> Iterator[torch.Tensor]:
    """Waveforms in order, while the readers are at the next few."""
    pending: deque[Future[torch.Tensor]] = deque()
    for start_read in reads:
        pending.append(start_read())
        if len(pending) > num_ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def header_seconds(file: File) -> float:
    """Length by the header; 0 where there is none that can be read."""
    try:
        return audio_seconds(file)
    except AudioError:
        return 0.0


def _check_arguments(
    num_files: int, batch_seconds: float, max_padding: float, num_readers: int
) -> None:
    if not num_files:
        raise ValueError("expected at least one file to embed, got none.")
    if not batch_seconds > 0:
        raise ValueError(
            f"batch_seconds: expected seconds above 0, got {batch_seconds}."
        )
    if not 0 <= max_padding < 1:
        raise ValueError(
            f"max_padding: expected a share in [0, 1), got {max_padding}."
        )
    if num_readers < 1:
        raise ValueError(
            f"num_readers: expected at least one thread, got {num_readers}."
        )


def extract_over_ranks(
    extract: Callable[[Sequence[Item]], Tensor],
    files: Sequence[Item],
    device: torch.device | str = "cpu",
) -> Tensor:
    """Extract embeddings of files, sharing the work among the ranks.

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

    Example
    -------
    >>> extract_over_ranks(lambda files: torch.ones(len(files), 2), ["a"])
    tensor([[1., 1.]])
    """
    num_ranks = world_size()
    if num_ranks == 1 or len(files) < num_ranks:
        return extract(files)
    own = extract(files[rank() :: num_ranks])
    (gathered,) = gather_rows(own.to(device))
    # Rank by rank, every num_ranks-th file from the rank on.
    place = torch.cat(
        [torch.arange(r, len(files), num_ranks) for r in range(num_ranks)]
    )
    embeddings = torch.empty(gathered.shape, dtype=gathered.dtype)
    embeddings[place] = gathered.cpu()
    return embeddings


class EmbeddingCache:
    """What one encoder made of files so far.

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
        """Return embeddings `(files, dim)`, extracting those not yet known.

        Arguments
        ---------
        files : sequence of pathlib.Path
            In the order wanted.
        extract : callable
            `extract(files) -> (files, dim)`.
        """
        missing = [file for file in files if file not in self._row_of]
        missing = list(dict.fromkeys(missing))
        if missing:
            found = extract(missing)
            for row, file in enumerate(missing, start=len(self._row_of)):
                self._row_of[file] = row
            known = [] if self._table is None else [self._table]
            self._table = torch.cat([*known, found])
        if self._table is None:
            raise ValueError("expected files to embed, got none.")
        rows = [self._row_of[file] for file in files]
        if rows == list(range(len(self._table))):
            return self._table
        return self._table[torch.tensor(rows, device=self._table.device)]
