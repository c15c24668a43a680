"""The YAML files: twins, published values, the overlay, and what keys reach."""

import functools
import operator
import pathlib

import pytest
import ruamel.yaml
import torch
from speechbrain.utils.run_opts import RunOptions
from torch import nn

from ssps_plugin.training.configuration import parse_configuration

HPARAMS = pathlib.Path(__file__).parents[2] / "hparams"
OVERLAY = HPARAMS / "minivox.yaml"
FILES = sorted(HPARAMS.glob("*.yaml"))
RECIPES = [path for path in FILES if "\nframework:" in path.read_text()]
OVERLAYS = [path for path in FILES if path not in RECIPES]
SSPS_RECIPES = [path for path in RECIPES if path.stem.endswith("_ssps")]
# Key: a value that nothing else has, and where it arrives.
REACHED = {
    "simclr": {
        "temperature": (0.31, "ssl_loss.temperature"),
        "views_together": (True, "framework.views_together"),
        "reference_interval": (3, "sampler.plan.reference_interval"),
        "last_reference_epoch": (119, "sampler.plan.last_reference_epoch"),
    },
    "moco": {
        "temperature": (0.31, "ssl_loss.temperature"),
        "ema_momentum": (0.7, "framework.momentum.initial"),
        "average_buffers": (True, "framework.average_buffers"),
        "negatives_size": (300, "negatives.size"),
        "views_together": (True, "framework.views_together"),
    },
    "swav": {
        "prediction_temperature": (0.31, "ssl_loss.temperature"),
        "sinkhorn_epsilon": (0.07, "ssl_loss.epsilon"),
        "num_sinkhorn_iterations": (5, "ssl_loss.num_iterations"),
        "frozen_epochs": (7, "prototypes.frozen_epochs"),
        "prototypes_weight_norm": (False, "prototypes.weight_norm"),
        "feature_queue_size": (640, "feature_queue.size"),
        "feature_queue_start_epoch": (9, "feature_queue.start_epoch"),
        "feature_queue_originals": (False, "feature_queue.keep_originals"),
        "views_together": (True, "framework.views_together"),
    },
    "vicreg": {
        "invariance_weight": (0.2, "ssl_loss.invariance_weight"),
        "variance_weight": (0.3, "ssl_loss.variance_weight"),
        "covariance_weight": (0.4, "ssl_loss.covariance_weight"),
        "views_together": (True, "framework.views_together"),
    },
    "dino": {
        "student_temperature": (0.31, "ssl_loss.student_temperature"),
        "teacher_temperature": (0.07, "centering.final_temperature"),
        "warmup_teacher_temperature": (0.02, "centering.warmup_temperature"),
        "warmup_teacher_epochs": (4, "centering.warmup_epochs"),
        "center_momentum": (0.8, "centering.momentum"),
        "ema_momentum": (0.7, "framework.momentum.initial"),
        "average_buffers": (True, "framework.average_buffers"),
        "frozen_epochs": (7, "framework.frozen_epochs"),
        "head_by_group": (False, "framework.head_by_group"),
        "max_parameter_grad_norm": (2.5, "clip_gradients.max_norm"),
        "lr": (0.5, "lr_schedule.peak"),
        "final_lr": (0.003, "lr_schedule.final"),
        "warmup_epochs": (3, "lr_schedule.warmup_epochs"),
        "cosine_epochs": (44, "lr_schedule.cosine_epochs"),
    },
    "sdpn": {
        "prediction_temperature": (0.31, "ssl_loss.temperature"),
        "sharpening_temperature": (0.5, "ssl_loss.sharpening_temperature"),
        "num_sinkhorn_iterations": (5, "ssl_loss.num_iterations"),
        "entropy_weight": (0.2, "ssl_loss.entropy_weight"),
        "diversity_weight": (0.3, "ssl_loss.diversity_weight"),
        "dimension_weight": (0.4, "ssl_loss.dimension_weight"),
        "ema_momentum": (0.7, "framework.momentum.initial"),
        "average_buffers": (True, "framework.average_buffers"),
        "max_parameter_grad_norm": (2.5, "clip_gradients.max_norm"),
        "lr": (0.5, "lr_schedule.peak"),
        "final_lr": (0.003, "lr_schedule.final"),
        "warmup_epochs": (3, "lr_schedule.warmup_epochs"),
        "cosine_epochs": (44, "lr_schedule.cosine_epochs"),
    },
}


def read(name):
    """The keys of a YAML file as they are written."""
    return ruamel.yaml.YAML().load(HPARAMS / f"{name}.yaml")


def without_ssps_block(path):
    lines, inside = [], False
    for line in path.read_text().splitlines():
        inside = inside or line.startswith("# ---- SSPS block")
        if not inside:
            lines.append(line)
        if line.startswith("# ---- end of the SSPS block"):
            inside = False
    return lines


