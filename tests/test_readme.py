"""Claims about the READMEs: they name what exists, and run."""

import dataclasses
import pathlib
import re
import statistics

import pytest
from speechbrain.utils.run_opts import RunOptions

from ssps_plugin.commands.command_line import ssps

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "recipes" / "voxceleb" / "README.md",
    ROOT / "recipes" / "dropin" / "README.md",
    ROOT / "recipes" / "pytorch" / "README.md",
    ROOT / "recipes" / "lightning" / "README.md",
    ROOT / "benchmarks" / "README.md",
]


def blocks(path, language):
    pattern = rf"```{language}\n(.*?)```"
    return re.findall(pattern, path.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_pages_name_files_that_exist(page):
    text = page.read_text()
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    linked += re.findall(r'(?:src|srcset)="([^"]+)', text)
    named = re.findall(
        r"(?:recipes|hparams|tests|benchmarks|docs)/[\w./-]+\w", text
    )
    missing = [
        name
        for name in [*linked, *named]
        if not (page.parent / name).exists() and not (ROOT / name).exists()
    ]
    assert not missing


# Of torchrun, of Slurm, of pip, of Docker and of huggingface-cli.
OTHERS = {
    "local-dir",
    "standalone",
    "nproc_per_node",
    "nnodes",
    "rdzv_backend",
    "rdzv_id",
    "rdzv_endpoint",
    "nodes",
    "ntasks-per-node",
    "gpus-per-node",
    "cpus-per-task",
    "requeue",
    "signal",
    "index-url",
    "rm",
}


def options_of_the_command():
    """Options of `ssps` and its commands, without the dashes."""
    commands = [ssps, *ssps.commands.values()]
    given = [
        option
        for command in commands
        for parameter in command.params
        for option in [*parameter.opts, *parameter.secondary_opts]
    ]
    return {option.lstrip("-") for option in given} | {"help"}


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "recipes" / "voxceleb" / "README.md"],
    ids=lambda page: page.parent.name,
)
def test_pages_name_keys_that_exist(page):
    keys = {field.name for field in dataclasses.fields(RunOptions)} | OTHERS
    keys |= options_of_the_command()
    for path in (ROOT / "hparams").glob("*.yaml"):
        keys |= set(re.findall(r"^(\w+):", path.read_text(), re.MULTILINE))
    named = re.findall(r"(?<![\w-])--([a-z][\w-]*)", page.read_text())
    assert named and not set(named) - keys


def test_first_two_commands_are_the_main_job_and_the_tests():
    job, tests = blocks(ROOT / "README.md", "bash")[:2]
    assert job.strip().endswith("train_ssl.py hparams/simclr_ssps.yaml")
    assert tests.strip().endswith("python -m pytest")


def test_commands_of_ssps_exist():
    named = set()
    for page in PAGES:
        for block in blocks(page, "bash"):
            named |= set(re.findall(r"^ssps (\w+)", block, re.MULTILINE))
    assert named >= {"train", "compare", "embed", "report", "export"}
    assert named <= set(ssps.commands)


def added_lines(diff):
    return [
        line.removeprefix("+").strip()
        for line in diff.splitlines()
        if line.startswith("+") and not line.startswith("+++")
    ]


def test_readme_prints_every_line_that_the_drop_in_recipes_add():
    dropin = ROOT / "recipes" / "dropin" / "README.md"
    yaml, script = blocks(dropin, "diff")[:2]
    (shown,) = blocks(ROOT / "README.md", "diff")
    assert added_lines(shown) == [*added_lines(yaml), *added_lines(script)]
    assert len(added_lines(shown)) == 12


def rows(text):
    """Cells of every row of a page's tables."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_results_in_the_readme_are_the_means_of_the_runs():
    runs = rows((ROOT / "recipes" / "voxceleb" / "README.md").read_text())
    shown = [
        (*re.fullmatch(r"(\w+) \((\d) seeds\)", row[0]).groups(), *row[1:])
        for row in rows((ROOT / "README.md").read_text())
        if "seeds)" in row[0]
    ]
    assert [one[0] for one in shown] == [
        "SimCLR",
        "MoCo",
        "VICReg",
        "DINO",
        "SwAV",
        "SDPN",
    ]
    for framework, seeds, *cells in shown:
        for positives, cell in zip(("plain", "SSPS"), cells, strict=True):
            figures = [
                float(run[3])
                for run in runs
                if run[:2] == [framework, positives]
            ]
            assert len(figures) == int(seeds)
            percent = float(cell.strip("*").removesuffix(" %"))
            assert abs(percent - statistics.mean(figures)) < 0.051


def test_python_in_the_readme_runs(capsys):
    (code,) = blocks(ROOT / "README.md", "python")
    exec(compile(code, "README.md", "exec"), {})
    assert float(capsys.readouterr().out) > 0
