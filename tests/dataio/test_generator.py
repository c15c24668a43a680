import subprocess
import sys

from ssps_plugin.dataio import generator
from ssps_plugin.dataio.generator import utterance_generator


def _draw(*key):
    return utterance_generator(*key).integers(2**62)


def test_the_same_key_draws_the_same():
    assert _draw(1, 2, "a", "crops") == _draw(1, 2, "a", "crops")


def test_seed_epoch_utterance_and_purpose_each_change_the_draw():
    keys = [
        (1, 2, "a", "crops"),
        (3, 2, "a", "crops"),
        (1, 3, "a", "crops"),
        (1, 2, "b", "crops"),
        (1, 2, "a", "augmentation 0"),
        (12, 2, "a", "crops"),
        (1, 22, "a", "crops"),
    ]
    assert len({_draw(*key) for key in keys}) == len(keys)


def test_another_process_draws_the_same():
    # Run as a file: to import the package takes seconds.
    code = (
        f"import runpy; names = runpy.run_path({generator.__file__!r});"
        "rng = names['utterance_generator'](1, 2, 'é', 'crops');"
        "print(rng.integers(2**62))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    assert int(output) == _draw(1, 2, "é", "crops")


def test_the_first_draws_of_neighbouring_epochs_are_independent():
    draws = [
        utterance_generator(1, epoch, "a", "crops").random()
        for epoch in range(2000)
    ]
    mean = sum(draws) / 2000
    lagged = sum(a * b for a, b in zip(draws, draws[1:], strict=False)) / 1999
    assert abs(mean - 0.5) < 0.03
    assert abs(lagged - 0.25) < 0.03
