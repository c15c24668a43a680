"""Values typed on a command line: literal paths, types, ranges, a fuzz."""

import math
import pathlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssps_plugin.training.configuration import (
    Configuration,
    apply_overrides,
    parse_configuration,
)
from ssps_plugin.training.settings import parse_value, tag_of

ROOT = pathlib.Path(__file__).parents[2]
SSPS_YAML = str(ROOT / "hparams" / "simclr_ssps.yaml")
PATH_KEYS = ("data_folder", "trials", "trials_folder", "output_folder")
PATH_KEYS += ("noise_folder", "rir_folder", "train_manifest", "made_trials")
PATH_KEYS += ("warm_start_from", "minivox_folder", "save_folder", "train_log")
ODD_PATHS = ("/x/my #2", "2024", "2024-05-01", "no", "~", "a: b", "*x", "{}")
ODD_PATHS += ("!new:os.system", " blank", "trailing ", "1e3", "true", ".inf")
ODD_PATHS += ("(a, b)", "/x/<seed>", "<nowhere>", "5 #x", "1/2", "0x10", "-3")
ODD_PATHS += (
    "'quoted'",
    "&a",
    "- a",
    "a?",
    "a\nb",
    "a\tb",
    "%",
    "@",
    "`",
    "|",
)
ODD_PATHS += (
    "é",
    "e\u0301",
    "\udcff",
    "a=b",
    "12:30:45",
    "<<",
    "NULL",
    "[a",
    "",
)


SMALL = {}


@pytest.fixture(scope="module", autouse=True)
def small_yaml(tmp_path_factory):
    """Copy the plain keys and the sampler of the YAML: quicker to read."""
    text = pathlib.Path(SSPS_YAML).read_text(encoding="utf-8")
    plain = re.findall(r"^\w+: (?:[^!\n]|!ref).*\n", text, flags=re.MULTILINE)
    sampler = re.search(r"^sampler: .*\n(?: .*\n)+", text, flags=re.MULTILINE)
    SMALL["path"] = tmp_path_factory.mktemp("hparams") / "small.yaml"
    SMALL["path"].write_text("".join(plain) + sampler[0])


def parsed(*argv, yaml_file=None):
    return parse_configuration([str(yaml_file or SMALL["path"]), *argv])


def value_of(key, text):
    return parsed(f"--{key}={text}")[key]


@pytest.mark.parametrize("path", ODD_PATHS[:-1])
def test_a_path_is_what_was_typed_in_all_that_is_made_of_it(tmp_path, path):
    small = tmp_path / "x.yaml"
    small.write_text(
        "seed: 1\noverlay: null\nnoise_folder: null\n"
        "output_folder: !ref results/<seed>\n"
        "save_folder: !ref <output_folder>/save\n"
        "trials: null\n"
        "made: !new:builtins.dict\n"
        "    noise: !ref <noise_folder>\n"
        "    save: !ref <save_folder>\n"
        "    lists: [!ref <noise_folder>]\n"
    )
    configuration = parsed(
        *("--noise_folder", path, "--output_folder", path, "--trials", path),
        yaml_file=small,
    )
    assert configuration["noise_folder"] == path
    configuration.save(tmp_path)
    saved = parsed(yaml_file=tmp_path / "hyperparams.yaml")
    for one in (configuration, saved):
        expected = {"noise_folder": path, "output_folder": path, "trials": path}
        settings = one.settings()
        assert {key: settings[key] for key in expected} == expected
        assert settings["save_folder"] == f"{path}/save"
        hparams = one.load()
        assert {key: hparams[key] for key in expected} == expected
        assert hparams["made"] == {
            **{"noise": path, "save": f"{path}/save"},
            "lists": [path],
        }


@pytest.mark.parametrize("key", [*PATH_KEYS, "overlay"])
def test_an_empty_path_is_refused_with_its_key(key):
    for text in ("", " "):
        with pytest.raises(ValueError, match=f"for {key}, got an empty value"):
            value_of(key, text)
    with pytest.raises(ValueError, match=f"value after --{key}, got --lr"):
        parsed(f"--{key}", "--lr", "1")
    with pytest.raises(ValueError, match=f"value after --{key}, got the end"):
        parsed("--lr", "1", f"--{key}")


