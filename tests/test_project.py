"""Claims about the project's papers, forms, workflows and image."""

import fnmatch
import importlib.metadata
import pathlib
import re
import runpy
import subprocess

import pytest
import yaml
from click.testing import CliRunner

import ssps_plugin
from ssps_plugin.commands.command_line import ssps

ROOT = pathlib.Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(
    path
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")
    if path.name != "config.yml"
)
PAPERS = {"2505.14561", "2501.17772"}
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


def load(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def setup_py():
    """What setup.py gives to setuptools, and its constants."""
    given = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("setuptools.setup", given.update)
        constants = runpy.run_path(str(ROOT / "setup.py"))
    return {**constants, "given": given}


# -- CITATION.cff: the rules of cff 1.2.0 that hold without its schema ---------


def check_people(people):
    assert people
    for person in people:
        # An entity has a name; a person at least one of these.
        assert "name" in person or {"family-names", "given-names"} & set(person)


def test_citation_has_what_cff_requires_and_nothing_unknown():
    citation = load("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    known = {
        *("cff-version", "message", "type", "title", "abstract", "version"),
        *("license", "repository-code", "url", "authors", "keywords"),
        *("references", "date-released", "doi", "identifiers", "contact"),
    }
    assert set(citation) <= known
    assert citation["type"] == "software"
    check_people(citation["authors"])
    assert all(isinstance(word, str) for word in citation["keywords"])


def test_citation_is_of_this_version_license_and_repository(setup_py):
    citation = load("CITATION.cff")
    assert citation["version"] == ssps_plugin.__version__
    assert citation["license"] == setup_py["given"]["license_expression"]
    assert citation["repository-code"] == setup_py["REPOSITORY"]
    assert citation["authors"][0]["name"] == setup_py["given"]["author"]


def test_citation_refers_to_both_papers():
    references = load("CITATION.cff")["references"]
    for reference in references:
        assert {"type", "title", "authors", "year"} <= set(reference)
        assert reference["type"] in {"article", "conference-paper"}
        assert isinstance(reference["year"], int)
        check_people(reference["authors"])
        names = [author["family-names"] for author in reference["authors"]]
        assert names == ["Lepage", "Dehak"]
        for one in reference["identifiers"]:
            assert {"type", "value"} <= set(one)
            assert one["type"] in {"doi", "url", "swh", "other"}
    assert {one["url"].rpartition("/")[2] for one in references} == PAPERS


def test_bibtex_of_the_readme_is_that_of_the_citation():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (bibtex,) = re.findall(r"```bibtex\n(.*?)```", readme, flags=re.DOTALL)
    entries = re.split(r"^(?=@)", bibtex, flags=re.MULTILINE)[1:]
    assert len(entries) == 2
    for entry in entries:
        fields = {
            key: re.sub(r"\s+", " ", value).replace("{", "").replace("}", "")
            for key, value in re.findall(
                r"(\w+)\s*=\s*\{(.*)\},?$", entry, re.M
            )
        }
        (paper,) = [
            one
            for one in load("CITATION.cff")["references"]
            if one["url"].endswith(fields["eprint"])
        ]
        assert fields["title"] == paper["title"]
        assert fields["year"] == str(paper["year"])
        assert fields["author"] == " and ".join(
            f"{one['family-names']}, {one['given-names']}"
            for one in paper["authors"]
        )
        place = fields.get("journal") or fields["booktitle"]
        assert place == paper.get("journal") or place == paper.get(
            "collection-title"
        )


# -- What PyPI shows ----------------------------------------------------------


def test_links_and_images_of_the_long_description_are_absolute(setup_py):
    text = setup_py["given"]["long_description"]
    linked = re.findall(r"\]\(([^)\s]+)", text)
    linked += re.findall(r'(?:src|srcset|href)="([^"]+)', text)
    assert any(one.endswith(".png") for one in linked)
    relative = [
        one
        for one in linked
        if not one.startswith(("https://", "http://", "#"))
    ]
    assert not relative


def test_relative_links_of_the_readme_start_from_the_tag(setup_py):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](LICENSE)" in readme
    wanted = f"{setup_py['REPOSITORY']}/blob/v{ssps_plugin.__version__}/LICENSE"
    assert f"]({wanted})" in setup_py["given"]["long_description"]


def test_classifiers_name_the_pythons_that_are_tested(setup_py):
    prefix = "Programming Language :: Python :: 3."
    named = [
        "3." + one.removeprefix(prefix)
        for one in setup_py["given"]["classifiers"]
        if one.startswith(prefix)
    ]
    tests = load(".github/workflows/tests.yml")
    assert named == PYTHONS
    assert tests["jobs"]["default"]["strategy"]["matrix"]["python"] == named
    assert setup_py["given"]["python_requires"] == f">={named[0]}"


# -- Workflows and forms ------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_triggers_rights_and_steps(path):
    workflow = load(path)
    assert workflow["name"] == path.stem
    assert workflow[True]  # `on`, as YAML 1.1 reads it
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        assert set(job.get("needs", "build").split()) <= set(
            workflow["jobs"]
        ) | {"build"}
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert re.fullmatch(r"[\w./-]+@[\w./-]+", step["uses"])


def test_workflows_run_what_the_gate_runs():
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    steps = [
        step.get("run", "")
        for path in WORKFLOWS
        for job in load(path)["jobs"].values()
        for step in job["steps"]
    ]
    commands = {line.strip() for step in steps for line in step.splitlines()}
    for command in (
        *("ruff format --check .", "ruff check .", "yamllint .", "codespell"),
        *("mypy", "python -m pytest -m slow", ".ci/system-packages"),
    ):
        assert command in gate
        assert command in commands
    assert any(
        "sphinx-build" in command and " -W " in command for command in commands
    )
    assert re.search(r"sphinx-build .*-W", gate)


