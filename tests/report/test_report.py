"""What a report shows, and what it says where something is missing."""

import copy
import hashlib
import html
import json
import random
import re
import shutil

import numpy as np
import pytest
import torch

from ssps_plugin.report import page as page_module
from ssps_plugin.report import write_report
from ssps_plugin.report.headline import final_rates, rates_before
from ssps_plugin.report.run import Run
from tests.report.conftest import HISTORY, write_run, write_trials

PICTURES = {
    *("curves", "det", "scores", "similarity", "map", "map-recording"),
    *("clusters", "draws"),
}


def text_of(path):
    """The words of a page, without its scripts, style and tags."""
    page = path.read_text(encoding="utf-8")
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def charts_of(path):
    page = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</s', page)
    return json.loads(found[1])


def files_of(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "report" not in path.relative_to(folder).parts[0]
    }


@pytest.fixture(scope="module")
def report(pair):
    before = files_of(pair[0])
    path = write_report(pair[0], device="cpu")
    assert files_of(pair[0]) == before
    return path


def test_report_of_a_whole_run_has_every_part(report, pair):
    assert report == pair[0] / "report.html"
    names = {path.stem for path in (pair[0] / "report").glob("*.png")}
    assert names == PICTURES
    assert "Not shown" not in text_of(report)
    keys = {re.sub(r"figure-(run-1-)?", "", key) for key in charts_of(report)}
    assert {"curves-1", "curves-2", "curves-3", "det-1"} <= keys
    assert {"scores-1", "scores-2", "map-1", "map-2", "clusters-1"} <= keys


def test_headline_has_the_figures_of_the_run(report, pair):
    text = text_of(report)
    results = json.loads((pair[0] / "results.json").read_text())
    before = Run(pair[0]).at(2)["eer"]
    assert f"EER before SSPS {before:.2f} % epoch 2" in text
    assert f"EER with SSPS {results['eer_percent']:.2f} %" in text
    assert f"Ratio {results['eer_percent'] / before:.2f}" in text
    assert "EER of the plain twin" in text


def test_jump_of_the_loss_is_explained(report):
    assert "in epoch 3 because the task changes" in text_of(report)


def test_twin_and_start_are_in_the_training_curves(report, pair):
    loss = next(v for k, v in charts_of(report).items() if "curves-1" in k)
    names = [trace["name"] for trace in loss["data"]]
    assert names == ["with SSPS", "without SSPS"]
    losses = [row["loss"] for row in Run(pair[1]).history]
    assert loss["data"][1]["y"] == pytest.approx(losses, rel=1e-4)
    (line,) = loss["layout"]["shapes"]
    assert line["x0"] == 2.5


def test_clips_are_in_the_page_and_nothing_is_outside(report):
    page = report.read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', own)
    assert sum(one.startswith("data:audio/") for one in addresses) >= 8
    for one in addresses:
        assert one.startswith(("data:", "#")), one[:80]
    assert len(page) < 10_000_000


def test_no_random_state_of_the_process_is_touched(pair, tmp_path):
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    states = random.getstate(), torch.get_rng_state()
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
    write_report(pair[0], tmp_path / "a.html", png=False, device="cpu")
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert np.random.get_state()[1].tolist() == numpy_state  # noqa: NPY002


def test_two_runs_share_curves_and_have_parts_of_their_own(pair, tmp_path):
    path = write_report(list(pair), tmp_path / "out", device="cpu")
    assert path == tmp_path / "out" / "report.html"
    page, text = path.read_text(encoding="utf-8"), text_of(path)
    ids = re.findall(r'\bid="([^"]+)"', page.partition("<main>")[2])
    assert len(ids) == len(set(ids))
    det = next(v for k, v in charts_of(path).items() if k.endswith("det-1"))
    named = [t["name"] for t in det["data"] if t["showlegend"]]
    assert [name.partition(":")[0] for name in named] == [
        *("simclr_ssps/7", "simclr/7", "simclr_ssps/7 before SSPS"),
    ]
    assert "simclr/7 is simclr_ssps/7 without SSPS" in text
    folders = {p.name for p in (tmp_path / "out" / "report").iterdir()}
    assert folders >= {"curves.png", "det.png"}
    assert {"run-1-simclr_ssps-7", "run-2-simclr-7"} <= folders


# -- what is missing -------------------------------------------------------


def reasons_of(path):
    page = path.read_text(encoding="utf-8")
    found = re.findall(r'<p class="missing">(.*?)</p>', page, flags=re.S)
    return html.unescape(" ".join(re.sub("<[^>]*>", "", one) for one in found))


