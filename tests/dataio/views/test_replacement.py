"""Claims about utterances that are read in place of those that cannot be."""

import errno
import os

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch.utils.data import DataLoader

from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.dataio.dataset import load_manifest
from ssps_plugin.dataio.loading import collate_views
from ssps_plugin.dataio.read_failures import TooManyUnreadableError
from ssps_plugin.dataio.views import view_sampler
from ssps_plugin.dataio.views.items import add_crop_groups
from ssps_plugin.dataio.views.oracle import OracleViewSampler
from ssps_plugin.dataio.views.view_sampler import (
    CropGroup,
    SharedEpoch,
    ViewSampler,
)

NUM = 30
GROUPS = [
    CropGroup("views", 0.25, 2),
    CropGroup("reference", 0.5, augmented=False),
]


def offset(samples, rng):
    return samples + rng.integers(2, 1000) / 1000


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(
        view_sampler.read_audio,
        "__kwdefaults__",
        {**view_sampler.read_audio.__kwdefaults__, "waits": (0.0, 0.0)},
    )


@pytest.fixture
def manifest(tmp_path):
    """Thirty utterances of six speakers: sample n of number k is k + n/1e5."""
    rows = ["ID,wav,duration,speaker,recording"]
    for k in range(NUM):
        ramp = (k + np.arange(16000 + 100 * k) / 1e5).astype("float32")
        soundfile.write(tmp_path / f"{k}.wav", ramp, 16000, subtype="FLOAT")
        rows.append(f"u{k},$data_root/{k}.wav,{len(ramp) / 16000},s{k % 6},{k}")
    (tmp_path / "train.csv").write_text("\n".join(rows))
    return tmp_path / "train.csv"


def make_dataset(manifest, max_unreadable=0.5, oracle=False, epoch=1):
    dataset = load_manifest(manifest, manifest.parent)
    options = (GROUPS, 7, SharedEpoch(epoch), None)
    sampler = (
        OracleViewSampler(dataset, *options)
        if oracle
        else ViewSampler(*options)
    )
    add_crop_groups(dataset, sampler, max_unreadable)
    return dataset, sampler


def lose(manifest, *numbers):
    for k in numbers:
        os.remove(manifest.parent / f"{k}.wav")


def speaker_of(item):
    return {int(value) for value in item.flatten()}


@pytest.mark.parametrize("augmentation", [None, offset])
def test_of_good_files_the_items_are_those_of_a_call(manifest, augmentation):
    dataset = load_manifest(manifest, manifest.parent)
    sampler = ViewSampler(GROUPS, 7, SharedEpoch(3), augmentation)
    add_crop_groups(dataset, sampler)
    for index in range(NUM):
        item = dataset[index]
        row = dataset.data[f"u{index}"]
        views, reference = sampler(f"u{index}", row["wav"], row["duration"])
        assert list(item) == ["id", "views", "reference"]
        assert item["id"] == f"u{index}"
        assert torch.equal(item["views"], views)
        assert torch.equal(item["reference"], reference)
    assert sampler.failures.count(3) == 0


def test_the_id_is_that_of_the_utterance_whose_audio_it_is(manifest):
    dataset, sampler = make_dataset(manifest)
    lose(manifest, 4, 11)
    (manifest.parent / "20.wav").write_bytes(b"garbage")
    os.remove(manifest.parent / "21.wav")
    os.mkfifo(manifest.parent / "21.wav")
    for index in range(NUM):
        item = dataset[index]
        number = int(item["id"][1:])
        assert (number == index) == (index not in (4, 11, 20, 21))
        assert speaker_of(item["views"]) == {number}
        assert speaker_of(item["reference"]) == {number}
    names = [os.path.basename(path) for path in sampler.failures.files(1)]
    assert names == ["4.wav", "11.wav", "20.wav", "21.wav"]


