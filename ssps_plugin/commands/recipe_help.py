"""The help of a recipe: what it does, its YAML's keys, the run options."""

from __future__ import annotations

import ast
import importlib
import inspect
import pathlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import click

from ssps_plugin.commands.installed_files import find_root, list_hparams

#: Ask for help, wherever they stand.
HELP_OPTIONS = ("-h", "--help")

# Options of SpeechBrain's that training refuses, what goes with them alone,
# and spellings that SpeechBrain has given up.
_LEFT_OUT = re.compile(
    r"(compile|jit)(_\w+)?|data_parallel_backend|(auto|bfloat16)_mix_prec"
    r"|log_config"  # the recipes have a log of their own
)
_VERIFY_OPTIONS = ("device", "distributed_backend")
_VERIFY_KEYS = (
    *("output_folder", "trials", "trials_folder", "averaged_epochs"),
    *("cohort_size", "cohort_top_n", "num_resamples", "false_acceptance_rate"),
    *("train_manifest", "data_folder", "sample_rate", "rank_timeout_minutes"),
)
# SpeechBrain's own texts, where they say the contrary or nothing.
_OPTION_TEXTS = {
    "find_unused_parameters": "With torchrun: look for parameters without a "
    "gradient, which takes time.",
    "ckpt_interval_minutes": "Minutes between two checkpoints inside an epoch; "
    "0: none.",
    "ckpt_interval_steps": "Steps between two checkpoints inside an epoch; 0: "
    "none.",
    "max_grad_norm": "The gradient of all parameters together is clipped to "
    "this norm.",
    "debug": "Stop after a few batches and epochs: does it run at all? Errors "
    "come with their traceback.",
    "device": "Where to compute, such as cuda:0; a GPU if there is one.",
    "distributed_backend": "Of torchrun's processes: nccl, gloo or mpi.",
    "precision": "fp32, fp16 or bf16.",
    "eval_precision": "fp32, fp16 or bf16.",
    "test_only": "Train nothing: verify the run that is there.",
    "noprogressbar": "Show no progress bars.",
}
_SECTION = re.compile(r"^# -+ (.+)$")
_KEY = re.compile(r"^([A-Za-z]\w*):(.*)$")
_OBJECT = re.compile(r"!(?:new|name|apply):([\w.]+)")
_MARGIN = 2


@dataclass
class YamlKey:
    """A key of a YAML file.

    Arguments
    ---------
    name : str
        The key.
    value : str
        As it is written, without the comment.
    comment : str
        What stands beside it.
    section : str
        The heading that it is below.
    """

    name: str
    value: str
    comment: str
    section: str


def read_yaml_keys(path: str | pathlib.Path) -> list[YamlKey]:
    """Read the keys of a YAML file with the comments beside them, in order.

    Example
    -------
    >>> path = getfixture("tmp_path") / "x.yaml"
    >>> _ = path.write_text("# ---- Data\\nseed: 1  # of all\\n__x: 2\\n")
    >>> read_yaml_keys(path)
    [YamlKey(name='seed', value='1', comment='of all', section='Data')]
    """
    keys, section = [], ""
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        heading, found = _SECTION.match(line), _KEY.match(line)
        if heading:
            section = heading[1].strip()
            if section.startswith("end of"):
                section = ""
        elif found:
            value, _, comment = found[2].partition(" #")
            keys.append(
                YamlKey(found[1], value.strip(), comment.strip(), section)
            )
    return keys


def recipe_help(program: str, about: str, arguments: Sequence[str]) -> str:
    """Return the help of a recipe, and of the YAML file that is given.

    Arguments
    ---------
    program : str
        How the recipe is called.
    about : str
        What it does: its docstring.
    arguments : sequence of str
        The command line: the values shown are those that it gives.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError, ValueError
        The YAML file is not there, or an option is wrong.
    """
    is_verification = "verify" in program
    formatter = click.HelpFormatter(width=_width())
    what = "RUN_OR_YAML" if is_verification else "YAML"
    formatter.write_usage(program, f"{what} [--KEY VALUE ...] [RUN OPTIONS]")
    formatter.write_paragraph()
    typed = re.sub(r"python recipes/\w+/\w+\.py", program, about.strip())
    formatter.write(typed + "\n")
    given = [one for one in arguments if one not in HELP_OPTIONS]
    place = hparams_place(given)
    if place is None:
        _write_files(formatter, program, is_verification)
    else:
        only = _VERIFY_KEYS if is_verification else None
        _write_keys(formatter, given[place], given, only)
    keys = set() if place is None else _names(given[place])
    options = _VERIFY_OPTIONS if is_verification else None
    with formatter.section("Run options, of SpeechBrain"):
        formatter.write_dl(describe_run_options(keys, options))
    if not is_verification:
        with formatter.section("On several GPUs"):
            formatter.write_text(
                "torchrun --nproc_per_node=4 -m ssps_plugin train YAML ..."
            )
    return formatter.getvalue().rstrip()