def test_run_with_a_history_alone_says_what_is_missing(tmp_path):
    path = write_report(write_run(tmp_path / "simclr_ssps" / "7"))
    reasons = reasons_of(path)
    for words in (
        "no plain twin",
        "there is no scores.txt",
        "Expected a checkpoint",
        "no file at train.csv",
    ):
        assert words in reasons, words
    text = text_of(path)
    assert "16.00 %" in text and "8.00 %" in text and "Ratio 0.50" in text
    assert [p.name for p in (path.parent / "report").iterdir()] == [
        "curves.png"
    ]


def test_run_that_is_still_training_says_so(tmp_path):
    folder = write_run(tmp_path / "a", HISTORY[:2])
    path = write_report(folder, png=False)
    text = text_of(path)
    assert "2 of 4" in text and "still training" in text
    assert "not verified with SSPS yet" in text
    assert "SSPS starts in epoch 3" in reasons_of(path)


def with_coverage(*coverages):
    """The history with other coverages, of epochs 3 and 4."""
    rows = copy.deepcopy(HISTORY)
    for row, coverage in zip(rows[2:], coverages, strict=True):
        row["coverage"] = coverage
        if not coverage:
            row.pop("speaker_accuracy"), row.pop("recording_accuracy", None)
    return rows


def test_run_that_substituted_nothing_is_a_run_without_ssps(tmp_path):
    folder = write_run(tmp_path / "a", with_coverage(0.0, 0.0))
    path = write_report(folder, png=False)
    text, reasons = text_of(path), reasons_of(path)
    assert "SSPS was to start in epoch 3 and substituted nothing" in reasons
    assert "(coverage 0)" in reasons
    for words in ("with SSPS", "because the task changes", "Ratio"):
        assert words not in text, words
    assert "names no speakers" not in reasons
    assert "8.00 %" in text
    assert charts_of(path) and "SSPS from epoch" not in str(charts_of(path))


def test_run_of_auto_that_did_not_begin_says_so(tmp_path):
    rows = with_coverage(0.0, 0.0)
    for row in rows[2:]:
        row["sure_draws"] = 0.25
    path = write_report(write_run(tmp_path / "a", rows), png=False)
    said = "coverage auto did not begin it, 25 % of the draws were sure"
    assert said in reasons_of(path) and said in text_of(path)


def test_run_that_began_later_is_compared_with_the_epoch_before(tmp_path):
    folder = write_run(tmp_path / "a", with_coverage(0.0, 0.4), start_epoch=3)
    text = text_of(write_report(folder, png=False))
    assert "The loss goes from 4 to 3 in epoch 4" in text
    assert "for 40 % of the anchors, another utterance" in text
    assert "epoch 3 was not verified" in text


def test_votes_gauge_and_sure_draws_are_shown_where_they_are_known(tmp_path):
    rows = copy.deepcopy(HISTORY)
    rows[3] |= {"votes": 0.62, "gauge": 0.41, "sure_draws": 0.87}
    path = write_report(write_run(tmp_path / "a", rows), png=False)
    text = text_of(path)
    assert "votes of a draw 62.0 %" in text and "sure 87.0 %" in text
    assert "right in another recording minus the same recording, +41.0" in text
    assert "votes of a draw" in str(charts_of(path))


def test_run_before_its_first_epoch_says_so(tmp_path):
    path = write_report(write_run(tmp_path / "a", history=None))
    assert "no epoch has ended yet" in reasons_of(path)


def test_plain_run_has_no_before(pair, tmp_path):
    path = write_report(pair[1], tmp_path / "a.html", png=False, device="cpu")
    assert "without SSPS" in reasons_of(path)
    assert "Ratio" not in text_of(path)


def test_run_without_labels_can_be_listened_to(pair, tmp_path):
    folder = tmp_path / "simclr_ssps" / "7"
    shutil.copytree(pair[0], folder)
    rows = (folder / "train.csv").read_text().splitlines()
    names = rows[0].split(",")
    places = [names.index(name) for name in ("ID", "duration", "wav")]
    kept = [",".join(row.split(",")[i] for i in places) for row in rows]
    (folder / "train.csv").write_text("\n".join(kept) + "\n")
    path = write_report(folder, png=False, device="cpu")
    assert "names no speakers" in reasons_of(path)
    page = path.read_text(encoding="utf-8")
    assert "? unknown" in page and "data:audio/mpeg" in page
    assert "✗ wrong" not in page


def test_audio_that_was_moved_away_is_said_and_the_rest_is_shown(
    pair, tmp_path
):
    folder = tmp_path / "simclr_ssps" / "7"
    shutil.copytree(pair[0], folder)
    corpus = str(pair[0].parents[1] / "corpus")
    for name in ("train.csv", "hyperparams.yaml"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace(corpus, "/nowhere/corpus"))
    path = write_report(folder, png=False, device="cpu")
    assert "pairs: it was moved away or is damaged" in reasons_of(path)
    keys = " ".join(charts_of(path))
    assert "det-1" in keys and "draws-1" in keys and "clusters-1" in keys
    assert "no audio" in text_of(path)


