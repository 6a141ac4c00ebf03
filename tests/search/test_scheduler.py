import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from nas.search.scheduler import ParetoRungs, promoted, rungs


@pytest.mark.parametrize(("epochs", "steps"), [(1, (1,)), (2, (2,)), (3, (1, 3)), (9, (1, 3, 9)), (20, (2, 6, 20))])
def test_rungs(epochs: int, steps: tuple[int, ...]) -> None:
    assert rungs(epochs) == steps


def test_promotion_by_rank_of_the_front() -> None:
    # Front: (.9, 30), (.5, 10); second rank: (.8, 40), (.4, 20).
    others = [(0.9, 30.0), (0.5, 10.0), (0.8, 40.0), (0.4, 20.0)]
    assert promoted(others, (0.2, 5.0), 3)  # the cheapest is on the front
    assert promoted(others, (0.7, 20.0), 3)  # between the two of the front
    assert not promoted(others, (0.3, 50.0), 3)  # behind all four: more than ceil(5 / 3) = 2 are better
    assert promoted(others[:2], (0.1, 99.0), 3)  # too few others to judge


def results(scheduler: ParetoRungs, order: list[int], points: dict[int, tuple[float, float]]) -> dict[int, str]:
    decisions = {}
    for index in order:
        accuracy, macs = points[index]
        trial: Any = SimpleNamespace(config={"index": index, "macs": macs})
        result = {"rung": 0, "accuracy": accuracy, "last": False}
        decisions[index] = scheduler.on_trial_result(None, trial, result)
    return decisions


def test_decisions_do_not_depend_on_the_order_of_arrival() -> None:
    points = {i: (0.1 * ((7 * i) % 10), float(1 + (3 * i) % 5)) for i in range(8)}
    # With a lag of 2, trial i is compared with those up to i - 2; only neighbours may overtake each other.
    orders = [
        order
        for order in itertools.permutations(range(8))
        if all(order.index(i) < order.index(j) for i in range(8) for j in range(i + 2, 8))
    ]
    assert len(orders) > 10
    first = results(ParetoRungs(lag=2), list(range(8)), points)
    assert set(first.values()) == {"CONTINUE", "STOP"}
    assert all(results(ParetoRungs(lag=2), list(order), points) == first for order in orders)


def test_a_resumed_search_decides_as_before() -> None:
    points = {i: (0.1 * ((7 * i) % 10), float(1 + (3 * i) % 5)) for i in range(8)}
    whole = results(ParetoRungs(lag=1), list(range(8)), points)
    known = {i: ([points[i][0]], points[i][1]) for i in range(5)}
    assert results(ParetoRungs(lag=1, known=known), [5, 6, 7], points) == {i: whole[i] for i in (5, 6, 7)}
