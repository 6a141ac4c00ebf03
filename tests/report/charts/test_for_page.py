from __future__ import annotations

import json
import math

import plotly.graph_objects as go
import pytest

from nas.report.charts.chart import Axis, Chart, Colour, Plane, Points
from nas.report.charts.for_page import plotly_figure


def test_figures_are_valid_plotly(everything: Chart, bars: Chart) -> None:
    for chart in (everything, bars):
        go.Figure(json.loads(json.dumps(plotly_figure(chart), allow_nan=False)))


def test_planes_share_the_x_axis_and_divide_the_height(everything: Chart) -> None:
    figure = plotly_figure(everything)
    layout = figure["layout"]
    assert layout["yaxis"]["domain"] == pytest.approx([0.4, 1.0]) and layout["yaxis2"]["domain"] == [0.0, 0.3]
    assert layout["xaxis"]["anchor"] == "y2"
    assert [trace["yaxis"] for trace in figure["data"]] == ["y", "y", "y", "y2", "y2"]
    assert layout["xaxis"]["type"] == "log" and layout["xaxis"]["range"][1] == pytest.approx(2.12)
    assert layout["yaxis2"]["rangemode"] == "tozero"


def test_rules_stand_at_their_values(everything: Chart) -> None:
    layout = plotly_figure(everything)["layout"]
    upright, level = layout["shapes"]
    assert (upright["x0"], upright["x1"], level["y0"], level["yref"]) == (50.0, 50.0, 20.0, "y")
    # plotly counts annotations, but not shapes, in logarithms.
    assert layout["annotations"][0]["x"] == pytest.approx(math.log10(50))
    assert [note["text"] for note in layout["annotations"]] == ["budget", "chance"]
    anchors = [(note["x"], note["y"], note["xanchor"], note["yanchor"]) for note in layout["annotations"]]
    assert anchors == [(pytest.approx(math.log10(50)), 0, "right", "bottom"), (1, 20, "right", "bottom")]


def test_points_have_errors_labels_and_no_markup(everything: Chart, bars: Chart) -> None:
    points = plotly_figure(everything)["data"][0]
    assert points["y"] == [10.0, None, 30.0] and points["error_y"]["array"] == [1.0, None, 2.0]
    assert points["text"] == ["$best$", "", "&lt;b&gt;"] and points["marker"]["symbol"] == "circle-open"
    assert plotly_figure(bars)["data"][0]["y"] == ["t2d", "&lt;i&gt;"]


def test_dots_without_a_name_are_joined_and_make_no_room_for_a_legend() -> None:
    points = Points("", [1.0, 2.0], [3.0, 4.0], Colour.FRONT, joined=True)
    figure = plotly_figure(Chart("small", "Small", [Plane(Axis("x"), Axis("y"), [points])], size="small"))
    (trace,) = figure["data"]
    assert (trace["mode"], trace["showlegend"]) == ("lines+markers", False) and figure["layout"]["margin"]["t"] == 12
