"""The command line, what overrides a YAML file, and its overlays."""

import os
import pathlib

import pytest
import torch

from ssps_plugin import ClusteringSampling, NearestNeighborSampling
from ssps_plugin.training.configuration import (
    parse_configuration,
    read_saved_settings,
    read_saved_strategy,
)

ROOT = pathlib.Path(__file__).parents[2]
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


def test_settings_follow_references_to_what_is_overridden(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "seed: 1\noverlay: null\nfolder: !ref results/<seed>\n"
        "made: !new:nowhere.Such {seed: !ref <seed>}\n"
    )
    configuration = parse_configuration([str(path), "--seed", "2"])
    assert configuration.settings() == {
        "seed": 2,
        "overlay": None,
        "folder": "results/2",
    }


def test_saved_configuration_names_no_overlay_to_apply_again(
    tmp_path, yaml_file
):
    overlay = tmp_path / "small.yaml"
    overlay.write_text("seed: 2\n")
    argv = [str(yaml_file), "--overlay", str(overlay)]
    assert parse_configuration(argv)["overlay"] is None


def loaded(tmp_path, *argv):
    """What a run builds, and what is built from the file that it saves."""
    output = ("--output_folder", str(tmp_path / "out"))
    configuration = parse_configuration([SSPS_YAML, *output, *argv])
    configuration.save(tmp_path)
    saved = str(tmp_path / "hyperparams.yaml")
    return configuration.load(), parse_configuration([saved]).load()


def test_a_key_typed_for_a_saved_file_reaches_all_that_refers_to_it(tmp_path):
    loaded(tmp_path, "--num_epochs", "109", "--seed", "7")
    saved = str(tmp_path / "hyperparams.yaml")
    again = parse_configuration([saved, "--num_epochs", "130", "--seed", "8"])
    hparams = again.load()
    assert hparams["epoch_counter"].limit == 130
    assert hparams["ssps_schedule_epochs"] == 130 - 101 + 1
    assert hparams["sampler"].seed == hparams["seed"] == 8
    # Sums of references and paths are read without building anything.
    settings = read_saved_settings(saved)
    assert settings == parse_configuration([saved]).settings()
    assert settings["ssps_schedule_epochs"] == 109 - 101 + 1
    assert settings["save_folder"] == f"{tmp_path}/out/save"


def test_what_depends_on_the_place_is_resolved_when_it_is_saved(tmp_path):
    (tmp_path / "more.yaml").write_text("lr: 0.5\n")
    path = tmp_path / "x.yaml"
    path.write_text(
        "seed: 1\noverlay: null\nfolder: !applyref:os.getcwd []\n"
        "more: !include:more.yaml\nagain: !ref <seed> * 2\n"
    )
    out = tmp_path / "out"
    out.mkdir()
    parse_configuration([str(path)]).save(out)
    settings = read_saved_settings(out / "hyperparams.yaml")
    assert settings["folder"] == os.getcwd()
    assert parse_configuration([str(out / "hyperparams.yaml")]).load()[
        "more"
    ] == {"lr": 0.5}


def test_a_key_of_what_was_replaced_is_warned_of():
    overlay = str(ROOT / "hparams" / "small_corpus.yaml")
    configuration = parse_configuration(
        [SSPS_YAML, "--overlay", overlay]
        + ["--num_clusters", "5", "--num_neighbors", "7", "--seed", "3"]
    )
    (warning,) = configuration.warnings
    assert warning.startswith("num_clusters does nothing")
    strategy = configuration.load(["sampler"])["sampler"].strategy
    assert strategy.lists.num_neighbors == 7


def test_the_strategy_of_a_saved_file_is_found_through_a_reference(tmp_path):
    path = tmp_path / "hyperparams.yaml"
    path.write_text(
        "mine: !new:ssps.Mine {}\nsampler: !new:S {strategy: !ref <mine>}\n"
    )
    assert read_saved_strategy(path) == "Mine"


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


def test_an_overlays_arguments_are_left_out_where_an_object_has_none():
    overlay = str(ROOT / "hparams" / "small_corpus.yaml")
    for framework in ("simclr", "moco", "vicreg", "swav", "dino", "sdpn"):
        for name, has_strategy in (
            (framework, False),
            (f"{framework}_ssps", True),
        ):
            path = str(ROOT / "hparams" / f"{name}.yaml")
            configuration = parse_configuration([path, "--overlay", overlay])
            hparams = configuration.load()
            assert hasattr(hparams["sampler"], "strategy") == has_strategy
            left_out = any("no use for" in n for n in configuration.notes)
            assert left_out != has_strategy


def test_arguments_of_an_object_are_changed_one_by_one(tmp_path):
    for hparams in loaded(tmp_path, "--sampler", "{queue_size: 300, seed: 3}"):
        sampler = hparams["sampler"]
        assert (sampler.queue.size, sampler.seed) == (300, 3)
        assert type(sampler.strategy) is ClusteringSampling
        assert sampler.strategy.num_clusters == 25000


def test_overlay_is_found_beside_the_yaml_from_any_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    configuration = parse_configuration(
        [SSPS_YAML, "--overlay", "hparams/minivox.yaml"]
    )
    assert configuration["num_clusters"] == 600


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


