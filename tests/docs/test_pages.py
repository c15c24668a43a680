"""Claims about the pages: what they name exists, and their code runs."""

import dataclasses
import pathlib
import re
import shutil

import click
import pytest
from speechbrain.utils.run_opts import RunOptions

from ssps_plugin.commands.command_line import ssps
from tests.recipes.corpora import write_corpus
from tests.recipes.running import run

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(set(DOCS.rglob("*.md")) - {DOCS / "README.md"})
# Before a block: what it wants, or that it is no program.
_BLOCK = re.compile(
    r"(?:<!-- test: (?P<mark>[^>]*) -->\n)?```python\n(?P<code>.*?)```",
    re.DOTALL,
)
# Of pip, python, torchrun and Slurm.
OTHERS = {
    *("standalone", "nproc_per_node", "nnodes", "rdzv_backend", "rdzv_id"),
    *("rdzv_endpoint", "nodes", "ntasks-per-node", "gpus-per-node"),
    *("cpus-per-task", "requeue", "signal"),
}


def pages_with(pattern):
    return [
        pytest.param(page, id=page.relative_to(DOCS).as_posix())
        for page in PAGES
        if re.search(pattern, page.read_text(), flags=re.DOTALL)
    ]


def python_blocks(page, wanted):
    """List the blocks of a page whose mark starts with `wanted`."""
    return [
        found["code"]
        for found in _BLOCK.finditer(page.read_text())
        if (found["mark"] or "plain").startswith(wanted)
    ]


@pytest.mark.parametrize("page", pages_with("```python"))
def test_python_of_pages_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in python_blocks(page, "plain"):
        exec(compile(code, page.name, "exec"), names)
    assert "nan" not in capsys.readouterr().out


def test_every_mark_of_a_block_is_known():
    known = ("skip, ", "needs a finished run", "needs an export")
    marks = [
        found["mark"]
        for page in PAGES
        for found in _BLOCK.finditer(page.read_text())
        if found["mark"]
    ]
    assert marks
    assert [mark for mark in marks if not mark.startswith(known)] == []


@pytest.fixture(scope="module")
def folder_of_a_run(tmp_path_factory):
    """A folder with a run, an export of it, and recordings."""
    from ssps_plugin.pretrained import (
        SpeakerEncoder,
        export_onnx,
        export_run,
    )

    folder = tmp_path_factory.mktemp("use")
    corpus = write_corpus(folder / "corpus")
    output = folder / "results" / "simclr_ssps" / "1986"
    run("simclr_ssps.yaml", output, data_folder=corpus)
    export = export_run(output, folder / "my_model")
    encoder = SpeakerEncoder.from_export(export, device="cpu")
    export_onnx(encoder, export / "speaker_encoder.onnx")
    for number, name in ((0, "anna"), (1, "ben")):
        for recording in (1, 2):
            place = corpus / "wav" / f"id{number:03d}" / f"rec{recording}"
            shutil.copy(place / "00000.wav", folder / f"{name}-{recording}.wav")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["needs a finished run", "needs an export"])
def test_python_that_uses_a_run_runs(
    mark, folder_of_a_run, monkeypatch, capsys
):
    monkeypatch.chdir(folder_of_a_run)
    blocks = [code for page in PAGES for code in python_blocks(page, mark)]
    assert blocks
    for code in blocks:
        exec(compile(code, mark, "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.name) for page in PAGES]
)
def test_pages_name_files_that_exist(page):
    text = page.read_text()
    linked = [
        target.partition("#")[0]
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if not target.startswith(("http", "#", "mailto:"))
    ]
    named = re.findall(
        r"(?<![\w/])(?:recipes|hparams|tests|benchmarks|docs)/[\w./-]+\w", text
    )
    missing = [name for name in linked if not (page.parent / name).exists()]
    missing += [
        name
        for name in named
        if not (ROOT / name).exists() and "_build" not in name
    ]
    assert not missing


def keys_and_options():
    """All that may stand behind two dashes for a recipe."""
    keys = {field.name for field in dataclasses.fields(RunOptions)}
    for path in (ROOT / "hparams").rglob("*.yaml"):
        keys |= set(re.findall(r"^(\w+):", path.read_text(), re.MULTILINE))
    for command in ssps.commands.values():
        for parameter in command.params:
            keys |= {option.lstrip("-") for option in parameter.opts}
    return keys | OTHERS | {"help", "version", "debug"}


@pytest.mark.parametrize(
    "page", pages_with(r"(?<![\w-])--[a-z]") + [pytest.param(DOCS / "use.md")]
)
def test_pages_name_options_that_exist(page):
    named = re.findall(r"(?<![\w-])--([a-z][\w-]*)", page.read_text())
    assert not set(named) - keys_and_options()


@pytest.mark.parametrize("page", pages_with(r"\bssps [a-z]+"))
def test_pages_name_commands_that_exist(page):
    text = page.read_text()
    code = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    code += re.findall(r"`(ssps [^`]+)`", text)
    used = re.findall(r"^ssps ([a-z]+)", "\n".join(code), re.MULTILINE)
    assert not set(used) - set(ssps.commands)


def test_every_command_has_its_help_on_the_site():
    from command_help import command_names, help_of

    text = (DOCS / "commands.md").read_text()
    shown = re.findall(r"command-help:: (\w+)", text)
    assert shown == command_names()
    assert isinstance(ssps.commands["compare"], click.Command)
    assert "Usage: ssps compare" in help_of("compare")


def test_front_page_leads_everywhere():
    text = (DOCS / "index.md").read_text()
    names = {
        page.relative_to(DOCS).with_suffix("").as_posix()
        for page in (*PAGES, *DOCS.glob("notebooks/*.ipynb"))
        if page.parent.name != "api" and page.name != "index.md"
    }
    assert not {name for name in names if f"\n{name}\n" not in text}
