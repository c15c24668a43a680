"""Neighbour lists of two epochs, and what utterances share of them. Ours."""

from math import comb

import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor, nn

from ssps_plugin.clustering import nearest_others
from ssps_plugin.memory import ReferenceBank
from ssps_plugin.sampling.joined_references import JoinedReferences
from ssps_plugin.sampling.parts import split_by_places
from ssps_plugin.sampling.signs import mutual_neighbors
from ssps_plugin.sampling.strategy import Whitening

logger = get_logger(__name__)

#: What was measured: the neighbours on a list, and the least overlap by which
#: a draw is sure enough.
NUM_NEIGHBORS = 20
MIN_OVERLAP = 0.08
# Lists are meant to be short for the corpus: at most this part of it.
_LONGEST_PART = 1 / 20
# Candidates of an utterance by chance, on average: an overlap that gives more
# says nothing.
_MOST_BY_CHANCE = 0.1
# Utterances whose two lists are compared at once: 60 MB.
_CHUNK_ROWS = 1 << 14
# The least cosine of copies, whose references differ by rounding only.
_COPY = 1 - 1e-6
# Shared neighbours counted at once: 32 MB a list.
_MOST_PLACES = 1 << 22


class NeighborLists(nn.Module):
    """Keep each utterance's nearest neighbours, now and an epoch ago.

    An epoch that renewed references, that is: lists stay until others do.

    Two utterances of one speaker have neighbours in common. Utterances that
    are near by chance have them, too, but not the same ones after another
    epoch: of other crops, and with other weights. So the list of one
    utterance now is compared with that of the other an epoch ago, and the
    other way round. `overlap` is the mean of both Jaccard indices: how many
    utterances are in both lists over how many are in one. An utterance is on
    its own list.

    In a small corpus much is shared by chance, too: `least_overlap` says from
    where on an overlap tells something.

    Arguments
    ---------
    num_neighbors : int
        Utterances on a list beside its own, at least 1.
    epochs_apart : int
        How many epochs ago the lists are of which those of now are compared
        with.

    Source: similarity by shared near neighbours, R. Jarvis and E. Patrick,
    IEEE Transactions on Computers, 1973. That the lists are of two epochs is
    ours.

    Example
    -------
    >>> lists = NeighborLists(num_neighbors=1)
    >>> lists.allocate(5)
    >>> angles = torch.tensor([0.0, 0.1, 1.0, 1.1, 0.3])
    >>> for angles[4] in (0.3, 0.8):  # the last one moves from epoch to epoch
    ...     references = torch.stack([angles.cos(), angles.sin()], dim=1)
    ...     lists.renew(torch.arange(5), references)
    >>> lists.overlap(torch.tensor([0, 0]), torch.tensor([1, 2])).tolist()
    [1.0, 0.0]
    """

    present: Tensor
    former: Tensor
    _between: Tensor
    _overlaps: Tensor

    def __init__(self, num_neighbors: int, epochs_apart: int = 1) -> None:
        super().__init__()
        self.num_neighbors = num_neighbors
        self.epochs_apart = epochs_apart
        length = num_neighbors + 1
        empty = torch.empty(0, length, dtype=torch.int32)
        self.register_buffer("present", empty)
        self.register_buffer("former", empty.clone())
        # Those between, the latest first.
        between = empty.expand(epochs_apart - 1, -1, -1).clone()
        is_kept = epochs_apart > 1
        self.register_buffer("_between", between, persistent=is_kept)
        # The overlap by how many neighbours are shared in either direction.
        shared = torch.arange(length + 1).double()
        jaccard = shared / (2 * length - shared)
        overlaps = (jaccard[:, None] + jaccard) / 2
        self.register_buffer("_overlaps", overlaps, persistent=False)
        self._least_overlap = 0.0

    def allocate(self, num_utterances: int) -> None:
        """Empty the lists, and size them for `num_utterances`."""
        shape = num_utterances, self.num_neighbors + 1
        self.present = self.present.new_full(shape, -1)
        self.former = self.former.new_full(shape, -1)
        between = self.epochs_apart - 1, *shape
        self._between = self._between.new_full(between, -1)
        self._least_overlap = 0.0
        if self.num_neighbors > _LONGEST_PART * num_utterances:
            logger.warning(
                "Lists of %d neighbours among %d utterances share much by "
                "chance: draws look surer than they are. More utterances are "
                "needed, or a smaller num_neighbors (with coverage auto, a "
                "number for coverage).",
                self.num_neighbors,
                num_utterances,
            )
            return
        self._least_overlap = _overlap_beyond_chance(
            self._overlaps, num_utterances
        )
        if self._least_overlap > MIN_OVERLAP:
            logger.info(
                "Lists of %d neighbours among %d utterances share something "
                "by chance: an overlap counts from %.2f on.",
                self.num_neighbors,
                num_utterances,
                self._least_overlap,
            )

    def least_overlap(self, asked: float) -> float:
        """Return the least overlap that counts.

        That is what was asked for, but no overlap that chance alone gives to
        more than a tenth of the utterances: of lists that say nothing, among
        as many utterances. With lists of 20 that is more than 0.08 among fewer
        than some 750 utterances. Among fewer than 400 these lists are too long
        to tell: then it is what was asked for, and a warning says so.
        """
        return max(asked, self._least_overlap)

    def forget(self) -> None:
        """Empty the lists: nothing can be told from them."""
        self.present.fill_(-1)
        self.former.fill_(-1)
        self._between.fill_(-1)

    @property
    def are_of_two_epochs(self) -> bool:
        """Whether anything can be shared yet; waits for the device."""
        return bool((self.former[:, 0] >= 0).any())

    @property
    def are_conclusive(self) -> bool:
        """Whether nothing shared means that nobody is told apart.

        Not before there are lists of two epochs, unless the last references
        made none, since they say nothing.
        """
        return self._are_empty or self.are_of_two_epochs

    @property
    def _are_empty(self) -> bool:
        return not bool((self.present[:, 0] >= 0).any())

    def renew(self, index: Tensor, references: Tensor) -> None:
        """Search the nearest neighbours; what was present becomes former.

        Where nothing has moved, no epoch has passed, and the lists stay. More
        than `num_neighbors` copies of one reference, equal but for rounding,
        have no list: it would be of each other, and all of them on all lists.
        Files that are nearly alike, such as silent ones with noise of their
        own, are utterances like others. With a process group, every rank must
        call, and each searches for its share.

        Arguments
        ---------
        index : torch.Tensor
            `(num,)` int64, the utterances that have a reference, more than
            `num_neighbors`.
        references : torch.Tensor
            `(num, dim)` float32, L2-normalised: they are compared by cosine.
        """
        found = torch.full_like(self.present, -1)
        found[index, 0] = index.int()
        nearest = nearest_others(references, self.num_neighbors)
        found[index, 1:] = index[nearest].int()
        farthest = (references * references[nearest[:, -1]]).sum(1)
        found[index[farthest > _COPY]] = -1
        if not torch.equal(found, self.present):
            self._move_on(found)

    def _move_on(self, found: Tensor) -> None:
        """Make lists the present ones; those before them move on by one."""
        lists = torch.cat([self.present[None], self._between])
        self._between.copy_(lists[:-1])
        self.former.copy_(lists[-1])
        self.present.copy_(found)

    def overlap(self, one: Tensor, other: Tensor) -> Tensor:
        """Compute how much of their lists pairs of utterances share.

        Arguments
        ---------
        one, other : torch.Tensor
            `(batch,)` int64, utterances.

        Returns
        -------
        torch.Tensor
            `(batch,)` float32 in [0, 1]; 0 before there are lists of two
            epochs.
        """
        shared = (
            _count_equal(self.present[one], self.former[other]),
            _count_equal(self.former[one], self.present[other]),
        )
        return self._overlaps[shared].float()

    def kept(self) -> float:
        """Return which fraction of the neighbours were so an epoch ago."""
        both = (self.present[:, 0] >= 0) & (self.former[:, 0] >= 0)
        present, former = self.present[both], self.former[both]
        if not len(present):
            return 0.0
        num_kept = -len(present)  # itself
        for one, other in zip(
            present.split(_CHUNK_ROWS), former.split(_CHUNK_ROWS), strict=True
        ):
            num_kept += int(_count_equal(one, other).sum())
        return num_kept / (len(present) * self.num_neighbors)

    def metrics(self) -> dict[str, float]:
        """Return what is known without labels of lists of two epochs.

        kept_neighbors: fraction of the neighbours that were so an epoch ago.
        mutual_neighbors: fraction of the nearest neighbours that are so both
        ways, now. Empty before there are lists of two epochs.
        """
        if not self.are_of_two_epochs:
            return {}
        return {
            "kept_neighbors": self.kept(),
            "mutual_neighbors": mutual_neighbors(self.present),
        }

    def find_sharing(
        self, min_overlap: float, most: int
    ) -> tuple[Tensor, Tensor]:
        """List for every utterance those that it shares enough with.

        Arguments
        ---------
        min_overlap : float
            The least overlap, above 0.
        most : int
            The longest list: of more, the first of the largest overlap.

        Returns
        -------
        found : torch.Tensor
            `(num_utterances, most)` int32, the largest overlap first, then -1.
        overlap : torch.Tensor
            `(num_utterances,)` float32, the largest, 0 where there is none.
        """
        num, device = len(self.present), self.present.device
        found = torch.full((num, most), -1, dtype=torch.int32, device=device)
        overlap = torch.zeros(num, device=device)
        directions = (
            (self.present, _Inverse(self.former)),
            (self.former, _Inverse(self.present)),
        )
        # How many are listed for each utterance, in both directions.
        num_places = torch.stack(
            [by.sizes_of(lists).sum(1) for lists, by in directions]
        ).sum(0)
        every = torch.arange(num, device=device)
        for index in split_by_places(every, num_places, _MOST_PLACES):
            row, other, shared = _count_shared(
                index,
                [(lists[index], by) for lists, by in directions],
            )
            overlaps = self._overlaps[shared]
            enough = overlaps >= min_overlap
            row, other, overlaps = row[enough], other[enough], overlaps[enough]
            order = overlaps.argsort(descending=True, stable=True)
            order = order[row[order].argsort(stable=True)]
            row, other, overlaps = row[order], other[order], overlaps[order]
            rows = torch.arange(len(index), device=device)
            place = torch.arange(len(row), device=device)
            place = place - torch.searchsorted(row, rows)[row]
            is_listed = place < most
            where = index[row[is_listed]], place[is_listed]
            found[where] = other[is_listed].int()
            is_first = place == 0
            overlap[index[row[is_first]]] = overlaps[is_first].float()
        return found, overlap

    def explain_holding_back(self) -> str:
        """Say why draws by these lists are not used."""
        if self._are_empty:
            return "references are nearly the same, and say nothing"
        if not self.are_of_two_epochs:
            known = "one epoch" if self.epochs_apart == 1 else "too few epochs"
            return (
                f"nearest neighbours are known of {known} yet, and those of "
                "two are compared"
            )
        return (
            "nobody that they might draw has the same nearest neighbours, now "
            "and an epoch ago"
        )

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        names = "present", "former", "_between"
        return {name: (-1, len(self.present)) for name in names}


