"""Charts for the page: plain plotly JSON whose colours are CSS variables of the page, so that they
follow its light and dark theme.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from nas.report.charts.chart import Axis, Bars, Chart, Colour, Plane, Points, Rule, Steps

_GAP = 0.1  # between planes, as a share of the height


def plotly_figure(chart: Chart) -> dict[str, Any]:
    """Returns a chart as plotly JSON: `data` and `layout`."""
    layout: dict[str, Any] = {
        "xaxis": _axis(chart.planes[-1].x),
        "font": {"color": "var(--ink)", "family": "system-ui, sans-serif", "size": 13},
        "hoverlabel": {"align": "left", "bgcolor": "var(--card)", "font": {"color": "var(--ink)"}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 60, "r": 16, "t": 36, "b": 52},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "shapes": [],
        "annotations": [],
    }
    if not any(mark.name for plane in chart.planes for mark in plane.marks):
        layout["margin"]["t"] = 12  # there is no legend
    traces: list[dict[str, Any]] = []
    for number, (plane, domain) in enumerate(zip(chart.planes, _domains(chart.planes), strict=True), 1):
        axis = "y" if number == 1 else f"y{number}"
        layout[f"yaxis{axis[1:]}"] = _axis(plane.y) | {"domain": domain}
        layout["xaxis"]["anchor"] = axis
        traces += [_trace(mark) | {"yaxis": axis} for mark in plane.marks]
        layout["shapes"] += [_shape(rule, axis) for rule in plane.rules]
        layout["annotations"] += [_annotation(rule, plane, axis) for rule in plane.rules]
        if any(isinstance(mark, Bars) for mark in plane.marks):
            layout |= {"barmode": "group", "bargap": 0.3}
            layout["margin"]["l"] = 140  # the longest name of an operator
            layout["legend"]["traceorder"] = "reversed"
    return {"data": traces, "layout": layout}


def _domains(planes: Sequence[Plane]) -> list[list[float]]:
    """Where each plane stands, as shares of the height from the bottom."""
    room = 1 - _GAP * (len(planes) - 1)
    whole, top, domains = sum(plane.height for plane in planes), 1.0, []
    for plane in planes:
        low = top - room * plane.height / whole
        domains.append([max(0.0, round(low, 6)), round(top, 6)])
        top = low - _GAP
    return domains


def _axis(axis: Axis) -> dict[str, Any]:
    found: dict[str, Any] = {
        "title": {"text": html.escape(axis.label), "font": {"size": 13}},
        "gridcolor": "var(--grid)",
        "linecolor": "var(--muted)",
        "zeroline": False,
        "ticks": "outside",
    }
    if axis.ends:
        found["range"] = [math.log10(end) if axis.log else end for end in axis.ends]
    elif axis.from_zero:
        found["rangemode"] = "tozero"
    if axis.log:
        found["type"] = "log"
    if axis.ticks:
        found |= {"tickvals": axis.ticks, "ticktext": [f"{tick:,.10g}" for tick in axis.ticks]}
    return found


def _trace(mark: Points | Steps | Bars) -> dict[str, Any]:
    colour = _css(mark.colour)
    if isinstance(mark, Bars):
        return {
            "type": "bar",
            "orientation": "h",
            "name": mark.name,
            "y": [html.escape(category) for category in mark.categories],
            "x": _numbers(mark.values),
            "marker": {"color": colour},
            "hovertemplate": "%{x:.1f}<extra>%{y}</extra>",
        }
    hover = {"hovertext": list(mark.hover), "hoverinfo": "text"} if len(mark.hover) else {"hoverinfo": "skip"}
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": mark.name,
        "x": _numbers(mark.x),
        "y": _numbers(mark.y),
        **hover,
    }
    if isinstance(mark, Steps):
        line = {"color": colour, "width": 2, "shape": "hv", "dash": "dot" if mark.dotted else "solid"}
        trace |= {"mode": "lines+markers" if mark.marked else "lines", "line": line, "showlegend": bool(mark.name)}
        return trace | ({"marker": {"color": colour, "size": 6}} if mark.marked else {})
    marker: dict[str, Any] = {"color": colour, "size": 11 if mark.emphasised else 7}
    if mark.hollow:
        marker["symbol"] = "circle-open"
    if mark.emphasised:
        marker["line"] = {"color": "var(--card)", "width": 1}
    mode = "lines+markers" if mark.joined else "markers"
    trace |= {"mode": mode, "marker": marker, "showlegend": bool(mark.name)}
    if mark.joined:
        trace["line"] = {"color": colour, "width": 2}
    if len(mark.errors):
        trace["error_y"] = {"array": _numbers(mark.errors), "color": colour, "thickness": 1, "width": 3}
    if len(mark.labels):
        labels = [html.escape(label) for label in mark.labels]
        trace |= {"mode": f"{mode}+text", "text": labels, "textposition": list(mark.places), "cliponaxis": False}
    return trace


def _shape(rule: Rule, axis: str) -> dict[str, Any]:
    line = {"color": _css(rule.colour), "width": 2 if rule.upright else 1, "dash": "dash" if rule.upright else "dot"}
    if rule.upright:
        return {"type": "line", "x0": rule.at, "x1": rule.at, "yref": "paper", "y0": 0, "y1": 1, "line": line}
    return {"type": "line", "y0": rule.at, "y1": rule.at, "yref": axis, "xref": "paper", "x0": 0, "x1": 1, "line": line}


def _annotation(rule: Rule, plane: Plane, axis: str) -> dict[str, Any]:
    text = {"text": html.escape(rule.text), "showarrow": False}
    if rule.upright:
        at = math.log10(rule.at) if plane.x.log else rule.at
        left = rule.side == "left"
        place = {
            "x": at,
            "xshift": -4 if left else 4,
            "xanchor": "right" if left else "left",
            "y": rule.text_at,
            "yref": "paper",
        }
        anchor = {0.0: "bottom", 1.0: "top"}.get(rule.text_at, "middle")
        return text | place | {"yanchor": anchor, "font": {"color": "var(--limit-text)"}}
    anchor = {0.0: "left", 1.0: "right"}.get(rule.text_at, "center")
    place = {"x": rule.text_at, "xref": "paper", "xanchor": anchor}
    return text | place | {"y": rule.at, "yref": axis, "yanchor": "bottom"}


def _numbers(values: Sequence[float]) -> list[float | None]:
    """JSON has no nan."""
    return [round(float(value), 6) if math.isfinite(value) else None for value in values]


def _css(colour: Colour) -> str:
    return f"var({colour.variable})"
