"""The utterances of the training set: their ids, and the place of each."""

import hashlib
import numbers
from collections.abc import KeysView, Mapping, Sequence, ValuesView
from typing import Any

import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

logger = get_logger(__name__)

_IDS_OR_DATASET = (
    "Expected the training set (a dataset with a length), how many utterances "
    "it has, or their ids, a list"
)


class UtteranceIndex:
    """Map the ids of the training utterances to their positions.

    Its fingerprint differs from one training set to another.

    Arguments
    ---------
    ids : sequence of str or int
        Ids of the training utterances in their order, each once.

    Raises
    ------
    ValueError
        There is no id, one comes twice, or they are no ids.

    Example
    -------
    >>> utterances = UtteranceIndex(["a", "b", "c"])
    >>> utterances.positions(["c", "a"], torch.device("cpu")).tolist()
    [2, 0]
    """

    def __init__(self, ids: Sequence[Any]) -> None:
        try:
            self._positions = {name: place for place, name in enumerate(ids)}
        except TypeError as error:  # not hashable
            raise ValueError(
                f"{_IDS_OR_DATASET} of str or int, got rows without a fixed "
                f"identity ({error}): pass the id of each row to bind()."
            ) from error
        if not self._positions:
            raise ValueError(
                "Expected the utterance ids of the training set, got none: "
                "the training set is empty, so change what is given to bind()."
            )
        if len(self._positions) != len(ids):
            raise ValueError(
                f"Expected every utterance id once, got {len(ids)} ids of "
                f"which {len(self._positions)} are distinct: change the ids "
                "given to bind()."
            )
        self._check_kinds()
        # Each length first, so that no two lists of ids give the same bytes.
        digest = hashlib.sha256()
        for name in ids:
            # Names of files may hold what is no text: surrogates.
            encoded = str(name).encode(errors="surrogatepass")
            digest.update(len(encoded).to_bytes(4, "little") + encoded)
        #: SHA-256 of the ids in their order.
        self.fingerprint = digest.digest()

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._positions)

    def positions(
        self, ids: Sequence[Any] | Tensor | None, device: torch.device
    ) -> Tensor:
        """Return the positions of a batch of utterances.

        Arguments
        ---------
        ids : sequence of str or int, or torch.Tensor
            Ids, or positions `(batch,)` of an integer dtype. The range of
            positions on a GPU is not checked: that would wait for the device.
        device : torch.device
            Device of the result.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64 on `device`.

        Raises
        ------
        ValueError
            There are no ids, an id was never bound, or a position is out of
            range.
        """
        if ids is None or isinstance(ids, str | bytes | int):
            raise ValueError(
                "Expected the utterance ids of the batch in training, got "
                f"{ids!r}: pass ids=batch.id to the PositiveSampler."
            )
        if isinstance(ids, Tensor):
            self._check_positions(ids)
            return ids.to(device, torch.long, non_blocking=True)
        try:
            positions = [self._positions[name] for name in ids]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"Expected one of the {len(self)} utterance ids given to "
                f"bind(), such as {next(iter(self._positions))!r}, got "
                f"{error.args[0]!r}, which was never bound: bind the set that "
                "you train on."
            ) from error
        return torch.tensor(positions, dtype=torch.long).to(
            device, non_blocking=True
        )

    def _check_kinds(self) -> None:
        kinds = set(map(type, self._positions))
        first = next(iter(self._positions))
        if isinstance(first, tuple):
            kinds |= set(map(type, first))
        for kind in kinds:
            # Compared by where they lie in memory: another process, or a copy,
            # would not find them.
            if issubclass(kind, Tensor) or kind.__hash__ is object.__hash__:
                raise ValueError(
                    f"{_IDS_OR_DATASET} of str or int, got entries of type "
                    f"{kind.__name__}: pass the id of each row to bind()."
                )
        #: Whether ids are numbers, but not those of the positions.
        self._are_other_numbers = all(
            issubclass(kind, numbers.Integral) for kind in kinds
        ) and any(name != place for name, place in self._positions.items())

    def _check_positions(self, positions: Tensor) -> None:
        dtype = positions.dtype
        is_integer = not (
            dtype == torch.bool or dtype.is_complex or dtype.is_floating_point
        )
        if positions.dim() != 1 or not is_integer:
            raise ValueError(
                "Expected ids as a tensor of integer positions of shape "
                f"(batch,), got {positions.dtype} of shape "
                f"{tuple(positions.shape)}: pass ids=batch.id."
            )
        if self._are_other_numbers:
            self._are_other_numbers = False  # once
            logger.warning(
                "The ids given to bind() are numbers, and those of a step come "
                "in a tensor, which is read as their positions in [0, %d): "
                "pass ids.tolist() if they are the ids themselves.",
                len(self),
            )
        if positions.device.type != "cpu" or not len(positions):
            return
        lowest, highest = (int(bound) for bound in positions.aminmax())
        if lowest < 0 or highest >= len(self):
            raise ValueError(
                f"Expected positions in [0, {len(self)}), those of the "
                "utterances given to bind(), got "
                f"{lowest if lowest < 0 else highest}, which was never bound: "
                "bind the set that you train on."
            )


