"""Claims about the built site: no warning, and every link inside resolves."""

import html.parser
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).parents[2]


class Links(html.parser.HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self):
        super().__init__()
        self.anchors, self.links = {""}, set()

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("id", "name"):
                self.anchors.add(value)
            elif name in ("href", "src") and value and tag != "use":
                self.links.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q"]
    command += ["-d", str(folder / "doctrees"), "-b", "html"]
    built = subprocess.run(
        [*command, str(ROOT / "docs"), str(folder / "html")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    found = {}
    for path in site.rglob("*.html"):
        found[path] = Links()
        found[path].feed(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_links_inside_the_site_resolve(pages):
    broken = []
    for page, content in pages.items():
        for link in content.links:
            address = urllib.parse.urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = page
            if address.path:
                name = urllib.parse.unquote(address.path)
                target = pathlib.Path(os.path.normpath(page.parent / name))
            anchor = urllib.parse.unquote(address.fragment)
            known = pages[target].anchors if target in pages else {anchor}
            if not target.exists() or anchor not in known:
                broken.append(f"{page.name}: {link}")
    assert len(pages) > 30
    assert not broken


@pytest.mark.slow
def test_links_to_the_repository_name_files_that_exist(pages):
    setup = (ROOT / "setup.py").read_text()
    home = re.search(r'^REPOSITORY = "(.+)"$', setup, flags=re.M)[1]
    start = f"{home}/blob/main/"
    linked = {
        link.removeprefix(start).partition("#")[0]
        for content in pages.values()
        for link in content.links
        if link.startswith(start)
    }
    assert "recipes/dropin/README.md" in linked
    assert not [name for name in linked if not (ROOT / name).exists()]


@pytest.mark.slow
def test_docstrings_are_rendered_as_sections(site):
    page = (site / "api" / "losses.html").read_text()
    assert 'class="rubric">Source' in page and 'class="rubric">Example' in page
    for leftover in ("Arguments\n", "Source:", "-----", "`batch"):
        assert leftover not in page
