"""Claims about the help of a recipe."""

import pathlib
import re
import types

import pytest

from ssps_plugin.commands.recipe_help import (
    describe_run_options,
    hparams_place,
    read_yaml_keys,
    recipe_help,
)
from ssps_plugin.training.checks import check_run_options
from ssps_plugin.training.configuration import (
    RUN_OPTIONS,
    parse_configuration,
)
from tests.recipes.running import ROOT

HPARAMS = sorted(ROOT.glob("hparams/*_ssps.yaml"))
SIMCLR = str(ROOT / "hparams" / "simclr_ssps.yaml")


def words(text):
    return " ".join(text.split())


@pytest.mark.parametrize("path", HPARAMS, ids=lambda path: path.stem)
def test_every_key_is_listed_with_its_value_and_comment(path):
    text = recipe_help("ssps train", "", [str(path)])
    shown = words(text)
    values = parse_configuration([str(path)]).settings()
    keys = read_yaml_keys(path)
    assert len(keys) > 50
    for key in keys:
        if key.comment:
            found = re.search(
                rf"--{key.name} .*?{re.escape(key.comment[:20])}", shown
            )
            assert found, key
        if isinstance(values.get(key.name), (int, str)):
            assert f"--{key.name} {values[key.name]}" in shown


def test_every_plain_key_of_the_file_is_among_them():
    keys = {key.name for key in read_yaml_keys(SIMCLR)}
    assert keys >= set(parse_configuration([SIMCLR]).settings())


def test_values_are_those_that_the_command_line_gives():
    arguments = ["--help", SIMCLR, "--seed", "7", "--overlay"]
    arguments.append(str(ROOT / "hparams" / "minivox.yaml"))
    text = words(recipe_help("ssps train", "", arguments))
    assert "--seed 7 " in text
    assert "--output_folder results/simclr_ssps/7 " in text
    assert "--max_grad_norm .inf " in text
    assert "--num_clusters 25000" not in text  # the overlay's


def test_options_are_in_one_order_and_none_is_refused():
    rows = describe_run_options(set())
    names = [row[0].split()[0].removeprefix("--") for row in rows]
    assert names == sorted(names)
    assert {"device", "precision", "debug"} <= set(names)
    attributes = {
        name: RUN_OPTIONS[name]
        for name in (
            *("compile", "compile_module_keys", "jit", "jit_module_keys"),
            *("data_parallel_backend", "max_grad_norm"),
        )
    }
    for name in names:
        if RUN_OPTIONS[name] is False:
            brain = types.SimpleNamespace(**{**attributes, name: True})
            check_run_options(brain)  # does not raise


@pytest.mark.parametrize(
    "refused",
    ["compile", "jit", "jit_module_keys", "data_parallel_backend"],
)
def test_what_the_recipe_refuses_is_not_listed(refused):
    text = recipe_help("ssps train", "", [SIMCLR])
    assert f"--{refused} " not in text
    assert f"--{refused}\n" not in text


def test_a_key_is_listed_once():
    text = recipe_help("ssps train", "", [SIMCLR])
    listed = re.findall(r"^ +--(\w+)", text, flags=re.M)
    assert len(listed) == len(set(listed))
    assert "max_grad_norm" in listed


def test_examples_are_of_the_command_that_was_typed():
    about = "Train.\n\n    python recipes/voxceleb/train_ssl.py x.yaml"
    assert "    ssps train x.yaml" in recipe_help("ssps train", about, [])
    text = recipe_help("python recipes/voxceleb/train_ssl.py", about, [])
    assert "    python recipes/voxceleb/train_ssl.py x.yaml" in text


def test_without_a_file_those_that_there_are_are_named():
    text = words(recipe_help("ssps train", "", ["--help"]))
    for path in HPARAMS:
        assert path.stem in text
    assert "minivox" not in text.partition("YAML files:")[2].split()[0:30]


def test_the_help_of_verification_has_what_it_reads_only():
    text = recipe_help("ssps verify", "", [SIMCLR])
    listed = re.findall(r"^ +--(\w+)", text, flags=re.M)
    assert {"trials", "trials_folder", "cohort_size", "device"} <= set(listed)
    assert not {"lr", "num_epochs", "precision", "debug"} & set(listed)


@pytest.mark.parametrize(
    "arguments, place",
    [
        (["x.yaml"], 0),
        (["--seed", "1", "x.yaml"], 2),
        (["--lr", "-0.1", "x.yaml"], 2),
        (["--seed=1", "x.yaml", "--lr", "1"], 1),
        (["--debug", "x.yaml"], 1),
        (["--help", "x.yaml"], 1),
        (["--seed", "1"], None),
        ([], None),
    ],
)
def test_the_yaml_is_found_among_options(arguments, place):
    assert hparams_place(arguments) == place


def test_a_run_without_comments_borrows_those_of_the_files(tmp_path):
    path = pathlib.Path(tmp_path, "hyperparams.yaml")
    parse_configuration([SIMCLR]).save(tmp_path)
    text = re.sub(r" +# .*", "", path.read_text())  # as after a resume
    path.write_text(text)
    assert all(not key.comment for key in read_yaml_keys(path))
    text = words(recipe_help("ssps verify", "", [str(path)]))
    assert re.search(r"--cohort_size 0 .*?training utterances", text)
