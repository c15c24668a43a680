"""Trial lists are read, written and made."""

import os
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ssps_plugin.evaluation import trial_list as trials_module
from ssps_plugin.evaluation.trial_list import (
    TrialList,
    make_trials,
    read_trials,
    warn_unusual_trials,
    write_trials,
)

# What lists and their look-alikes are made of.
PIECES = [
    *("0", "1", "2", " ", "  ", "\t", "\n", "\r\n", "\r", "\0", "\ufeff"),
    *(
        "a",
        "a.wav",
        "id1/r/1.wav",
        "é",
        "e\u0301",
        "my file",
        "\\",
        "./",
        "../",
    ),
    *(",", ";", '"', "<html>", "{", "\x85", "\xa0", "\u2028", "\x1c", "$", "-"),
    *("1 a b\n", "0\ta\tmy b\n", "a b\n", "1,a,b\n", "a b 1\n"),
]


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


@pytest.mark.parametrize(
    "name",
    ["", " a", "a ", "a\tb", "a\nb", "a\rb", "a\0", "a" * 4097, "\udc80"],
)
def test_name_that_could_not_be_read_back_is_not_written(tmp_path, name):
    trials = TrialList.from_names([1], ["a"], [name])
    with pytest.raises(ValueError, match="Expected utterance names .* got '"):
        write_trials(tmp_path / "trials.txt", trials)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("enrol", ["1", "0", "1 a", "a,", "<a", "\ufeffa"])
def test_without_labels_no_name_is_written_that_looks_like_one(tmp_path, enrol):
    trials = TrialList.from_names(None, [enrol], ["b"])
    with pytest.raises(ValueError, match="Expected names .* got '"):
        write_trials(tmp_path / "trials.txt", trials)
    assert list(tmp_path.iterdir()) == []


def test_tabs_hold_names_with_blanks(tmp_path):
    text = "1\tAnna B/r 1/1.wav\tb.wav\n0 b.wav c.wav\n0\t c d \t e f\t\n"
    trials = read_text(tmp_path, text)
    assert trials.labels.tolist() == [1, 0, 0]
    assert list(trials.pairs()) == [
        ("Anna B/r 1/1.wav", "b.wav"),
        ("b.wav", "c.wav"),
        ("c d", "e f"),
    ]


def test_tabs_are_written_where_a_name_holds_a_blank_and_nowhere_else(tmp_path):
    trials = TrialList.from_names([1, 0], ["a", "a"], ["b", "my c"])
    write_trials(tmp_path / "trials.txt", trials)
    assert (tmp_path / "trials.txt").read_text() == "1 a b\n0\ta\tmy c\n"


@pytest.mark.parametrize("separator", [" ", "\t", "  "])
@pytest.mark.parametrize("num_lines", [1, 3000])
def test_lines_of_two_names_are_trials_without_labels(
    tmp_path, monkeypatch, separator, num_lines
):
    monkeypatch.setattr(trials_module, "CHARACTERS_PER_BLOCK", 1000)
    lines = [f"a{i}.wav{separator}b{i}.wav" for i in range(num_lines)]
    trials = read_text(tmp_path, "\n".join(lines))
    assert trials.labels is None and trials.count_labels() is None
    assert len(trials) == num_lines
    expected = [(f"a{i}.wav", f"b{i}.wav") for i in range(num_lines)]
    assert list(trials.pairs()) == expected


def test_list_without_labels_is_read_back_as_it_was(tmp_path):
    trials = TrialList.from_names(None, ["a", "a b"], ["b", "c"])
    write_trials(tmp_path / "trials.txt", trials)
    again = read_trials(tmp_path / "trials.txt")
    assert again.labels is None
    assert list(again.pairs()) == [("a", "b"), ("a b", "c")]


