from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas.pareto.front import hypervolume, knee, non_dominated, pareto_rank

UP_DOWN = [True, False]
HAND = np.array([[0.9, 100.0], [0.8, 50.0], [0.7, 60.0], [0.5, 10.0], [0.5, 20.0], [0.8, 50.0]])


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, list[bool]]:
    # Few distinct integers make ties and duplicates common.
    objectives = draw(st.integers(1, 4))
    points = draw(st.integers(1, 12))
    values = draw(arrays(np.float64, (points, objectives), elements=st.integers(-3, 3).map(float)))
    return values, draw(st.lists(st.booleans(), min_size=objectives, max_size=objectives))


def dominates(a: np.ndarray, b: np.ndarray, maximise: list[bool]) -> bool:
    sign = np.where(maximise, 1, -1)
    return bool(np.all(a * sign >= b * sign) and np.any(a * sign > b * sign))


def test_non_dominated_by_hand() -> None:
    assert non_dominated(HAND, UP_DOWN).tolist() == [True, True, False, True, False, False]


def test_rank_by_hand() -> None:
    assert pareto_rank(HAND, UP_DOWN).tolist() == [0, 0, 1, 0, 1, 0]


def test_hypervolume_by_hand() -> None:
    # Boxes down to (0, 10): 1x(10-8) for accuracy 3..2, 1x(10-5) for 2..1, 1x(10-2) for 1..0.
    values = [[3.0, 8.0], [2.0, 5.0], [1.0, 2.0], [1.0, 9.0]]
    assert hypervolume(values, [0.0, 10.0], UP_DOWN) == pytest.approx(15.0)


def test_hypervolume_ignores_points_outside_the_reference() -> None:
    assert hypervolume([[3.0, 12.0], [-1.0, 5.0]], [0.0, 10.0], UP_DOWN) == 0.0


def test_hypervolume_of_three_objectives() -> None:
    # Two 1x2x2 and 2x2x1 boxes that share 1x2x1.
    assert hypervolume([[1.0, 2.0, 2.0], [2.0, 2.0, 1.0]], [0, 0, 0], [True] * 3) == pytest.approx(6.0)


def test_no_points() -> None:
    none = np.zeros((0, 2))
    assert non_dominated(none, UP_DOWN).tolist() == []
    assert pareto_rank(none, UP_DOWN).tolist() == []
    assert hypervolume(none, [0, 1], UP_DOWN) == 0.0
    with pytest.raises(ValueError, match="no points"):
        knee(none, UP_DOWN)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad: float) -> None:
    values = [[0.5, 1.0], [bad, 2.0]]
    for function in (non_dominated, pareto_rank, knee):
        with pytest.raises(ValueError, match="nan or inf"):
            function(values, UP_DOWN)
    with pytest.raises(ValueError, match="nan or inf"):
        hypervolume(values, [0, 1], UP_DOWN)
    with pytest.raises(ValueError, match="nan or inf"):
        hypervolume([[0.5, 1.0]], [0, bad], UP_DOWN)


def test_shape_must_fit() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        non_dominated([1.0, 2.0], UP_DOWN)
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        pareto_rank([[1.0, 2.0, 3.0]], UP_DOWN)
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        hypervolume([[1.0, 2.0]], [0, 0, 0], UP_DOWN)


def test_knee_is_the_bend() -> None:
    # Scaled losses: (0, 1), (0.1, 0.2), (0.5, 0.1), (1, 0).
    assert knee([[1.0, 10.0], [0.9, 2.0], [0.5, 1.0], [0.0, 0.0]], UP_DOWN) == 1


def test_knee_of_a_concave_front_is_not_an_extreme() -> None:
    # Scaled losses (0, 1), (0.6, 0.6), (1, 0): distances 1, 0.85, 1.
    assert knee([[1.0, 1.0], [0.4, 0.6], [0.0, 0.0]], UP_DOWN) == 1


def test_knee_of_one_and_two_points() -> None:
    assert knee([[0.3, 7.0]], UP_DOWN) == 0
    assert knee([[0.3, 7.0], [0.4, 9.0]], UP_DOWN) == 1
    assert knee([[0.3, 7.0], [0.3, 7.0]], UP_DOWN) == 0


def test_knee_ignores_dominated_points() -> None:
    front = [[1.0, 10.0], [0.9, 2.0], [0.0, 0.0]]
    assert knee([[-50.0, 1000.0], *front], UP_DOWN) == 1 + knee(front, UP_DOWN)


@given(problems())
@settings(deadline=None)
def test_against_brute_force(problem: tuple[np.ndarray, list[bool]]) -> None:
    values, maximise = problem
    seen: set[tuple[float, ...]] = set()
    for point, kept in zip(values, non_dominated(values, maximise), strict=True):
        best = not any(dominates(other, point, maximise) for other in values)
        assert kept == (best and tuple(point) not in seen)
        seen.add(tuple(point))

    ranks = np.full(len(values), -1)
    for rank in range(len(values)):
        left = np.flatnonzero(ranks < 0)
        front = [i for i in left if not any(dominates(values[j], values[i], maximise) for j in left)]
        ranks[front] = rank
    assert pareto_rank(values, maximise).tolist() == ranks.tolist()

    # Integer points against a reference at the worst corner: count the unit cells below any point.
    sign = np.where(maximise, 1, -1)
    corners = (values * sign + 4).astype(int)
    cells = np.zeros((8,) * values.shape[1], dtype=bool)
    for corner in corners:
        cells[tuple(slice(0, c) for c in corner)] = True
    assert hypervolume(values, -4.0 * sign, maximise) == pytest.approx(cells.sum())


@given(problems(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_does_not_matter(problem: tuple[np.ndarray, list[bool]], random: object) -> None:
    values, maximise = problem
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = values[order]
    kept = {tuple(p) for p in values[non_dominated(values, maximise)]}
    assert {tuple(p) for p in shuffled[non_dominated(shuffled, maximise)]} == kept
    assert pareto_rank(shuffled, maximise).tolist() == pareto_rank(values, maximise)[order].tolist()
    assert tuple(shuffled[knee(shuffled, maximise)]) == tuple(values[knee(values, maximise)])
    assert tuple(values[knee(values, maximise)]) in kept
