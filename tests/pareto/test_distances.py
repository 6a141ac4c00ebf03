"""Distances of candidates against plain sums, and weights that tell what matters."""

from __future__ import annotations

import numpy as np
import pytest

from nas.pareto.distances import Points, Weights

NAN = np.nan


def test_distances_by_hand() -> None:
    """Choices: a letter, a number, one that the second lacks; weights 1, 2, 4.

    The letters differ: 1. Numbers .25 and .75: 2 (1/2)^2. The third is there or not: 4; there with
    other places: 4 (1)^2. Features differ by 2 and 1 with weights .5 and 3: 5.
    """
    codes = np.array([[0, 1, 2], [1, 3, -1], [0, 1, 0]])
    places = np.array([[NAN, 0.25, 1.0], [NAN, 0.75, NAN], [NAN, 0.25, 0.0]])
    points = Points(codes, places, np.array([[0.0, 0.0], [2.0, 1.0], [0.0, 0.0]]))
    weights = Weights(np.array([1.0, 2.0, 4.0]), np.array([0.5, 3.0]))
    differing, distances = weights.distances(points[slice(0, 1)], points)
    assert differing[0] == pytest.approx([0, 1 + 0.5 + 4 + 4, 4])
    assert distances[0] == pytest.approx([0, 5, 0])


def test_a_value_that_no_result_has_differs_from_all() -> None:
    results = Points(np.array([[0, 0], [1, 0]]), np.full((2, 2), NAN), np.zeros((2, 0)))
    other = Points(np.array([[2, 0]]), np.full((1, 2), NAN), np.zeros((1, 0)))
    assert Weights(np.array([3.0, 5.0]), np.empty(0)).distances(other, results)[0].tolist() == [[3, 3]]


def drawn(count: int, choices: int, seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, (count, choices))
    places = np.full(codes.shape, NAN)
    places[:, -1] = codes[:, -1] / 2
    return Points(codes, places, rng.normal(size=(count, 2)))


def test_what_decides_weighs_most() -> None:
    """Of ten choices only the second matters, and the last, a number; of two features the first."""
    points = drawn(60, 10)
    values = 2.0 * (points.codes[:, 1] == 2) + points.codes[:, 9] + np.sin(points.features[:, 0])
    weights = Weights.most_likely(points, values, np.zeros(60))
    others = np.delete(weights.choices, [1, 9])
    assert min(weights.choices[1], weights.choices[9]) > 2 * others.max()
    assert weights.features[0] > 2 * weights.features[1]


def test_choices_that_do_not_vary_and_doubted_results_teach_nothing() -> None:
    points = drawn(20, 4)
    points.codes[:, 0] = 1
    values = np.random.default_rng(1).normal(size=20)
    assert Weights.most_likely(points, values, np.zeros(20)).choices[0] == pytest.approx(1)
    doubted = Weights.most_likely(points, values, np.full(20, 1e6))
    assert [*doubted.choices, *doubted.features] == pytest.approx([1] * 6, abs=1e-2)
    equal = Weights.most_likely(points, np.zeros(20), np.zeros(20))
    assert np.isfinite([*equal.choices, *equal.features]).all()


def test_no_choices_and_no_features_are_no_error() -> None:
    values = np.arange(5.0)
    bare = Points(np.zeros((5, 0), int), np.zeros((5, 0)), np.arange(5.0)[:, None])
    assert len(Weights.most_likely(bare, values, np.zeros(5)).choices) == 0
    coded = Points(np.arange(5)[:, None], np.full((5, 1), NAN), np.zeros((5, 0)))
    assert len(Weights.most_likely(coded, values, np.zeros(5)).features) == 0
