"""Whether speakers of the trials are in the training set."""

import csv
import os
from collections import Counter
from collections.abc import Set


def count_trained(
    manifest: str | os.PathLike[str], speakers: Set[str]
) -> Counter[str] | None:
    """Count a manifest's utterances of given speakers.

    Arguments
    ---------
    manifest : str or os.PathLike
        A CSV with or without the column `speaker`.
    speakers : set of str
        Those of the trials.

    Returns
    -------
    Counter or None
        Number of utterances by speaker, of those that are in the manifest;
        None where it has no column `speaker`.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> _ = path.write_text("ID,speaker\\na,anna\\nb,ben\\nc,ben\\n")
    >>> count_trained(path, {"ben", "carl"})
    Counter({'ben': 2})
    """
    with open(manifest, newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        if "speaker" not in (rows.fieldnames or []):
            return None
        found = (row["speaker"] for row in rows)
        return Counter(speaker for speaker in found if speaker in speakers)


def describe_trained(counts: Counter[str], num_shown: int = 3) -> str:
    """Say how many speakers are trained on, and who.

    Example
    -------
    >>> describe_trained(Counter(ben=2, anna=1), num_shown=1)
    '2 of them (ben, …; 3 utterances)'
    """
    named = ", ".join(sorted(counts, key=lambda s: -counts[s])[:num_shown])
    more = ", …" if len(counts) > num_shown else ""
    return f"{len(counts)} of them ({named}{more}; {counts.total()} utterances)"