@pytest.mark.parametrize("path", SSPS_RECIPES, ids=lambda path: path.stem)
def test_twins_differ_in_the_ssps_block_only(path):
    twin = path.with_name(path.name.replace("_ssps", ""))
    assert without_ssps_block(path) == without_ssps_block(twin)
    assert path.read_text() != twin.read_text()


@pytest.mark.parametrize("overlay", ["minivox", "small_corpus"])
def test_the_voxceleb_files_go_the_published_way_and_the_overlays_ours(overlay):
    published = {
        **dict.fromkeys(
            ("simclr", "moco", "vicreg"), {"views_together": False}
        ),
        "swav": {"views_together": False, "prototypes_weight_norm": True},
        "dino": {"head_by_group": True},
    }
    ours = read(overlay)
    for name, values in published.items():
        for key, value in values.items():
            assert read(name)[key] is value
            assert ours[key] is not value
    assert read("swav")["feature_queue_originals"] is True


def test_simclr_has_the_published_settings():
    keys = read("simclr_ssps")
    published = {
        "crop_seconds": 2.0,
        "reference_seconds": 4.0,
        "num_mels": 40,
        "embedding_dim": 512,
        "encoder_channels": [1024, 1024, 1024, 1024, 3072],
        "temperature": 0.03,
        "global_batch_size": 256,
        "lr": 0.001,
        "num_epochs": 120,
        "ssps_start_epoch": 101,
        "num_clusters": 25000,
        "num_neighbors": 1,
        "queue_size": 25000,
        "whitening": 0.0,
        "projector": None,
    }
    assert {key: keys[key] for key in published} == published


@pytest.mark.parametrize(
    ("name", "published"),
    [
        (
            "vicreg",
            {
                "invariance_weight": 1.0,
                "variance_weight": 1.0,
                "covariance_weight": 0.1,
            },
        ),
        (
            "swav",
            {
                "num_prototypes": 6000,
                "prediction_temperature": 0.1,
                "sinkhorn_epsilon": 0.05,
                "num_sinkhorn_iterations": 3,
                "feature_queue_size": 3840,
                "feature_queue_start_epoch": 16,  # 15, counted from 0
                "frozen_epochs": 1,
            },
        ),
    ],
)
def test_a_framework_has_the_published_settings_and_else_those_of_simclr(
    name, published
):
    keys = read(f"{name}_ssps")
    published = {**published, "hidden_dim": 2048, "projection_dim": 512}
    assert {key: keys[key] for key in published} == published
    simclr = read("simclr_ssps")
    assert keys["encoder_channels"] == simclr["encoder_channels"]
    shared = keys.keys() & simclr.keys() - {"experiment", "temperature"}
    numbers = {key for key in shared if isinstance(simclr[key], (int, float))}
    assert {"num_mels", "lr", "num_clusters", "num_epochs"} < numbers
    for key in numbers:
        assert keys[key] == simclr[key], key


def test_moco_has_the_published_settings_and_else_those_of_simclr():
    keys = read("moco_ssps")
    published = {
        "negatives_size": 32768,
        "ema_momentum": 0.999,
        "average_buffers": False,
        "sync_batchnorm": False,
    }
    assert {key: keys[key] for key in published} == published
    assert keys["sampler"]["num_targets"] == 2
    simclr = read("simclr_ssps")
    assert simclr.keys() < keys.keys()
    assert keys["encoder_channels"] == simclr["encoder_channels"]
    for key, value in simclr.items():
        if isinstance(value, (int, float)) and key not in published:
            assert keys[key] == value, key


def test_dino_has_the_published_settings():
    keys = read("dino_ssps")
    published = {
        "global_crop_seconds": 4.0,
        "num_global_crops": 2,
        "local_crop_seconds": 2.0,
        "num_local_crops": 4,
        "num_mels": 80,
        "reverb_probability": 0.5,
        "noise_probability": 0.5,
        "hidden_dim": 2048,
        "bottleneck_dim": 256,
        "num_outputs": 65536,
        "ema_momentum": 0.996,
        "average_buffers": False,
        "reference_in_eval_mode": False,
        "frozen_epochs": 1,
        "student_temperature": 0.1,
        "teacher_temperature": 0.04,
        "center_momentum": 0.9,
        "max_parameter_grad_norm": 3.0,
        "global_batch_size": 128,
        "lr": 0.2,
        "final_lr": 1e-5,
        "warmup_epochs": 10,
        "cosine_epochs": 100,
        "schedule_epochs": 100,
        "weight_decay": 5e-5,
        "remove_vector_weight_decay": True,
        "ssps_start_epoch": 81,  # 80, counted from 0
        "num_epochs": 100,
        "num_clusters": 25000,
        "num_neighbors": 1,
        "queue_size": 25000,
    }
    assert {key: keys[key] for key in published} == published