def test_the_replacement_depends_on_seed_epoch_and_utterance_alone(manifest):
    lose(manifest, *range(10))

    def ids(indexes, epoch=1):
        dataset, _ = make_dataset(manifest, epoch=epoch)
        return {index: dataset[index]["id"] for index in indexes}

    forwards, backwards = ids(range(10)), ids(reversed(range(10)))
    assert forwards == backwards
    assert forwards == {index: ids([index])[index] for index in range(10)}
    assert forwards != ids(range(10), epoch=2)
    assert len(set(forwards.values())) > 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_replace_alike_and_count_together(manifest, num_workers):
    lose(manifest, 1, 2, 28)
    dataset, sampler = make_dataset(manifest)
    loader = DataLoader(
        dataset,
        10,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=collate_views,
    )
    alone, _ = make_dataset(manifest)
    for epoch in (1, 2):
        sampler.epoch.set(epoch)
        batches = list(loader)
        assert [len(batch) for batch in batches] == [10, 10, 10]
        assert sampler.failures.count(epoch) == 3
        if epoch == 1:
            expected = [alone[index] for index in range(NUM)]
            got = torch.cat([batch.views.data for batch in batches])
            wanted = torch.stack([item["views"] for item in expected])
            assert torch.equal(got, wanted)
            ids = [name for batch in batches for name in batch.id]
            assert ids == [item["id"] for item in expected]


def test_one_transient_failure_changes_nothing(manifest, monkeypatch):
    good, _ = make_dataset(manifest)
    expected = good[5]
    dataset, sampler = make_dataset(manifest)
    original, failures = soundfile.SoundFile.__init__, iter([1, 2])

    def fail_twice(self, path, *args, **kwargs):
        if str(path).endswith("5.wav") and next(failures, None):
            raise OSError(errno.EIO, "Input/output error")
        original(self, path, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", fail_twice)
    item = dataset[5]
    assert item["id"] == "u5" and torch.equal(item["views"], expected["views"])
    assert sampler.failures.count(1) == 0


def test_more_lost_files_than_the_limit_stop_the_run(manifest):
    dataset, _ = make_dataset(manifest, max_unreadable=0.2)
    lose(manifest, *range(8))
    message = "at most 6 of 30 utterances .*0.wav.*change max_unreadable"
    with pytest.raises(TooManyUnreadableError, match=message):
        for index in range(NUM):
            dataset[index]


def test_with_max_unreadable_0_the_first_lost_file_stops_the_run(manifest):
    dataset, _ = make_dataset(manifest, max_unreadable=0)
    lose(manifest, 3)
    with pytest.raises(
        TooManyUnreadableError, match=r"got 1 in epoch 1.*3\.wav"
    ):
        dataset[3]


def test_a_worker_hands_the_limits_error_over(manifest):
    dataset, _ = make_dataset(manifest, max_unreadable=0)
    lose(manifest, 3)
    loader = DataLoader(dataset, 10, num_workers=1, collate_fn=collate_views)
    with pytest.raises(TooManyUnreadableError, match="max_unreadable"):
        list(loader)


def test_where_nothing_can_be_read_it_ends_soon(manifest):
    dataset, _ = make_dataset(manifest, max_unreadable=1.0)
    lose(manifest, *range(NUM))
    with pytest.raises(AudioError, match="in place of u0.*data_folder"):
        dataset[0]


def test_a_failure_of_the_noise_is_not_blamed_on_the_utterance(manifest):
    def broken(samples, rng):
        raise AudioError("noise.wav is gone")

    dataset = load_manifest(manifest, manifest.parent)
    sampler = ViewSampler(GROUPS, 7, SharedEpoch(), broken)
    add_crop_groups(dataset, sampler)
    with pytest.raises(AudioError, match="noise.wav"):
        dataset[0]
    assert sampler.failures.count(1) == 0


def test_a_lost_true_positive_is_replaced_by_another_of_the_speaker(manifest):
    good, _ = make_dataset(manifest, oracle=True)
    positives = [
        speaker_of(good[index]["views"][1]).pop() for index in range(6)
    ]
    lose(manifest, *positives)
    dataset, sampler = make_dataset(manifest, oracle=True)
    for index in set(range(6)) - set(positives):
        item = dataset[index]
        (other,) = speaker_of(item["views"][1])
        assert item["id"] == f"u{index}"
        assert speaker_of(item["views"][0]) == {index}
        assert other % 6 == index % 6 and other not in positives
        assert other != index
    assert sampler.failures.count(1) > 0


def test_any_dataset_of_rows_can_replace(manifest):
    table = load_manifest(manifest, manifest.parent)
    dataset = DynamicItemDataset(dict(table.data.items()))
    sampler = ViewSampler(GROUPS, 7, SharedEpoch())
    add_crop_groups(dataset, sampler)
    lose(manifest, 9)
    other, _ = make_dataset(manifest)
    assert dataset[9]["id"] == other[9]["id"] != "u9"
    assert sampler.failures.count(1) == 1
