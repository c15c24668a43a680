"""References of several epochs as one, against the mean of their cosines."""

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.sampling.joined_references import JoinedReferences

NUM, DIM = 12, 5
EVERY = torch.arange(NUM)


def references(epoch):
    generator = torch.Generator().manual_seed(epoch)
    return F.normalize(torch.randn(NUM, DIM, generator=generator), dim=1)


def joined_of(num_epochs):
    joined = JoinedReferences(num_epochs)
    joined.allocate(NUM, DIM)
    return joined


def mean_cosines(epochs):
    cosines = [references(epoch) @ references(epoch).T for epoch in epochs]
    return torch.stack(cosines).mean(0)


@pytest.mark.parametrize("num_epochs", [2, 3])
def test_cosines_are_the_mean_of_those_of_the_last_epochs(num_epochs):
    joined = joined_of(num_epochs)
    for epoch in range(6):
        rows = joined.add(EVERY, references(epoch))
        if epoch < num_epochs - 1:
            assert rows is None
            continue
        last = range(epoch - num_epochs + 1, epoch + 1)
        torch.testing.assert_close(
            rows @ rows.T, mean_cosines(last), atol=2e-3, rtol=0
        )
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(NUM))


def test_who_was_not_seen_in_an_epoch_has_the_present_reference_for_it():
    joined = joined_of(2)
    joined.add(EVERY[3:], references(0)[3:])
    rows = joined.add(EVERY[:-2], references(1)[:-2])
    assert rows.shape == (NUM - 2, 2 * DIM)
    expected = mean_cosines([0, 1])[3:-2, 3:-2]
    torch.testing.assert_close(
        rows[3:] @ rows[3:].T, expected, atol=2e-3, rtol=0
    )
    for row, reference in zip(rows[:3], references(1)[:3], strict=True):
        torch.testing.assert_close(
            row * 2**0.5, reference.repeat(2), atol=2e-3, rtol=0
        )


def test_where_nothing_moved_no_epoch_has_passed():
    joined = joined_of(2)
    assert joined.add(EVERY, references(0)) is None
    assert joined.add(EVERY, references(0)) is None
    assert joined.add(EVERY, references(1)) is not None
    assert joined.add(EVERY, references(1)) is None
    rows = joined.add(EVERY, references(2))
    torch.testing.assert_close(
        rows @ rows.T, mean_cosines([1, 2]), atol=2e-3, rtol=0
    )


def test_what_was_forgotten_is_joined_with_nothing():
    joined = joined_of(2)
    joined.add(EVERY, references(0))
    joined.forget()
    assert joined.add(EVERY, references(1)) is None
    assert joined.add(EVERY, references(2)) is not None


def test_a_state_goes_on_where_it_was():
    joined, other = joined_of(2), joined_of(2)
    joined.add(EVERY, references(0))
    other.load_state_dict(joined.state_dict())
    assert torch.equal(
        other.add(EVERY, references(1)), joined.add(EVERY, references(1))
    )


def test_one_epoch_is_nothing_to_join():
    with pytest.raises(ValueError, match="num_epochs of at least 2, got 1"):
        JoinedReferences(1)
