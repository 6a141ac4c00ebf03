"""One chart of everything that a chart can hold."""

from __future__ import annotations

import math

import pytest

from nas.report.charts.chart import Axis, Bars, Chart, Colour, Plane, Points, Rule, Steps


@pytest.fixture
def everything() -> Chart:
    x, y = [1.0, 10.0, 100.0], [10.0, math.nan, 30.0]
    points = Points(
        "found",
        x,
        y,
        Colour.FRONT,
        hover=["a", "b", "c"],
        hollow=True,
        emphasised=True,
        errors=[1.0, math.nan, 2.0],
        labels=["$best$", "", "<b>"],
        places=["bottom right", "top left", "bottom left"],
    )
    lines = [
        Steps("best", x, y, Colour.VOLUME, ["a", "b", "c"], dotted=True, marked=True),
        Steps("", x, y, Colour.MUTED),
    ]
    axis = Axis.over("GFLOPs", x)
    rules = [Rule(50.0, "budget", Colour.LIMIT), Rule(20.0, "chance", Colour.MUTED, upright=False, text_at=1.0)]
    planes = [
        Plane(axis, Axis("Accuracy (%)"), [points, *lines], rules, height=2),
        Plane(axis, Axis("Volume (%)", from_zero=True), lines),
    ]
    return Chart("everything", "All of it", planes, ["A note."], size="tall")


@pytest.fixture
def bars() -> Chart:
    marks = [Bars(name, ["t2d", "<i>"], [30.0, 70.0], Colour.TRIAL) for name in ("all", "front")]
    return Chart("bars", "Shares", [Plane(Axis("Share (%)", from_zero=True), Axis(""), marks)])
