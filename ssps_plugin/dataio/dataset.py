"""Read a manifest into a SpeechBrain dataset that workers share."""

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.dataio.safe_reading import warn_if_slow

REQUIRED_COLUMNS = ("ID", "wav", "duration")

# As SpeechBrain writes what it replaces.
_VARIABLE = re.compile(r"\$(\w+)")
# Strings that are encoded or decoded at a time: a manifest has a million.
_BLOCK = 65536
# A recording of eleven days is none: its duration is in another unit.
_MOST_SECONDS = 1e6
# Files of which one must be there, spread over the manifest.
_NUM_LOOKED_FOR = 20
# Of a row that an error shows.
_NUM_SHOWN_CHARACTERS = 200

Path = str | os.PathLike[str]


def load_manifest(
    manifest: Path, data_root: Path | None = None
) -> DynamicItemDataset:
    """Read a manifest into a dataset.

    Any CSV with the columns ID, wav (a path, absolute or starting with
    `$data_root`) and duration (seconds) will do; others are kept. The rows are
    held in flat buffers (see `Table`), so that DataLoader workers share them:
    a dict for each row would be copied in every worker.

    Arguments
    ---------
    manifest : str or os.PathLike
        The CSV.
    data_root : str or os.PathLike, optional
        The folder that replaces `$data_root` in it.

    Returns
    -------
    DynamicItemDataset
        The dataset, without output keys: `add_views` sets them.

    Raises
    ------
    FileNotFoundError
        There is no manifest, or its audio files are not there.
    ValueError
        It lacks a column or has no rows, is not UTF-8, or a stray quote makes
        one field of several rows; or a row, which the error names, has too
        many or too few fields, no ID or wav, a duration that is not a finite
        number above 0, the ID of another one, or a `$variable` without a
        value.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.wav").write_bytes(b"")
    >>> rows = "ID,wav,duration\\na,$data_root/a.wav,3.5\\n"
    >>> _ = (folder / "train.csv").write_text(rows)
    >>> dataset = load_manifest(folder / "train.csv", data_root=folder)
    >>> dataset.data["a"]["duration"]
    3.5
    """
    root = None if data_root is None else os.fspath(data_root)
    table = read_manifest(manifest, root)
    dataset = DynamicItemDataset(table)
    dataset.data_ids = table.ids  # SpeechBrain makes a list of them
    first = table[table.ids[0]]["wav"]
    # A single file may be lost: one of several is enough.
    places = range(0, len(table), max(len(table) // _NUM_LOOKED_FOR, 1))
    if not any(os.path.exists(table.columns["wav"][k]) for k in places):
        raise FileNotFoundError(
            f"Expected the audio that {manifest} lists, got no file at "
            f"{first}: change data_folder (now {data_root}) or the manifest"
        )
    return dataset


def read_column(dataset: DynamicItemDataset, name: str) -> list[Any]:
    """Read a column of a dataset.

    Of a `Table` the column is taken whole, without looking up every row.

    Arguments
    ---------
    dataset : DynamicItemDataset
        Of a `Table`, or of a dict of dicts as SpeechBrain makes it.
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
    >>> read_column(dataset, "note")
    ['x', None]
    """
    rows = dataset.data
    if isinstance(rows, Table) and rows.ids is dataset.data_ids:
        return list(rows.columns.get(name, [None] * len(rows)))
    return [rows[row_id].get(name) for row_id in dataset.data_ids]


class TextColumn(Sequence[str]):
    """A sequence of strings in one buffer, which processes can share.

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
        for block in _split_into_blocks(values):
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
    """A mapping of ids to rows, in columns: a dict of dicts to its users.

    Arguments
    ---------
    ids : TextColumn
        The rows' ids.
    columns : mapping of str to sequence
        The columns, with one value for each row: a `TextColumn` or an array.

    Raises
    ------
    ValueError
        An id occurs twice.

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
        self._check_distinct_ids()

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __getitem__(self, row_id: str) -> dict[str, Any]:
        """Return a new dict of a row's values."""
        place = self.place(row_id)
        return {
            name: _to_python(column[place])
            for name, column in self.columns.items()
        }

    def place(self, row_id: str) -> int:
        """Return the place of a row's id in `ids`."""
        digest = np.uint64(_digest(row_id))
        first = int(np.searchsorted(self._digests, digest))
        while first < len(self) and self._digests[first] == digest:
            place = int(self._order[first])
            if self.ids[place] == row_id:
                return place
            first += 1
        raise KeyError(row_id)

    def _check_distinct_ids(self) -> None:
        same = np.flatnonzero(self._digests[1:] == self._digests[:-1])
        seen: set[str] = set()
        for place in self._order[np.union1d(same, same + 1)]:
            row_id = self.ids[place]
            if row_id in seen:
                raise ValueError(f"Expected every ID once, got {row_id} twice")
            seen.add(row_id)


def read_manifest(manifest: Path, root: str | None = None) -> Table:
    """Read a manifest's rows; unlike `load_manifest`, look for no audio.

    Arguments
    ---------
    manifest : str or os.PathLike
        The CSV.
    root : str, optional
        The folder that replaces `$data_root` in it.

    Returns
    -------
    Table

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_manifest` raises them, but for the audio.
    """
    columns = _read_columns(manifest)
    if not columns:
        raise ValueError(
            f"Expected utterances in {manifest}, got none: prepare it again"
        )
    parsed: dict[str, TextColumn | np.ndarray] = {}
    ids = TextColumn(columns.pop("ID"))
    for name, values in columns.items():
        if name == "duration":
            parsed[name] = _parse_seconds(values, ids, manifest)
        else:
            filled = _fill_in_data_root(values, ids, root, manifest)
            parsed[name] = TextColumn(filled)
    try:
        return Table(ids, parsed)
    except ValueError as error:
        raise ValueError(f"{error} in {manifest}") from None


def _read_columns(manifest: Path) -> dict[str, list[str]]:
    """Return the columns by name, none of them where there are no rows."""
    if not os.path.isfile(manifest):
        found = "something else" if os.path.exists(manifest) else "no file"
        raise FileNotFoundError(
            f"Expected a manifest, got {found} at {manifest}: change "
            "train_manifest, or prepare it with prepare_manifest"
        )
    with warn_if_slow(manifest):
        rows = _read_rows(manifest)
        _, _, names = next(rows, (0, 0, []))
        # A table that is aligned by blanks has them in every row.
        is_aligned = any(name != name.strip() for name in names)
        names = [name.strip() for name in names]
        _check_columns(names, manifest)
        columns: list[list[str]] = [[] for _ in names]
        needed = [names.index(name) for name in ("ID", "wav")]
        for line, num_lines, row in rows:
            if (
                num_lines > 1
                or len(row) != len(names)
                or not all(row[place] for place in needed)
            ):
                _check_row(row, names, line, manifest)
            for column, value in zip(columns, row, strict=True):
                column.append(value.rstrip() if is_aligned else value)
    if not columns[0]:
        return {}
    return dict(zip(names, columns, strict=True))


def _read_rows(manifest: Path) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the first line, the number of lines and the fields of each row."""
    line = 1
    try:
        # With or without the mark that spreadsheets put at a file's start.
        with open(manifest, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            for row in reader:
                if row:
                    yield line, reader.line_num + 1 - line, row
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected text in UTF-8 in {manifest}, got a byte "
            f"{error.object[error.start]:#04x} after line {line - 1} that is "
            "none (UTF-16 and Latin-1 are other encodings): save it again as "
            "UTF-8"
        ) from None
    except csv.Error as error:
        raise ValueError(
            f"Expected a CSV in {manifest}, got from line {line} on: {error}. "
            'Look there for a stray quote ("), which takes all that follows '
            "into one field, and remove it"
        ) from None
    except OSError as error:
        raise OSError(
            error.errno, f"Cannot read the manifest: {error.strerror}", manifest
        ) from error


def _check_row(
    row: list[str], names: list[str], line: int, manifest: Path
) -> None:
    """Raise if a row has lost fields, or swallowed other rows."""
    for name, value in zip(names, row, strict=False):
        # A transcript, say, may have lines; but not ones that are rows.
        if "\n" in value or "\r" in value:
            lines = value.splitlines()
            num_rows = sum(
                inner.count(",") >= len(names) - 1 for inner in lines[1:]
            )
            if num_rows or name in REQUIRED_COLUMNS:
                raise ValueError(
                    f"Expected a row in each line of {manifest}, got a field "
                    f"({name}) of {len(lines)} lines from line {line} on: "
                    'look there for a stray quote ("), and remove it'
                )
    if len(row) != len(names):
        text = ", ".join(row)
        shown = "".join(
            letter if letter.isprintable() else "?"
            for letter in text[:_NUM_SHOWN_CHARACTERS]
        )
        more = " …" if len(text) > len(shown) else ""
        raise ValueError(
            f"Expected {len(names)} fields ({', '.join(names)}) in "
            f"line {line} of {manifest}, got {len(row)}: {shown}{more}"
        )
    for name, value in zip(names, row, strict=True):
        if name in ("ID", "wav") and not value.strip():
            raise ValueError(
                f"Expected a value for {name} in line {line} of {manifest}, "
                "got an empty field: give it, or remove the row"
            )


def _check_columns(names: list[str], manifest: Path) -> None:
    if any("\0" in name for name in names):
        raise ValueError(
            f"Expected text in UTF-8 in {manifest}, got bytes of 0 as UTF-16 "
            "has them: save it again as UTF-8"
        )
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if repeated:
        raise ValueError(
            f"Expected every column once in {manifest}, got several "
            f"{', '.join(repeated)}: remove or rename all but one"
        )
    missing = [name for name in REQUIRED_COLUMNS if name not in names]
    if missing:
        raise ValueError(
            f"Expected the columns {', '.join(REQUIRED_COLUMNS)} in "
            f"{manifest}, separated by commas, got "
            f"{', '.join(names) or 'an empty file'}: add "
            f"{' and '.join(missing)}"
        )


def _parse_seconds(
    values: list[str], ids: TextColumn, manifest: Path
) -> np.ndarray:
    try:
        seconds = np.array([float(value) for value in values])
    except ValueError:
        pass
    else:
        if np.all((seconds > 0) & (seconds < _MOST_SECONDS)):
            return seconds
    pairs = zip(ids, values, strict=True)
    row_id, value = next(pair for pair in pairs if not _is_duration(pair[1]))
    raise ValueError(
        f"Expected a duration in seconds, such as 3.5, for {row_id} in "
        f"{manifest}, got {value!r}"
    )


def _is_duration(value: str) -> bool:
    try:
        return 0.0 < float(value) < _MOST_SECONDS
    except ValueError:
        return False


def _fill_in_data_root(
    values: list[str], ids: TextColumn, root: str | None, manifest: Path
) -> Iterator[str]:
    """Yield values with `$data_root` replaced, as SpeechBrain does."""
    value_of = {} if root is None else {"data_root": root}
    for row_id, value in zip(ids, values, strict=True):
        if "$" in value:
            unknown = set(_VARIABLE.findall(value)) - set(value_of)
            if unknown:
                raise ValueError(
                    f"Expected paths that are absolute or start with "
                    f"$data_root in {manifest}, got {value} for {row_id}: "
                    "give data_folder, which replaces $data_root, or "
                    f"replace ${' and $'.join(sorted(unknown))}"
                )
            value = _VARIABLE.sub(lambda match: value_of[match[1]], value)
        yield value


def _digest(row_id: str) -> int:
    # Python's own hash differs from process to process.
    digest = hashlib.blake2b(row_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _to_python(value: Any) -> Any:
    """Return a NumPy number as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _split_into_blocks(values: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for value in values:
        block.append(value)
        if len(block) == _BLOCK:
            yield block
            block = []
    yield block
