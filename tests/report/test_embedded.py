"""Embeddings before SSPS and after, and what is computed of them."""

import numpy as np
import pytest

from ssps_plugin.evaluation.trial_list import TrialList
from ssps_plugin.report.embedded import (
    CROSS_RECORDING,
    OTHER_SPEAKER,
    SAME_RECORDING,
    SAME_SPEAKER,
    choose_map_points,
    choose_utterances,
    embed_before_and_after,
    map_to_plane,
    similarities,
)
from ssps_plugin.report.labels import Labels
from ssps_plugin.report.run import Run
from ssps_plugin.report.scored_trials import load_scored_lists
from ssps_plugin.report.trial_charts import score_embedded
from tests.report.conftest import write_run


def unit_rows(num, dim=8, seed=0):
    rows = np.random.default_rng(seed).normal(size=(num, dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_scores_after_are_those_that_the_run_wrote(pair):
    run = Run(pair[0])
    embedded = embed_before_and_after(run, run.read_manifest(), device="cpu")
    (written,) = load_scored_lists(run)
    computed = score_embedded(embedded, embedded.after)
    assert np.abs(computed.scores - written.scores).max() < 1e-5
    assert computed.sha256 == written.sha256  # the whole list
    assert embedded.after_model == "average of 2 epochs up to 3"


def test_scores_before_give_the_eer_of_the_epoch_before(pair):
    run = Run(pair[0])
    embedded = embed_before_and_after(run, None, device="cpu")
    assert embedded.before_model == "epoch 2"
    before = score_embedded(embedded, embedded.before)
    assert before.eer_percent == pytest.approx(run.at(2)["eer"])


def test_plain_run_has_nothing_before(pair):
    embedded = embed_before_and_after(Run(pair[1]), None, device="cpu")
    assert embedded.before is None
    assert "without SSPS" in embedded.missing_before


def test_similarities_are_those_of_a_loop():
    labels = Labels(
        ["a", "a", "a", "b", "b", "c"],
        ["a/1", "a/1", "a/2", "b/1", "b/1", "c/1"],
    )
    rows = unit_rows(6)
    expected = {SAME_RECORDING: [], CROSS_RECORDING: [], OTHER_SPEAKER: []}
    for i in range(6):
        for j in range(i + 1, 6):
            kind = OTHER_SPEAKER
            if labels.speakers[i] == labels.speakers[j]:
                shared = labels.recordings[i] == labels.recordings[j]
                kind = SAME_RECORDING if shared else CROSS_RECORDING
            expected[kind].append(float(rows[i] @ rows[j]))
    found = similarities(rows, labels)
    for kind, cosines in expected.items():
        assert found.by_kind[kind].tolist() == pytest.approx(cosines)
    # Of a and b; c has one utterance, and no variance.
    within = [
        ((rows[part] - rows[part].mean(0)) ** 2).sum(1)
        for part in ([0, 1, 2], [3, 4])
    ]
    expected_within = np.concatenate(within).mean()
    assert found.intra_speaker_variance == pytest.approx(expected_within)


def test_without_recordings_pairs_are_of_one_speaker_or_two():
    found = similarities(unit_rows(3), Labels(["a", "a", "b"], None))
    assert [*found.by_kind] == [SAME_SPEAKER, OTHER_SPEAKER]
    assert [len(one) for one in found.by_kind.values()] == [1, 2]


def test_speakers_of_identical_embeddings_have_no_variance():
    rows = np.eye(2)[[0, 0, 1, 1]]
    found = similarities(rows, Labels(["a", "a", "b", "b"], None))
    assert found.intra_speaker_variance == 0.0
    assert found.inter_speaker_variance == pytest.approx(0.5)


def test_map_is_of_few_speakers_and_the_same_every_time():
    speakers = [f"s{i % 40}" for i in range(800)]
    labels = Labels(speakers, None)
    chosen = choose_map_points(labels, 800, seed=1)
    assert chosen.tolist() == choose_map_points(labels, 800, seed=1).tolist()
    assert len({speakers[i] for i in chosen}) == 12 and len(chosen) <= 400
    assert len(choose_map_points(None, 5000)) == 400
    rows = unit_rows(20)
    assert np.array_equal(map_to_plane(rows, 3), map_to_plane(rows, 3))
    assert map_to_plane(unit_rows(5)).shape == (5, 2)


def test_part_of_a_list_has_whole_speakers_and_the_trials_among_them(
    tmp_path,
):
    names = [
        f"s{s}/r{r}/{u}.wav"
        for s in range(30)
        for r in range(4)
        for u in range(5)
    ]
    for name in names:
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, len(names), (3000, 2))
    lines = [
        f"{int(names[a].split('/')[0] == names[b].split('/')[0])} "
        f"{names[a]} {names[b]}\n"
        for a, b in pairs
    ]
    listed = tmp_path / "trials.txt"
    listed.write_text("".join(lines))
    settings = f"trials: {listed}\ntrials_folder: {tmp_path / 'corpus'}\n"
    run = Run(write_run(tmp_path / "run", settings=settings))
    chosen = choose_utterances(run, None, most=80)
    assert len(chosen.names) == 80
    counts = {
        s: chosen.labels.speakers.count(s) for s in chosen.labels.speakers
    }
    assert set(counts.values()) == {20}
    assert chosen.list_sha256 == "" and len(chosen.trials)
    kept = set(zip(pairs[:, 0], pairs[:, 1], strict=True))
    places = {name: i for i, name in enumerate(names)}
    for (one, other), label in zip(
        chosen.trials.pairs(), chosen.trials.labels, strict=True
    ):
        assert (places[one], places[other]) in kept
        assert label == (one.split("/")[0] == other.split("/")[0])


def test_list_of_flat_names_is_chosen_by_trials(tmp_path):
    trials = TrialList.from_names(
        [1, 0] * 50, [f"a{i}.wav" for i in range(100)], ["x.wav"] * 100
    )
    for name in trials.utterances:
        (tmp_path / name).touch()
    listed = tmp_path / "trials.txt"
    listed.write_text(
        "".join(
            f"{label} {one} {other}\n"
            for label, (one, other) in zip(
                trials.labels, trials.pairs(), strict=True
            )
        )
    )
    settings = f"trials: {listed}\ntrials_folder: {tmp_path}\n"
    run = Run(write_run(tmp_path / "run", settings=settings))
    chosen = choose_utterances(run, None, most=10)
    assert chosen.labels is None and len(chosen.names) == 10
    assert len(chosen.trials) == 9  # x, and nine that are compared with it


def test_training_set_is_used_where_there_are_no_trials(pair, tmp_path):
    run = Run(write_run(tmp_path / "run"))
    chosen = choose_utterances(run, Run(pair[0]).read_manifest(), most=8)
    assert chosen.trials is None and "training" in chosen.source
    assert len(chosen.names) == 8


def test_audio_that_was_moved_away_is_named(tmp_path, pair):
    table = Run(pair[0]).read_manifest()
    table.columns["wav"] = [f"/nowhere/{i}.wav" for i in range(len(table))]
    run = Run(write_run(tmp_path / "run"))
    with pytest.raises(FileNotFoundError, match="/nowhere/"):
        choose_utterances(run, table, most=8)
