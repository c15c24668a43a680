"""A manifest, read into a SpeechBrain dataset."""

import csv
import os

from speechbrain.dataio.dataset import DynamicItemDataset

REQUIRED_COLUMNS = ("ID", "wav", "duration")


def load_manifest(
    manifest: str | os.PathLike[str],
    data_root: str | os.PathLike[str] | None = None,
) -> DynamicItemDataset:
    """Read a manifest into a dataset.

    Any CSV with the columns ID, wav (a path, absolute or starting with
    `$data_root`) and duration (seconds) will do; others are kept.

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
        It lacks a column or has no rows.

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
    _check_columns(manifest)
    root = {} if data_root is None else {"data_root": os.fspath(data_root)}
    dataset = DynamicItemDataset.from_csv(manifest, replacements=root)
    first = dataset.data[dataset.data_ids[0]]["wav"]
    if not os.path.exists(first):
        raise FileNotFoundError(
            f"Expected the audio that {manifest} lists, got no file at "
            f"{first}: change data_folder (now {data_root}) or the manifest"
        )
    return dataset


def _check_columns(manifest: str | os.PathLike[str]) -> None:
    if not os.path.isfile(manifest):
        raise FileNotFoundError(
            f"Expected a manifest, got no file at {manifest}: change "
            "train_manifest, or prepare it with prepare_manifest"
        )
    with open(manifest, newline="", encoding="utf-8") as file:
        reader = csv.reader(file, skipinitialspace=True)
        columns, row = next(reader, []), next(reader, None)
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise ValueError(
            f"Expected the columns {', '.join(REQUIRED_COLUMNS)} in "
            f"{manifest}, got {', '.join(columns) or 'an empty file'}: add "
            f"{' and '.join(missing)}"
        )
    if row is None:
        raise ValueError(
            f"Expected utterances in {manifest}, got none: prepare it again"
        )
