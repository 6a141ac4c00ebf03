"""Charts as pictures: matplotlib figures that no process-wide state is changed for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.report.charts.chart import NOTHING, Bars, Chart, Plane, Points, Rule, Steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _GRID = "#1a1a1a", "#e5e5e5"
_WIDTHS = (8.0, 12.0)  # inches, of one chart and of several beside each other
_HEIGHT, _DPI = 5.0, 200
MANY = 1000  # dots from which on an SVG holds them as pixels
_GROUP = 0.7  # height of a group of bars; the rest of 1 is between groups


def save_picture(charts: Sequence[Chart], *paths: Path) -> None:
    """Draws charts beside each other: 1600 x 1000 pixels for one, 2400 x 1000 for several.

    Args:
        charts: From the left.
        paths: A file for each kind, whose suffix says which: `.png` or `.svg`; whatever stands
            between two dots before it does not matter.
    """
    # A figure that pyplot does not know is drawn by Agg and goes with its last reference.
    from matplotlib.figure import Figure

    whole = Figure(figsize=(_WIDTHS[len(charts) > 1], _HEIGHT), dpi=_DPI, layout="constrained")
    for part, chart in zip(whole.subfigures(1, len(charts), squeeze=False)[0], charts, strict=True):
        heights = [plane.height for plane in chart.planes]
        rows = part.subplots(len(heights), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        rows[0].set_title(chart.title, loc="left", parse_math=False)
        if chart.empty:
            for axes in rows:
                axes.set_axis_off()
            rows[0].text(0.5, 0.5, NOTHING, ha="center", transform=rows[0].transAxes)
            continue
        for axes, plane in zip(rows, chart.planes, strict=True):
            _draw(axes, plane)
        rows[-1].set_xlabel(chart.planes[-1].x.label, parse_math=False)
    for path in paths:
        kind = "svg" if ".svg" in path.name else "png"
        whole.savefig(path, format=kind, metadata={"Date": None} if kind == "svg" else None)


def _draw(axes: Axes, plane: Plane) -> None:
    from matplotlib.ticker import NullLocator

    bars = [mark for mark in plane.marks if isinstance(mark, Bars)]
    for mark in plane.marks:
        if isinstance(mark, Points):
            _draw_points(axes, mark)
        elif isinstance(mark, Steps):
            style: dict[str, Any] = {"linestyle": ":" if mark.dotted else "-", "marker": "o" if mark.marked else None}
            axes.step(mark.x, mark.y, where="post", color=mark.colour.light, ms=4, label=mark.name or None, **style)
    for number, mark in enumerate(bars):
        thickness = _GROUP / len(bars)
        places = [row + (number - (len(bars) - 1) / 2) * thickness for row in range(len(mark.categories))]
        axes.barh(places, mark.values, thickness, color=mark.colour.light, label=mark.name)
        axes.set_yticks(range(len(mark.categories)), mark.categories, parse_math=False)
    for rule in plane.rules:
        _draw_rule(axes, rule)
    if plane.x.log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if plane.x.ticks:
        axes.set_xticks(plane.x.ticks, [f"{tick:,.10g}" for tick in plane.x.ticks])
    for axis, limit in ((plane.x, axes.set_xlim), (plane.y, axes.set_ylim)):
        if axis.ends:
            limit(*axis.ends)
        elif axis.from_zero:
            limit(0)
    axes.set_ylabel(plane.y.label, parse_math=False)
    axes.grid(color=_GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0)


def _draw_points(axes: Axes, points: Points) -> None:
    if not len(points.x):
        return
    colour = points.colour.light
    size = 49 if points.emphasised else 26
    face = "none" if points.hollow else colour
    # Of very many dots a drawing of lines and curves would be megabytes.
    many = len(points.x) > MANY
    marks: dict[str, Any] = {"s": size, "facecolors": face, "edgecolors": colour, "label": points.name, "zorder": 2.5}
    axes.scatter(points.x, points.y, rasterized=many, **marks)
    if points.joined:
        axes.plot(points.x, points.y, color=colour)
    if len(points.errors):
        axes.errorbar(points.x, points.y, points.errors, fmt="none", color=colour, elinewidth=1, capsize=2)
    for x, y, label, place in zip(points.x, points.y, points.labels, points.places, strict=bool(points.labels)):
        vertical, side = place.split()
        offset = (-7 if side == "left" else 7, 5 if vertical == "top" else -12)
        style: dict[str, Any] = {"ha": "right" if side == "left" else "left", "color": _INK, "parse_math": False}
        style |= _halo()
        axes.annotate(label, (x, y), xytext=offset, textcoords="offset points", **style)


def _draw_rule(axes: Axes, rule: Rule) -> None:
    end = {0.0: 1, 1.0: -1}.get(rule.text_at, 0)  # the way to the inside
    style: dict[str, Any] = {"textcoords": "offset points", "color": _INK, "parse_math": False, **_halo()}
    if rule.upright:
        axes.axvline(rule.at, color=rule.colour.light, linestyle="--")
        left = rule.side == "left"
        style |= {
            "xytext": (-5 if left else 5, 5 * end),
            "ha": "right" if left else "left",
            "va": {1: "bottom", 0: "center", -1: "top"}[end],
        }
        axes.annotate(rule.text, (rule.at, rule.text_at), xycoords=("data", "axes fraction"), **style)
    else:
        axes.axhline(rule.at, color=rule.colour.light, linestyle=":", linewidth=1)
        style |= {"xytext": (2 * end, 2), "ha": {1: "left", 0: "center", -1: "right"}[end]}
        axes.annotate(rule.text, (rule.text_at, rule.at), xycoords=("axes fraction", "data"), **style)


def _halo() -> dict[str, Any]:
    """Keeps a text legible over dots and lines."""
    from matplotlib.patheffects import withStroke

    return {"path_effects": [withStroke(linewidth=2.5, foreground="white")]}