def test_null_is_no_path_where_there_may_be_none():
    assert value_of("noise_folder", "null") is None
    with pytest.raises(ValueError, match="a path for output_folder, got null"):
        value_of("output_folder", "null")


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("[A, B]", ["A", "B"]),
        ("[A,/my data/B #2 , 2024]", ["A", "/my data/B #2", "2024"]),
        ("['A, B', \"C\\td\", it's]", ["A, B", "C\td", "it's"]),
        ("[A]", ["A"]),
        ("[A, B, ]", ["A", "B"]),
    ],
)
def test_lists_of_paths(text, paths):
    assert value_of("data_folder", text) == paths
    assert value_of("trials", text) == paths
    assert value_of("noise_folder", text) == text
    configuration = parsed("--trials", text)
    assert configuration.load()["trials"] == paths


@pytest.mark.parametrize("text", ["[]", "[,]", "[A,, B]", "[A, '']"])
def test_lists_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match=r"several as \[A, B\].*data_folder"):
        value_of("data_folder", text)


def test_a_path_in_brackets_that_exists_is_no_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "[a]").mkdir()
    assert value_of("data_folder", "[a]") == "[a]"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        *(("lr", "1e-3", 0.001), ("lr", "1", 1), ("min_seconds", " 2", 2)),
        *(("num_made_trials", "1E5", 100000), ("num_clusters", "6e2", 600)),
        *(("use_tensorboard", text, True) for text in ("True", "yes", "on")),
        *(("use_tensorboard", text, False) for text in ("false", "No", "0")),
        ("encoder_channels", "[8, 8]", [8, 8]),
        ("max_unreadable", "0", 0),
        ("rank_timeout_minutes", "0.5", 0.5),
        ("experiment", "2024", "2024"),
        ("experiment", "my #2", "my #2"),
        ("folder_layout", "'any'", "any"),
        ("compile_backend", "null", None),
        ("compile_backend", "inductor", "inductor"),
        ("projector", "null", None),
    ],
)
def test_values_of_the_right_type(key, text, value):
    got = value_of(key, text)
    assert got == value and type(got) is type(value)
    assert parsed(f"--{key}={text}").settings()[key] == value


def test_a_reference_may_be_typed():
    configuration = parsed("--schedule_epochs", "!ref <seed> * 2")
    assert configuration.settings()["schedule_epochs"] == 2 * 1986


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        *(("lr", text, "a number") for text in ("1,5e-3", "fast", "[1]")),
        *(("lr", text, "a number") for text in ("null", "true", "{}", "''")),
        *(
            ("lr", text, "a number")
            for text in ("2024-05-01", "!new:os.system")
        ),
        *(("num_epochs", text, "whole") for text in ("1.5", "ten", ".inf")),
        *(("num_epochs", text, "whole") for text in ("9" * 5000, "True")),
        *(
            ("use_tensorboard", text, "True or")
            for text in ("maybe", "2", "1.0")
        ),
        *(
            ("encoder_channels", text, "list")
            for text in ("8", "[8, a]", "1,2")
        ),
        *(("sampler", text, "object") for text in ("5", "[1]", "x")),
        *(("projector", text, "object") for text in ("5", "mlp")),
        ("projector", "{dims: [8, 8]}", r"an object \(!new:…\) or null"),
        ("clip_gradients", "{max_norm: 1}", r"an object \(!new:…\) or null"),
        ("experiment", "null", "text"),
        ("sampler", "{queue_size: many}", "a number for queue_size"),
        ("sampler", "{strategy: {num_clusters: x}}", "number for num_clusters"),
    ],
)
def test_values_of_the_wrong_type_are_refused_with_the_key(key, text, expected):
    with pytest.raises(ValueError, match=expected) as error:
        value_of(key, text)
    assert f"--{key}" in str(error.value) and text in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "{a: ",
        "*x",
        "&a [*a]",
        "a: b: c",
        "[" * 300,
        "- " * 5000,
        "\x07",
        "--- a\n--- b",
    ],
)
def test_what_is_not_yaml_is_refused_with_the_key(text):
    for key in ("sampler", "lr", "num_epochs"):
        with pytest.raises(ValueError, match=f"for {key}, got "):
            value_of(key, text)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *(("num_workers", "-1"), ("num_epochs", "0"), ("sample_rate", "0")),
        *(("crop_seconds", "-1"), ("crop_seconds", "0"), ("lr", "nan")),
        *(("lr", ".nan"), ("lr", ".inf"), ("lr", "0"), ("seed", "-1")),
        *(("max_unreadable", "1.5"), ("rank_timeout_minutes", "0")),
        *(("reverb_probability", "2"), ("encoder_channels", "[8, 0]")),
        *(("num_checkpoints", "0"), ("verify_interval", "0")),
        *(("global_batch_size", "-8"), ("crop_seconds", "1e9")),
    ],
)
def test_numbers_out_of_range_are_refused_with_the_key(key, text):
    with pytest.raises(ValueError, match=f"{key}.*, got .*: change ") as error:
        value_of(key, text)
    assert f"change {key}" in str(error.value) or f"--{key}" in str(error.value)


