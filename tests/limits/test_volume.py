"""The hypervolume of a search, by hand."""

import math

import numpy as np
import pytest

from nas.limits.metrics import Metric
from nas.limits.objectives import Objectives
from nas.limits.volume import VolumeScale
from nas.pareto.front import hypervolume

MACS = Objectives.of(["accuracy", "macs"])


def test_shares_by_hand() -> None:
    """From 1e9 to 1.1e11 multiply-adds, chance 0.2: the whole is 0.8 x (2 + log10 1.1).

    A network of 0.6 at 1e10 dominates 0.4 x (1 + log10 1.1); one of 0.4 at 1e9 adds 0.2 x 1; a
    failed one, and one below chance, add nothing.
    """
    margin = math.log10(1.1)
    scale = VolumeScale.of([9, 10, 11], 0.2, MACS)
    found = scale.shares([(np.nan, 9), (0.6, 10), (0.4, 9), (0.1, 9)])
    first, whole = 0.4 * (1 + margin), 0.8 * (2 + margin)
    assert found == pytest.approx([0, first / whole, (first + 0.2) / whole, (first + 0.2) / whole])


def test_where_nothing_was_trained_there_is_no_volume() -> None:
    assert VolumeScale.of([], 0.1, MACS).shares([(np.nan, 9), (np.nan, 9)]).tolist() == [0, 0]
    assert VolumeScale.of([], 0.1, MACS).shares([]).tolist() == []


def test_three_objectives_by_hand() -> None:
    """log10 of multiply-adds from 9 to 10, and a depth from 2 to 4 whose margin is a tenth of that:
    the whole is 1 x (1 + log10 1.1) x 2.2. A network of 0.5 at (9, 4) dominates .5 x (1 + log10
    1.1) x .2; one of unknown depth adds nothing and bounds nothing.
    """
    depth = Metric("depth", "depth", "layers", compute=lambda cost: 1.0, logarithmic=False)
    margin = math.log10(1.1)
    scale = VolumeScale.of([(9, 4), (10, 2), (12, np.nan)], 0.0, Objectives((*MACS.costs, depth)))
    assert scale.whole == pytest.approx((1 + margin) * 2.2)
    found = scale.shares([(0.5, 9, 4), (1.0, 9, np.nan), (0.5, 10, 2)])
    first, second = 0.5 * (1 + margin) * 0.2, 0.5 * margin * 2.2 - 0.5 * margin * 0.2
    assert found == pytest.approx([first / scale.whole, first / scale.whole, (first + second) / scale.whole])


def test_shares_are_the_volume_of_all_so_far() -> None:
    """Against the hypervolume of every beginning of the list, computed whole; some are equal."""
    random = np.random.default_rng(0)
    accuracy = np.round(random.uniform(0, 1, 60), 1)
    accuracy[::7] = np.nan
    macs = 10 ** np.round(random.uniform(8, 11, 60), 1)
    scale = VolumeScale.of(np.log10(macs), 0.1, MACS)
    points = np.column_stack([accuracy, np.log10(macs)])
    whole = [
        hypervolume(some[~np.isnan(some[:, 0])], [0.1, *scale.worst], (True, False)) / scale.whole
        for some in (points[: count + 1] for count in range(60))
    ]
    assert scale.shares(points) == pytest.approx(whole)
