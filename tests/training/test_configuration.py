"""Claims about the command line and the overlays."""

import pathlib

import pytest
import torch
from speechbrain.utils.run_opts import RunOptions

from ssps_plugin import ClusteringSampling, NearestNeighborSampling
from ssps_plugin.training.configuration import _read, parse_configuration

ROOT = pathlib.Path(__file__).parents[2]
HPARAMS = sorted((ROOT / "hparams").glob("*.yaml"))
SSPS_YAML = str(ROOT / "hparams" / "simclr_ssps.yaml")


@pytest.fixture
def yaml_file(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("seed: 1\nwidth: 5\noverlay: null\n")
    return path


def test_command_line_wins_over_overlay_and_overlay_over_file(
    tmp_path, yaml_file
):
    overlay = tmp_path / "small.yaml"
    overlay.write_text("seed: 2\nwidth: 6\n")
    argv = [str(yaml_file), "--overlay", str(overlay), "--width", "7"]
    configuration = parse_configuration(argv)
    assert (configuration["seed"], configuration["width"]) == (2, 7)


def test_a_resolved_value_follows_references_to_what_is_overridden(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "seed: 1\noverlay: null\nfolder: !ref results/<seed>\n"
        "made: !new:nowhere.Such {seed: !ref <seed>}\n"
    )
    configuration = parse_configuration([str(path), "--seed", "2"])
    assert configuration.resolved("folder") == "results/2"


def test_saved_configuration_names_no_overlay_to_lay_again(tmp_path, yaml_file):
    overlay = tmp_path / "small.yaml"
    overlay.write_text("seed: 2\n")
    argv = [str(yaml_file), "--overlay", str(overlay)]
    assert parse_configuration(argv)["overlay"] is None


def test_keys_of_an_overlay_that_the_file_lacks_are_left_out_and_named(
    tmp_path, yaml_file
):
    overlay = tmp_path / "small.yaml"
    overlay.write_text("seed: 2\nnum_clusters: 9\n")
    configuration = parse_configuration(
        [str(yaml_file), "--overlay", str(overlay)]
    )
    assert "num_clusters" not in configuration.overrides
    assert any("num_clusters" in note for note in configuration.notes)


def test_overlay_is_found_beside_the_yaml_from_any_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    configuration = parse_configuration(
        [SSPS_YAML, "--overlay", "hparams/minivox.yaml"]
    )
    assert configuration["num_clusters"] == 600


def test_unknown_key_is_refused_with_the_nearest_one(yaml_file):
    with pytest.raises(ValueError, match="did you mean --width"):
        parse_configuration([str(yaml_file), "--widht", "3"])


@pytest.mark.parametrize("token", ["--prec=bf16", "--max=3", "--noprog"])
def test_abbreviated_run_options_are_refused(yaml_file, token):
    with pytest.raises(ValueError, match="write out --"):
        parse_configuration([str(yaml_file), token])


def test_value_after_a_flag_is_refused(yaml_file):
    with pytest.raises(ValueError, match="takes no value"):
        parse_configuration([str(yaml_file), "--noprogressbar", "True"])


def test_missing_yaml_and_missing_overlay_are_named(yaml_file):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        parse_configuration(["nowhere.yaml"])
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml"):
        parse_configuration([str(yaml_file), "--overlay", "gone.yaml"])


@pytest.mark.parametrize("path", HPARAMS, ids=lambda path: path.name)
def test_no_key_is_a_prefix_of_a_run_option(path):
    options = RunOptions().as_dict()
    clashes = [
        key
        for key in _read(path)
        for option in options
        if option.startswith(key) and option != key
    ]
    assert not clashes


def without_ssps_block(path):
    lines, inside = [], False
    for line in path.read_text().splitlines():
        inside = inside or line.startswith("# ---- SSPS block")
        if not inside:
            lines.append(line)
        if line.startswith("# ---- end of the SSPS block"):
            inside = False
    return lines


@pytest.mark.parametrize(
    "path",
    [path for path in HPARAMS if path.stem.endswith("_ssps")],
    ids=lambda path: path.name,
)
def test_twins_differ_in_the_ssps_block_only(path):
    twin = path.with_name(path.name.replace("_ssps", ""))
    assert without_ssps_block(path) == without_ssps_block(twin)
    assert path.read_text() != twin.read_text()


def test_voxceleb_settings_are_the_published_ones():
    keys = _read(SSPS_YAML)
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
    keys = _read(ROOT / "hparams" / f"{name}_ssps.yaml")
    published = {**published, "hidden_dim": 2048, "projection_dim": 512}
    assert {key: keys[key] for key in published} == published
    simclr = _read(SSPS_YAML)
    assert keys["encoder_channels"] == simclr["encoder_channels"]
    shared = keys.keys() & simclr.keys() - {"experiment", "temperature"}
    numbers = {key for key in shared if isinstance(simclr[key], (int, float))}
    assert {"num_mels", "lr", "num_clusters", "num_epochs"} < numbers
    for key in numbers:
        assert keys[key] == simclr[key], key


def test_moco_has_the_published_settings_and_else_those_of_simclr():
    keys = _read(ROOT / "hparams" / "moco_ssps.yaml")
    published = {
        "negatives_size": 32768,
        "ema_momentum": 0.999,
        "average_buffers": False,
        "sync_batchnorm": False,
    }
    assert {key: keys[key] for key in published} == published
    assert keys["sampler"]["num_targets"] == 2
    simclr = _read(SSPS_YAML)
    assert simclr.keys() < keys.keys()
    assert keys["encoder_channels"] == simclr["encoder_channels"]
    for key, value in simclr.items():
        if isinstance(value, (int, float)) and key not in published:
            assert keys[key] == value, key


def test_every_overlay_key_is_known_to_a_recipe():
    recipes = [path for path in HPARAMS if path.stem != "minivox"]
    known = {key for path in recipes for key in _read(path)}
    assert set(_read(ROOT / "hparams" / "minivox.yaml")) <= known


def test_dino_has_the_published_settings():
    keys = _read(ROOT / "hparams" / "dino_ssps.yaml")
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


def loaded(tmp_path, *argv):
    """What a run builds, and what is built from the file that it saves."""
    output = ("--output_folder", str(tmp_path / "out"))
    configuration = parse_configuration([SSPS_YAML, *output, *argv])
    configuration.save(tmp_path)
    saved = str(tmp_path / "hyperparams.yaml")
    return configuration.load(), parse_configuration([saved]).load()


def test_an_object_of_another_class_takes_the_place_of_the_present_one(
    tmp_path,
):
    strategy = "!new:ssps_plugin.NearestNeighborSampling {num_neighbors: 7}"
    for hparams in loaded(
        tmp_path,
        *("--sampler", f"{{strategy: {strategy}, queue_size: 50}}"),
        *("--margin", "!new:ssps_plugin.losses.AdditiveMargin {margin: 0.2}"),
        *("--opt_class", "!name:torch.optim.SGD {lr: 0.5}"),
    ):
        sampler = hparams["sampler"]
        assert type(sampler.strategy) is NearestNeighborSampling
        assert sampler.strategy.num_neighbors == 7
        assert (sampler.queue.size, sampler.start_epoch) == (50, 101)
        assert hparams["modules"]["margin"].margin == 0.2
        assert hparams["opt_class"].func is torch.optim.SGD
        assert hparams["opt_class"].keywords == {"lr": 0.5}


def test_an_overlay_may_hold_an_object_with_references(tmp_path):
    overlay = tmp_path / "own.yaml"
    overlay.write_text(
        "embedding_dim: 8\n"
        "projector: !new:ssps_plugin.heads.MLPHead\n"
        "    dims: [!ref <embedding_dim>, 5]\n"
    )
    for hparams in loaded(tmp_path, "--overlay", str(overlay)):
        projector = hparams["framework"].projector
        assert (projector[0].in_features, projector[-1].out_features) == (8, 5)


def test_arguments_of_an_object_are_changed_one_by_one(tmp_path):
    for hparams in loaded(tmp_path, "--sampler", "{queue_size: 300, seed: 3}"):
        sampler = hparams["sampler"]
        assert (sampler.queue.size, sampler.seed) == (300, 3)
        assert type(sampler.strategy) is ClusteringSampling
        assert sampler.strategy.num_clusters == 25000


def test_a_key_given_twice_is_refused(yaml_file):
    with pytest.raises(ValueError, match="--width is given twice"):
        parse_configuration([str(yaml_file), "--width", "3", "--width=4"])


def test_a_slip_in_an_overlay_is_named_and_keys_of_other_files_are_not(
    tmp_path, yaml_file
):
    overlay = tmp_path / "small.yaml"
    overlay.write_text("widths: 2\nnum_clusters: 9\n")
    argv = [str(yaml_file), "--overlay", str(overlay)]
    (warning,) = parse_configuration(argv).warnings
    assert "widths in" in warning and "did you mean width?" in warning


@pytest.mark.parametrize("path", HPARAMS, ids=lambda path: path.name)
def test_the_overlay_for_small_corpora_has_no_slips(path):
    argv = [str(path), "--overlay", str(ROOT / "hparams/minivox.yaml")]
    if path.stem != "minivox":
        assert parse_configuration(argv).warnings == []


def test_an_overlay_is_keys_and_values(tmp_path, yaml_file):
    overlay = tmp_path / "small.yaml"
    overlay.write_text("width 2\n")
    with pytest.raises(ValueError, match=r"`key: value`.*small\.yaml"):
        parse_configuration([str(yaml_file), "--overlay", str(overlay)])


def test_a_copied_yaml_finds_the_overlay_of_the_recipes(
    tmp_path, yaml_file, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    argv = [str(yaml_file), "--overlay", "hparams/minivox.yaml"]
    with pytest.raises(FileNotFoundError, match="overlay"):
        parse_configuration(argv)
    assert (
        parse_configuration(argv, ROOT)
        .overlays[0]
        .samefile(ROOT / "hparams" / "minivox.yaml")
    )


def test_a_runs_folder_in_place_of_its_file_is_told(tmp_path):
    (tmp_path / "hyperparams.yaml").write_text("seed: 1\n")
    with pytest.raises(FileNotFoundError, match=r"give .*hyperparams\.yaml"):
        parse_configuration([str(tmp_path)])
