"""Puts the panels of a run together, as a page, as Markdown and as pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from markupsafe import Markup

from nas.errors import NasError
from nas.report.beside import beside
from nas.report.charts.chart import Chart
from nas.report.charts.for_picture import save_picture
from nas.report.panel import all_panels
from nas.report.template import render
from nas.report.text import escaped, packed, visible
from nas.resources import replacing
from nas.runs.folder.run import Run
from nas.runs.folder.tables import FRONT, TRIALS

PAGE = "report.html"
RELOADED = 10  # seconds after which the page of a running search loads itself again
T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """A report before it is written.

    Attributes:
        html: The page, one file that needs no network.
        markdown: The text, which shows the pictures.
        pictures: The charts of each picture, by its file name.
    """

    html: str
    markdown: str
    pictures: Mapping[str, Sequence[Chart]]


def compose(run: Run, other: Run | None = None) -> Report:
    """Returns the report of a run, finished or not: what its panels show, in their order.

    Args:
        run: The run.
        other: Another run, which a section behind the first compares with it.

    Raises:
        NasError: As `nas.report.beside.beside`.
        ValueError: Two charts or pictures of the panels have one name.
    """
    title = f"{run.record.space or 'a search space'} on {run.record.data or 'unknown data'}"
    sections = [(panel.title, panel.blocks(run)) for panel in all_panels() if panel.applies(run)]
    if other is not None:
        sections.insert(1, (f"Beside {other.path.resolve().name}", beside(run, other)))
    blocks = [block for _, content in sections for block in content]
    html = [(heading, Markup("").join(block.html() for block in content)) for heading, content in sections]
    figures = _named(pair for block in blocks for pair in block.figures().items())
    pictures = _named(pair for block in blocks for pair in block.pictures().items())
    texts = [f"# {escaped(title)}"]
    for heading, content in sections:
        texts += [f"## {escaped(heading)}" if heading else "", *(block.markdown() for block in content)]
    return Report(
        html=render(
            "report.html.j2",
            title=title,
            sections=html,
            figures=_packed(figures) if figures else "",
            reload=RELOADED if run.running else None,
        ),
        markdown=visible("\n\n".join(filter(None, texts)) + "\n"),
        pictures={f"{name}.png": charts for name, charts in pictures.items()},
    )


def _packed(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Figures as the page unpacks them. What is said at a dot is the same in each chart, so the
    texts are listed once (`texts`) and traces have their places in that list.
    """
    places: dict[str, int] = {}
    shown = {}
    for name, figure in figures.items():
        traces = []
        for trace in figure["data"]:
            said = [places.setdefault(text, len(places)) for text in trace.get("hovertext", ())]
            traces.append(trace | {"hovertext": said} if said else trace)
        shown[name] = {**figure, "data": traces}
    document = {"figures": shown, "texts": list(places)}
    return packed(visible(json.dumps(document, ensure_ascii=False, sort_keys=True)))


def _named(pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"two charts or pictures are named {name!r}; allowed: a name of its own for each")
        found[name] = value
    return found


def write(run: Run, out: Path | None = None, other: Run | None = None) -> list[Path]:
    """Writes `report.html`, `report.md` and the pictures of the charts, such as `pareto_macs.png`
    and `pareto_macs.svg`; into another folder than the run's its `trials.csv` and `front.csv` too.

    Args:
        run: The run.
        out: The folder to write into, made if needed; by default the run's own.
        other: As of `compose`.

    Returns:
        The files: the page, the Markdown, the pictures, the tables.

    Raises:
        NasError: As `compose`, or `out` is a file or cannot be made.
    """
    report, folder = compose(run, other), _made(run, out)
    page, markdown = folder / PAGE, folder / "report.md"
    for path, text in ((page, report.html), (markdown, report.markdown)):
        _replace(path, text)
    found = [page, markdown]
    for name, charts in report.pictures.items():
        picture = folder / name
        drawing = picture.with_suffix(".svg")
        with replacing(picture) as pixels, replacing(drawing) as lines:
            save_picture(charts, pixels, lines)
        found += [picture, drawing]
    if folder.resolve() != run.path.resolve():
        for name in (TRIALS, FRONT):
            if (run.path / name).exists():
                with replacing(folder / name) as draft:
                    shutil.copyfile(run.path / name, draft)
                found.append(folder / name)
    return found


def write_page(run: Run, out: Path | None = None) -> Path:
    """Writes `report.html` alone, which takes a fraction of the time; see `write`."""
    page = _made(run, out) / PAGE
    _replace(page, compose(run).html)
    return page


def _made(run: Run, out: Path | None) -> Path:
    """The folder to write into.

    Raises:
        NasError: It is a file or cannot be made.
    """
    folder = out if out is not None else run.path
    if folder.exists() and not folder.is_dir():
        raise NasError(f"output {str(folder)!r} is a file; allowed: a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NasError(f"output {str(folder)!r} cannot be made ({error.strerror}); allowed: a folder") from None
    return folder


def _replace(path: Path, text: str) -> None:
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
