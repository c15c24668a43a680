"""Claims about TensorBoard and Weights & Biases."""

import sys
import types

import pytest

from ssps_plugin.training.train_loggers import (
    EpochTensorboard,
    check_use_wandb,
    make_wandb_logger,
    split_metrics,
)

ROW = {"epoch": 5, "loss": 0.5, "eer": 15.5, "min_dcf_0.01": 0.9}


class FakeWandb(types.ModuleType):
    """The module: keeps what it is given."""

    def __init__(self):
        super().__init__("wandb")
        self.options = []
        self.logged = []

    def init(self, **options):
        self.options.append(options)
        return self

    def log(self, metrics, step=None):
        self.logged.append((metrics, step))


@pytest.fixture
def wandb(monkeypatch):
    module = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return module


@pytest.fixture
def no_wandb(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # what import refuses


def test_error_rates_are_named_after_the_verification():
    meta, train = split_metrics({**ROW, "min_dcf_0.05": 0.7, "coverage": 1.0})
    assert meta == {
        "epoch": 5,
        "verification EER": 15.5,
        "verification minDCF(0.01)": 0.9,
        "verification minDCF(0.05)": 0.7,
    }
    assert train == {"loss": 0.5, "coverage": 1.0}


def test_tensorboard_draws_an_epoch_at_its_number(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    for epochs in ((1, 2), (3, 4)):  # the second is a resume
        logger = EpochTensorboard(tmp_path)
        for epoch in epochs:
            row = {"epoch": epoch, "loss": 1.0 / epoch}
            if epoch % 2 == 0:
                row["eer"] = 10.0 + epoch
            logger.log_stats(*split_metrics(row), verbose=False)
        logger.writer.close()
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert not [tag for tag in events.Tags()["scalars"] if "eer/" in tag]
    drawn = {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in ("verification EER", "loss/train")
    }
    assert drawn["verification EER"] == [(2, 12.0), (4, 14.0)]
    assert [step for step, _ in drawn["loss/train"]] == [1, 2, 3, 4]


def test_weights_and_biases_gets_every_epoch_and_the_settings(wandb, tmp_path):
    settings = {"experiment": "simclr_ssps", "lr": 0.1, "sampler": object()}
    logger = make_wandb_logger(True, tmp_path, settings)
    logger.log_stats(*split_metrics(ROW), verbose=False)
    (options,) = wandb.options
    assert options["project"] == "ssps_plugin"
    assert options["name"] == "simclr_ssps"
    assert options["config"] == {"experiment": "simclr_ssps", "lr": 0.1}
    assert options["dir"] == str(tmp_path)
    ((metrics, step),) = wandb.logged
    assert step == 5
    assert metrics["verification EER"] == 15.5
    assert metrics["train"] == {"loss": 0.5}


def test_a_run_that_goes_on_is_the_same_run_there(wandb, tmp_path):
    for folder in ("a", "a", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        make_wandb_logger(True, tmp_path / folder, {})
    first, again, other = (options["id"] for options in wandb.options)
    assert first == again != other
    assert all(options["resume"] == "allow" for options in wandb.options)


def test_the_project_is_that_of_the_environment(wandb, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    make_wandb_logger(True, tmp_path, {})
    assert wandb.options[0]["project"] == "mine"


def test_a_logger_of_ones_own_is_used_as_it_is(tmp_path):
    class Own:
        def log_stats(self, *_, **__):
            pass

    own = Own()
    assert make_wandb_logger(own, tmp_path, {}) is own


@pytest.mark.parametrize("off", [False, None])
def test_nothing_is_imported_unless_it_is_asked_for(no_wandb, tmp_path, off):
    check_use_wandb(off)
    assert make_wandb_logger(off, tmp_path, {}) is None


def test_a_missing_package_is_one_clear_message(no_wandb, tmp_path):
    message = "Expected the package wandb, since use_wandb is True.*pip install"
    with pytest.raises(RuntimeError, match=message):
        check_use_wandb(True)
    with pytest.raises(RuntimeError, match=message):
        make_wandb_logger(True, tmp_path, {})


def test_another_value_is_refused(tmp_path):
    with pytest.raises(ValueError, match="use_wandb True, False or a train"):
        make_wandb_logger("yes", tmp_path, {})


def test_an_error_of_wandb_reaches_the_user(wandb, tmp_path, monkeypatch):
    def init(**_):
        raise ConnectionError("no network")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(ConnectionError, match="no network"):
        make_wandb_logger(True, tmp_path, {})
