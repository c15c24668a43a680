"""Search in lists against a comparison with all keys, in float64."""

import copy
import sys

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.sampling.inverted_lists import InvertedLists

NUM_KEYS, DIM = 1200, 32


def vectors(num, seed):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(num, DIM, generator=generator), dim=1)


def clustered_keys(seed=0):
    """60 groups of 20, as utterances of speakers are."""
    groups = vectors(60, seed).repeat_interleave(NUM_KEYS // 60, 0)
    return F.normalize(groups + 0.9 * vectors(NUM_KEYS, seed + 1), dim=1)


def some_listed():
    return torch.arange(NUM_KEYS) % 5 != 3


def lists_of(keys, is_listed, *sizes, num_neighbors=10, seed=0):
    lists = InvertedLists(*sizes)
    lists.allocate(*keys.shape)
    return lists, lists.divide(keys, is_listed, num_neighbors, seed)


def nearest_by_definition(keys, is_listed, num_neighbors):
    """Cosines and keys, of every key to the others; of equal ones the first."""
    cosines = keys.double() @ keys.double().T
    cosines[:, ~is_listed] = -torch.inf
    cosines.fill_diagonal_(-torch.inf)
    found = cosines.sort(dim=1, descending=True, stable=True)
    return found.values[:, :num_neighbors], found.indices[:, :num_neighbors]


def recall_of(lists, keys, is_listed, num_neighbors=10):
    every = torch.arange(len(keys))
    _, rows = lists.search(keys, keys, every, num_neighbors)
    expected = nearest_by_definition(keys, is_listed, num_neighbors)[1]
    shared = (rows[:, :, None] == expected[:, None]).sum()
    return float(shared) / expected.numel()


def test_equal_keys_are_found_as_they_are_estimated_to_be():
    keys = F.normalize(torch.ones(64, 8), dim=1)
    lists = InvertedLists()
    lists.allocate(64, 8)
    recall, searched = lists.divide(keys, torch.ones(64).bool(), 5, 0)
    assert (recall, searched) == (1.0, 1.0)
    cosines, rows = lists.search(keys, keys, torch.arange(64), 5)
    assert bool((rows >= 0).all())
    assert cosines.min() > 0.999


def test_without_faiss_the_error_comes_at_once_and_says_what_to_install(
    monkeypatch,
):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="pip install faiss-cpu, or change"):
        InvertedLists()


@pytest.mark.parametrize("num_neighbors", [1, 10, 50])
def test_all_lists_searched_find_what_a_comparison_with_all_finds(
    num_neighbors,
):
    keys, is_listed = clustered_keys(), some_listed()
    lists, estimates = lists_of(keys, is_listed, 20, 20)
    assert estimates == (1.0, 1.0)
    every = torch.arange(NUM_KEYS)
    cosines, rows = lists.search(keys, keys, every, num_neighbors)
    expected = nearest_by_definition(keys, is_listed, num_neighbors)
    torch.testing.assert_close(cosines.double(), expected[0])
    assert float((rows == expected[1]).float().mean()) > 0.999  # near ties


@pytest.mark.parametrize("num_neighbors", [1, 10])
def test_by_default_few_lists_find_19_of_20_neighbors_in_groups(num_neighbors):
    keys, is_listed = clustered_keys(), some_listed()
    lists, (recall, searched) = lists_of(
        keys, is_listed, num_neighbors=num_neighbors
    )
    assert searched < 0.4
    assert recall >= 0.95
    found = recall_of(lists, keys, is_listed, num_neighbors)
    assert found > recall - 0.01  # half of the keys, k-means has seen


@pytest.mark.parametrize(
    ("num_keys", "num_neighbors"), [(100, 1), (1000, 1), (1000, 10), (4000, 50)]
)
def test_the_estimate_holds_when_other_keys_have_taken_all_places(
    num_keys, num_neighbors
):
    groups = vectors(4 * num_keys // 40, 0).repeat_interleave(40, 0)
    every = F.normalize(groups + 0.9 * vectors(4 * num_keys, 1), dim=1)
    order = torch.randperm(len(every), generator=torch.Generator())
    first, then = every[order].split(num_keys)[:2]
    is_listed = torch.ones(num_keys).bool()
    lists = InvertedLists()
    lists.allocate(*first.shape)
    recall, _ = lists.divide(first, is_listed, num_neighbors, 0)
    lists.update(torch.arange(num_keys), then, is_listed)
    found = recall_of(lists, then, is_listed, num_neighbors)
    assert found > recall - 0.04


def test_the_recall_of_one_list_is_estimated_too():
    keys, is_listed = clustered_keys(), some_listed()
    lists, (recall, searched) = lists_of(keys, is_listed, 100, 1)
    assert searched == 0.01
    assert recall < 0.9
    keys = clustered_keys(seed=0)  # others of the same groups
    keys = F.normalize(keys + 0.05 * vectors(NUM_KEYS, 9), dim=1)
    lists.update(torch.arange(NUM_KEYS), keys, is_listed)
    found = recall_of(lists, keys, is_listed)
    assert found > recall - 0.05


def test_neither_the_own_key_nor_one_in_no_list_is_found():
    keys, is_listed = clustered_keys(), some_listed()
    lists, _ = lists_of(keys, is_listed)
    every = torch.arange(NUM_KEYS)
    cosines, rows = lists.search(keys, keys, every, NUM_KEYS)
    found = cosines.isfinite()
    assert bool(found.any(1).all())
    assert not bool((rows == every[:, None])[found].any())
    assert bool(is_listed[rows[found]].all())


def test_fewer_in_the_lists_than_asked_for_leave_the_rest_unfound():
    keys = clustered_keys()
    is_listed = torch.zeros(NUM_KEYS, dtype=torch.bool)
    is_listed[[4, 9]] = True
    lists, _ = lists_of(keys, is_listed, 1)
    cosines, rows = lists.search(keys[3:5], keys, torch.tensor([3, 4]), 3)
    assert cosines.isfinite().tolist() == [
        [True, True, False],
        [True] + [False] * 2,
    ]
    assert set(rows[0, :2].tolist()) == {4, 9}
    assert int(rows[1, 0]) == 9


def test_no_key_at_all_finds_nothing_until_one_comes():
    keys = clustered_keys()
    is_listed = torch.zeros(NUM_KEYS, dtype=torch.bool)
    lists, _ = lists_of(keys, is_listed)
    own = torch.tensor([-1])
    assert not bool(lists.search(keys[:1], keys, own, 2)[0].isfinite().any())
    is_listed[7] = True
    lists.update(torch.tensor([7]), keys, is_listed)
    cosines, rows = lists.search(keys[:1], keys, own, 2)
    assert cosines.isfinite().tolist() == [[True, False]]
    assert int(rows[0, 0]) == 7


def test_an_anchor_that_is_not_finite_finds_nothing_and_harms_nobody():
    keys, is_listed = clustered_keys(), some_listed()
    lists, _ = lists_of(keys, is_listed)
    own = torch.arange(4)
    anchors = keys[:4].clone()
    expected = lists.search(anchors, keys, own, 5)
    anchors[1], anchors[2, 0] = torch.nan, torch.inf
    found = lists.search(anchors, keys, own, 5)
    assert not bool(found[0][1:3].isfinite().any())
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one[[0, 3]], other[[0, 3]])


