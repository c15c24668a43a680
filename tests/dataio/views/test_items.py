"""Claims about views and the reference view as items of a dataset."""

import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataloader import make_dataloader
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.checkpoints import Checkpointer

from ssps_plugin.dataio.loading import collate_views
from ssps_plugin.dataio.views.items import add_reference_view, add_views
from ssps_plugin.dataio.views.view_sampler import SharedEpoch


def _scale(samples, rng):
    return samples * rng.uniform(2, 3)


@pytest.fixture
def data(write_ramp):
    """Ten utterances, without one label."""
    lengths = [20000 + 1000 * n for n in range(10)]
    return {
        f"utt{n}": {
            "wav": write_ramp(f"{n}.wav", length),
            "duration": length / 16000,
        }
        for n, length in enumerate(lengths)
    }


def _dataset(data, epoch, reference_seconds=1.5, augmentation=_scale):
    dataset = DynamicItemDataset(data)
    add_views(dataset, 0.5, reference_seconds, 7, epoch, 2, augmentation)
    return dataset


def _by_id(loader):
    items = {}
    for batch in loader:
        rows = zip(
            batch.id, batch.views.data, batch.reference.data, strict=True
        )
        items.update({key: (views, ref) for key, views, ref in rows})
    return items


def _equal(items, others):
    return items.keys() == others.keys() and all(
        torch.equal(a, b)
        for key in items
        for a, b in zip(items[key], others[key], strict=True)
    )


@pytest.mark.parametrize("collate", [PaddedBatch, collate_views])
def test_a_batch_holds_ids_views_and_the_reference(data, collate):
    dataset = _dataset(data, SharedEpoch())
    loader = make_dataloader(dataset, batch_size=10, collate_fn=collate)
    (batch,) = loader
    assert batch.id == list(data)
    assert batch.views.data.shape == (10, 2, 8000)
    assert batch.reference.data.shape == (10, 24000)
    assert batch.views.lengths.tolist() == [1.0] * 10


def test_views_are_augmented_and_the_reference_is_clean(data):
    views, reference = _by_id([_batch_of(data)])["utt9"]
    steps = views.diff(dim=1)
    assert (steps > 1.9).all()
    assert (steps[0].mean() - steps[1].mean()).abs() > 1e-3
    assert reference.diff().eq(1).all()


def _batch_of(data):
    dataset = _dataset(data, SharedEpoch())
    return PaddedBatch([dataset[index] for index in range(len(dataset))])


def test_views_do_not_depend_on_workers_or_order(data):
    epoch = SharedEpoch()
    dataset = _dataset(data, epoch)
    alone = _by_id(make_dataloader(dataset, batch_size=3))
    for options in (
        {"num_workers": 2, "batch_size": 2},
        {"num_workers": 1, "batch_size": 5, "shuffle": True},
        {"num_workers": 2, "batch_size": 4, "collate_fn": collate_views},
    ):
        assert _equal(alone, _by_id(make_dataloader(dataset, **options)))


def test_persistent_workers_see_the_same_epochs_as_none(data):
    epoch = SharedEpoch()
    dataset = _dataset(data, epoch)
    persistent = make_dataloader(
        dataset, batch_size=3, num_workers=2, persistent_workers=True
    )
    alone = make_dataloader(dataset, batch_size=3)
    epochs = []
    for number in (1, 2, 3):
        epoch.set(number)
        epochs.append(_by_id(persistent))
        assert _equal(epochs[-1], _by_id(alone))
    assert not _equal(epochs[0], epochs[1])
    assert not _equal(epochs[1], epochs[2])


def test_a_filtered_and_sorted_dataset_follows_the_epoch(data):
    epoch = SharedEpoch()
    dataset = _dataset(data, epoch).filtered_sorted(sort_key="duration")
    before = dataset[0]["views"]
    epoch.set(2)
    assert not torch.equal(before, dataset[0]["views"])


def test_leaving_out_the_reference_changes_no_view(data):
    with_reference = _dataset(data, SharedEpoch())
    without = _dataset(data, SharedEpoch(), reference_seconds=None)
    assert set(without[3]) == {"id", "views"}
    assert torch.equal(without[3]["views"], with_reference[3]["views"])


def test_an_utterance_is_read_once_and_only_in_part(data, count_reads):
    _dataset(data, SharedEpoch())[9]
    ((path, frames),) = count_reads
    assert path == data["utt9"]["wav"]
    assert 24000 <= frames <= 29000


