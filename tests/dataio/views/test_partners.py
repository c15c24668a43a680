"""Claims about views that are read from a partner's file."""

import copy

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch.utils.data import DataLoader, TensorDataset

from ssps_plugin import NearestNeighborSampling, PositiveSampler
from ssps_plugin.dataio.loading import collate_views
from ssps_plugin.dataio.views.items import add_crop_groups
from ssps_plugin.dataio.views.partners import (
    PartnerViewSampler,
    add_partner_view,
)
from ssps_plugin.dataio.views.view_sampler import (
    CropGroup,
    SharedEpoch,
    ViewSampler,
)
from ssps_plugin.memory import PartnerTable

GROUPS = [
    CropGroup("views", 0.25, 2),
    CropGroup("local", 0.125, 2),
    CropGroup("reference", 0.5, augmented=False),
]
# Utterance number k is the constant k / 10, so a crop says whose it is.
NUM = 6


@pytest.fixture
def dataset(tmp_path):
    data = {}
    for k in range(NUM):
        path = str(tmp_path / f"{k}.wav")
        soundfile.write(path, np.full(16000, k / 10), 16000, subtype="FLOAT")
        data[f"u{k}"] = {"wav": path, "duration": 1.0}
    return DynamicItemDataset(data)


# As SDPN's: the teacher's view, clean, and the student's.
SINGLE = [CropGroup("views", 0.25, 1, augmented=False), *GROUPS[1:]]


def with_views(dataset, partners, epoch=None, groups=GROUPS, **options):
    table = PartnerTable()
    table.allocate(NUM)
    table.write(torch.tensor(partners))
    views = PartnerViewSampler(
        dataset, groups, 1, epoch or SharedEpoch(), table.shared, **options
    )
    add_crop_groups(dataset, views)
    return table


def owners(item, groups=GROUPS):
    """Whose the crops of an item are, group by group."""
    return [
        (item[group.key].reshape(group.num_crops or 1, -1).mean(1) * 10)
        .round()
        .int()
        .tolist()
        for group in groups
    ]


@pytest.mark.parametrize(
    ("partner_crops", "expected"),
    [
        (None, [[0, 4], [0, 0], [0]]),
        ({"views": 1, "local": 1}, [[0, 4], [0, 4], [0]]),
        ({"local": 2}, [[0, 0], [4, 4], [0]]),
    ],
)
def test_the_last_crops_of_a_group_are_the_partners_and_the_reference_is_not(
    dataset, partner_crops, expected
):
    with_views(dataset, [4, -1, 0, 1, 2, 3], partner_crops=partner_crops)
    assert owners(dataset[0]) == expected


@pytest.mark.parametrize(
    ("partner_crops", "expected"),
    [
        (None, [[4], [0, 0], [0]]),
        ({"views": 1, "local": 1}, [[4], [0, 4], [0]]),
        ({"local": 2}, [[0], [4, 4], [0]]),
    ],
)
def test_a_single_view_may_be_the_partners_and_be_clean(
    dataset, partner_crops, expected
):
    with_views(dataset, [4] * NUM, groups=SINGLE, partner_crops=partner_crops)
    assert owners(dataset[0], SINGLE) == expected


@pytest.mark.parametrize("groups", [SINGLE, [SINGLE[0], SINGLE[2]]])
def test_a_partner_does_not_get_all_crops(dataset, groups):
    crops = {group.key: group.num_crops for group in groups[:-1]}
    with pytest.raises(ValueError, match="leave crops of both"):
        with_views(dataset, [1] * NUM, groups=groups, partner_crops=crops)


def test_an_utterance_without_a_partner_has_the_plain_crops_bit_for_bit(
    dataset, tmp_path
):
    for row in dataset.data.values():
        noise = np.random.default_rng(len(row["wav"])).normal(size=16000)
        soundfile.write(row["wav"], noise, 16000)
    plain = ViewSampler(GROUPS, 1, SharedEpoch())
    expected = plain("u2", dataset.data["u2"]["wav"], 1.0)
    with_views(dataset, [-1] * NUM)
    item = dataset[2]
    for group, crops in zip(GROUPS, expected, strict=True):
        assert torch.equal(item[group.key], crops)


