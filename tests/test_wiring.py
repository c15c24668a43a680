"""Claims about what the keys of a YAML reach."""

import functools
import operator
import pathlib

import pytest
import torch
from torch import nn

from ssps_plugin.training.configuration import parse_configuration

HPARAMS = pathlib.Path(__file__).parents[1] / "hparams"
# Key: a value that nothing else has, and where it arrives.
REACHED = {
    "simclr": {"temperature": (0.31, "ssl_loss.temperature")},
    "moco": {
        "temperature": (0.31, "ssl_loss.temperature"),
        "ema_momentum": (0.7, "framework.momentum.initial"),
        "average_buffers": (True, "framework.average_buffers"),
        "negatives_size": (300, "negatives.size"),
    },
    "swav": {
        "prediction_temperature": (0.31, "ssl_loss.temperature"),
        "sinkhorn_epsilon": (0.07, "ssl_loss.epsilon"),
        "num_sinkhorn_iterations": (5, "ssl_loss.num_iterations"),
        "frozen_epochs": (7, "prototypes.frozen_epochs"),
        "feature_queue_size": (640, "feature_queue.size"),
        "feature_queue_start_epoch": (9, "feature_queue.start_epoch"),
    },
    "vicreg": {
        "invariance_weight": (0.2, "ssl_loss.invariance_weight"),
        "variance_weight": (0.3, "ssl_loss.variance_weight"),
        "covariance_weight": (0.4, "ssl_loss.covariance_weight"),
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
        "max_parameter_grad_norm": (2.5, "clip_gradients.max_norm"),
        "lr": (0.5, "lr_schedule.peak"),
        "final_lr": (0.003, "lr_schedule.final"),
        "warmup_epochs": (3, "lr_schedule.warmup_epochs"),
        "cosine_epochs": (44, "lr_schedule.cosine_epochs"),
    },
}


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


@pytest.mark.parametrize("name", ["swav", "vicreg", "dino"])
def test_heads_have_three_layers(name):
    hparams = built(name)
    layers = hparams["head"].mlp if name == "dino" else hparams["projector"]
    dims = [
        (layer.in_features, layer.out_features)
        for layer in layers
        if isinstance(layer, nn.Linear)
    ]
    last = {"dino": 256}.get(name, 512)
    assert dims == [(512, 2048), (2048, 2048), (2048, last)]


def test_dino_is_trained_by_sgd_with_momentum_and_clipped_by_parameter_alone():
    hparams = built("dino")
    assert hparams["opt_class"].func is torch.optim.SGD
    assert hparams["opt_class"].keywords["momentum"] == 0.9
    assert hparams["max_grad_norm"] == float("inf")
    assert hparams["framework"].momentum.final == 1.0
