"""Embeddings by file, so that several trial lists embed an utterance once."""

import pathlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


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
