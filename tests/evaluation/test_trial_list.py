"""Trial lists are read, written and made."""

from collections import Counter

import numpy as np
import pytest

from ssps_plugin.evaluation import trial_list as trials_module
from ssps_plugin.evaluation.trial_list import (
    TrialList,
    make_trials,
    read_trials,
    write_trials,
)


def read_text(tmp_path, text):
    path = tmp_path / "trials.txt"
    path.write_bytes(text.encode())
    return read_trials(path)


def random_list(num_trials, num_utterances, seed=0):
    generator = np.random.default_rng(seed)
    names = [f"id{i:05d}/recording/{i % 7:05d}.wav" for i in range(1000)]
    drawn = generator.integers(0, num_utterances, (2, num_trials))
    labels = generator.integers(0, 2, num_trials)
    enrol, test = ([names[i] for i in row] for row in drawn)
    return TrialList.from_names(labels.tolist(), enrol, test)


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


def test_utterances_are_numbered_as_they_first_appear(tmp_path):
    trials = read_text(tmp_path, "1 b a\n0 b c\n0 d a\n")
    assert trials.utterances == ["b", "a", "c", "d"]
    assert trials.enrol.tolist() == [0, 0, 3]
    assert trials.test.tolist() == [1, 2, 1]
    assert trials.labels.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "text",
    [
        "1 a b\n0 a c",  # no end of line at the end
        "\n1 a b\n\n  \n0 a c\n\n",  # blank lines
        "1 a b\r\n0 a c\r\n",  # Windows
        "\ufeff1 a b\n0 a c\n",  # byte order mark
        "1\ta  b\n 0 a c \n",  # tabs and stray spaces
    ],
)
def test_layout_of_the_lines_does_not_matter(tmp_path, text):
    trials = read_text(tmp_path, text)
    assert trials.labels.tolist() == [1, 0]
    assert list(trials.pairs()) == [("a", "b"), ("a", "c")]


def test_written_list_is_read_back_as_it_was(tmp_path, monkeypatch):
    # Blocks far shorter than the file: none may lose or double a line.
    monkeypatch.setattr(trials_module, "CHARACTERS_PER_BLOCK", 1000)
    trials = random_list(num_trials=5000, num_utterances=300)
    write_trials(tmp_path / "trials.txt", trials)
    again = read_trials(tmp_path / "trials.txt")
    assert again.utterances == trials.utterances
    for field in ("labels", "enrol", "test"):
        np.testing.assert_array_equal(
            getattr(again, field), getattr(trials, field)
        )


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("1 a", "'1 a'"),
        ("1 a b c", "'1 a b c'"),
        ("2 a b", "'2 a b'"),
        ("target a b", "'target a b'"),
        ("a b 1", "'a b 1'"),
    ],
)
def test_malformed_line_is_named(tmp_path, line, shown):
    text = "1 a b\n" * 6 + line + "\n" + "0 a b\n"
    with pytest.raises(ValueError, match=f"Expected .*, line 7, got {shown}"):
        read_text(tmp_path, text)


def test_malformed_line_is_numbered_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(trials_module, "CHARACTERS_PER_BLOCK", 50)
    with pytest.raises(
        ValueError, match="Expected .* in .*trials.txt, line 101, got"
    ):
        read_text(tmp_path, "1 a b\n" * 100 + "1 a\n")


@pytest.mark.parametrize(
    "text",
    [
        "1 a\n0 1 b c\n",  # a field short, then one too many
        "1 a\nx 1 c d\n",
        "1 a b 1\na b\n",
    ],
)
def test_lines_whose_lengths_make_up_for_each_other_are_refused(tmp_path, text):
    with pytest.raises(ValueError, match="Expected .*, line 1, got"):
        read_text(tmp_path, text)


@pytest.mark.parametrize("text", ["", "\n\n", "   "])
def test_empty_list_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="empty file: change `trials`"):
        read_text(tmp_path, text)


def test_file_that_is_no_text_is_refused_by_name(tmp_path):
    path = tmp_path / "audio.wav"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(
        ValueError, match="Expected text .* in .*audio.wav, got"
    ):
        read_trials(path)


def test_missing_list_names_the_key(tmp_path):
    with pytest.raises(FileNotFoundError, match="change `trials` to"):
        read_trials(tmp_path / "none.txt")


def test_folder_in_place_of_a_list_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected a trial list"):
        read_trials(tmp_path)


@pytest.mark.parametrize("name", ["my file.wav", "", " a"])
def test_name_that_could_not_be_read_back_is_not_written(tmp_path, name):
    trials = TrialList.from_names([1], ["a"], [name])
    with pytest.raises(ValueError, match="without white space"):
        write_trials(tmp_path / "trials.txt", trials)
    assert list(tmp_path.iterdir()) == []


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
