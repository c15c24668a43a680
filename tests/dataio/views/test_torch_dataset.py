"""Claims about the reference view of PyTorch's datasets."""

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ssps_plugin import NearestNeighborSampling, PositiveSampler
from ssps_plugin import add_reference_view as add
from ssps_plugin.dataio import ReferenceView, SharedEpoch

RATE = 16000
SAMPLES = 8000  # half a second: what the crops are cut of


@pytest.fixture
def files(tmp_path):
    """Four files, each a ramp that begins at its number."""
    paths = [tmp_path / f"{number}.wav" for number in range(4)]
    for number, path in enumerate(paths):
        ramp = (number + np.arange(SAMPLES) / SAMPLES) / 8
        soundfile.write(path, ramp, RATE, subtype="FLOAT")
    return paths


class Views(Dataset):
    """Items of any kind: what `make` makes of a position."""

    def __init__(self, num, make):
        self.num, self.make = num, make

    def __len__(self):
        return self.num

    def __getitem__(self, index):
        return self.make(index)


class Item:
    """Makes an item of a position, also in a worker."""

    def __init__(self, files):
        self.files = files

    def __call__(self, index):
        return {"wav": str(self.files[index]), "index": index}


def number_of(crop):
    """The file that a crop was cut of."""
    return int(crop[0] * 8)


def test_a_mapping_gets_the_crop_as_a_key_and_keeps_the_rest(files):
    dataset = add(Views(4, Item(files)), seconds=0.1)
    assert isinstance(dataset, ReferenceView) and len(dataset) == 4
    item = dataset[2]
    assert item["index"] == 2 and item["wav"] == str(files[2])
    assert item["reference"].shape == (1600,)
    assert item["reference"].dtype == torch.float32
    assert number_of(item["reference"]) == 2


def test_a_tuple_gets_it_at_its_end(files):
    dataset = add(Views(4, lambda n: (n, files[n])), 0.1, wav_key=1)
    index, path, reference = dataset[3]
    assert (index, path) == (3, files[3])
    assert number_of(reference) == 3


def test_items_without_the_clean_utterance_need_its_files(files):
    views = Views(4, lambda n: (torch.randn(5), torch.randn(5), n))
    with pytest.raises(ValueError, match="Expected wav_key as a position"):
        add(views, 0.1)[0]
    *_, index, reference = add(views, 0.1, files=files)[1]
    assert index == number_of(reference) == 1
    with pytest.raises(ValueError, match="a file for each of 4 items, got 3"):
        add(views, 0.1, files=files[:3])


def test_samples_give_the_crop_of_their_file(files):
    from_files = add(Views(4, Item(files)), 0.1, seed=3)
    waves = [
        torch.from_numpy(soundfile.read(p, dtype="float32")[0]) for p in files
    ]
    from_samples = add(waves, 0.1, seed=3)
    with_channel = add([(wave[None], 16000) for wave in waves], 0.1, "r", 0, 3)
    for n in range(4):
        expected = from_files[n]["reference"]
        assert torch.equal(from_samples[n][1], expected)
        assert torch.equal(with_channel[n][2], expected)


def test_it_is_the_crop_of_the_speechbrain_dataset(files):
    rows = {str(n): {"wav": str(path)} for n, path in enumerate(files)}
    other = DynamicItemDataset(rows, output_keys=["id"])
    assert add(other, 0.1, seed=5) is other
    dataset = add(Views(4, Item(files)), 0.1, seed=5)
    for n in range(4):
        assert torch.equal(dataset[n]["reference"], other[n]["reference"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_crops_are_the_same_with_workers_and_take_no_random_number(
    files, num_workers
):
    dataset = add(Views(4, Item(files)), 0.1)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    alone = [dataset[n]["reference"] for n in range(4)]
    assert torch.equal(torch.random.get_rng_state(), before)
    loader = DataLoader(dataset, batch_size=2, num_workers=num_workers)
    batches = [batch["reference"] for batch in loader]
    assert torch.equal(torch.cat(batches), torch.stack(alone))


def test_crops_differ_between_epochs_also_in_running_workers(files):
    epoch = SharedEpoch()
    dataset = add(Views(4, Item(files)), 0.1, epoch=epoch)
    loader = DataLoader(
        dataset, batch_size=4, num_workers=1, persistent_workers=True
    )
    first = next(iter(loader))["reference"]
    epoch.set(2)
    second = next(iter(loader))["reference"]
    assert not torch.equal(first, second)
    assert torch.equal(second[0], dataset[0]["reference"])


def test_an_item_counted_from_the_end_has_the_same_crop(files):
    dataset = add(Views(4, Item(files)), 0.1)
    assert torch.equal(dataset[-1]["reference"], dataset[3]["reference"])


def test_bind_takes_it_as_positions_and_ids_where_there_are_some(files):
    def bound(dataset):
        sampler = PositiveSampler(NearestNeighborSampling(1), 4, 2, 2, 2)
        sampler.bind(dataset)
        return sampler.utterances.fingerprint

    views = Views(4, Item(files))
    assert bound(add(views, 0.1)) == bound(views) == bound(4)


@pytest.mark.parametrize(
    "item", [torch.zeros(2, 5), torch.zeros(0), torch.zeros(2, 1, 5)]
)
def test_what_is_no_utterance_is_named(item):
    with pytest.raises(ValueError, match=r"as samples.*got a tensor of shape"):
        add([item], 0.1)[0]


def test_a_key_that_is_taken_and_one_that_is_missing_are_named(files):
    views = Views(4, Item(files))
    with pytest.raises(ValueError, match="new item's key, got 'index'"):
        add(views, 0.1, key="index")[0]
    with pytest.raises(ValueError, match=r"got 'path' for \['wav', 'index'\]"):
        add(views, 0.1, wav_key="path")[0]
    with pytest.raises(ValueError, match="longer than 0 seconds"):
        add(views, 0.0)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize("dataset", [Stream(), iter([1]), {"a": 1}, "a.wav"])
def test_what_has_no_positions_is_refused(dataset):
    with pytest.raises(ValueError, match="with a length and positions"):
        add(dataset, 0.1)
