"""Neighbour lists and overlaps against their definitions, by slow loops."""

import copy

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.clustering import spherical_kmeans
from ssps_plugin.sampling import neighbor_lists
from ssps_plugin.sampling.neighbor_lists import NeighborLists
from ssps_plugin.sampling.signs import mutual_neighbors

NUM, LENGTH = 40, 4


def references(seed, num=NUM, dim=5):
    """Groups of five utterances, and noise that is of the epoch."""
    groups = torch.randn(8, dim, generator=torch.Generator().manual_seed(9))
    noise = torch.Generator().manual_seed(seed)
    noisy = groups[torch.arange(num) % 8]
    noisy = noisy + 0.7 * torch.randn(num, dim, generator=noise)
    return F.normalize(noisy, dim=1)


def make_lists(seen_by_epoch=(range(NUM), range(NUM))):
    lists = NeighborLists(LENGTH - 1)
    lists.allocate(NUM)
    for epoch, seen in enumerate(seen_by_epoch):
        index = torch.tensor(list(seen))
        lists.renew(index, references(epoch)[index])
    return lists


def nearest_by_loop(epoch, seen, anchor):
    rows = references(epoch).double()
    others = [other for other in seen if other != anchor]
    others.sort(key=lambda other: -float(rows[anchor] @ rows[other]))
    return {anchor, *others[: LENGTH - 1]}


def overlap_by_loop(lists, one, other):
    total = 0.0
    for mine, theirs in (
        (lists.present, lists.former),
        (lists.former, lists.present),
    ):
        of_one = set(mine[one].tolist()) - {-1}
        of_other = set(theirs[other].tolist()) - {-1}
        shared = len(of_one & of_other)
        total += shared / (2 * LENGTH - shared) / 2
    return total


@pytest.mark.parametrize("rows", [7, 512])
def test_lists_hold_the_nearest_and_the_utterance_itself(rows, monkeypatch):
    monkeypatch.setattr(spherical_kmeans, "tile_rows", lambda *_: rows)
    seen = [range(NUM), [u for u in range(NUM) if u % 3]]
    lists = make_lists(seen)
    for table, epoch in ((lists.former, 0), (lists.present, 1)):
        for utterance in range(NUM):
            row = table[utterance].tolist()
            if utterance in seen[epoch]:
                assert row[0] == utterance
                found = nearest_by_loop(epoch, seen[epoch], utterance)
                assert set(row) == found
            else:
                assert row == [-1] * LENGTH


def test_the_overlap_is_that_of_the_definition():
    lists = make_lists([range(3, NUM), range(NUM - 5)])
    one = torch.arange(NUM).repeat_interleave(NUM)
    other = torch.arange(NUM).repeat(NUM)
    expected = [
        overlap_by_loop(lists, *pair)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    ]
    found = lists.overlap(one, other)
    torch.testing.assert_close(found, torch.tensor(expected))
    assert torch.equal(found, lists.overlap(other, one))
    assert 0 < float((found > 0).float().mean()) < 1


@pytest.mark.parametrize("places", [40, 1 << 22])
@pytest.mark.parametrize("most", [2, 64])
@pytest.mark.parametrize("min_overlap", [1e-9, 0.2, 0.6])
def test_all_that_share_enough_are_found(
    min_overlap, most, places, monkeypatch
):
    monkeypatch.setattr(neighbor_lists, "_MOST_PLACES", places)
    lists = make_lists([range(3, NUM), range(NUM - 5)])
    found, largest = lists.find_sharing(min_overlap, most)
    num_found = 0
    for one in range(NUM):
        overlaps = {
            other: overlap_by_loop(lists, one, other)
            for other in range(NUM)
            if other != one
        }
        enough = {u: o for u, o in overlaps.items() if o >= min_overlap}
        row = [u for u in found[one].tolist() if u >= 0]
        assert len(row) == len(set(row)) == min(most, len(enough))
        assert found[one, len(row) :].tolist() == [-1] * (most - len(row))
        # The largest overlaps, in order; of equal ones, any.
        best = sorted(enough.values(), reverse=True)[:most]
        assert [enough[u] for u in row] == pytest.approx(best)
        assert float(largest[one]) == pytest.approx(best[0] if best else 0)
        num_found += len(row)
    assert num_found > 0


@pytest.mark.parametrize("rows", [7, 1 << 14])
def test_what_is_kept_is_counted(rows, monkeypatch):
    monkeypatch.setattr(neighbor_lists, "_CHUNK_ROWS", rows)
    lists = make_lists()
    kept = [
        len(set(lists.present[u].tolist()) & set(lists.former[u].tolist())) - 1
        for u in range(NUM)
    ]
    assert lists.kept() == pytest.approx(sum(kept) / NUM / (LENGTH - 1))
    assert make_lists([range(NUM)]).kept() == 0.0
    assert lists.metrics()["kept_neighbors"] == lists.kept()
    mutual = mutual_neighbors(lists.present)
    assert lists.metrics()["mutual_neighbors"] == mutual > 0
    assert make_lists([range(NUM)]).metrics() == {}


