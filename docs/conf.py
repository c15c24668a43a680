"""Configuration of the site.

Build it: `sphinx-build -W --keep-going -b html docs docs/_build/html`.
"""

import importlib
import inspect
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[1]
# The package of this checkout, before one that is installed.
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_extensions")]

import ssps_plugin  # noqa: E402

project = "ssps_plugin"
author = "The ssps_plugin developers"
copyright = author  # noqa: A001
release = version = ssps_plugin.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.linkcode",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "house_docstrings",
    "command_help",
    "public_names",
    "yaml_keys",
    "repository_files",
]
exclude_patterns = ["_build", "_extensions", "figures", "README.md"]

# Pages are Markdown; docstrings are reStructuredText in NumPy style with
# SpeechBrain's headings, and single backticks for code.
default_role = "name"
napoleon_google_docstring = False
napoleon_custom_sections = ["Source"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autosummary_generate = False
python_maximum_signature_line_length = 72
add_module_names = False
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

# The notebook takes minutes: `SSPS_RUN_NOTEBOOKS=1` shows what it prints.
nb_execution_mode = "force" if os.environ.get("SSPS_RUN_NOTEBOOKS") else "off"
nb_execution_timeout = 1800
nb_execution_raise_on_error = True

html_theme = "furo"
html_title = f"ssps_plugin {release}"
html_static_path = ["_static"]
html_css_files = ["ssps.css"]
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

_SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
#: Where files of the repository are read.
repository_url = re.search(r'^REPOSITORY = "(.+)"$', _SETUP, flags=re.M)[1]
# `sphinx-build -b linkcheck` needs a network. Sources are many, and move.
linkcheck_ignore = [re.escape(repository_url) + r"/blob/main/ssps_plugin/.*"]
linkcheck_anchors = False
linkcheck_timeout = 20


def linkcode_resolve(domain, info):
    """Return where the source of something documented is read."""
    found = importlib.import_module(info["module"])
    for name in info["fullname"].split("."):
        found = getattr(found, name, None)
    found = inspect.unwrap(getattr(found, "fget", None) or found)
    try:
        path = pathlib.Path(inspect.getsourcefile(found))
        lines, first = inspect.getsourcelines(found)
    except (TypeError, OSError):  # a value, not code
        return None
    if not path.is_relative_to(ROOT):  # inherited
        return None
    place = f"{path.relative_to(ROOT).as_posix()}"
    last = first + len(lines) - 1
    return f"{repository_url}/blob/main/{place}#L{first}-L{last}"