def test_of_equal_keys_the_first_are_found_wherever_they_lie():
    keys = clustered_keys()
    keys[100:130] = keys[100]
    is_listed = torch.ones(NUM_KEYS, dtype=torch.bool)
    lists, _ = lists_of(keys, is_listed)
    own = torch.tensor([103])
    expected = [*range(100, 103), *range(104, 111)]
    assert lists.search(keys[103:104], keys, own, 10)[1].tolist() == [expected]
    # Written anew they are at the ends of their lists.
    lists.update(torch.arange(104, 99, -1), keys, is_listed)
    assert lists.search(keys[103:104], keys, own, 10)[1].tolist() == [expected]


def changed(lists, keys, is_listed, seeds):
    """Change some keys, and who may be found, as steps do."""
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(NUM_KEYS, generator=generator)[:150]
        keys[rows] = clustered_keys(seed)[rows]
        is_listed[rows] = torch.rand(150, generator=generator) > 0.2
        lists.update(rows, keys, is_listed)


def test_keys_that_change_are_searched_where_they_are_now():
    keys, is_listed = clustered_keys(), some_listed()
    lists, _ = lists_of(keys, is_listed, 20, 20)
    lists.search(keys[:1], keys, torch.zeros(1).long(), 1)  # faiss has them
    changed(lists, keys, is_listed, range(12))
    assert torch.equal(lists.list_of_key >= 0, is_listed)
    assert recall_of(lists, keys, is_listed) > 0.999


def test_what_was_kept_up_is_what_is_made_of_a_saved_state():
    keys, is_listed = clustered_keys(), some_listed()
    lists, _ = lists_of(keys, is_listed, 40, 3)
    lists.search(keys[:1], keys, torch.zeros(1).long(), 1)
    changed(lists, keys, is_listed, range(5))
    resumed = InvertedLists(40, 3)
    resumed.allocate(*keys.shape)
    resumed.load_state_dict(copy.deepcopy(lists.state_dict()))
    for more in (range(0), range(5, 9)):
        ours, theirs = (keys.clone(), is_listed.clone()), (keys, is_listed)
        changed(resumed, *ours, more)
        changed(lists, *theirs, more)
        every = torch.arange(NUM_KEYS)
        found = resumed.search(keys, keys, every, 10)
        expected = lists.search(keys, keys, every, 10)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)


def test_a_state_loaded_over_lists_in_use_replaces_them():
    keys, is_listed = clustered_keys(), some_listed()
    lists, _ = lists_of(keys, is_listed, 40, 1, seed=1)
    other, _ = lists_of(keys, is_listed, 40, 1, seed=2)
    every = torch.arange(NUM_KEYS)
    expected = other.search(keys, keys, every, 10)[1]
    assert not torch.equal(lists.search(keys, keys, every, 10)[1], expected)
    lists.load_state_dict(other.state_dict())
    assert torch.equal(lists.search(keys, keys, every, 10)[1], expected)


def test_the_mode_of_a_module_that_holds_them_leaves_lists_as_they_are():
    keys, is_listed = clustered_keys(), some_listed()
    lists, _ = lists_of(keys, is_listed, 40, 3)
    before = copy.deepcopy(lists.state_dict())
    torch.nn.ModuleDict({"lists": lists}).eval().train()
    for name, value in lists.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("sizes", "match"),
    [
        ((0, None), "num_lists of at least 1, got 0"),
        ((None, 2.5), "num_probes of at least 1, a whole number, got 2.5"),
        ((4, 5), "num_probes of at most num_lists = 4, got 5"),
    ],
)
def test_sizes_that_do_not_fit_are_an_error(sizes, match):
    with pytest.raises(ValueError, match=match):
        InvertedLists(*sizes)
