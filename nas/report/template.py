"""Fills the templates of pages that are one file and need no network."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from nas.report.charts.chart import Colour


def render(template: str, **values: Any) -> str:
    """Returns a page.

    Args:
        template: A file of the folder `templates` that extends `base.html.j2`.
        values: What the template names; text is escaped.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plotly_js = files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    return environment.get_template(template).render(**values, colours=list(Colour), plotly_js=plotly_js)
