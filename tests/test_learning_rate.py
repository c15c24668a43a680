"""StepDecay against a loop over the epochs."""

import pytest

from ssps_plugin.learning_rate import StepDecay


def test_the_published_schedule_at_the_start_of_ssps():
    # Adam 1e-3, times 0.95 every five epochs: 3.6e-4 after 100 epochs.
    learning_rate = StepDecay(1e-3, factor=0.95, interval_epochs=5)
    assert learning_rate(101) == pytest.approx(3.585e-4, rel=1e-3)


@pytest.mark.parametrize("interval", [1, 3, 5])
def test_equals_a_loop(interval):
    learning_rate = StepDecay(2.0, 0.5, interval)
    expected = 2.0
    for epoch in range(1, 30):
        if epoch > 1 and (epoch - 1) % interval == 0:
            expected *= 0.5
        assert learning_rate(epoch) == pytest.approx(expected)


@pytest.mark.parametrize(
    "arguments", [(0.0,), (-1.0,), (1.0, 0.0), (1.0, 0.5, 0)]
)
def test_numbers_that_make_no_schedule_are_an_error(arguments):
    with pytest.raises(ValueError, match="Expected initial > 0"):
        StepDecay(*arguments)