def test_crops_of_a_partner_differ_from_epoch_to_epoch(dataset):
    ramp = np.arange(16000) / 16000
    soundfile.write(dataset.data["u4"]["wav"], ramp, 16000)
    epoch = SharedEpoch()
    with_views(dataset, [4] * NUM, epoch)
    first = dataset[0]["views"][1]
    epoch.set(2)
    assert not torch.equal(dataset[0]["views"][1], first)
    epoch.set(1)
    assert torch.equal(dataset[0]["views"][1], first)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_persistent_workers_see_new_partners_at_once(dataset, num_workers):
    table = with_views(dataset, [1, 2, 3, 4, 5, 0])
    loader = DataLoader(
        dataset,
        batch_size=2,
        collate_fn=collate_views,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )
    for shift in (1, 2):
        partners = [(k + shift) % NUM for k in range(NUM)]
        table.write(torch.tensor(partners))
        seconds = torch.cat([batch.views.data[:, 1] for batch in loader])
        assert (seconds.mean(1) * 10).round().int().tolist() == partners


def test_a_copied_pipeline_sees_new_partners(dataset):
    table = with_views(dataset, [1] * NUM)
    copied = copy.deepcopy(dataset)
    table.write(torch.tensor([5] * NUM))
    assert owners(copied[0])[0] == [0, 5]


def test_a_partner_that_cannot_be_read_is_counted_and_the_own_file_used(
    dataset, monkeypatch
):
    views = PartnerViewSampler(
        dataset, GROUPS, 1, SharedEpoch(), torch.tensor([4] * NUM)
    )
    add_crop_groups(dataset, views)
    dataset.data["u4"]["wav"] = "gone.wav"
    assert owners(dataset[1])[0] == [1, 1]
    assert views.failures.count(epoch=1) == 1


@pytest.mark.parametrize(
    ("partner_crops", "message"),
    [
        ({"global": 1}, "got 'global': change partner_crops"),
        ({"reference": 1}, "got 'reference'"),
        ({"views": 3}, "Expected from 0 to 2 partner_crops of 'views', got 3"),
        ({"views": 2}, "leave crops of both"),
        ({"views": 0}, "leave crops of both"),
        (1, "numbers of crops by group, such as {views: 1}, got 1: change"),
        (["views"], r"by group, .*got \['views'\]: change partner_crops"),
        ({"views": 1.0}, "by group, .*got {'views': 1.0}"),
        ({"views": "1"}, "by group, .*got {'views': '1'}"),
        ({"views": True}, "by group, .*got {'views': True}"),
    ],
)
def test_crops_that_are_not_there_are_refused(dataset, partner_crops, message):
    with pytest.raises(ValueError, match=message):
        with_views(dataset, [1] * NUM, partner_crops=partner_crops)


def reading_sampler(way="read"):
    strategy = NearestNeighborSampling(num_neighbors=1)
    return PositiveSampler(strategy, 1, 4, 4, 2, pseudo_positives=way)


def test_a_sampler_that_is_given_is_bound_in_the_datasets_order(dataset):
    sampler = reading_sampler()
    sampler.bind(dataset)
    turned = DynamicItemDataset(
        {f"u{k}": dataset.data[f"u{k}"] for k in reversed(range(NUM))}
    )
    add_partner_view(turned, sampler, seconds=0.5)
    sampler.partner_table.write(torch.arange(NUM))
    sampler.partners[0] = 2  # of u5, which is the first: u3
    assert round(float(turned[0]["partner"].mean()) * 10) == 3
    with pytest.raises(RuntimeError, match="got others or another order"):
        add_partner_view(dataset, sampler, seconds=0.5)


def test_what_reads_no_partners_or_is_no_dataset_is_refused(dataset):
    with pytest.raises(ValueError, match="change pseudo_positives"):
        add_partner_view(dataset, reading_sampler("queue"), seconds=0.5)
    with pytest.raises(ValueError, match="DynamicItemDataset.*TensorDataset"):
        add_partner_view(
            TensorDataset(torch.zeros(3, 4)), torch.zeros(3).long(), 0.5
        )


