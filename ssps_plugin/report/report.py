"""Write a report of one run or several."""

from __future__ import annotations

import datetime
import os
import pathlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from speechbrain.utils.logger import get_logger

from ssps_plugin.atomic_write import atomic_write
from ssps_plugin.evaluation.results import package_commit, package_version
from ssps_plugin.report.charts import plotly_figure, write_png
from ssps_plugin.report.collect import Collected, choose_pairs, collect
from ssps_plugin.report.headline import headline_cards, headline_table
from ssps_plugin.report.page import check_installed, render_page
from ssps_plugin.report.run import Run
from ssps_plugin.report.sampling_charts import audit_section, clusters_section
from ssps_plugin.report.section import Figure, Section
from ssps_plugin.report.speaker_charts import map_section, similarity_section
from ssps_plugin.report.training_curves import curves_section
from ssps_plugin.report.trial_charts import det_section, scores_section

logger = get_logger(__name__)

PathLike = str | os.PathLike[str]


@dataclass
class _Part:
    """The sections of one run."""

    key: str
    name: str
    sections: list[Section]


def write_report(
    runs: PathLike | Sequence[PathLike],
    output: PathLike | None = None,
    *,
    png: bool = True,
    max_utterances: int | None = None,
    num_pairs: int = 12,
    seed: int = 0,
    device: str | None = None,
    progress: bool = False,
) -> pathlib.Path:
    """Write a report of runs: one HTML file that needs no network, and PNGs.

    What is missing (labels, trials, SSPS, a checkpoint, audio) is left out,
    and the page says why. Nothing of the runs is changed, and no random state
    of the process either.

    Arguments
    ---------
    runs : str, os.PathLike or sequence of these
        Output folders of runs, finished or not.
    output : str or os.PathLike, optional
        The HTML file (`.html`), or a folder for `report.html`; by default the
        folder of the first run.
    png : bool
        Also write the charts as PNGs, to a folder beside the HTML file that
        has its name (`report/curves.png`, …).
    max_utterances : int, optional
        How many utterances of a run are embedded at most, for scores before
        SSPS, similarities and the map; 0 for none. By default 400, and fewer
        by a large encoder on a CPU (60 by the published one).
    num_pairs : int
        How many pairs to listen to; 0 for none.
    seed : int
        Of every choice: which utterances, which pairs, the map.
    device : str, optional
        Where to embed, such as `cuda`.
    progress : bool
        Show progress bars.

    Returns
    -------
    pathlib.Path
        The HTML file.

    Raises
    ------
    FileNotFoundError
        A folder is not that of a run.
    ValueError
        A run's settings, history or results are damaged; no run is given, or
        one twice.
    RuntimeError
        A package is not installed: the extra `report`.
    """
    check_installed()
    found = _open_runs(runs)
    page = _page_path(output, found[0])
    collected = collect(
        found,
        max_utterances=max_utterances,
        seed=seed,
        device=device,
        progress=progress,
    )
    shared = [curves_section(collected), det_section(collected)]
    parts = [
        _part_of(one, number, num_pairs, seed)
        for number, one in enumerate(collected, 1)
    ]
    if len(parts) > 1:
        for part in parts:
            _prefix_keys(part)
    charts: dict[str, Any] = {}
    for part_key, sections in (
        ("", shared),
        *((part.key, part.sections) for part in parts),
    ):
        for section in sections:
            for figure in section.figures:
                _register(figure, part_key, charts)
    text = render_page(
        charts,
        shared=shared,
        parts=parts,
        **_page_head(collected),
    )
    with atomic_write(page) as file:
        file.write(text)
    if png:
        _write_pngs(page.with_suffix(""), shared, parts)
    logger.info("The report is in %s", page)
    return page


def _open_runs(runs: PathLike | Sequence[PathLike]) -> list[Run]:
    folders = [runs] if isinstance(runs, (str, os.PathLike)) else list(runs)
    if not folders:
        raise ValueError("Expected the folder of a run, got none: give one.")
    found = [Run(folder) for folder in folders]
    places = [run.folder.resolve() for run in found]
    for place in places:
        if places.count(place) > 1:
            raise ValueError(
                f"Expected every run once, got {place} twice: leave one out."
            )
    return found