def test_sdpn_has_the_settings_that_are_known():
    keys = read("sdpn_ssps")
    published = {
        "global_crop_seconds": 4.0,
        "num_global_crops": 1,
        "local_crop_seconds": 2.0,
        "num_local_crops": 4,
        "num_mels": 80,
        "reverb_probability": 0.5,
        "noise_probability": 0.5,
        "hidden_dim": 2048,
        "bottleneck_dim": 256,
        "num_prototypes": 1024,
        "ema_momentum": 0.996,
        "prediction_temperature": 0.1,
        "sharpening_temperature": 0.25,
        "num_sinkhorn_iterations": 3,
        "entropy_weight": 1.0,
        "diversity_weight": 0.1,
        "max_parameter_grad_norm": 3.0,
        "global_batch_size": 384,
        "final_lr": 1e-5,
        "warmup_epochs": 10,
        "num_epochs": 150,
        "schedule_epochs": 150,
        "weight_decay": 5e-5,
    }
    assert {key: keys[key] for key in published} == published
    # The cosine ends with the training.
    assert keys["warmup_epochs"] + keys["cosine_epochs"] == 150
    whole, parts = keys["crop_groups"]
    assert whole["augmented"] is False and "augmented" not in parts
    dino = read("dino_ssps")
    of_ssps = {"num_clusters", "num_neighbors", "queue_size", "whitening"}
    of_encoder = {"encoder_channels", "attention_channels", "embedding_dim"}
    for key in of_ssps | of_encoder:
        assert keys[key] == dino[key], key


@pytest.mark.parametrize("lr_per_256", [0.4, 0.5])
def test_the_learning_rate_of_sdpn_follows_the_batch(lr_per_256):
    argv = [str(HPARAMS / "sdpn.yaml"), "--lr_per_256", str(lr_per_256)]
    for batch, expected in ((384, 1.5 * lr_per_256), (64, lr_per_256 / 4)):
        configuration = parse_configuration(
            [*argv, "--global_batch_size", str(batch)]
        )
        assert configuration.settings()["lr"] == pytest.approx(expected)
        schedule = configuration.load(["lr_schedule"])["lr_schedule"]
        assert schedule.peak == pytest.approx(expected)


@pytest.mark.parametrize("path", SSPS_RECIPES, ids=lambda path: path.stem)
def test_all_but_moco_synchronise_batch_norms(path):
    # MoCo shuffles its keys over the ranks instead.
    assert read(path.stem)["sync_batchnorm"] == (path.stem != "moco_ssps")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_key_is_a_prefix_of_a_run_option(path):
    options = RunOptions().as_dict()
    clashes = [
        key
        for key in read(path.stem)
        for option in options
        if option.startswith(key) and option != key
    ]
    assert not clashes


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_key_is_known_to_a_recipe(overlay):
    keys = {key for path in RECIPES for key in read(path.stem)}
    assert set(read(overlay.stem)) <= keys


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_overlays_have_no_slips(path):
    argv = [str(path)]
    for overlay in OVERLAYS:
        argv += ["--overlay", str(overlay)]
    assert parse_configuration(argv).warnings == []


@functools.cache
def built(name):
    argv = [str(HPARAMS / f"{name}_ssps.yaml"), "--queue_size", "300"]
    for key, (value, _) in REACHED[name].items():
        argv += [f"--{key}", str(value)]
    return parse_configuration(
        [*argv, "--output_folder", "unused", "--checkpointer", "null"]
    ).load()


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name in REACHED for key in REACHED[name]]
)
def test_a_key_arrives_where_it_belongs(name, key):
    value, place = REACHED[name][key]
    entry, attribute = place.split(".", 1)
    assert operator.attrgetter(attribute)(built(name)[entry]) == value


@pytest.mark.parametrize("name", ["swav", "vicreg", "dino", "sdpn"])
def test_heads_have_three_layers(name):
    hparams = built(name)
    layers = hparams["head"].mlp if "head" in hparams else hparams["projector"]
    dims = [
        (layer.in_features, layer.out_features)
        for layer in layers
        if isinstance(layer, nn.Linear)
    ]
    last = 256 if "head" in hparams else 512
    assert dims == [(512, 2048), (2048, 2048), (2048, last)]


@pytest.mark.parametrize("name", ["dino", "sdpn"])
def test_sgd_with_momentum_is_clipped_by_parameter_alone(name):
    hparams = built(name)
    assert hparams["opt_class"].func is torch.optim.SGD
    assert hparams["opt_class"].keywords["momentum"] == 0.9
    assert hparams["max_grad_norm"] == float("inf")
    assert hparams["framework"].momentum.final == 1.0