def test_of_a_partner_that_is_lost_the_own_file_is_read_and_told_once(
    dataset, tmp_path, caplog
):
    dataset.set_output_keys(["id"])
    add_partner_view(dataset, torch.full((NUM,), 4), seconds=0.5)
    (tmp_path / "4.wav").unlink()
    means = [round(float(dataset[n]["partner"].mean()) * 10) for n in (1, 2)]
    assert means == [1, 2]
    assert caplog.text.count("partner of u1 cannot be read") == 1
    assert "partner of u2" not in caplog.text


def test_a_dataset_in_another_order_is_not_bound_once_partners_are_read(
    dataset,
):
    sampler = reading_sampler()
    dataset.set_output_keys(["id"])
    add_partner_view(dataset, sampler, seconds=0.5)
    sampler.bind(dataset)
    turned = dataset.filtered_sorted(sort_key="wav", reverse=True)
    with pytest.raises(RuntimeError, match="before add_partner_view"):
        sampler.bind(turned)
    assert sampler.utterances.fingerprint  # of the first, as before
    sampler.bind(dataset)


@pytest.mark.parametrize(
    ("partners", "message"),
    [
        (torch.full((NUM,), 1.5), "got torch.float32 of shape"),
        (torch.zeros(NUM, 2).long(), "int64, .* of shape \\(6, 2\\)"),
        (torch.full((NUM,), 6), "from 0 to 5, .* got from 6 to 6"),
        (torch.full((NUM,), -2), "got from -2 to -2"),
    ],
)
def test_partners_that_are_no_places_in_the_dataset_are_refused(
    dataset, partners, message
):
    with pytest.raises(ValueError, match=message):
        add_partner_view(dataset, partners, seconds=0.5)


def test_what_is_no_length_and_no_epoch_is_refused(dataset):
    partners = torch.full((NUM,), -1)
    with pytest.raises(ValueError, match="longer than 0 seconds, got '2'"):
        add_partner_view(dataset, partners, seconds="2")
    with pytest.raises(ValueError, match="SharedEpoch as epoch, got 3"):
        add_partner_view(dataset, partners, seconds=0.5, epoch=3)


@pytest.mark.parametrize("duration", [1 / 60, 16000.0, "1.1 s", -1.0])
def test_who_share_a_partner_have_crops_of_their_own_of_the_files_length(
    tmp_path, duration
):
    data = {}
    for k in range(3):
        path = str(tmp_path / f"ramp{k}.wav")
        ramp = np.linspace(k, k + 1, 16000) / 4
        soundfile.write(path, ramp, 16000, subtype="FLOAT")
        data[f"u{k}"] = {"wav": path, "duration": duration}
    dataset = DynamicItemDataset(data, output_keys=["id"])
    add_partner_view(dataset, torch.tensor([2, 2, -1]), seconds=0.25)
    add_partner_view(dataset, torch.tensor([2, 2, -1]), 0.25, key="other")
    crops = [dataset[n][key] for n in (0, 1) for key in ("partner", "other")]
    assert len({float(crop[0]) for crop in crops}) == 4
    for crop in crops:
        assert crop.min() >= 0.5 and len(crop.unique()) == 4000


def test_partners_of_another_dataset_are_refused(dataset):
    with pytest.raises(ValueError, match="each of 6 utterances, got 7: bind"):
        PartnerViewSampler(
            dataset, GROUPS, 1, SharedEpoch(), torch.zeros(7).long()
        )


def test_a_recipe_of_ones_own_gets_the_partners_crop_beside_its_items(dataset):
    dataset.set_output_keys(["id", "duration"])
    partners = torch.tensor([3, -1, 0, 0, 0, 0])
    add_partner_view(dataset, partners, seconds=0.5)
    items = [dataset[n] for n in (0, 1)]
    assert [round(float(i["partner"].mean()) * 10) for i in items] == [3, 1]
    assert items[0]["duration"] == 1.0
    with pytest.raises(ValueError, match="got 'partner', which the dataset"):
        add_partner_view(dataset, partners, seconds=0.5)
