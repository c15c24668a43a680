import pytest
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.dataio.reference_view import add_reference_view
from ssps_plugin.dataio.shared_epoch import SharedEpoch


@pytest.fixture
def dataset(write_ramp):
    data = {
        "a": {"file": write_ramp("a.wav", 32000), "text": "x"},
        "b": {"file": write_ramp("b.wav", 8000), "text": "y"},
    }
    dataset = DynamicItemDataset(data)
    dataset.add_dynamic_item(str.upper, ["text"], ["loud"])
    dataset.set_output_keys({"id": "id", "shout": "loud"})
    return dataset


def test_the_output_keys_there_were_are_kept(dataset):
    add_reference_view(dataset, 0.5, wav_key="file")
    assert list(dataset[0]) == ["id", "shout", "reference"]
    assert dataset[0]["shout"] == "X"


def test_the_crop_is_a_clean_stretch_of_the_file(dataset):
    add_reference_view(dataset, 0.5, wav_key="file")
    reference = dataset[0]["reference"]
    assert torch.equal(reference, torch.arange(8000) + reference[0])


def test_a_short_utterance_is_repeated(dataset):
    add_reference_view(dataset, 1.0, wav_key="file")
    assert torch.equal(dataset[1]["reference"], torch.arange(16000) % 8000)


def test_the_crop_follows_the_epoch_and_comes_back_with_it(dataset):
    epoch = SharedEpoch()
    add_reference_view(dataset, 0.5, wav_key="file", epoch=epoch)
    first = dataset[0]["reference"]
    epoch.set(2)
    second = dataset[0]["reference"]
    epoch.set(1)
    assert not torch.equal(first, second)
    assert torch.equal(first, dataset[0]["reference"])


def test_without_an_epoch_the_crop_is_always_the_same(dataset):
    add_reference_view(dataset, 0.5, wav_key="file")
    assert torch.equal(dataset[0]["reference"], dataset[0]["reference"])


def test_a_path_made_by_the_recipes_pipeline_will_do(dataset):
    dataset.add_dynamic_item(str, ["file"], ["path"])
    add_reference_view(dataset, 0.5, key="clean", wav_key="path")
    assert dataset[0]["clean"].shape == (8000,)


def test_items_that_are_missing_or_taken_are_errors(dataset):
    with pytest.raises(ValueError, match="'wav'.*change wav_key"):
        add_reference_view(dataset, 0.5)
    with pytest.raises(ValueError, match="'text' already"):
        add_reference_view(dataset, 0.5, key="text", wav_key="file")
    with pytest.raises(ValueError, match="longer than 0 seconds"):
        add_reference_view(dataset, 0.0, wav_key="file")
