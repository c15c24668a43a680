"""Trials drawn for a corpus without a list."""

from collections import Counter

import pytest

from ssps_plugin.evaluation.trial_making import make_trials
from ssps_plugin.evaluation.trials import read_trials, write_trials


def corpus(num_speakers=6, num_recordings=4, num_utterances=3):
    return {
        f"s{s}": {
            f"r{r}": [f"s{s}-r{r}-u{u}" for u in range(num_utterances)]
            for r in range(num_recordings)
        }
        for s in range(num_speakers)
    }


def speaker(name):
    return name.split("-")[0]


def recording(name):
    return name.rsplit("-", 1)[0]


def test_half_are_targets_and_labels_say_who_speaks():
    trials = make_trials(corpus(), num_trials=200, seed=1)
    assert int(trials.labels.sum()) == 100 and len(trials) == 200
    for label, (enrol, test) in zip(trials.labels, trials.pairs(), strict=True):
        assert label == (speaker(enrol) == speaker(test))


def test_targets_cross_recordings():
    trials = make_trials(corpus(), num_trials=200, seed=1)
    for label, (enrol, test) in zip(trials.labels, trials.pairs(), strict=True):
        assert not label or recording(enrol) != recording(test)


def test_speaker_with_one_recording_crosses_utterances():
    speakers = {"s0": {"r0": ["s0-a", "s0-b", "s0-c"]}, "s1": {"r1": ["s1-a"]}}
    trials = make_trials(speakers, num_trials=6, seed=0)
    targets = {
        frozenset(pair)
        for label, pair in zip(trials.labels, trials.pairs(), strict=True)
        if label
    }
    assert targets == {
        frozenset(("s0-a", "s0-b")),
        frozenset(("s0-a", "s0-c")),
        frozenset(("s0-b", "s0-c")),
    }


def test_no_pair_comes_twice_in_either_order():
    trials = make_trials(corpus(3, 2, 2), num_trials=24, seed=2)
    pairs = Counter(frozenset(pair) for pair in trials.pairs())
    assert set(pairs.values()) == {1}
    assert all(len(pair) == 2 for pair in pairs)


def test_every_possible_target_can_be_drawn():
    # Two recordings of two: 2 × 2 crossing pairs a speaker, three speakers.
    trials = make_trials(corpus(3, 2, 2), num_trials=24, seed=2)
    assert int(trials.labels.sum()) == 12
    with pytest.raises(ValueError, match="between 1 and 12 target .* got 13"):
        make_trials(corpus(3, 2, 2), num_trials=26, seed=2)


def test_pairs_are_drawn_evenly():
    counts = Counter()
    for seed in range(600):
        trials = make_trials(corpus(3, 2, 1), num_trials=4, seed=seed)
        counts.update(frozenset(pair) for pair in trials.pairs())
    targets = {p: n for p, n in counts.items() if len(set(map(speaker, p))) < 2}
    impostors = {p: n for p, n in counts.items() if p not in targets}
    assert len(targets) == 3 and len(impostors) == 12
    # Means 400 and 100; five standard deviations of a binomial.
    assert all(abs(n - 400) < 60 for n in targets.values())
    assert all(abs(n - 100) < 50 for n in impostors.values())


def test_same_seed_same_trials_whatever_the_order_of_the_corpus(tmp_path):
    one = make_trials(corpus(), num_trials=50, seed=3)
    turned = {
        s: {r: names[::-1] for r, names in reversed(recordings.items())}
        for s, recordings in reversed(corpus().items())
    }
    assert list(make_trials(turned, 50, 3).pairs()) == list(one.pairs())
    assert list(make_trials(corpus(), 50, 4).pairs()) != list(one.pairs())


def test_made_list_survives_a_file(tmp_path):
    trials = make_trials(corpus(), num_trials=50, seed=3)
    write_trials(tmp_path / "trials.txt", trials)
    assert read_trials(tmp_path / "trials.txt").utterances == trials.utterances


@pytest.mark.parametrize("num_trials", [0, 1])
def test_fewer_than_a_trial_of_each_kind_is_refused(num_trials):
    with pytest.raises(ValueError, match="num_trials"):
        make_trials(corpus(), num_trials, seed=0)


def test_single_speaker_is_refused():
    with pytest.raises(ValueError, match="between 1 and 0 impostor trials"):
        make_trials(corpus(num_speakers=1), num_trials=2, seed=0)


def test_empty_corpus_is_refused():
    with pytest.raises(ValueError, match="target trials"):
        make_trials({}, num_trials=2, seed=0)


def test_repeated_name_is_refused():
    with pytest.raises(ValueError, match="every utterance name once"):
        make_trials({"s0": {"r": ["a", "a"]}, "s1": {"r": ["b"]}}, 2, 0)