def _page_path(output: PathLike | None, first: Run) -> pathlib.Path:
    path = first.folder if output is None else pathlib.Path(output)
    if path.suffix.lower() in (".html", ".htm") and not path.is_dir():
        return path
    if path.exists() and not path.is_dir():
        raise ValueError(
            f"Expected a folder or a name that ends with .html, got {path}: "
            "change the output."
        )
    return path / "report.html"


def _part_of(one: Collected, number: int, num_pairs: int, seed: int) -> _Part:
    sections = [
        scores_section(one),
        similarity_section(one),
        map_section(one, seed),
        clusters_section(one),
        audit_section(one, choose_pairs(one, num_pairs, seed)),
    ]
    return _Part(f"run-{number}", one.run.name, sections)


def _prefix_keys(part: _Part) -> None:
    """Make the anchors of sections unique on a page of several runs."""
    for section in part.sections:
        section.key = f"{part.key}-{section.key}"


def _register(figure: Figure, part: str, charts: dict[str, Any]) -> None:
    """Give a figure and its charts the names that the page's script knows."""
    figure.key = f"figure-{part}-{figure.name}".replace("--", "-")
    panels = []
    for number, chart in enumerate(figure.charts, 1):
        key = f"{figure.key}-{number}"
        charts[key] = plotly_figure(chart) | {
            "switches": [one.switch for one in chart.series]
        }
        panels.append((key, chart))
    figure.panels = panels


def _page_head(collected: list[Collected]) -> dict[str, Any]:
    """Return the words of the page's head and foot."""
    names = [one.run.name for one in collected]
    several = len(names) > 1
    # The one run with SSPS, or the one run.
    with_ssps = [one for one in collected if one.run.start_epoch is not None]
    main = None
    if len(with_ssps) == 1 or not several:
        main = (with_ssps or collected)[0]
    settings = collected[0].run.settings
    about = [str(collected[0].run.folder.resolve())]
    if several:
        about = [str(one.run.folder.resolve()) for one in collected]
    elif settings.get("seed") is not None:
        about.append(f"seed {settings['seed']}")
    version = package_version() or "unknown version"
    commit = package_commit()
    date = datetime.datetime.now().astimezone()
    return {
        "title": "SSPS report: " + ", ".join(names),
        "heading": " · ".join(names),
        "about": ", ".join(about),
        "cards": headline_cards(main) if main is not None else [],
        "summary": headline_table(collected) if several else [],
        "lead": _lead(collected),
        "faults": [fault for one in collected for fault in one.run.faults],
        "footer": (
            f"Written by ssps_plugin {version}"
            + (f" ({commit[:12]})" if commit else "")
            + f" on {date:%Y-%m-%d at %H:%M %Z}. This file needs no network."
        ),
    }


def _lead(collected: list[Collected]) -> str:
    lists = [
        f"{len(one.scored[0].scores):,} trials of {one.scored[0].list_name}"
        for one in collected
        if one.scored
    ]
    text = "EER: the error rate of a threshold at which as many targets are "
    text += "rejected as impostors are accepted; lower is better."
    if lists:
        text += f" Measured on {', '.join(dict.fromkeys(lists))}."
    return text


def _write_pngs(
    folder: pathlib.Path, shared: list[Section], parts: list[_Part]
) -> None:
    places = [(folder, shared)]
    for part in parts:
        slug = re.sub(r"[^\w.-]+", "-", part.name).strip("-.") or part.key
        place = folder / f"{part.key}-{slug}" if len(parts) > 1 else folder
        places.append((place, part.sections))
    for place, sections in places:
        for section in sections:
            for figure in section.figures:
                path = place / f"{figure.name}.png"
                write_png(path, figure.charts, next(iter(figure.switch), None))
                for key in list(figure.switch)[1:]:
                    write_png(
                        place / f"{figure.name}-{key}.png", figure.charts, key
                    )
