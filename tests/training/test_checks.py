"""Checks of what is composed and of what is resumed, without any training."""

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.processing.features import InputNormalization
from torch import nn

from ssps_plugin import ClusteringSampling, PositiveSampler
from ssps_plugin.dataio import CropGroup
from ssps_plugin.frameworks import SDPN, EmbeddingModel, SimCLR
from ssps_plugin.losses import FeatureQueue, NegativeQueue
from ssps_plugin.training import checks
from ssps_plugin.training.checks import (
    check_batch,
    check_crops,
    check_recoverables,
    check_references,
    check_run_options,
    check_same_experiment,
    find_resumable_run,
    log_changed_settings,
)

RUN_OPTIONS = {
    **{"compile": False, "compile_module_keys": None},
    **{"jit": False, "jit_module_keys": None},
    **{"data_parallel_backend": False, "max_grad_norm": 5.0},
}


@pytest.fixture
def settings(tmp_path):
    """Those of a run in a folder that holds it, with a checkpoint."""
    settings = {
        **{"experiment": "simclr", "true_positives": False, "lr": 0.1},
        "output_folder": str(tmp_path),
        "save_folder": str(tmp_path / "save"),
    }
    lines = [f"{key}: {value}\n" for key, value in settings.items()]
    (tmp_path / "hyperparams.yaml").write_text("".join(lines))
    (tmp_path / "save" / "CKPT+1").mkdir(parents=True)
    return settings


def test_a_module_whose_state_is_in_no_recoverable_is_refused():
    inner = nn.Linear(1, 1)
    modules = {"inner": inner, "stateless": nn.ReLU(), "head": nn.Linear(1, 1)}
    saved = {"outer": nn.Sequential(inner), "counter": object()}
    with pytest.raises(ValueError, match="add head to recoverables"):
        check_recoverables(modules, saved)
    check_recoverables(modules, {**saved, "head": modules["head"]})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("compile", True, "use --compile_backend"),
        ("jit_module_keys", ["framework"], "no --jit_module_keys"),
        ("data_parallel_backend", True, "by torchrun"),
        ("max_grad_norm", 0.0, "above 0, got 0.0"),
        ("max_grad_norm", float("nan"), "above 0, got nan"),
    ],
)
def test_run_options_that_train_something_else_are_refused(
    option, value, message
):
    check_run_options(SimpleNamespace(**RUN_OPTIONS))
    brain = SimpleNamespace(**{**RUN_OPTIONS, option: value})
    with pytest.raises(ValueError, match=message):
        check_run_options(brain)


def test_a_run_is_found_by_its_configuration_and_a_checkpoint(
    settings, tmp_path
):
    assert find_resumable_run(settings) == settings
    (tmp_path / "save" / "CKPT+1").rmdir()
    assert find_resumable_run(settings) is None


def test_another_experiment_is_refused_with_the_warm_start_it_may_have(
    settings,
):
    check_same_experiment({**settings, "lr": 0.2}, settings)
    other = {**settings, "experiment": "simclr_ssps"}
    with pytest.raises(ValueError, match="change output_folder.$"):
        check_same_experiment(other, settings)
    with pytest.raises(ValueError, match=r"warm_start_from .*/save\)\.$"):
        check_same_experiment({**other, "ssps_start_epoch": 101}, settings)
    with pytest.raises(ValueError, match="true_positives False, .* got True"):
        check_same_experiment({**settings, "true_positives": True}, settings)


def test_changed_settings_are_logged_but_for_files_and_new_keys(
    settings, caplog
):
    now = {**settings, "lr": 0.2, "save_folder": "elsewhere", "new": 1}
    with caplog.at_level(logging.INFO):
        log_changed_settings(now, now)
        assert not caplog.text
        log_changed_settings(now, settings)
    assert "started with: lr 0.1 -> 0.2." in caplog.text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("teacher", None), "got 'teacher': change reference_from"),
        (("clean", "int8"), "got 'int8': change reference_precision"),
        (("view", "bf16"), "come out of the training pass, got bf16"),
        (("view", None, True), "change reference_from to clean"),
    ],
)
def test_references_of_nothing_that_is_known_are_an_error(values, message):
    check_references("clean", "bf16")
    check_references("view", None)
    check_references("clean", "bf16", has_encoder=True)
    with pytest.raises(ValueError, match=message):
        check_references(*values)


def batch_of(size, framework=None, **options):
    return {
        "global_batch_size": size,
        "framework": framework or SimpleNamespace(),
        "sampler": SimpleNamespace(enabled=True, check_batch=lambda num: None),
        **options,
    }