def describe_run_options(
    keys: set[str], only: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """List run options and what they do, those that a recipe takes.

    Arguments
    ---------
    keys : set of str
        Of the YAML file: options of these names are described there.
    only : sequence of str, optional
        The options that have an effect; all that are not refused if left out.

    Returns
    -------
    list of tuple of str and str
        In alphabetical order.
    """
    from speechbrain.utils.run_opts import HELP_TEXTS

    from ssps_plugin.training.configuration import RUN_OPTIONS

    rows = []
    for name, default in sorted(RUN_OPTIONS.items()):
        if _LEFT_OUT.fullmatch(name) or name in keys:
            continue
        if only is not None and name not in only:
            continue
        text = _OPTION_TEXTS.get(name, HELP_TEXTS.get(name, ""))
        if isinstance(default, bool):
            rows.append((f"--{name}", text))
        else:
            shown = "" if default is None else f" [default: {default}]"
            rows.append((f"--{name} {_kind(default)}", f"{text}{shown}"))
    return rows


def hparams_place(arguments: Sequence[str]) -> int | None:
    """Return where the YAML file stands in a command line, if it is there.

    It is the first argument that is neither an option nor the value of one.

    Example
    -------
    >>> hparams_place(["--seed", "1", "--debug", "x.yaml", "--lr", "0.1"])
    3
    """
    from ssps_plugin.training.configuration import RUN_OPTIONS

    takes_value = False
    for place, argument in enumerate(arguments):
        if argument.startswith("-") and not takes_value:
            name = argument.removeprefix("--")
            is_flag = isinstance(RUN_OPTIONS.get(name), bool)
            is_joined = "=" in argument or argument in HELP_OPTIONS
            takes_value = not is_flag and not is_joined
        elif not takes_value:
            return place
        else:
            takes_value = False
    return None


def docstring_of(path: pathlib.Path) -> str:
    """Return the docstring of a Python file, which is not run."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return ast.get_docstring(tree) or ""


def _width() -> int:
    import shutil

    return max(60, min(100, shutil.get_terminal_size().columns - _MARGIN))


def _write_files(
    formatter: click.HelpFormatter, program: str, is_verification: bool
) -> None:
    if is_verification:
        formatter.write_paragraph()
        formatter.write_text(
            f"{program} --help RUN lists the keys, what they are and their "
            "values."
        )
        return
    with formatter.section("YAML files"):
        formatter.write_text(", ".join(list_hparams()))
        formatter.write_paragraph()
        formatter.write_text(
            f"{program} --help hparams/simclr_ssps.yaml lists the keys of one, "
            "what they are and their values."
        )


def _write_keys(
    formatter: click.HelpFormatter,
    path: str,
    arguments: Sequence[str],
    only: Sequence[str] | None,
) -> None:
    """Write the keys of a YAML file, with values and comments."""
    from ssps_plugin.training.configuration import parse_configuration

    configuration = parse_configuration(arguments, find_root())
    values = configuration.settings()
    comments = _known_comments()
    with formatter.section(f"Keys of {path} (--KEY VALUE)"):
        section = ""
        rows: list[tuple[str, str]] = []
        for key in read_yaml_keys(path):
            if only is not None and key.name not in only:
                continue
            if key.section != section and rows:
                _write_section(formatter, section, rows)
                rows = []
            section = key.section
            text = key.comment or comments.get(key.name) or _summary(key)
            rows.append((f"--{key.name} {_shown_value(key, values)}", text))
        if rows:
            _write_section(formatter, section, rows)


def _write_section(
    formatter: click.HelpFormatter, section: str, rows: list[tuple[str, str]]
) -> None:
    if section:
        with formatter.section(section):
            formatter.write_dl(rows, col_max=36)
    else:
        formatter.write_dl(rows, col_max=36)
        formatter.write_paragraph()


def _shown_value(key: YamlKey, values: dict[str, Any]) -> str:
    """Return a key's value with its references resolved, or its object."""
    if key.name in values:
        value = values[key.name]
        if value is None:
            return "null"
        return ".inf" if value == inf else str(value)
    found = _OBJECT.match(key.value)
    if found:
        return f"({found[1].rpartition('.')[2]})"
    return "(list)" if not key.value else f"({key.value})"


def _summary(key: YamlKey) -> str:
    """Return the first line of what a key's class says of itself."""
    found = _OBJECT.match(key.value)
    if not found:
        return ""
    module, _, name = found[1].rpartition(".")
    try:
        value = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):  # an extra, or one's own class
        return ""
    text = (inspect.getdoc(value) or "").strip().partition("\n\n")[0]
    return " ".join(text.split())


def _known_comments() -> dict[str, str]:
    """Return comments by key: a run's saved configuration has none."""
    comments: dict[str, str] = {}
    for path in sorted((find_root() / "hparams").glob("*.yaml")):
        for key in read_yaml_keys(path):
            if key.comment:
                comments.setdefault(key.name, key.comment)
    return comments


def _names(path: str) -> set[str]:
    return {key.name for key in read_yaml_keys(path)}


def _kind(default: Any) -> str:
    if default is None:
        return "VALUE"
    return {int: "INTEGER", float: "NUMBER"}.get(type(default), "VALUE")
