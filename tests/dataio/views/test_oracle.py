"""Claims about true positives, drawn by the speakers' labels."""

from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.dataio.views.items import add_views
from ssps_plugin.dataio.views.oracle import (
    OracleViewSampler,
    TruePositives,
    add_oracle_views,
)
from ssps_plugin.dataio.views.view_sampler import CropGroup, SharedEpoch

# Utterance: speaker, recording. Different speakers' recordings share names.
LABELS = {
    "a1": ("a", "r1"),
    "b1": ("b", "r1"),
    "a2": ("a", "r1"),
    "a3": ("a", "r2"),
    "a4": ("a", "r3"),
    "b2": ("b", "r1"),
    "a5": ("a", "r2"),
    "c1": ("c", "r1"),
}


def _labelled(**columns):
    data = {
        key: {"speaker": speaker, "recording": recording, **columns}
        for key, (speaker, recording) in LABELS.items()
    }
    return DynamicItemDataset(data)


def _draws(dataset, utterance_id, num_draws=600):
    positives, rng = TruePositives(dataset), np.random.default_rng(0)
    return Counter(
        positives.draw(utterance_id, rng)[0] for _ in range(num_draws)
    )


@pytest.mark.parametrize(
    ("anchor", "candidates"),
    [
        ("a1", {"a3", "a4", "a5"}),
        ("a3", {"a1", "a2", "a4"}),
        ("a4", {"a1", "a2", "a3", "a5"}),
    ],
)
def test_draws_every_utterance_of_the_speakers_other_recordings(
    anchor, candidates
):
    draws = _draws(_labelled(), anchor)
    assert set(draws) == candidates
    assert min(draws.values()) > 0.8 * 600 / len(candidates)


def test_a_single_recording_gives_its_other_utterances():
    assert set(_draws(_labelled(), "b1")) == {"b2"}
    assert set(_draws(_labelled(), "b2")) == {"b1"}


def test_a_speakers_only_utterance_is_its_own_positive(caplog):
    assert set(_draws(_labelled(), "c1")) == {"c1"}
    assert "1 of 8 utterances" in caplog.text


def test_without_recordings_any_other_utterance_of_the_speaker_is_drawn():
    dataset = _labelled()
    for row in dataset.data.values():
        del row["recording"]
    assert set(_draws(dataset, "a1")) == {"a2", "a3", "a4", "a5"}


def test_only_utterances_of_a_filtered_dataset_are_drawn():
    dataset = _labelled().filtered_sorted(
        key_test={"id": lambda key: key not in ("a4", "a5")}
    )
    assert set(_draws(dataset, "a1")) == {"a3"}


def test_a_manifest_without_speakers_is_an_error_that_says_so():
    dataset = DynamicItemDataset({"a": {"wav": "a.wav", "duration": 1.0}})
    with pytest.raises(ValueError, match="none for a .*add the column speaker"):
        add_oracle_views(dataset, 1.0, None, 1, SharedEpoch())


@pytest.fixture
def dataset(tmp_path):
    """Each utterance a constant of its own, so that a crop names its file."""
    dataset = _labelled()
    for level, row in enumerate(dataset.data.values(), start=1):
        path = tmp_path / f"{level}.wav"
        samples = np.full(16000, float(level))
        soundfile.write(path, samples, 16000, subtype="FLOAT")
        row.update(wav=str(path), duration=1.0)
    return DynamicItemDataset(dataset.data)


def test_the_second_view_is_of_the_positives_file(dataset, count_reads):
    add_oracle_views(dataset, 0.25, 0.5, seed=1, epoch=SharedEpoch())
    item = dataset[0]
    views, reference = item["views"], item["reference"]
    own, positive = views[:, 0].tolist()
    assert own == 1 and reference.eq(1).all()
    assert list(LABELS)[int(positive) - 1] in {"a3", "a4", "a5"}
    assert len(count_reads) == 2


def test_the_positive_follows_the_epoch_and_comes_back_with_it(dataset):
    epoch = SharedEpoch()
    add_oracle_views(dataset, 0.25, None, seed=1, epoch=epoch)

    def positives(number):
        epoch.set(number)
        return [dataset[index]["views"][1, 0].item() for index in range(7)]

    assert positives(1) == positives(1)
    assert len({tuple(positives(number)) for number in range(5)}) == 5