def test_publishing_trusts_the_workflow_and_keeps_no_token():
    text = (ROOT / ".github" / "workflows" / "publish.yml").read_text()
    publish = yaml.safe_load(text)["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert "secrets." not in text


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_what_github_requires(path):
    form = load(path)
    assert {"name", "description", "body"} <= set(form)
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert ids and len(set(ids)) == len(ids)
    for part in form["body"]:
        assert part["type"] in {"markdown", "textarea", "input", "dropdown"}
        shown = "value" if part["type"] == "markdown" else "label"
        assert part["attributes"][shown].strip()


def test_there_are_forms_for_a_bug_a_question_and_a_feature():
    names = [path.stem for path in FORMS]
    assert names == ["bug", "feature", "question"]
    bug = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text()
    assert "ssps --version" in bug


def test_the_command_that_the_bug_form_names_shows_the_versions():
    shown = CliRunner().invoke(ssps, ["--version"])
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0] == f"ssps_plugin {ssps_plugin.__version__}"
    for name in ("torch", "torchaudio", "speechbrain"):
        assert f"{name} {importlib.metadata.version(name)}" in lines


# -- The image ----------------------------------------------------------------


def instructions():
    """The Dockerfile's instructions: (name, arguments)."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    text = text.replace("\\\n", " ")
    return [
        tuple(line.split(maxsplit=1))
        for line in text.splitlines()
        if line.strip()
    ]


def test_image_takes_its_base_and_index_as_arguments():
    lines = instructions()
    assert lines[0][0] == "ARG" and lines[0][1].startswith("BASE=")
    assert lines[1] == ("FROM", "${BASE}")
    given = {line[1].partition("=")[0] for line in lines if line[0] == "ARG"}
    used = set(re.findall(r"\$\{(\w+)\}", str(lines)))
    assert used <= given
    assert {"BASE", "TORCH_INDEX", "EXTRAS"} <= given


def test_image_runs_ssps_and_not_as_root():
    last = dict(instructions())  # the last of each name
    assert last["ENTRYPOINT"] == '["ssps"]'
    assert last["USER"] == "${USER_ID}"
    users = [
        index for index, line in enumerate(instructions()) if line[0] == "USER"
    ]
    assert all(line[0] != "RUN" for line in instructions()[users[-1] :])


def test_image_gets_the_extras_that_exist(setup_py):
    (extras,) = [
        line[1].partition("=")[2]
        for line in instructions()
        if line[0] == "ARG" and line[1].startswith("EXTRAS=")
    ]
    assert set(extras.split(",")) <= set(setup_py["given"]["extras_require"])


def test_image_is_sent_every_file_that_is_installed(setup_py):
    patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert patterns[0] == "*"
    kept = [line[1:] for line in patterns if line.startswith("!")]
    given = setup_py["given"]
    needed = {
        "setup.py",
        "pyproject.toml",
        "README.md",
        *given["license_files"],
    }
    needed |= {name for _, names in given["data_files"] for name in names}
    needed |= {name.replace(".", "/") for name in given["packages"]}
    for name in needed:
        assert any(
            fnmatch.fnmatch(name, one) or name.startswith(f"{one}/")
            for one in kept
        ), name
    assert {"results", "data", ".git", ".venv"}.isdisjoint(kept)


# -- The gate -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["run", "system-packages"])
def test_scripts_of_the_gate_are_programs_in_bash(name):
    path = ROOT / ".ci" / name
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)


def run_without_browser(tmp_path, *programs):
    """Run `.ci/system-packages` where only these programs are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "log"
    for name, body in {"bash": None, "env": None, **dict(programs)}.items():
        if body is None:
            real = pathlib.Path("/usr/bin") / name
            (folder / name).symlink_to(
                real if real.exists() else f"/bin/{name}"
            )
        else:
            (folder / name).write_text(f"#!/bin/bash\n{body}\n")
            (folder / name).chmod(0o755)
    done = subprocess.run(
        [str(ROOT / ".ci" / "system-packages")],
        env={"PATH": str(folder), "LOG": str(log)},
        capture_output=True,
        text=True,
    )
    return done, log.read_text() if log.exists() else ""


def test_the_browser_is_installed_by_root(tmp_path):
    done, log = run_without_browser(
        tmp_path, ("id", "echo 0"), ("apt-get", 'echo "$@" >> "$LOG"')
    )
    assert done.returncode == 0
    assert log.splitlines()[0].startswith("update")
    assert log.splitlines()[1].endswith("chromium chromium-driver")


def test_the_browser_is_installed_by_sudo(tmp_path):
    done, log = run_without_browser(
        tmp_path,
        ("id", "echo 1000"),
        ("apt-get", 'echo "$@" >> "$LOG"'),
        ("sudo", '[ "$1" = -n ] && exit 0; echo sudo >> "$LOG"; exec "$@"'),
    )
    assert done.returncode == 0
    assert log.count("sudo") == 2 and "chromium-driver" in log


def test_a_user_who_cannot_install_the_browser_is_told_what_to_ask_for(
    tmp_path,
):
    done, log = run_without_browser(
        tmp_path,
        ("id", '[ "$1" = -un ] && echo somebody || echo 1000'),
        ("apt-get", 'echo "$@" >> "$LOG"'),
    )
    assert done.returncode == 1 and not log
    assert "Expected root or sudo" in done.stderr
    assert "apt-get install chromium chromium-driver" in done.stderr


def test_nothing_is_installed_where_a_browser_is(tmp_path):
    done, log = run_without_browser(
        tmp_path, ("chromium", ""), ("chromedriver", ""), ("apt-get", "exit 9")
    )
    assert done.returncode == 0 and not log