def find_ids(dataset: Any) -> Sequence[Any]:
    """Return the ids of a training set, without reading any of its items.

    Arguments
    ---------
    dataset : DynamicItemDataset, torch.utils.data.Dataset, sequence or int
        A dataset of SpeechBrain has ids (`data_ids`), and so has a `Subset` of
        one. In another one with a length, an utterance's id is its position,
        `range(len(dataset))`; a number is such a length. What is a sequence, or
        has a `tolist`, are the ids themselves; a mapping has those of its keys.

    Returns
    -------
    sequence
        The ids in order.

    Raises
    ------
    ValueError
        There is no length or no order, or it is one string.

    Example
    -------
    >>> data = torch.utils.data.TensorDataset(torch.zeros(3, 16000))
    >>> find_ids(data), find_ids({"a": 1, "b": 2}), find_ids(torch.arange(2))
    (range(0, 3), ['a', 'b'], [0, 1])
    >>> find_ids(3)
    range(0, 3)
    """
    if isinstance(dataset, numbers.Integral) and not isinstance(dataset, bool):
        return range(int(dataset))
    named = _find_data_ids(dataset)
    ids = dataset if named is None else named
    if isinstance(ids, DataLoader):
        _refuse(dataset, "bind its dataset, sampler.bind(loader.dataset)")
    if isinstance(ids, str | bytes):
        _refuse(dataset, "read the file, or put the one id into a list")
    if isinstance(ids, set | frozenset):
        _refuse(
            dataset,
            "bind sorted(ids), because the order of a set differs from one "
            "process to another",
        )
    if isinstance(ids, Mapping | KeysView | ValuesView):
        return list(ids)
    if not isinstance(ids, Dataset) and hasattr(ids, "tolist"):
        ids = ids.tolist()
    is_sequence = isinstance(ids, Sequence) and not isinstance(ids, Dataset)
    if isinstance(ids, IterableDataset) or not (
        is_sequence or hasattr(ids, "__getitem__")
    ):
        _refuse(dataset, "bind a list of the ids that it will give")
    try:
        num_utterances = len(ids)
    except (TypeError, NotImplementedError, AttributeError):
        _refuse(dataset, "bind a list of the ids that it will give")
    return ids if is_sequence else range(num_utterances)


def _find_data_ids(dataset: Any) -> Any:
    """Return the ids of a dataset that names them, or of a part of one."""
    own = getattr(dataset, "data_ids", None)
    if own is not None or not isinstance(dataset, Subset):
        return own
    ids = _find_data_ids(dataset.dataset)
    return None if ids is None else [ids[place] for place in dataset.indices]


def _refuse(dataset: Any, way_out: str) -> None:
    shown = repr(dataset) if isinstance(dataset, str | bytes) else ""
    raise ValueError(
        f"{_IDS_OR_DATASET} in their order, got a {type(dataset).__name__} "
        f"{shown[:60]}".rstrip()
        + f": {way_out}."
    )