def test_only_of_utterances_in_both_epochs_what_is_kept_is_counted():
    part = range(3, NUM - 5)
    lists = make_lists([range(3, NUM), range(NUM - 5)])
    kept = [
        len(set(lists.present[u].tolist()) & set(lists.former[u].tolist())) - 1
        for u in part
    ]
    expected = sum(kept) / len(part) / (LENGTH - 1)
    assert lists.kept() == pytest.approx(expected)


def test_the_table_of_overlaps_is_on_the_lists_device_and_not_saved():
    lists = make_lists()
    assert set(lists.state_dict()) == {"present", "former"}
    moved = copy.deepcopy(lists).to("meta")
    every = torch.arange(NUM, device="meta")
    found = moved.overlap(every, every)  # a table left behind would raise
    assert (found.device.type, found.dtype) == ("meta", torch.float32)
    restored = NeighborLists(LENGTH - 1)
    restored.allocate(NUM)
    restored.load_state_dict(lists.state_dict())
    one, other = torch.arange(NUM), torch.arange(NUM).flip(0)
    assert torch.equal(restored.overlap(one, other), lists.overlap(one, other))


def test_where_nothing_moved_no_epoch_has_passed():
    lists = make_lists()
    former, kept = lists.former.clone(), lists.kept()
    lists.renew(torch.arange(NUM), references(1))
    assert torch.equal(lists.former, former)
    assert lists.kept() == kept < 1


@pytest.mark.parametrize("apart", [2, 3])
def test_lists_may_be_held_against_those_of_several_epochs_before(apart):
    lists = NeighborLists(LENGTH - 1, epochs_apart=apart)
    lists.allocate(NUM)
    found = []
    for epoch in range(5):
        assert lists.are_of_two_epochs == (epoch > apart)
        lists.renew(torch.arange(NUM), references(epoch))
        found.append(lists.present.clone())
        if epoch >= apart:
            assert torch.equal(lists.former, found[epoch - apart])
        else:
            assert bool((lists.former == -1).all())
    restored = NeighborLists(LENGTH - 1, epochs_apart=apart)
    restored.allocate(NUM)
    restored.load_state_dict(lists.state_dict())
    for one in (lists, restored):
        one.renew(torch.arange(NUM), references(5))
        assert torch.equal(one.former, found[5 - apart])
    lists.forget()
    lists.renew(torch.arange(NUM), references(6))
    assert not lists.are_of_two_epochs


def test_lists_that_are_forgotten_share_nothing():
    lists = make_lists()
    lists.forget()
    every = torch.arange(NUM)
    assert (lists.overlap(every, every) == 0).all() and lists.kept() == 0


def test_lists_of_one_epoch_share_nothing():
    lists = make_lists([range(NUM)])
    assert not lists.are_of_two_epochs
    found, largest = lists.find_sharing(1e-9, 8)
    assert (found == -1).all() and (largest == 0).all()
    every = torch.arange(NUM)
    assert (lists.overlap(every, every) == 0).all()
    assert make_lists().are_of_two_epochs


def test_more_copies_than_neighbors_have_no_list_and_are_on_none_twice():
    lists = NeighborLists(LENGTH - 1)
    lists.allocate(NUM)
    for epoch in range(2):
        rows = references(epoch)
        rows[30:] = rows[30]
        lists.renew(torch.arange(NUM), rows)
    assert bool((lists.present[30:] == -1).all())
    assert bool((lists.present[:30, 0] >= 0).all())
    _, overlap = lists.find_sharing(0.01, 5)
    assert bool((overlap[30:] == 0).all()) and bool((overlap[:30] > 0).any())


@pytest.mark.parametrize(("num_neighbors", "num"), [(20, 450), (8, 170)])
def test_the_least_overlap_is_one_that_chance_hardly_gives(num_neighbors, num):
    lists = NeighborLists(num_neighbors)
    lists.allocate(num)
    generator = torch.Generator().manual_seed(0)
    for table in (lists.present, lists.former):
        for row in range(num):
            drawn = torch.randperm(num, generator=generator)
            others = drawn[drawn != row][:num_neighbors]
            table[row] = torch.cat([torch.tensor([row]), others]).int()
    least = lists.least_overlap(0.01)
    by_chance = (lists.find_sharing(least, 5)[1] > 0).double().mean()
    assert 0.02 < by_chance < 0.11
    assert lists.least_overlap(0.9) == 0.9
    less = lists.find_sharing(0.85 * least, 5)[1] > 0
    assert less.double().mean() > 0.15


def test_of_many_utterances_any_overlap_that_is_asked_for_counts():
    lists = NeighborLists(20)
    lists.allocate(3000)
    assert lists.least_overlap(0.08) == 0.08
    lists.allocate(300)  # too few to tell, which a warning says
    assert lists.least_overlap(0.08) == 0.08
