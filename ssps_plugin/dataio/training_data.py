"""A manifest, read into a SpeechBrain dataset."""

import csv
import os
import re
from collections.abc import Iterator

import numpy as np
from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.dataio.table import Table, TextColumn

REQUIRED_COLUMNS = ("ID", "wav", "duration")
_VARIABLE = re.compile(r"\$(\w+)")

Path = str | os.PathLike[str]


def load_manifest(
    manifest: Path, data_root: Path | None = None
) -> DynamicItemDataset:
    """Read a manifest into a dataset.

    Any CSV with the columns ID, wav (a path, absolute or starting with
    `$data_root`) and duration (seconds) will do; others are kept. The rows are
    held in flat buffers (see `Table`), so that DataLoader workers share them.

    Arguments
    ---------
    manifest : str or os.PathLike
        The CSV.
    data_root : str or os.PathLike, optional
        What `$data_root` stands for in it.

    Returns
    -------
    DynamicItemDataset
        The dataset, without output keys: `add_views` sets them.

    Raises
    ------
    FileNotFoundError
        There is no manifest, or its first audio file is not there.
    ValueError
        It lacks a column or has no rows; or a row, which is named, has too
        many or too few fields, a duration that is no number of seconds, an ID
        that another one has, or a `$variable` that stands for nothing.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.wav").write_bytes(b"")
    >>> rows = "ID,wav,duration\\na,$data_root/a.wav,3.5\\n"
    >>> _ = (folder / "train.csv").write_text(rows)
    >>> load_manifest(folder / "train.csv", data_root=folder).data["a"][
    ...     "duration"
    ... ]
    3.5
    """
    root = None if data_root is None else os.fspath(data_root)
    table = _read_table(manifest, root)
    dataset = DynamicItemDataset(table)
    dataset.data_ids = table.ids  # SpeechBrain makes a list of them
    first = table[table.ids[0]]["wav"]
    if not os.path.exists(first):
        raise FileNotFoundError(
            f"Expected the audio that {manifest} lists, got no file at "
            f"{first}: change data_folder (now {data_root}) or the manifest"
        )
    return dataset


def _read_table(manifest: Path, root: str | None) -> Table:
    columns = _read_columns(manifest)
    if not columns:
        raise ValueError(
            f"Expected utterances in {manifest}, got none: prepare it again"
        )
    found: dict[str, TextColumn | np.ndarray] = {}
    ids = TextColumn(columns.pop("ID"))
    for name, values in columns.items():
        if name == "duration":
            found[name] = _seconds(values, ids, manifest)
        else:
            filled = _filled_in(values, ids, root, manifest)
            found[name] = TextColumn(filled)
    try:
        return Table(ids, found)
    except ValueError as error:
        raise ValueError(f"{error} in {manifest}") from None


def _read_columns(manifest: Path) -> dict[str, list[str]]:
    """Return the columns by name; none where there are no rows."""
    if not os.path.isfile(manifest):
        raise FileNotFoundError(
            f"Expected a manifest, got no file at {manifest}: change "
            "train_manifest, or prepare it with prepare_manifest"
        )
    # With or without the mark that spreadsheets put at a file's start.
    with open(manifest, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, skipinitialspace=True)
        names = next(reader, [])
        missing = [name for name in REQUIRED_COLUMNS if name not in names]
        if missing:
            raise ValueError(
                f"Expected the columns {', '.join(REQUIRED_COLUMNS)} in "
                f"{manifest}, got {', '.join(names) or 'an empty file'}: add "
                f"{' and '.join(missing)}"
            )
        columns: list[list[str]] = [[] for _ in names]
        for row in reader:
            if len(row) != len(names):
                if not row:
                    continue
                raise ValueError(
                    f"Expected {len(names)} fields ({', '.join(names)}) in "
                    f"line {reader.line_num} of {manifest}, got {len(row)}: "
                    f"{', '.join(row)}"
                )
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    if not columns[0]:
        return {}
    return dict(zip(names, columns, strict=True))


def _seconds(values: list[str], ids: TextColumn, manifest: Path) -> np.ndarray:
    try:
        return np.array([float(value) for value in values])
    except ValueError:
        pairs = zip(ids, values, strict=True)
        row_id, value = next(pair for pair in pairs if not _is_number(pair[1]))
        raise ValueError(
            f"Expected a duration in seconds, such as 3.5, for {row_id} in "
            f"{manifest}, got {value!r}"
        ) from None


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _filled_in(
    values: list[str], ids: TextColumn, root: str | None, manifest: Path
) -> Iterator[str]:
    """Yield values with $data_root replaced, as SpeechBrain does."""
    known = {} if root is None else {"data_root": root}
    for row_id, value in zip(ids, values, strict=True):
        if "$" in value:
            unknown = set(_VARIABLE.findall(value)) - set(known)
            if unknown:
                raise ValueError(
                    f"Expected paths that are absolute or start with "
                    f"$data_root in {manifest}, got {value} for {row_id}: "
                    "give data_folder, which $data_root stands for, or "
                    f"replace ${' and $'.join(sorted(unknown))}"
                )
            value = _VARIABLE.sub(lambda match: known[match[1]], value)
        yield value