def renew_lists(
    lists: NeighborLists,
    whitening: Whitening,
    bank: ReferenceBank,
    joined: JoinedReferences | None = None,
) -> None:
    """Bring neighbour lists up to an epoch's references, whitened.

    Where `joined` is given, these are joined with those of epochs before. With
    a process group, every rank must call: they share the search.

    Of too few references, and of those of a collapsed encoder, nothing can be
    told: then the lists are emptied.
    """
    seen, references = bank.read_seen()
    if len(seen) <= lists.num_neighbors or bank.are_alike():
        lists.forget()
        if joined is not None:
            joined.forget()
        return
    whitening.fit(references)
    whitened = whitening(references.float())
    if joined is not None:
        rows = joined.add(seen, whitened)
        if rows is None:
            return
        whitened = rows
    lists.renew(seen, whitened)


def _overlap_beyond_chance(table: Tensor, num_utterances: int) -> float:
    """Return the overlap from which on chance gives hardly any candidates.

    Of lists drawn at random, independently in both epochs, short for the
    corpus. `table` has the overlaps, by how many are shared in each direction.
    """
    length = len(table) - 1
    ways = comb(num_utterances, length)
    chances = torch.tensor(
        [
            comb(length, shared)
            * comb(num_utterances - length, length - shared)
            / ways
            for shared in range(length + 1)
        ],
        dtype=torch.double,
    )
    overlaps, place = table.cpu().unique(return_inverse=True)
    both = torch.outer(chances, chances)
    by_overlap = torch.bincount(place.flatten(), both.flatten())
    from_there_on = by_overlap.flip(0).cumsum(0).flip(0)
    by_chance = from_there_on * (num_utterances - 1)
    first = int((by_chance > _MOST_BY_CHANCE).sum())
    return float(overlaps[first - 1 : first + 1].mean())  # between the two


