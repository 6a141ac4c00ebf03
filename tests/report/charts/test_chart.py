from __future__ import annotations

import math

import pytest

from nas.report.charts.chart import Axis, Chart, Colour, Plane, Points


def test_ticks_stay_inside_the_axis() -> None:
    axis = Axis.over("GFLOPs", [2.1, 100.0, math.nan])
    assert axis.log
    assert axis.ends == pytest.approx((2.1 / (100 / 2.1) ** 0.06, 100 * (100 / 2.1) ** 0.06))
    assert axis.ticks == [2, 5, 10, 20, 50, 100]
    assert axis.middle == pytest.approx(math.sqrt(210))


def test_many_decades_have_a_tick_each() -> None:
    assert Axis.over("x", [1.0, 1e6]).ticks == [1, 10, 100, 1e3, 1e4, 1e5, 1e6]


def test_narrow_values_are_linear() -> None:
    axis = Axis.over("GFLOPs", [50.0, 60.0])
    assert not axis.log and axis.ticks == []
    assert axis.ends == pytest.approx((49.4, 60.6))
    assert Axis.over("x", [0.0, 100.0]).log is False
    assert Axis.over("x", [5.0]).ends == pytest.approx((4.7, 5.3))
    assert Axis.over("x", []).ends is None


def test_counted_things_have_whole_ticks() -> None:
    assert Axis.over("Trial", [0, 2], whole=True).ticks == [0, 1, 2]
    assert Axis.over("Trial", [0, 47], whole=True).ticks == [0, 10, 20, 30, 40]
    assert Axis.over("Trial", [1, 4999], whole=True).ticks == [0, 1000, 2000, 3000, 4000, 5000]


def test_a_chart_without_values_is_empty() -> None:
    def chart(x: list[float]) -> Chart:
        return Chart("c", "C", [Plane(Axis("x"), Axis("y"), [Points("p", x, x, Colour.TRIAL)])])

    assert chart([]).empty and not chart([1.0]).empty
