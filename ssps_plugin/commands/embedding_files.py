"""Files of embeddings: NumPy's .npz, .csv, and Kaldi's archives."""

from __future__ import annotations

import csv
import pathlib
import struct
from collections.abc import Callable, Sequence

import numpy as np

from ssps_plugin.atomic_write import atomic_path, atomic_write

#: `write(path, names, embeddings)`.
Write = Callable[[pathlib.Path, Sequence[str], np.ndarray], None]


def check_output(path: pathlib.Path, overwrite: bool) -> Write:
    """Return what writes a file of a name, before anything is embedded.

    Raises
    ------
    ValueError
        The suffix is of no format.
    FileExistsError
        The file is there.
    """
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise ValueError(
            f"Expected an output that ends in {', '.join(_WRITERS)}, got "
            f"{path}: change --output."
        )
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"Expected no file at {path}, got one: give another --output, or "
            "--overwrite."
        )
    return write


def write_npz(
    path: pathlib.Path, names: Sequence[str], embeddings: np.ndarray
) -> None:
    """Write arrays `names` `(n,)` and `embeddings` `(n, dim)`."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, names=np.array(names), embeddings=embeddings)


def write_csv(
    path: pathlib.Path, names: Sequence[str], embeddings: np.ndarray
) -> None:
    """Write a header and a row a file; nine digits give back each float."""
    with atomic_write(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["name", *(f"e{n}" for n in range(embeddings.shape[1]))])
        for name, row in zip(names, embeddings.tolist(), strict=True):
            rows.writerow([name, *(f"{value:.9g}" for value in row)])


def write_ark(
    path: pathlib.Path, names: Sequence[str], embeddings: np.ndarray
) -> None:
    """Write a Kaldi archive of float vectors, and the index beside it.

    Raises
    ------
    ValueError
        A name has white space, which ends a key in Kaldi's files.
    """
    bad = [name for name in names if not name or len(name.split()) != 1]
    if bad:
        raise ValueError(
            "Expected names without white space for Kaldi's archives, got "
            f"{len(bad)} with it, the first {bad[0]!r}: write .npz or .csv."
        )
    index = path.with_suffix(".scp")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        places = []
        for name, row in zip(names, embeddings, strict=True):
            file.write(f"{name} ".encode())
            places.append(file.tell())
            # Binary, a float vector, its length as an integer of 4 bytes.
            file.write(b"\0BFV \x04" + struct.pack("<i", len(row)))
            file.write(row.astype("<f4").tobytes())
    with atomic_write(index) as lines:
        for name, place in zip(names, places, strict=True):
            lines.write(f"{name} {path}:{place}\n")


_WRITERS: dict[str, Write] = {
    ".npz": write_npz,
    ".csv": write_csv,
    ".ark": write_ark,
}
