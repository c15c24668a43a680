"""Repeated utterances resolved, against a loop."""

import pytest
import torch

from ssps_plugin.memory import resolve_repeats


@pytest.mark.parametrize("num_utterances", [1, 4, 100])
def test_equals_a_loop(num_utterances):
    generator = torch.Generator().manual_seed(num_utterances)
    for batch in (1, 2, 9, 30):
        index = torch.randint(num_utterances, (batch,), generator=generator)
        rows = index.tolist()
        repeats = resolve_repeats(index)
        last = [
            utterance not in rows[i + 1 :] for i, utterance in enumerate(rows)
        ]
        is_last = repeats.is_last
        assert (is_last is None) == all(last)
        is_last = torch.tensor(last) if is_last is None else is_last
        assert is_last.tolist() == last
        assert repeats.num_distinct == len(set(rows))
        places = repeats.place[is_last].tolist()
        assert places == list(range(len(set(rows))))
