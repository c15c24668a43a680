"""Claims about the READMEs: they name what exists, and run."""

import dataclasses
import pathlib
import re

import pytest
from speechbrain.utils.run_opts import RunOptions

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "recipes" / "voxceleb" / "README.md",
    ROOT / "recipes" / "dropin" / "README.md",
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
    named = re.findall(r"(?:recipes|hparams|tests|benchmarks)/[\w./-]+\w", text)
    missing = [
        name
        for name in [*linked, *named]
        if not (page.parent / name).exists() and not (ROOT / name).exists()
    ]
    assert not missing


# Of torchrun and of Slurm.
OTHERS = {
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
}


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "recipes" / "voxceleb" / "README.md"],
    ids=lambda page: page.parent.name,
)
def test_pages_name_keys_that_exist(page):
    keys = {field.name for field in dataclasses.fields(RunOptions)} | OTHERS
    for path in (ROOT / "hparams").glob("*.yaml"):
        keys |= set(re.findall(r"^(\w+):", path.read_text(), re.MULTILINE))
    named = re.findall(r"(?<![\w-])--([a-z][\w-]*)", page.read_text())
    assert named and not set(named) - keys


def test_first_two_commands_are_the_main_job_and_the_tests():
    job, tests = blocks(ROOT / "README.md", "bash")[:2]
    assert job.strip().endswith("train_ssl.py hparams/simclr_ssps.yaml")
    assert tests.strip().endswith("python -m pytest")


def test_readme_prints_the_difference_that_the_drop_in_recipes_have():
    dropin = ROOT / "recipes" / "dropin" / "README.md"
    assert blocks(ROOT / "README.md", "diff") == blocks(dropin, "diff")[:2]


def test_python_in_the_readme_runs(capsys):
    (code,) = blocks(ROOT / "README.md", "python")
    exec(compile(code, "README.md", "exec"), {})
    assert float(capsys.readouterr().out) > 0
