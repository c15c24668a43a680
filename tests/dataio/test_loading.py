"""Claims about batches of views."""

import pytest
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch.utils.data import DataLoader

from ssps_plugin.dataio import loading
from ssps_plugin.dataio.loading import collate_views, train_loader_kwargs


@pytest.fixture
def examples():
    rng = torch.Generator().manual_seed(0)
    return [
        {
            "id": f"utt{n}",
            "views": torch.randn(2, 50, generator=rng),
            "reference": torch.randn(80, generator=rng),
        }
        for n in range(6)
    ]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_gives_the_batch_that_speechbrain_gives(examples, num_workers):
    loader = DataLoader(
        examples, 3, collate_fn=collate_views, num_workers=num_workers
    )
    for position, batch in enumerate(loader):
        padded = PaddedBatch(examples[3 * position : 3 * position + 3])
        assert batch.id == padded.id
        assert torch.equal(batch.views.data, padded.views.data)
        assert torch.equal(batch.reference.data, padded.reference.data)
        assert torch.equal(batch.views.lengths, padded.views.lengths)


def test_batches_of_a_worker_do_not_share_memory(examples):
    loader = DataLoader(examples, 3, collate_fn=collate_views, num_workers=1)
    first, second = loader
    second.views.data.zero_()
    assert first.views.data.abs().sum() > 0


def test_a_batch_can_be_moved_and_cast(examples):
    batch = collate_views(examples).to("cpu", torch.float64)
    assert batch.views.data.dtype == torch.float64
    assert len(batch) == 6


def test_examples_of_several_lengths_are_refused(examples):
    examples[0]["reference"] = torch.zeros(3)
    with pytest.raises(RuntimeError, match="equal size"):
        collate_views(examples)


@pytest.mark.parametrize(
    ("global_batch_size", "message"),
    [
        (7, "a multiple of the 2 processes, got 7"),
        (12, "at least 12 utterances, got 10"),
        (0, "at least 2 utterances in a step, .* got 0"),
    ],
)
def test_a_batch_that_cannot_be_loaded_is_an_error_that_names_the_key(
    monkeypatch, global_batch_size, message
):
    monkeypatch.setattr(loading, "world_size", lambda: 2)
    with pytest.raises(ValueError, match=f"{message}: change global_batch"):
        train_loader_kwargs(10, global_batch_size, num_workers=0)
