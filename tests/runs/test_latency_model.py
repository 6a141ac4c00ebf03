from types import SimpleNamespace
from typing import Any

import pytest

from nas.profiler.computed.cost import OperatorCost
from nas.runs.latency_model import LatencyModel


def figures(gmacs: float, gigabytes: float, calls: int) -> Any:
    operators = (OperatorCost("mm", calls=calls),)
    return SimpleNamespace(macs=int(gmacs * 1e9), bytes_moved=int(gigabytes * 1e9), operators=operators)


def test_recovers_a_linear_law() -> None:
    """3 ms a GMAC, 4 a GB and 50 a thousand calls."""
    costs = [figures(g, b, n) for g, b, n in ((1, 2, 100), (5, 1, 200), (9, 7, 150), (20, 3, 400), (2, 2, 120))]
    # 3 + 8 + 5, 15 + 4 + 10, 27 + 28 + 7.5, 60 + 12 + 20, 6 + 8 + 6
    model = LatencyModel.fit(costs, [16, 29, 62.5, 92, 20])
    assert model.weights == pytest.approx((3, 4, 50))
    assert model.predict(figures(10, 10, 100)) == pytest.approx(75)


def test_weights_are_never_negative_and_one_point_is_enough() -> None:
    costs = [figures(1, 3, 10), figures(2, 2, 10), figures(3, 1, 10)]
    assert min(LatencyModel.fit(costs, [1.0, 2.0, 3.0]).weights) >= 0
    assert LatencyModel.fit(costs[:1], [5.0]).predict(costs[0]) == pytest.approx(5)