@pytest.mark.parametrize(
    ("before", "line", "form"),
    [
        ("1 a b\n", "a b", "`label enrol test` as in the lines before"),
        ("a b\n", "1 a b", "`enrol test` as in the lines before"),
        ("\n\n", "1 b", "or `enrol test`,"),
    ],
)
@pytest.mark.parametrize("repeats", [1, 200])
def test_lines_with_and_without_labels_are_not_mixed(
    tmp_path, monkeypatch, before, line, form, repeats
):
    monkeypatch.setattr(trials_module, "CHARACTERS_PER_BLOCK", 50)
    number = before.count("\n") * repeats + 1
    message = f"Expected .*{form}.* line {number}, got '{line}'"
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path, before * repeats + line + "\n" + before)


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("1,a.wav,b.wav", "not by commas"),
        ("1, a.wav, b.wav", "not by commas"),
        ("a.wav, b.wav", "not by commas"),
        ("a.wav;b.wav", "not by commas"),
        ("1,a b.wav", "not by commas"),
        ("a.wav b.wav 1", "the label comes first"),
        ("a.wav b.wav nontarget", "comes first, 1 for a target trial"),
        ("target a.wav b.wav", "comes first, 1 for a target trial"),
        ("label enrol test", "take names of columns out"),
        ("1 a.wav", "a name is missing"),
        ("1 my a.wav b.wav", "by tabs if names hold blanks"),
    ],
)
def test_usual_mistakes_get_advice(tmp_path, line, advice):
    with pytest.raises(ValueError, match=f"line 1, got '{line}': .*{advice}"):
        read_text(tmp_path, line + "\n")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1 a b\n".encode("utf-16"), "got UTF-16; save it as UTF-8"),
        ("1 a b\n".encode("utf-16-le"), "a NUL in line 1"),
        (b"1 a b\n0 a \0\n", "a NUL in line 2"),
        ("1 a b\n1 \u00e9 b\n".encode("latin-1"), "byte 0xe9 in line 2"),
        (b"1 a b\n" * 90000 + b"1 \xe9 b\n", "byte 0xe9 in line 90001"),
        (b"1 a b\n" + b"x" * 400_000, "a line 2 of more than 65536"),
        (b"1 a " + b"x" * 131_073, "got one of 131073, 'xxx"),
    ],
)
def test_what_is_no_list_of_names_says_what_it_is(tmp_path, content, problem):
    path = tmp_path / "trials.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"Expected .* in {path}.*{problem}"):
        read_trials(path)


def test_pipe_in_place_of_a_list_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="pipe, got a pipe, which can"):
        read_trials(tmp_path / "pipe")


def test_disk_that_fails_names_the_list(tmp_path, monkeypatch):
    path = tmp_path / "trials.txt"
    path.write_text("1 a b\n")

    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(OSError, match=r"list .*trials\.txt, got Input/output"):
        read_trials(path)


def test_unusual_trials_are_counted_in_one_warning_with_an_example(caplog):
    trials = TrialList.from_names(
        [1, 1, 0, 1, 0, 1, 1],
        ["a", "a", "b", "c", "d", "e", "e"],
        ["a", "b", "a", "d", "e", "d", "f"],
    )
    warn_unusual_trials(trials, "o.txt")
    (record,) = caplog.records
    assert (
        "Of 7 trials in o.txt, 1 compare an utterance with itself (a a), 4 are "
        "of pairs that are target and impostor trials at once (a b): all"
    ) in record.getMessage()


def test_repeated_pairs_count_in_either_order_and_by_file(caplog):
    names = ["a", "b", "a", "./a", "c"], ["b", "a", "b", "b", "a"]
    trials = TrialList.from_names(None, *names)
    warn_unusual_trials(trials, "o.txt")
    assert "2 repeat a pair, in either order (a b)" in caplog.text
    caplog.clear()
    warn_unusual_trials(trials, "o.txt", ["a", "b", "a", "c"])
    assert "3 repeat a pair, in either order (a b)" in caplog.text


def test_usual_trials_are_no_warning(caplog):
    warn_unusual_trials(make_trials(corpus(), 50, seed=0), "o.txt")
    assert not caplog.records


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    content=st.one_of(
        st.binary(max_size=60),
        st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
        st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    ),
    encoding=st.sampled_from(["utf-8", "utf-8", "utf-16", "latin-1"]),
    block=st.sampled_from([1, 7, 2**18]),
)
@example(content="a b\n<\n", encoding="utf-8", block=1)
def test_whatever_a_file_holds_is_a_list_or_an_error_with_its_name(
    tmp_path, monkeypatch, content, encoding, block
):
    monkeypatch.setattr(trials_module, "CHARACTERS_PER_BLOCK", block)
    path = tmp_path / "trials.txt"
    if isinstance(content, str):
        content = content.encode(encoding, "replace")
    path.write_bytes(content)
    try:
        trials = read_trials(path)
    except ValueError as error:
        assert str(path) in str(error)
        return
    assert len(trials) and set(trials.enrol) | set(trials.test) == set(
        range(len(trials.utterances))
    )
    assert trials.labels is None or set(trials.labels) <= {0, 1}
    # What is read can be written, and is read back as it was.
    write_trials(path, trials)
    again = read_trials(path)
    assert list(again.pairs()) == list(trials.pairs())
    np.testing.assert_array_equal(again.labels, trials.labels)


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    pairs=st.lists(
        st.tuples(st.text(max_size=6), st.text(max_size=6), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    labelled=st.booleans(),
)
def test_whatever_is_written_is_read_back_as_it_was(tmp_path, pairs, labelled):
    enrol, test, labels = zip(*pairs, strict=True)
    trials = TrialList.from_names(labels if labelled else None, enrol, test)
    path = tmp_path / "trials.txt"
    try:
        write_trials(path, trials)
    except ValueError:
        return
    again = read_trials(path)
    assert list(again.pairs()) == list(trials.pairs())
    np.testing.assert_array_equal(again.labels, trials.labels)


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