def test_keys_for_the_files_beside_an_overlay_are_not_listed(tmp_path):
    shipped = str(ROOT / "hparams" / "minivox.yaml")
    configuration = parse_configuration([SSPS_YAML, "--overlay", shipped])
    assert not [note for note in configuration.notes if "no use for" in note]
    own = tmp_path / "own.yaml"
    own.write_text("num_epochs: 2\nhidden_dim: 8\n")
    configuration = parse_configuration([SSPS_YAML, "--overlay", str(own)])
    (note,) = [note for note in configuration.notes if "no use for" in note]
    assert note.endswith("has no use for hidden_dim.")


def test_a_slip_in_an_overlay_is_named_and_keys_of_other_files_are_not(
    tmp_path, yaml_file
):
    overlay = tmp_path / "small.yaml"
    overlay.write_text("widths: 2\nnum_clusters: 9\n")
    argv = [str(yaml_file), "--overlay", str(overlay)]
    (warning,) = parse_configuration(argv).warnings
    assert "widths in" in warning and "did you mean width?" in warning


def test_an_overlay_is_keys_and_values(tmp_path, yaml_file):
    overlay = tmp_path / "small.yaml"
    overlay.write_text("width 2\n")
    with pytest.raises(ValueError, match=r"`key: value`.*small\.yaml"):
        parse_configuration([str(yaml_file), "--overlay", str(overlay)])


def test_missing_yaml_and_missing_overlay_are_named(yaml_file):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        parse_configuration(["nowhere.yaml"])
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml"):
        parse_configuration([str(yaml_file), "--overlay", "gone.yaml"])


def test_a_runs_folder_in_place_of_its_file_is_refused_with_the_file(tmp_path):
    (tmp_path / "hyperparams.yaml").write_text("seed: 1\n")
    with pytest.raises(FileNotFoundError, match=r"give .*hyperparams\.yaml"):
        parse_configuration([str(tmp_path)])


def test_unknown_key_is_refused_with_the_nearest_one(yaml_file):
    with pytest.raises(ValueError, match="did you mean --width"):
        parse_configuration([str(yaml_file), "--widht", "3"])


def test_a_key_given_twice_is_refused(yaml_file):
    with pytest.raises(ValueError, match="Expected --width once"):
        parse_configuration([str(yaml_file), "--width", "3", "--width=4"])


@pytest.mark.parametrize("token", ["--prec=bf16", "--max=3", "--noprog"])
def test_abbreviated_run_options_are_refused(yaml_file, token):
    with pytest.raises(ValueError, match="write out --"):
        parse_configuration([str(yaml_file), token])


def test_value_after_a_flag_is_refused(yaml_file):
    with pytest.raises(ValueError, match="takes no value"):
        parse_configuration([str(yaml_file), "--noprogressbar", "True"])


# -- several overlays ------------------------------------------------------


@pytest.fixture
def layered(tmp_path):
    """A YAML file and two overlays that touch the same keys."""
    (tmp_path / "x.yaml").write_text(
        "lr: 1.0\nnum_mels: 40\noverlay: null\n"
        "encoder: !new:torch.nn.Linear {in_features: 1, out_features: 2}\n"
    )
    (tmp_path / "a.yaml").write_text(
        "lr: 2.0\nnum_mels: 80\nencoder: {in_features: 3}\n"
    )
    (tmp_path / "b, c.yaml").write_text(
        "lr: 3.0\n"
        "encoder: !new:torch.nn.Bilinear "
        "{in1_features: 4, in2_features: 5, out_features: 6}\n"
    )
    return tmp_path


@pytest.mark.parametrize("way", ["list", "repeated", "mixed"])
def test_of_several_overlays_the_last_goes_before(layered, way):
    argv = [str(layered / "x.yaml")]
    argv += {
        "list": ["--overlay", "[a.yaml, 'b, c.yaml']"],
        "repeated": ["--overlay", "a.yaml", "--overlay", "b, c.yaml"],
        "mixed": ["--overlay=[a.yaml]", "--overlay=b, c.yaml"],
    }[way]
    configuration = parse_configuration([*argv, "--encoder", "{bias: False}"])
    assert configuration["lr"] == 3.0 and configuration["num_mels"] == 80
    assert [path.name for path in configuration.overlays] == [
        "a.yaml",
        "b, c.yaml",
    ]
    encoder = configuration.load()["encoder"]
    assert type(encoder).__name__ == "Bilinear"
    assert encoder.in1_features == 4 and encoder.bias is None


def test_arguments_of_an_overlay_and_of_the_command_line_are_joined(layered):
    argv = [str(layered / "x.yaml"), "--overlay", "a.yaml"]
    configuration = parse_configuration(
        [*argv, "--encoder", "{out_features: 7}"]
    )
    encoder = configuration.load()["encoder"]
    assert (encoder.in_features, encoder.out_features) == (3, 7)
    assert configuration.overlay_keys() == {"lr", "num_mels", "encoder"}


def test_several_overlays_may_stand_in_the_file_itself(layered):
    text = (layered / "x.yaml").read_text()
    text = text.replace("overlay: null", "overlay: ['b, c.yaml', a.yaml]")
    (layered / "x.yaml").write_text(text)
    configuration = parse_configuration([str(layered / "x.yaml")])
    assert configuration["lr"] == 2.0
