"""The history of a run, through a resume."""

from ssps_plugin.history import History


def test_a_resume_takes_up_what_was_recorded(tmp_path):
    history = History(tmp_path / "history.json")
    history.record({"epoch": 1, "loss": 2.0})
    history.record({"epoch": 2, "loss": 1.0, "eer": 5.5})
    resumed = History(tmp_path / "history.json")
    assert resumed.rows == history.rows
    resumed.record({"epoch": 3, "loss": 0.5})
    assert [row["epoch"] for row in resumed.rows] == [1, 2, 3]


def test_an_epoch_done_again_replaces_its_like_and_all_later(tmp_path):
    history = History(tmp_path / "history.json")
    for epoch in (1, 2, 3):
        history.record({"epoch": epoch, "loss": 1.0})
    history.record({"epoch": 2, "loss": 0.5})
    expected = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}]
    assert history.rows == expected
    assert History(history.path).rows == expected


def test_a_process_killed_while_writing_loses_no_epoch(tmp_path, monkeypatch):
    history = History(tmp_path / "history.json")
    history.record({"epoch": 1, "loss": 2.0})

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    try:
        history.record({"epoch": 2, "loss": 1.0})
    except KeyboardInterrupt:
        monkeypatch.undo()
    assert History(history.path).rows == [{"epoch": 1, "loss": 2.0}]


def test_the_figures_of_an_epoch_are_found(tmp_path):
    history = History(tmp_path / "history.json")
    history.record({"epoch": 4, "loss": 2.0})
    assert history.at(4) == {"epoch": 4, "loss": 2.0}
    assert history.at(1) == {}
