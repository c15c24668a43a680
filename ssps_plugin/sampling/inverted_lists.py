"""Search the nearest of a million keys in a few lists of them. Ours."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ssps_plugin.checks import check_whole_number
from ssps_plugin.clustering import SphericalKMeans, top_k
from ssps_plugin.clustering.assignment import nearest_centroids

# Lists by the square root of the number of keys: the more, the fewer keys are
# compared, and the longer an epoch's start takes. Groups of them by k-means
# first, which would be faster, had a search compare several times as many keys.
_LISTS_PER_ROOT = 8
# K-means is over that many keys a list, and half of all at most, with that many
# iterations.
_KEYS_PER_LIST = 16
_NUM_ITERATIONS = 3
# What is asked of the search, a little more than the 95 % that anchors are to
# find which have moved since. It is estimated by some of the keys that k-means
# has not seen, among these: nor will it have seen those that replace them.
_LEAST_RECALL = 0.96
_SAMPLE_SIZE = 256
# Centroids that are nearer to each other, in every dimension, are one.
_EQUAL_WITHIN = 1e-6
# Keys are compared in whole numbers of at most this, which rounds: that many
# more than asked for are compared again by their exact cosines.
_LARGEST_CODE = 127
_ZERO_CODE = 128
_NUM_SPARE = 32
# Keys handled at once, where a copy of all would take gigabytes.
_CHUNK_ROWS = 2**16
_SAMPLE_CHUNK_ROWS = 32


class InvertedLists(nn.Module):
    """Find the nearest keys by cosine, in the lists nearest to the anchor.

    K-means divides the keys into lists. A search compares an anchor with the
    centroids, then with the keys of the `num_probes` nearest lists only
    (faiss, keys in eight bits), and orders the best of them by their exact
    cosines. So it finds most of the nearest keys, not all.

    Centroids are made by `divide`, and stay. A key that changes goes into the
    list nearest to it. Which list each key is in belongs to the state; what
    faiss holds is made of that and of the keys when it is first needed, so a
    resumed run searches the same lists.

    It works on a CPU, where it takes a byte for each dimension of a key.

    Arguments
    ---------
    num_lists : int, optional
        At most this many lists, at least 1, and of half of the keys; by
        default 8 times the square root of their number, at most a 32nd.
    num_probes : int, optional
        Lists to search, at least 1; by default the fewest that find 96 % of
        the nearest keys, as `divide` estimates it.

    Raises
    ------
    ValueError
        An argument is out of range.
    ImportError
        faiss is not there.

    Source: inverted lists, J. Sivic and A. Zisserman, ICCV 2003; faiss, M.
    Douze et al., arXiv 2401.08281. Differs: the centroids are our own k-means',
    and `num_probes` is chosen by an estimate.

    Example
    -------
    >>> keys = torch.eye(4)
    >>> lists = InvertedLists(num_lists=2, num_probes=2)
    >>> lists.allocate(num_keys=4, dim=4)
    >>> lists.divide(keys, torch.ones(4).bool(), num_neighbors=1, seed=0)
    (1.0, 1.0)
    >>> anchor = torch.tensor([[0.8, 0.6, 0.0, 0.0]])
    >>> own = torch.tensor([0])
    >>> lists.search(anchor, keys, own, num_neighbors=1)
    (tensor([[0.6000]]), tensor([[1]]))
    """

    centroids: Tensor
    list_of_key: Tensor
    _sizes: Tensor
    _scale: Tensor

    def __init__(
        self, num_lists: int | None = None, num_probes: int | None = None
    ) -> None:
        super().__init__()
        for name, value in (
            ("num_lists", num_lists),
            ("num_probes", num_probes),
        ):
            if value is not None:
                check_whole_number(name, value, 1)
        if (num_probes or 1) > (num_lists or math.inf):
            raise ValueError(
                f"Expected num_probes of at most num_lists = {num_lists}, got "
                f"{num_probes}: lower num_probes or raise num_lists."
            )
        _faiss()  # now, not when SSPS starts
        self.num_lists = num_lists
        self.num_probes = num_probes
        self.register_buffer("centroids", torch.empty(0, 0))
        # -1 for a key that is in no list, and not to be found.
        self.register_buffer("list_of_key", torch.empty(0, dtype=torch.int32))
        # How many lists there are, and how many of them are searched.
        self.register_buffer("_sizes", torch.ones(2, dtype=torch.long))
        # By what keys are multiplied before they are rounded.
        self.register_buffer("_scale", torch.ones(()))
        # Made when first needed and not in `divide`, after which the first
        # rank's lists may be copied to this one.
        self._index: Any = None
        self.register_load_state_dict_post_hook(_forget_index)

    @property
    def num_searched(self) -> int:
        """How many lists are searched for an anchor."""
        return int(self._sizes[1])

    def allocate(self, num_keys: int, dim: int) -> None:
        """Size the buffers; no key is in a list yet."""
        num_lists = min(
            self.num_lists or _default_num_lists(num_keys), num_keys
        )
        self.centroids = self.centroids.new_zeros(num_lists, dim)
        self.list_of_key = self.list_of_key.new_full((num_keys,), -1)
        self._sizes.fill_(1)
        self._scale.fill_(1)
        self._index = None

    def divide(
        self, keys: Tensor, is_listed: Tensor, num_neighbors: int, seed: int
    ) -> tuple[float, float]:
        """Divide keys into lists; with a process group, every rank must call.

        Arguments
        ---------
        keys : torch.Tensor
            `(num_keys, dim)` float32, L2-normalised.
        is_listed : torch.Tensor
            `(num_keys,)` bool, which of them may be found.
        num_neighbors : int
            How many nearest keys `num_probes` and the recall are for.
        seed : int
            Seed of k-means and of the estimate.

        Returns
        -------
        recall : float
            The fraction of the nearest keys that a search finds, estimated.
        searched : float
            The fraction of the lists that are searched.
        """
        unseen = self.make_lists(keys, is_listed, seed)
        recall = self.choose_probes(keys, unseen, num_neighbors)
        return recall, self.num_searched / int(self._sizes[0])

    def make_lists(self, keys: Tensor, is_listed: Tensor, seed: int) -> Tensor:
        """Make the lists, the first half of `divide`.

        Arguments
        ---------
        keys, is_listed, seed
            As for `divide`.

        Returns
        -------
        torch.Tensor
            `(num,)` int64, shuffled: the keys that k-means has not seen.
        """
        self._index = None
        self.list_of_key.fill_(-1)
        rows = is_listed.nonzero().flatten()
        if not len(rows):  # what comes later goes into one list
            self._sizes.fill_(1)
            return rows
        generator = torch.Generator().manual_seed(seed)
        shuffled = rows[torch.randperm(len(rows), generator=generator)]
        wanted = self.num_lists or _default_num_lists(len(rows))
        half = max(1, len(rows) // 2)
        num_lists = min(wanted, half, len(self.centroids))
        num_members = min(_KEYS_PER_LIST * num_lists, half)
        members = shuffled[:num_members].sort().values
        sample = keys[members]
        kmeans = SphericalKMeans(num_lists, _NUM_ITERATIONS)
        centroids = _distinct(kmeans.fit(sample, seed).centroids)
        num_lists = len(centroids)
        self.centroids[:num_lists] = centroids
        self._sizes[0] = num_lists
        largest = sample.abs().amax().clamp(min=1e-6)
        self._scale.copy_(_LARGEST_CODE / largest)
        for part in rows.split(_CHUNK_ROWS):
            self.list_of_key[part] = self._nearest_list(keys[part])
        return shuffled[num_members:]

    def _nearest_list(self, keys: Tensor) -> Tensor:
        centroids = self.centroids[: int(self._sizes[0])]
        return nearest_centroids(keys, centroids)[1].int()

    def choose_probes(
        self, keys: Tensor, unseen: Tensor, num_neighbors: int
    ) -> float:
        """Choose how many lists to search, the second half of `divide`.

        By the nearest of some keys, among those that k-means has not seen: it
        fits the others, and would find them too easily.

        Arguments
        ---------
        keys, num_neighbors
            As for `divide`.
        unseen : torch.Tensor
            As from `make_lists`.

        Returns
        -------
        float
            The estimated recall.
        """
        # As near as the nearest of all: of a part of them, a part.
        num_listed = max(1, int((self.list_of_key >= 0).sum()))
        part_of_all = min(num_neighbors, len(keys)) * len(unseen) / num_listed
        num_nearest = max(1, round(part_of_all))
        is_left_out = torch.ones(len(keys), dtype=torch.bool)
        is_left_out[unseen] = False
        num_lists = int(self._sizes[0])
        ranks = [torch.zeros(0, dtype=torch.long)]
        for part in unseen[:_SAMPLE_SIZE].split(_SAMPLE_CHUNK_ROWS):
            cosines = keys[part] @ keys.T
            cosines[:, is_left_out] = -torch.inf
            cosines.scatter_(1, part[:, None], -torch.inf)
            found, nearest = top_k(cosines, num_nearest)
            # Of every list, by how many it is preceded in the search.
            by_list = keys[part] @ self.centroids[:num_lists].T
            order = top_k(by_list, num_lists)[1]
            rank_of_list = torch.empty_like(order).scatter_(
                1, order, torch.arange(num_lists).expand_as(order)
            )
            lists = self.list_of_key[nearest].long().clamp(min=0)
            ranks.append(rank_of_list.gather(1, lists)[found.isfinite()])
        ordered = torch.cat(ranks).sort().values
        if not len(ordered):  # one key alone: there is nobody to be missed
            self._sizes[1] = min(self.num_probes or num_lists, num_lists)
            return 1.0
        num_probes = self.num_probes
        if num_probes is None:
            place = math.ceil(_LEAST_RECALL * len(ordered)) - 1
            num_probes = 1 + int(ordered[place])
        self._sizes[1] = min(num_probes, num_lists)
        return float((ordered < self._sizes[1]).float().mean())

    def update(self, rows: Tensor, keys: Tensor, is_listed: Tensor) -> None:
        """Move keys that changed into the lists that they are nearest to.

        Arguments
        ---------
        rows : torch.Tensor
            `(num,)` int64, which keys changed.
        keys : torch.Tensor
            `(num_keys, dim)` float32, all of them as they are now.
        is_listed : torch.Tensor
            `(num_keys,)` bool, which of them may be found.
        """
        if not len(rows):
            return
        changed = keys[rows]
        lists = torch.where(is_listed[rows], self._nearest_list(changed), -1)
        self.list_of_key[rows] = lists
        if self._index is not None:
            places = self._places(lists)
            codes = (self._encode(changed) + _ZERO_CODE).to(torch.uint8)
            self._index.direct_map.update_codes(
                self._index.invlists,
                len(rows),
                _pointer(rows),
                _pointer(places),
                _pointer(codes),
            )

    def search(
        self, anchors: Tensor, keys: Tensor, own: Tensor, num_neighbors: int
    ) -> tuple[Tensor, Tensor]:
        """Find the nearest keys of every anchor but its own.

        Arguments
        ---------
        anchors : torch.Tensor
            `(batch, dim)` float32.
        keys : torch.Tensor
            `(num_keys, dim)` float32.
        own : torch.Tensor
            `(batch,)` int64, the key that is the anchor's, -1 for none.
        num_neighbors : int
            How many to find.

        Returns
        -------
        cosines : torch.Tensor
            `(batch, num_neighbors)` float32, the nearest first; -inf where
            there are no more in the lists.
        rows : torch.Tensor
            `(batch, num_neighbors)` int64, the keys; of equal ones the first.
        """
        anchors = anchors.detach().float().contiguous()
        index = self._index = self._index or self._make_index(keys)
        by_list = anchors @ self.centroids[: int(self._sizes[0])].T
        probes = top_k(by_list, self.num_searched)[1].contiguous()
        index.nprobe = self.num_searched
        num_compared = num_neighbors + _NUM_SPARE
        _, compared = index.search_preassigned(
            self._encode(anchors).numpy(),
            num_compared,
            probes.numpy(),
            torch.zeros(probes.shape).numpy(),
        )
        # In the order of the keys, and the sorts are stable: so of equal ones
        # the first comes first, wherever faiss has them.
        rows = torch.from_numpy(compared).sort(dim=1).values
        cosines = torch.full(rows.shape, -torch.inf)
        _faiss().fvec_inner_products_by_idx(
            _pointer(cosines),
            _pointer(anchors),
            _pointer(keys),
            _pointer(rows),
            keys.shape[1],
            *rows.shape,
        )
        cosines.masked_fill_((rows < 0) | (rows == own[:, None]), -torch.inf)
        cosines, order = cosines.sort(dim=1, descending=True, stable=True)
        nearest = slice(num_neighbors)
        return cosines[:, nearest], rows.gather(1, order)[:, nearest]

    def _make_index(self, keys: Tensor) -> Any:
        """Put the keys into the lists of faiss that the state says."""
        faiss = _faiss()
        faiss.omp_set_num_threads(torch.get_num_threads())
        num_lists, dim = self.centroids.shape
        # One list more: of the keys that are not to be found. It is never
        # searched, nor does faiss ever look for a list.
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dim),
            dim,
            num_lists + 1,
            faiss.ScalarQuantizer.QT_8bit_direct_signed,
            faiss.METRIC_INNER_PRODUCT,
            False,
        )
        index.is_trained = True
        index.set_direct_map_type(faiss.DirectMap.Array)
        for part, lists in zip(
            keys.split(_CHUNK_ROWS),
            self.list_of_key.split(_CHUNK_ROWS),
            strict=True,
        ):
            codes, places = self._encode(part), self._places(lists)
            index.add_core(len(part), _pointer(codes), None, _pointer(places))
        return index

    def _places(self, lists: Tensor) -> Tensor:
        return torch.where(lists >= 0, lists.long(), len(self.centroids))

    def _encode(self, keys: Tensor) -> Tensor:
        """Round keys to the whole numbers that are compared, in float32."""
        codes = (keys * self._scale).round()
        return codes.clamp(-_LARGEST_CODE, _LARGEST_CODE)

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        num_lists = len(self.centroids)
        return {
            "list_of_key": (-1, num_lists),
            "_sizes": (1, num_lists + 1),
        }


def _default_num_lists(num_keys: int) -> int:
    wanted = round(_LISTS_PER_ROOT * math.sqrt(num_keys))
    return max(1, min(wanted, num_keys // (2 * _KEYS_PER_LIST)))


def _pointer(tensor: Tensor) -> Any:
    """Return where a contiguous tensor's numbers are, for faiss."""
    return _faiss().swig_ptr(tensor.numpy())


def _distinct(centroids: Tensor) -> Tensor:
    """Return the first of equal centroids, in their order.

    Of equal ones a key might go into one, and the search look into another.
    """
    places = (centroids / _EQUAL_WITHIN).round()
    group = places.unique(dim=0, return_inverse=True)[1]
    rows = torch.arange(len(centroids))
    first = rows.new_full((len(centroids),), len(centroids))
    first.scatter_reduce_(0, group, rows, "amin")
    return centroids[first[first < len(centroids)].sort().values]


def _faiss() -> Any:
    """Import faiss when it is needed: half a second for nobody else."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            f"Expected faiss, for search faiss, got: {error}. Install it by "
            "pip install faiss-cpu, or change search to exact."
        ) from error
    return faiss


def _forget_index(lists: InvertedLists, _: Any = None) -> None:
    lists._index = None