def test_snapshot_that_was_not_kept_is_replaced_by_the_twin(pair, tmp_path):
    for one in pair:
        shutil.copytree(one, tmp_path / one.parent.name / "7")
    folder = tmp_path / "simclr_ssps" / "7"
    for path in (folder / "snapshots").glob("*epoch_000002*"):
        path.unlink()
    path = write_report(folder, png=False, device="cpu")
    assert "the model of epoch 2 was not kept" in reasons_of(path)
    assert "Without SSPS: the final model of simclr/7" in text_of(path)


def test_list_without_labels_has_scores_and_no_curve(tmp_path):
    folder = write_run(tmp_path / "a")
    write_trials(folder, [(None, "a", "b"), (None, "a", "c")], [0.9, 0.2])
    path = write_report(folder, png=False)
    assert "no labels" in reasons_of(path)
    assert not any("det" in key for key in charts_of(path))


@pytest.mark.parametrize("name", ["results.json", "scores.txt"])
def test_damaged_file_is_named_and_the_rest_is_shown(tmp_path, name):
    folder = write_run(tmp_path / "a")
    (folder / name).write_text("{")
    path = write_report(folder, png=False)
    assert f"{name}, got" in reasons_of(path)
    assert any("curves" in key for key in charts_of(path))


def test_figures_that_are_no_numbers_are_not_known(tmp_path):
    folder = write_run(tmp_path / "a")
    results = {"eer_percent": 5.0, "min_dcf_p01": "x", "averaged_epochs": None}
    (folder / "results.json").write_text(json.dumps(results))
    rates = final_rates(Run(folder))
    assert (rates.eer, rates.min_dcf) == (5.0, None)
    assert rates_before(Run(folder)).eer == 16.0


# -- untrusted names -------------------------------------------------------


def test_names_are_text_wherever_they_are_shown(tmp_path):
    hostile = "<script>alert(1)</script>"
    folder = write_run(tmp_path / "a" / "{{ 7*7 }}<img src=x onerror=alert(1)>")
    names = [f"{hostile}{i}" for i in range(3)]
    listed = tmp_path / "<b>list.txt"
    trials = [(1, names[0], names[1]), (0, names[0], names[2])]
    trials += [(1, names[1], names[2]), (0, names[2], names[1])]
    write_trials(folder, trials, [0.9, 0.5, 0.4, 0.1], listed)
    path = write_report(folder, tmp_path / "out.html")
    page = path.read_text(encoding="utf-8")
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert "<img" not in outside and "<b>list" not in outside
    assert "alert(1)</script>" not in page
    assert "{{ 7*7 }}" in html.unescape(outside)


def test_only_known_scripts_may_run(report):
    page = report.read_text(encoding="utf-8")
    policy = html.unescape(re.search(r'Policy" content="([^"]*)"', page)[1])
    assert "default-src 'none'" in policy
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    assert len(scripts) == 2
    for script in scripts:
        assert f"'sha256-{page_module._digest(script)}'" in policy


# -- errors ----------------------------------------------------------------


def test_no_run_and_one_run_twice_are_refused(tmp_path):
    folder = write_run(tmp_path / "a")
    with pytest.raises(ValueError, match="Expected the folder of a run"):
        write_report([])
    with pytest.raises(ValueError, match="Expected every run once"):
        write_report([folder, folder / ".." / "a"])


def test_output_that_is_a_file_is_refused(tmp_path):
    folder = write_run(tmp_path / "a")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="a name that ends with .html"):
        write_report(folder, tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("module", ["plotly", "jinja2", "sklearn"])
def test_package_that_is_missing_is_named_with_its_extra(
    tmp_path, monkeypatch, module
):
    folder = write_run(tmp_path / "a")
    find = page_module.importlib.util.find_spec
    monkeypatch.setattr(
        page_module.importlib.util,
        "find_spec",
        lambda name: None if name == module else find(name),
    )
    expected = {"sklearn": "scikit-learn"}.get(module, module)
    with pytest.raises(
        RuntimeError, match=rf"Expected {expected} .*ssps_plugin\[report\]"
    ):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_no_charts_are_written_where_they_are_not_asked_for(tmp_path):
    folder = write_run(tmp_path / "a")
    write_report(folder, png=False, num_pairs=0, max_utterances=0)
    assert not (folder / "report").exists()
    assert "nothing was embedded" in reasons_of(folder / "report.html")