@pytest.mark.parametrize(
    "line",
    [
        *("lr: fast", "lr: 1,5e-3", "num_epochs: 0", "num_epochs: 1.5"),
        *("data_folder: 2024", "data_folder: ''", "data_folder: {}"),
        *("use_tensorboard: maybe", "experiment: 5", "sampler: 5"),
        *("encoder_channels: 8", "output_folder: null", "lr: .nan"),
    ],
)
def test_wrong_values_in_an_overlay_are_refused_with_key_and_file(
    tmp_path, line
):
    overlay = tmp_path / "small.yaml"
    overlay.write_text(f"{line}\n")
    key = line.partition(":")[0]
    with pytest.raises(ValueError, match=rf"Expected .*{key}.*change {key}"):
        parsed("--overlay", str(overlay))


def test_words_for_bool_in_an_overlay_are_bool(tmp_path):
    overlay = tmp_path / "small.yaml"
    overlay.write_text("use_tensorboard: no\nsync_batchnorm: yes\n")
    settings = parsed("--overlay", str(overlay)).settings()
    assert settings["use_tensorboard"] is False
    assert settings["sync_batchnorm"] is True


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfea\x00", b"a: [", b"- 1\n", b"lr: 1\nlr: 2\n", b"1: 2\n", b"x"],
)
def test_a_damaged_yaml_is_named(tmp_path, content):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.yaml"):
        parsed(yaml_file=path)
    with pytest.raises(ValueError, match=r"broken\.yaml"):
        parsed("--overlay", str(path))


@pytest.mark.parametrize("value", ["2024-05-01", "[a, 1986]", "[a, null]"])
def test_what_is_no_text_in_the_place_of_a_path_is_refused(value, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(f"data_folder: {value}\n")
    with pytest.raises(ValueError, match="for data_folder .* quote it"):
        parsed(yaml_file=path)


def test_what_cannot_be_built_names_file_and_overrides():
    configuration = parsed("--sampler", "{queue_sise: 5}", yaml_file=SSPS_YAML)
    with pytest.raises(ValueError, match=r"simclr_ssps\.yaml.*\(sampler\)"):
        configuration.load()


def test_arguments_may_be_given_to_an_object_that_has_none():
    configuration = parsed("--margin", "{margin: 0.5}", yaml_file=SSPS_YAML)
    with pytest.raises(ValueError, match=r"NoMargin.*argument 'margin'"):
        configuration.load()
    margin = "!new:ssps_plugin.losses.AdditiveMargin"
    tree = {"margin": parse_value("margin", margin, {"margin": None})}
    apply_overrides(tree, {"margin": {"margin": 0.5}})
    assert tree["margin"] == {"margin": 0.5}
    assert tag_of(tree["margin"]) == margin


@pytest.mark.parametrize(
    ("text", "value"), [("0.5", 0.5), ("15", 15.0), ("0", 0.0), ("1e-1", 0.1)]
)
def test_minutes_between_checkpoints_may_be_a_fraction(text, value):
    run_opts = parsed("--ckpt_interval_minutes", text, "--device=cpu").run_opts
    assert run_opts.ckpt_interval_minutes == value
    assert type(run_opts.ckpt_interval_minutes) is float
    assert {"ckpt_interval_minutes", "device"} <= run_opts.overridden_args
    assert run_opts.device == "cpu"


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *(
            ("ckpt_interval_minutes", text)
            for text in ("nan", "-1", "x", ".inf")
        ),
        *(("grad_accumulation_factor", text) for text in ("0", "1.5", "x")),
        *(("optimizer_step_limit", text) for text in ("0", "many")),
        *(("max_grad_norm", "x"), ("ckpt_interval_steps", "1.5")),
        *(("precision", "fp8"), ("device", "gpu"), ("device", "")),
        *(("distributed_backend", "glue"), ("debug_batches", "few")),
    ],
)
def test_run_options_of_the_wrong_kind_are_refused_by_name(option, text):
    with pytest.raises(ValueError, match=f"--{option}"):
        parsed(f"--{option}={text}")


