import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.trials.results import Assignment, Report
from nas.trials.scheduler import ParetoRungs, crowding, promoted, rungs


@pytest.mark.parametrize(
    ("epochs", "steps"), [(1, (1,)), (3, (3,)), (11, (11,)), (12, (6, 12)), (20, (10, 20)), (30, (7, 15, 30))]
)
def test_rungs(epochs: int, steps: tuple[int, ...]) -> None:
    assert rungs(epochs) == steps


def test_rungs_further_apart() -> None:
    assert rungs(20, spacing=3) == (6, 20)
    assert rungs(20, least=5) == (5, 10, 20)
    assert rungs(9, least=1) == (1, 2, 4, 9)


def test_crowding_is_the_distance_between_the_neighbours() -> None:
    # (1, 2): (3 - 0) / 4 + (4 - 1) / 4; (3, 1): (4 - 1) / 4 + (2 - 0) / 4.
    front = [(3, 1), (0, 4), (1, 2), (4, 0)]
    assert crowding(front, (4, 4)).tolist() == [1.25, np.inf, 1.5, np.inf]
    assert crowding([*front, (1, 2)], (4, 4)).tolist() == [1.25, np.inf, 1.5, np.inf, 1.5]
    assert crowding([(1, 2)], (0, 0)).tolist() == [np.inf]


def test_promotion_by_rank_of_the_front() -> None:
    # Front: (.9, 3), (.5, 1); second rank: (.8, 4), (.4, 2). Of five, ceil(5 / 2) = 3 go on.
    others = [(0.9, 3.0), (0.5, 1.0), (0.8, 4.0), (0.4, 2.0)]
    assert promoted(others, (0.2, 0.5))  # the cheapest is on the front
    assert promoted(others, (0.95, 9.0))  # and so is the most accurate
    assert not promoted(others, (0.3, 5.0))  # behind all four
    assert promoted(others, (0.85, 3.5))  # behind (.9, 3), but at the end of the second rank
    assert not promoted(others, (0.85, 3.5), reduction=3)  # now two go on
    assert promoted(others[:1], (0.1, 99.0))  # too few others to judge


def test_promotion_by_spread_within_a_rank() -> None:
    # All on the front, spans .8 and 4; the ends come first, and of five 3 go on.
    others = [(0.1, 0.0), (0.2, 1.0), (0.25, 1.2), (0.9, 4.0)]
    # (.22, 1.1) has .05 / .8 + .2 / 4 = .11; (.2, 1) has .43 and (.25, 1.2) has 1.58.
    assert not promoted(others, (0.22, 1.1))
    # (.6, 2.5) has .65 / .8 + 2.8 / 4 = 1.51; (.2, 1) has .49 and (.25, 1.2) has .88.
    assert promoted(others, (0.6, 2.5))


def test_every_cost_counts() -> None:
    others = [(0.5, 1.0, 2.0), (0.6, 1.0, 2.0), (0.7, 1.0, 2.0)]
    assert not promoted(others, (0.4, 1.0, 2.0))
    assert promoted(others, (0.4, 1.0, 1.0))  # the least of the second cost


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9).flatmap(
        lambda points: st.tuples(st.just(points), st.permutations(points))
    ),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_the_order_of_the_others_does_not_matter(
    orders: tuple[list[tuple[int, int]], list[tuple[int, int]]], point: tuple[int, int]
) -> None:
    assert promoted(orders[0], point) == promoted(orders[1], point)


def trial(index: int, cost: float | None = None) -> Any:
    """A trial as Ray hands it over; without a cost, those of the trials differ."""
    costs = (1.0 + (3 * index) % 5 if cost is None else cost,)
    return SimpleNamespace(config=Assignment(index, {}, costs).config())


def accuracy(index: int) -> float:
    return 0.1 * ((7 * index) % 10)


def decided(scheduler: ParetoRungs, indices: range) -> list[str]:
    return [scheduler.on_trial_result(None, trial(i), Report(curve=(accuracy(i),)).to_ray()) for i in indices]


def test_a_resumed_search_decides_as_before() -> None:
    whole = decided(ParetoRungs(), range(12))
    assert set(whole) == {"CONTINUE", "STOP"}
    known = {i: ([accuracy(i)], [*trial(i).config["costs"]]) for i in range(5)}
    assert decided(ParetoRungs(known=known), range(5, 12)) == whole[5:]
    # A trial that was cut off after its first rung is trained again and judged again, not against
    # itself.
    again = ParetoRungs(known=known)
    assert [decided(again, range(5, 6)), decided(again, range(5, 6))] == [whole[5:6]] * 2


def test_with_a_lag_decisions_do_not_depend_on_the_order_of_arrival() -> None:
    """With a lag of 2, trial i is compared with those up to i - 2; only neighbours may overtake
    each other.
    """
    orders = [
        order
        for order in itertools.permutations(range(7))
        if all(order.index(i) < order.index(j) for i in range(7) for j in range(i + 2, 7))
    ]
    assert len(orders) > 10
    found = [
        {i: scheduler.on_trial_result(None, trial(i), Report(curve=(accuracy(i),)).to_ray()) for i in order}
        for order, scheduler in ((order, ParetoRungs(lag=2)) for order in orders)
    ]
    assert set(found[0].values()) == {"CONTINUE", "STOP"}
    assert all(decisions == found[0] for decisions in found)


def test_only_what_was_at_the_rung_is_compared_with() -> None:
    scheduler = ParetoRungs()
    good, worst = trial(0), trial(9, cost=99.0)
    for index in (1, 2, 3):
        scheduler.on_trial_result(None, trial(index), Report(curve=(0.5,)).to_ray())
    # Nobody else is at the second rung; a training that has ended stands for all rungs, a failed
    # one for none.
    assert scheduler.on_trial_result(None, worst, Report(curve=(0.1, 0.1)).to_ray()) == "CONTINUE"
    scheduler.on_trial_complete(None, good, Report(curve=(0.9, 0.9, 0.9)).to_ray())
    scheduler.on_trial_complete(None, trial(1), Report(error="out of memory").to_ray())
    assert scheduler.on_trial_result(None, worst, Report(curve=(0.1, 0.1)).to_ray()) == "CONTINUE"
    scheduler.on_trial_complete(None, trial(2), Report(curve=(0.8, 0.8, 0.8)).to_ray())
    assert scheduler.on_trial_result(None, worst, Report(curve=(0.1, 0.1)).to_ray()) == "STOP"
