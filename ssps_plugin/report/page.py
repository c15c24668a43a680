"""One HTML file that holds everything: style, script, charts and audio."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ssps_plugin.report.charts import DARK, LIGHT

_FOLDER = pathlib.Path(__file__).parent
# No address is ever asked for anything: the browser itself sees to that.
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data:; base-uri 'none'; form-action 'none'"
)
# What would end a script, or begin a comment in it.
_ESCAPES = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def render_page(charts: Mapping[str, Any], **content: Any) -> str:
    """Render the page.

    All texts are escaped; the only scripts that the browser runs are Plotly
    and the page's own, known by their digests.

    Arguments
    ---------
    charts : mapping
        Plotly's figures by name.
    **content
        What the template names.

    Returns
    -------
    str
        HTML.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plotly = _read_plotly()
    script = (_FOLDER / "report.js").read_text(encoding="utf-8")
    digests = " ".join(f"'sha256-{_digest(one)}'" for one in (plotly, script))
    template = environment.get_template("report.html.jinja")
    return template.render(
        charts=_to_json(charts),
        plotly=plotly,
        script=script,
        style=_style(),
        policy=_POLICY.format(scripts=digests),
        **content,
    )


def check_installed() -> None:
    """Check that what a report needs is installed.

    Raises
    ------
    RuntimeError
        Something is not; the message says how to install it.
    """
    for name, package in (
        ("jinja2", "jinja2"),
        ("plotly", "plotly"),
        ("matplotlib", "matplotlib"),
        ("sklearn", "scikit-learn"),
    ):
        if importlib.util.find_spec(name) is None:
            raise RuntimeError(
                f"Expected {package} for a report, which is not installed: "
                "pip install 'ssps_plugin[report]'."
            )


def _read_plotly() -> str:
    """Read Plotly's script, without importing its Python package."""
    spec = importlib.util.find_spec("plotly")
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        path = pathlib.Path(folder, "package_data", "plotly.min.js")
        if path.is_file():
            # As browsers read a script: the digest is of that.
            return path.read_text(encoding="utf-8").replace("\r\n", "\n")
    raise RuntimeError(
        "Expected plotly.min.js in the package plotly, got none: "
        "pip install 'ssps_plugin[report]'."
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _to_json(content: Any) -> str:
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _style() -> str:
    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    for name, colors in (("LIGHT_COLORS", LIGHT), ("DARK_COLORS", DARK)):
        lines = [f"  --c{number}: {one};" for number, one in enumerate(colors)]
        style = style.replace(name, "\n".join(lines))
    return style
