"""Rows by id in a few flat buffers, for workers that are forked.

A dict of dicts of a million rows is half a gigabyte, and every process that
forks and reads it ends up with a copy of its own, since reading counts
references. Here a row is made when it is asked for.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np

_BLOCK = 65536


class TextColumn(Sequence[str]):
    """Strings in one buffer.

    Arguments
    ---------
    values : iterable of str
        The strings.

    Example
    -------
    >>> column = TextColumn(["a", "", "née"])
    >>> len(column), column[-1], list(column)
    (3, 'née', ['a', '', 'née'])
    """

    def __init__(self, values: Iterable[str]) -> None:
        parts: list[bytes] = []
        lengths: list[np.ndarray] = [np.zeros(1, np.int64)]
        for block in _blocks(values):
            encoded = [value.encode() for value in block]
            parts.append(b"".join(encoded))
            lengths.append(np.fromiter(map(len, encoded), np.int64))
        self._text = np.frombuffer(b"".join(parts), np.uint8)
        self._ends = np.concatenate(lengths).cumsum()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        """Return a string, or a list of them for a slice."""
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        place = int(place)
        if place < 0:
            place += len(self)
        if not 0 <= place < len(self):
            raise IndexError(place)
        start, stop = self._ends[place : place + 2]
        return self._text[start:stop].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _BLOCK):
            ends = self._ends[first : first + _BLOCK + 1]
            text = self._text[ends[0] : ends[-1]].tobytes()
            for start, stop in pairwise((ends - ends[0]).tolist()):
                yield text[start:stop].decode()


class Table(Mapping[str, dict[str, Any]]):
    """Rows by id, as a dict of dicts would hold them.

    Arguments
    ---------
    ids : TextColumn
        The rows' ids.
    columns : mapping of str to sequence
        The columns, each of one value a row: a `TextColumn` or an array.

    Raises
    ------
    ValueError
        An id that comes twice.

    Example
    -------
    >>> ids, seconds = TextColumn(["u1", "u2"]), np.array([1.5, 2.0])
    >>> table = Table(ids, {"duration": seconds})
    >>> table["u2"], list(table)
    ({'duration': 2.0}, ['u1', 'u2'])
    """

    def __init__(
        self, ids: TextColumn, columns: Mapping[str, Sequence[Any] | np.ndarray]
    ) -> None:
        self.ids = ids
        self.columns = dict(columns)
        digests = np.fromiter(map(_digest, ids), np.uint64, len(ids))
        self._order = np.argsort(digests, kind="stable")
        self._digests = digests[self._order]
        self._check_distinct()

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __getitem__(self, row_id: str) -> dict[str, Any]:
        """Return a row, made for the caller."""
        digest = np.uint64(_digest(row_id))
        first = int(np.searchsorted(self._digests, digest))
        while first < len(self) and self._digests[first] == digest:
            place = int(self._order[first])
            if self.ids[place] == row_id:
                return {
                    name: _plain(column[place])
                    for name, column in self.columns.items()
                }
            first += 1
        raise KeyError(row_id)

    def _check_distinct(self) -> None:
        alike = np.flatnonzero(self._digests[1:] == self._digests[:-1])
        seen: set[str] = set()
        for place in self._order[np.union1d(alike, alike + 1)]:
            row_id = self.ids[place]
            if row_id in seen:
                raise ValueError(f"Expected every ID once, got {row_id} twice")
            seen.add(row_id)


def column_of(dataset: Any, name: str) -> list[Any]:
    """Return a column of a dataset, without looking up row by row.

    Arguments
    ---------
    dataset : DynamicItemDataset
        Of a `Table`, or of SpeechBrain's dict of dicts.
    name : str
        The column.

    Returns
    -------
    list
        A value for each of `dataset.data_ids`, None where there is none.

    Example
    -------
    >>> from speechbrain.dataio.dataset import DynamicItemDataset
    >>> dataset = DynamicItemDataset({"a": {"note": "x"}, "b": {}})
    >>> column_of(dataset, "note")
    ['x', None]
    """
    rows = dataset.data
    if isinstance(rows, Table) and rows.ids is dataset.data_ids:
        return list(rows.columns.get(name, [None] * len(rows)))
    return [rows[row_id].get(name) for row_id in dataset.data_ids]


def _digest(row_id: str) -> int:
    # Python's own hash differs from process to process.
    digest = hashlib.blake2b(row_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _plain(value: Any) -> Any:
    """A NumPy number as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _blocks(values: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for value in values:
        block.append(value)
        if len(block) == _BLOCK:
            yield block
            block = []
    yield block