def test_a_duration_may_be_text(data):
    for row in data.values():
        row["duration"] = str(row["duration"])
    assert _dataset(data, SharedEpoch())[0]["views"].shape == (2, 8000)


def test_a_missing_column_is_an_error_that_names_it():
    dataset = DynamicItemDataset({"a": {"path": "a.wav", "wav": "a.wav"}})
    with pytest.raises(ValueError, match="got path, wav, id: add duration"):
        add_views(dataset, 1.0, None, seed=1, epoch=SharedEpoch())


def test_lengths_and_numbers_are_checked(data):
    dataset = DynamicItemDataset(data)
    with pytest.raises(ValueError, match="longer than 0 seconds"):
        add_views(dataset, 1.0, -4.0, seed=1, epoch=SharedEpoch())
    with pytest.raises(ValueError, match="at least 1"):
        add_views(dataset, 1.0, None, 1, SharedEpoch(), num_views=0)


def test_a_resume_inside_an_epoch_goes_on_with_the_same_views(data, tmp_path):
    def start():
        epoch = SharedEpoch()
        epoch.set(3)
        dataset = _dataset(data, epoch)
        loader = make_dataloader(dataset, batch_size=3, num_workers=1)
        return loader, Checkpointer(tmp_path, {"loader": loader})

    loader, checkpointer = start()
    batches = iter(loader)
    next(batches)
    next(batches)
    checkpointer.save_checkpoint(end_of_epoch=False)
    expected = _by_id(batches)
    loader, checkpointer = start()
    checkpointer.recover_if_possible()
    assert list(expected) == ["utt6", "utt7", "utt8", "utt9"]
    assert _equal(_by_id(loader), expected)


@pytest.fixture
def recipe_dataset(write_ramp):
    """A dataset of a recipe, with items and output keys of its own."""
    data = {
        "a": {"file": write_ramp("a.wav", 32000), "text": "x"},
        "b": {"file": write_ramp("b.wav", 8000), "text": "y"},
    }
    dataset = DynamicItemDataset(data)
    dataset.add_dynamic_item(str.upper, ["text"], ["loud"])
    dataset.set_output_keys({"id": "id", "shout": "loud"})
    return dataset


def test_the_output_keys_there_were_are_kept(recipe_dataset):
    add_reference_view(recipe_dataset, 0.5, wav_key="file")
    assert list(recipe_dataset[0]) == ["id", "shout", "reference"]
    assert recipe_dataset[0]["shout"] == "X"


def test_the_crop_is_a_clean_stretch_of_the_file(recipe_dataset):
    add_reference_view(recipe_dataset, 0.5, wav_key="file")
    reference = recipe_dataset[0]["reference"]
    assert torch.equal(reference, torch.arange(8000) + reference[0])


def test_a_short_utterance_is_repeated(recipe_dataset):
    add_reference_view(recipe_dataset, 1.0, wav_key="file")
    assert torch.equal(
        recipe_dataset[1]["reference"], torch.arange(16000) % 8000
    )


def test_the_crop_follows_the_epoch_and_comes_back_with_it(recipe_dataset):
    epoch = SharedEpoch()
    add_reference_view(recipe_dataset, 0.5, wav_key="file", epoch=epoch)
    first = recipe_dataset[0]["reference"]
    epoch.set(2)
    second = recipe_dataset[0]["reference"]
    epoch.set(1)
    assert not torch.equal(first, second)
    assert torch.equal(first, recipe_dataset[0]["reference"])


def test_without_an_epoch_the_crop_is_always_the_same(recipe_dataset):
    add_reference_view(recipe_dataset, 0.5, wav_key="file")
    assert torch.equal(
        recipe_dataset[0]["reference"], recipe_dataset[0]["reference"]
    )


def test_a_path_made_by_the_recipes_pipeline_will_do(recipe_dataset):
    recipe_dataset.add_dynamic_item(str, ["file"], ["path"])
    add_reference_view(recipe_dataset, 0.5, key="clean", wav_key="path")
    assert recipe_dataset[0]["clean"].shape == (8000,)


def test_items_that_are_missing_or_taken_are_errors(recipe_dataset):
    with pytest.raises(ValueError, match="'wav'.*change wav_key"):
        add_reference_view(recipe_dataset, 0.5)
    with pytest.raises(
        ValueError, match="'text', which .* already: change key"
    ):
        add_reference_view(recipe_dataset, 0.5, key="text", wav_key="file")
    with pytest.raises(ValueError, match="longer than 0 seconds"):
        add_reference_view(recipe_dataset, 0.0, wav_key="file")