def test_the_items_are_those_of_add_views(dataset):
    plain = DynamicItemDataset(dataset.data)
    add_views(plain, 0.25, 0.5, 1, SharedEpoch())
    add_oracle_views(dataset, 0.25, 0.5, 1, SharedEpoch())
    for key, value in plain[0].items():
        assert type(dataset[0][key]) is type(value)
        assert getattr(dataset[0][key], "shape", 0) == getattr(
            value, "shape", 0
        )


@pytest.mark.parametrize("number", [2, 3])
def test_several_positives_are_different_ones_and_each_comes_as_often(number):
    positives, rng = TruePositives(_labelled()), np.random.default_rng(0)
    draws = [positives.draw("a1", rng, number) for _ in range(600)]
    assert all(len(set(drawn)) == number for drawn in draws)
    for place in range(number):
        counts = Counter(drawn[place] for drawn in draws)
        assert set(counts) == {"a3", "a4", "a5"}
        assert min(counts.values()) > 0.8 * 600 / 3


def test_positives_come_again_where_there_are_too_few():
    positives, rng = TruePositives(_labelled()), np.random.default_rng(0)
    first, second, third, fourth = positives.draw("a1", rng, 4)
    assert {first, second, third} == {"a3", "a4", "a5"} and fourth == first
    assert positives.draw("b1", rng, 3) == ["b2"] * 3
    assert positives.draw("c1", rng, 2) == ["c1"] * 2


def test_crops_that_are_compared_are_of_different_files(dataset, count_reads):
    groups = [
        CropGroup("global_views", 0.2, 2),
        CropGroup("local_views", 0.1, 4),
        CropGroup("reference", 0.5, augmented=False),
    ]
    sampler = OracleViewSampler(dataset, groups, 1, SharedEpoch())
    views, local, reference = sampler("a1", dataset.data["a1"]["wav"], 1.0)
    own, first = views[:, 0].tolist()
    (second,) = set(local[:, 0].tolist())
    assert own == 1 and torch.equal(reference, torch.ones(8000))
    found = {list(LABELS)[int(value) - 1] for value in (first, second)}
    assert len(found) == 2 and found <= {"a3", "a4", "a5"}
    assert len(count_reads) == 3


def test_a_clean_view_is_of_another_file_than_the_local_ones(dataset):
    groups = [
        CropGroup("global_views", 0.2, 1, augmented=False),
        CropGroup("local_views", 0.1, 4),
        CropGroup("reference", 0.5, augmented=False),
    ]
    sampler = OracleViewSampler(dataset, groups, 1, SharedEpoch())
    whole, local, reference = sampler("a1", dataset.data["a1"]["wav"], 1.0)
    assert whole.eq(1).all() and reference.eq(1).all()
    (positive,) = set(local[:, 0].tolist())
    assert list(LABELS)[int(positive) - 1] in {"a3", "a4", "a5"}


def test_a_reference_may_come_first(dataset):
    groups = [
        CropGroup("reference", 0.5, augmented=False),
        CropGroup("views", 0.2, 2),
    ]
    sampler = OracleViewSampler(dataset, groups, 1, SharedEpoch())
    reference, views = sampler("b1", dataset.data["b1"]["wav"], 1.0)
    assert reference.eq(2).all() and views[:, 0].tolist() == [2, 6]


def test_local_crops_leave_the_views_positives_as_they_are(dataset):
    two = [CropGroup("views", 0.2, 2)]
    more = [*two, CropGroup("local_views", 0.1, 4)]
    wav = dataset.data["a1"]["wav"]
    for epoch in range(5):
        shared = SharedEpoch()
        shared.set(epoch)
        views = OracleViewSampler(dataset, two, 1, shared)("a1", wav, 1.0)
        others, _ = OracleViewSampler(dataset, more, 1, shared)("a1", wav, 1.0)
        assert torch.equal(views, others)


def test_single_crops_leave_no_place_for_a_positive(dataset):
    with pytest.raises(ValueError, match="at least 2 crops.*num_views"):
        add_oracle_views(dataset, 1.0, None, 1, SharedEpoch(), num_views=1)