class _Inverse:
    """Who has an utterance on the list: the lists the other way round."""

    def __init__(self, lists: Tensor) -> None:
        num, length = lists.shape
        ordered, order = torch.sort(lists.flatten(), stable=True)
        self.owners = order // length
        utterances = torch.arange(
            num + 1, device=lists.device, dtype=lists.dtype
        )
        self.bounds = torch.searchsorted(ordered, utterances)

    def sizes_of(self, lists: Tensor) -> Tensor:
        """How many have each utterance of some lists; -1 has nobody."""
        sizes = self.bounds.diff()[lists.clamp(min=0).long()]
        return torch.where(lists >= 0, sizes, 0)


def _count_equal(one: Tensor, other: Tensor) -> Tensor:
    """Count, row by row, what is in both lists; -1 is nothing."""
    equal = (one[:, :, None] == other[:, None, :]) & (one >= 0)[:, :, None]
    return equal.sum((1, 2))


def _count_shared(
    index: Tensor, directions: list[tuple[Tensor, _Inverse]]
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Count what utterances share with any other, in both directions.

    Arguments
    ---------
    index : torch.Tensor
        `(num,)` int64, the utterances.
    directions : list of two tuples
        Lists of the utterances, `(num, length)`, and who has what on the lists
        that they are compared with.

    Returns
    -------
    row, other : torch.Tensor
        `(pairs,)` int64, in order: a row of `index`, and another utterance.
    shared : tuple of two torch.Tensor
        `(pairs,)` int64, how many they share in each direction.
    """
    keys, counts = [], []
    num = len(directions[0][1].bounds)
    for number, (lists, inverse) in enumerate(directions):
        sizes = inverse.sizes_of(lists).flatten()
        first = inverse.bounds[lists.clamp(min=0).long()].flatten()
        ends = sizes.cumsum(0)
        owner = torch.repeat_interleave(first - (ends - sizes), sizes)
        owner = inverse.owners[
            owner + torch.arange(len(owner), device=index.device)
        ]
        row = torch.arange(len(index), device=index.device)
        row = row.repeat_interleave(lists.shape[1])
        row = torch.repeat_interleave(row, sizes)
        is_other = owner != index[row]
        keys.append((row * num + owner)[is_other])
        of_one = torch.zeros(2, dtype=torch.long, device=index.device)
        of_one[number] = 1
        counts.append(of_one.expand(len(keys[-1]), 2))
    pairs, of_pair = torch.unique(torch.cat(keys), return_inverse=True)
    shared = torch.zeros(len(pairs), 2, dtype=torch.long, device=index.device)
    shared.index_add_(0, of_pair, torch.cat(counts))
    return pairs // num, pairs % num, (shared[:, 0], shared[:, 1])
