import pytest

from nas.profiler.cost import Cost, LayerCost
from nas.search.latency_model import LatencyModel

ROW = LayerCost("x", "x", "x", 0, 0, 0)


def figures(gmacs: float, gigabytes: float, parts: int) -> Cost:
    return Cost(int(gmacs * 1e9), 0, int(gigabytes * 1e9), (ROW,) * parts)


def test_recovers_a_linear_law() -> None:
    costs = [figures(g, b, n) for g, b, n in ((1, 2, 10), (5, 1, 20), (9, 7, 15), (20, 3, 40), (2, 2, 12))]
    times = [3 * c.macs / 1e9 + 4 * c.activation_bytes / 1e9 + 0.5 * len(c.layers) for c in costs]
    model = LatencyModel.fit(costs, times)
    assert model.weights == pytest.approx((3, 4, 50))
    assert model.predict(figures(10, 10, 10)) == pytest.approx(75)


def test_weights_are_never_negative_and_one_point_is_enough() -> None:
    costs = [figures(1, 3, 10), figures(2, 2, 10), figures(3, 1, 10)]
    assert min(LatencyModel.fit(costs, [1.0, 2.0, 3.0]).weights) >= 0
    assert LatencyModel.fit(costs[:1], [5.0]).predict(costs[0]) == pytest.approx(5)