def test_run_options_of_the_right_kind():
    run_opts = parsed(
        "--max_grad_norm=.inf", "--optimizer_step_limit=3", "--noprogressbar"
    ).run_opts
    assert run_opts.max_grad_norm == math.inf
    assert run_opts.optimizer_step_limit == 3
    assert run_opts.noprogressbar is True


def test_a_value_may_hold_an_equals_sign_and_begin_with_a_dash():
    address = "https://host/list?a=1&b=2"
    assert parsed("--trials", address)["trials"] == address
    assert parsed("--noise_folder", "-x")["noise_folder"] == "-x"
    assert parsed("--noise_folder=--x")["noise_folder"] == "--x"


def test_the_yaml_file_may_come_later_and_must_come():
    configuration = parse_configuration(["--seed", "2", str(SMALL["path"])])
    assert configuration["seed"] == 2
    for argv in ([], ["--seed", "2"]):
        with pytest.raises(ValueError, match="a YAML file.* got none"):
            parse_configuration(argv)


KEYS = [
    "data_folder",
    "trials",
    "lr",
    "num_epochs",
    "sampler",
    "margin",
    "seed",
]
KEYS += [
    "use_tensorboard",
    "encoder_channels",
    "experiment",
    "overlay",
    "device",
]
KEYS += ["compile_backend", "precision", "noprogressbar", "max_grad_norm"]
KEYS += ["ckpt_interval_minutes", "nothing", "crop_groups", "__set_seed", ""]
VALUES = st.one_of(
    st.sampled_from(ODD_PATHS),
    st.text(st.characters(exclude_characters="\0"), max_size=12),
    st.floats().map(str),
    st.integers().map(str),
    st.text("[]{}:,&*!<>|-?#%@'\" \n\tax1.", max_size=16),
)
TOKENS = st.one_of(
    st.tuples(st.sampled_from(KEYS), VALUES).map("--{0[0]}={0[1]}".format),
    st.sampled_from(KEYS).map("--{}".format),
    VALUES,
)


ANY_TEXT = st.text(
    st.characters(exclude_characters="\0\x85\u2028\u2029"), min_size=1
)


@settings(max_examples=50, deadline=None)
@given(ANY_TEXT.filter(str.strip).filter(lambda text: text != "null"))
def test_any_path_survives_being_written_and_read(text):
    overrides = {"noise_folder": text, "sampler": None}
    configuration = Configuration(SMALL["path"], None, overrides)
    assert configuration.settings()["noise_folder"] == text
    assert configuration.load()["noise_folder"] == text


@settings(max_examples=150, deadline=None)
@given(st.lists(TOKENS, max_size=4))
def test_any_command_line_is_parsed_or_refused_with_a_message(argv):
    try:
        parsed(*argv)
    except (ValueError, FileNotFoundError) as error:
        words = [token.removeprefix("--").partition("=")[0] for token in argv]
        shown = str(error)
        # As it is, or as in the repr of all that was typed.
        assert any(word in shown or repr(word)[1:-1] in shown for word in words)
        assert not isinstance(error, UnicodeError)
    except SystemExit:
        assert {"-h", "--help"} & set(argv)
