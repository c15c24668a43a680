"""Claims about speakers of the trials that are trained on."""

from collections import Counter

from ssps_plugin.evaluation.trained_speakers import (
    count_trained,
    describe_trained,
)


def test_only_the_given_speakers_are_counted(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ID, speaker\n1, a\n2, b\n3, a\n4, c\n")
    assert count_trained(path, {"a", "c", "z"}) == Counter(a=2, c=1)
    assert count_trained(path, {"z"}) == Counter()


def test_a_manifest_without_speakers_tells_nothing(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ID,wav\n1,a.wav\n")
    assert count_trained(path, {"a"}) is None
    path.write_text("")
    assert count_trained(path, {"a"}) is None


def test_the_most_frequent_are_named():
    counts = Counter(a=1, b=5, c=2, d=3)
    expected = "4 of them (b, d, c, …; 11 utterances)"
    assert describe_trained(counts) == expected


def test_a_byte_order_mark_does_not_hide_the_column(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("speaker,ID\nben,b\n", encoding="utf-8-sig")
    assert count_trained(path, {"ben"}) == {"ben": 1}
