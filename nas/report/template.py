"""Fills the templates of pages that are one file and need no network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from nas.report.charts.chart import Colour
from nas.report.text import packed, visible


@dataclass(frozen=True)
class PackedPlotly:
    """plotly.js as a page carries it: whole it would be five sixths of the page's megabytes, packed
    a browser of 2023 or later unpacks it without a network.

    Attributes:
        licence: Its own first comment, which names version, copyright and licence.
        code: gzip in base64.
    """

    licence: str
    code: str

    @classmethod
    @cache
    def read(cls) -> Self:
        """Packs the file that the installed plotly brings."""
        script = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
        licence = script[: script.index(b"*/")].decode().strip("/*\n ")
        return cls(" ".join(licence.replace("*", " ").split()), packed(script.decode()))


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
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": True}
    page = environment.get_template(template).render(**values, colours=list(Colour), plotly=PackedPlotly.read())
    return visible(page)
