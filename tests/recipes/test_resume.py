"""Claims about resuming a run: in its folder, with other settings."""

import json

import pytest

from ssps_plugin.training.configuration import parse_configuration
from tests.recipes.running import run


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """A finished plain run of one epoch: its folder and its options."""
    output = tmp_path_factory.mktemp("finished") / "out"
    options = {"data_folder": corpus, "num_epochs": 1}
    run("simclr.yaml", output, **options)
    return output, options


def settings(output):
    return parse_configuration([str(output / "hyperparams.yaml")]).settings()


def assert_untouched(output):
    saved = settings(output)
    assert (saved["experiment"], saved["num_epochs"]) == ("simclr", 1)


def test_another_experiments_folder_is_refused_before_anything_is_written(
    finished,
):
    output, options = finished
    for name, hint in (("simclr_ssps", "--warm_start_from"), ("moco", "")):
        message = f"go on with simclr, .*got {name}: change output_folder.*"
        given = {**options, "ssps_start_epoch": 2, "num_epochs": 3}
        if name == "moco":
            given = options
        with pytest.raises(ValueError, match=message + hint):
            run(f"{name}.yaml", output, **given)
        assert_untouched(output)


def test_a_plain_run_is_not_gone_on_with_as_the_upper_bound(finished):
    output, options = finished
    results = json.loads((output / "results.json").read_text())
    assert results["true_positives"] is False
    with pytest.raises(ValueError, match="go on with true_positives False"):
        run("simclr.yaml", output, true_positives=True, **options)
    assert_untouched(output)


def test_other_sizes_are_refused_with_what_to_change(finished):
    output, options = finished
    given = {**options, "num_epochs": 2, "embedding_dim": 6}
    message = "size mismatch for .*change output_folder"
    with pytest.raises(RuntimeError, match=message):
        run("simclr.yaml", output, **given)
    assert_untouched(output)
    assert "embedding_dim 8 -> 6" in (output / "log.txt").read_text()


def test_changed_settings_are_logged_and_kept_once_the_run_is_done(
    finished, tmp_path
):
    output, options = finished
    log = run(
        "simclr.yaml", output, **{**options, "num_epochs": 2}, temperature=0.2
    )
    assert "num_epochs 1 -> 2" in log and "temperature 0.07 -> 0.2" in log
    saved = settings(output)
    assert (saved["num_epochs"], saved["temperature"]) == (2, 0.2)
    results = json.loads((output / "results.json").read_text())
    assert results["epochs"] == 2
