"""Puts the panels of a run together, as a page, as Markdown and as pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from markupsafe import Markup

from nas.errors import NasError
from nas.report.charts.chart import Chart
from nas.report.charts.for_picture import save_picture
from nas.report.panel import all_panels
from nas.report.template import render
from nas.report.text import escaped, packed, visible
from nas.resources import replacing
from nas.runs.folder import Run

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


def compose(run: Run) -> Report:
    """Returns the report of a run, finished or not: what its panels show, in their order.

    Raises:
        ValueError: Two charts or pictures of the panels have one name.
    """
    title = f"{run.record.space or 'a search space'} on {run.record.data or 'unknown data'}"
    sections = [(panel.title, panel.blocks(run)) for panel in all_panels() if panel.applies(run)]
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
            figures=packed(visible(json.dumps(figures, ensure_ascii=False, sort_keys=True))) if figures else "",
            reload=RELOADED if run.running else None,
        ),
        markdown=visible("\n\n".join(filter(None, texts)) + "\n"),
        pictures={f"{name}.png": charts for name, charts in pictures.items()},
    )


def _named(pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"two charts or pictures are named {name!r}; allowed: a name of its own for each")
        found[name] = value
    return found


def write(run: Run, out: Path | None = None) -> list[Path]:
    """Writes `report.html`, `report.md` and the pictures of the charts, such as `pareto_macs.png`.

    Args:
        run: The run.
        out: The folder to write into, made if needed; by default the run's own.

    Returns:
        The files: the page, the Markdown, the pictures.

    Raises:
        NasError: `out` is a file or cannot be made.
    """
    report, folder = compose(run), _made(run, out)
    page, markdown = folder / PAGE, folder / "report.md"
    for path, text in ((page, report.html), (markdown, report.markdown)):
        _replace(path, text)
    for name, charts in report.pictures.items():
        with replacing(folder / name) as draft:
            save_picture(charts, draft)
    return [page, markdown, *(folder / name for name in report.pictures)]


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
