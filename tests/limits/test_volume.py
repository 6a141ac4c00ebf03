"""The hypervolume of a search, by hand."""

import math

import numpy as np
import pytest

from nas.limits.volume import VolumeScale
from nas.pareto.front import hypervolume


def test_shares_by_hand() -> None:
    """From 1e9 to 1.1e11 multiply-adds, chance 0.2: the whole is 0.8 x (2 + log10 1.1).

    A network of 0.6 at 1e10 dominates 0.4 x (1 + log10 1.1); one of 0.4 at 1e9 adds 0.2 x 1; a
    failed one, and one below chance, add nothing.
    """
    margin = math.log10(1.1)
    scale = VolumeScale.of([1e9, 1e10, 1e11], 0.2)
    found = scale.shares([np.nan, 0.6, 0.4, 0.1], [1e9, 1e10, 1e9, 1e9])
    first, whole = 0.4 * (1 + margin), 0.8 * (2 + margin)
    assert found == pytest.approx([0, first / whole, (first + 0.2) / whole, (first + 0.2) / whole])


def test_where_nothing_was_trained_there_is_no_volume() -> None:
    assert VolumeScale.of([], 0.1).shares([np.nan, np.nan], [1e9, 1e9]).tolist() == [0, 0]
    assert VolumeScale.of([], 0.1).shares([], []).tolist() == []


def test_shares_are_the_volume_of_all_so_far() -> None:
    """Against the hypervolume of every beginning of the list, computed whole; some are equal."""
    random = np.random.default_rng(0)
    accuracy = np.round(random.uniform(0, 1, 60), 1)
    accuracy[::7] = np.nan
    macs = 10 ** np.round(random.uniform(8, 11, 60), 1)
    scale = VolumeScale.of(macs, 0.1)
    points = np.column_stack([accuracy, np.log10(macs)])
    whole = [
        hypervolume(some[~np.isnan(some[:, 0])], [0.1, scale.worst], (True, False)) / scale.whole
        for some in (points[: count + 1] for count in range(60))
    ]
    assert scale.shares(accuracy, macs) == pytest.approx(whole)