def test_one_utterance_in_a_process_is_refused_where_a_pass_sees_it_alone(
    monkeypatch,
):
    sdpn = SDPN.__new__(SDPN)
    apart = SimpleNamespace(views_together=False)
    check_batch(batch_of(2, sdpn))
    monkeypatch.setattr(checks, "world_size", lambda: 2)
    check_batch(batch_of(2, reference_in_eval_mode=True))
    for options, message in (
        (batch_of(2, sdpn), "SDPN's teacher"),
        (batch_of(2, apart), "views_together is False"),
        (batch_of(3, reference_in_eval_mode=False), "in_eval_mode is False"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            check_batch(options)
        assert "2 processes" in str(error.value)
        assert "change global_batch_size" in str(error.value)


def test_a_step_of_one_utterance_or_of_more_than_the_queue_is_refused():
    with pytest.raises(ValueError, match="at least 2 .* got 1: change global_"):
        check_batch(batch_of(1))
    sampler = PositiveSampler(
        ClusteringSampling(2, 1),
        queue_size=4,
        reference_dim=2,
        positive_dim=2,
        start_epoch=2,
    )
    check_batch({**batch_of(4), "sampler": sampler})
    with pytest.raises(ValueError, match="brings 5 .* queue_size is 4"):
        check_batch({**batch_of(5), "sampler": sampler})
    for queue, key in (
        (NegativeQueue(4, 2), "negatives_size"),
        (FeatureQueue(4, 2), "feature_queue_size"),
    ):
        check_batch(batch_of(4, modules={"queue": queue}))
        with pytest.raises(
            ValueError, match=f"at most 4 .* got 5: raise {key}"
        ):
            check_batch(batch_of(5, modules={"queue": queue}))


def small_simclr():
    encoder = ECAPA_TDNN(8, lin_neurons=4, channels=[8] * 5)
    model = EmbeddingModel(
        Fbank(n_mels=8), InputNormalization(norm_type="sentence"), encoder
    )
    return SimCLR(model)


def test_crops_are_tried_and_change_nothing():
    framework = small_simclr()
    framework.eval()
    views = CropGroup("views", 0.3, num_crops=2)
    groups = [views, CropGroup("local", 0.01, num_crops=0)]
    reference = CropGroup("reference", 0.4, augmented=False)
    before = copy.deepcopy(framework.state_dict())
    state = torch.random.get_rng_state()
    check_crops(framework, [*groups, reference], 16000)
    assert not framework.training
    assert torch.equal(torch.random.get_rng_state(), state)
    after = framework.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([CropGroup("views", 0.02, 2)], "0.02 s for 'views' .* crop_groups"),
        (
            [CropGroup("views", 0.3, 2), CropGroup("reference", 0.02)],
            "0.02 s for 'reference' .*: change reference_seconds",
        ),
        ([CropGroup("views", 0.3, 3)], "one group of two views"),
        ([CropGroup("views", 0.3, 2)] * 2, "one group of two views"),
    ],
)
def test_crops_that_the_framework_does_not_take_are_refused(groups, message):
    framework = small_simclr()
    with pytest.raises(ValueError, match=message):
        check_crops(framework, groups, 16000)
    assert framework.training


def test_a_reference_encoder_is_tried_in_the_place_of_the_framework():
    lengths = []

    def encoder(wavs):
        lengths.append(wavs.shape[1])
        return wavs[:, :4]

    groups = [CropGroup("views", 0.3, 2), CropGroup("reference", 5.0)]
    check_crops(small_simclr(), groups, 16000, encoder)
    assert lengths == [16000]  # a second is enough


def test_what_objects_are_made_of_is_compared_with_what_is_saved(
    settings, tmp_path, caplog
):
    saved = tmp_path / "hyperparams.yaml"
    saved.write_text(
        saved.read_text() + "sampler: !new:P\n  strategy: !new:C\n    size: 3\n"
        "    dim: !ref <lr>\n"
    )
    now = {"sampler": "!new:P", "sampler.strategy": "!new:C"}
    with caplog.at_level(logging.INFO):
        log_changed_settings(
            settings, settings, {**now, "sampler.strategy.size": 3}
        )
        assert not caplog.text
        now = {**now, "sampler.strategy": "!new:D", "sampler.seed": 1}
        log_changed_settings(settings, settings, now)
    for change in (
        "sampler.strategy !new:C -> !new:D",
        "sampler.strategy.size 3 -> its default",
        "sampler.seed its default -> 1",
    ):
        assert change in caplog.text
