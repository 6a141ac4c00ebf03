"""Hypervolumes worked out by hand, and what is said of them."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from nas.limits.objectives import Objectives
from nas.runs.selection.control import comparison, curves

MACS = Objectives.of(["accuracy", "macs"])


def table(*rows: tuple[float, float]) -> pd.DataFrame:
    """Trainings of 10 s each with accuracy and multiply-adds."""
    frame = pd.DataFrame(rows, columns=["accuracy", "macs"])
    return frame.assign(trial=range(len(frame)), state="finished", seconds=10.0)


def test_curves_are_bounded_by_both() -> None:
    # log10: costs 1 to 2, reference 2 + log10(1.1); a perfect network at 10 multiply-adds dominates
    # (1 - .2) times the length 1 + log10(1.1).
    room = math.log10(1.1)
    found = curves(table((0.6, 100.0), (0.4, 10.0), (0.1, 10.0)), table((0.6, 10.0), (0.2, 100.0)), 0.2, MACS)
    whole = 0.8 * (1 + room)
    search = [0.4 * room, 0.2 * (1 + room) + 0.2 * room, 0.2 * (1 + room) + 0.2 * room]
    random = [0.4 * (1 + room), 0.4 * (1 + room)]
    assert found["hypervolume"].tolist() == pytest.approx([v / whole for v in (*search, *random)])
    assert found["by"].tolist() == ["search"] * 3 + ["random"] * 2
    assert found["trainings"].tolist() == [1, 2, 3, 1, 2]
    assert found["seconds"].tolist() == [10, 20, 30, 10, 20]


def test_a_failed_training_counts_and_adds_nothing() -> None:
    search = table((0.6, 10.0), (0.9, 1.0))
    search.loc[1, "state"] = "failed"
    search.loc[1, "accuracy"] = search.loc[1, "seconds"] = math.nan
    found = curves(search, table((0.6, 10.0)), 0.2, MACS)
    assert found["hypervolume"].tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert found["seconds"].tolist() == [10, 10, 10]


def test_without_trainings_there_is_no_comparison() -> None:
    assert "no comparison" in comparison(curves(table((0.5, 10.0)), table(), 0.2, MACS))
    assert "no comparison" in comparison(curves(table(), table(), 0.2, MACS))


@pytest.mark.parametrize(
    ("search", "random", "said"),
    [
        (0.6, 0.4, "At 2 trainings each: hypervolume 60.0 % by the search, 40.0 % by random. It"),
        (0.4, 0.6, "40.0 % by the search, 60.0 % by random: the search is not better than random search here. It"),
        (0.4, 0.4, "40.0 % by the search, 40.0 % by random: the search is not better"),
        (0.40001, 0.4, "40.0 % by the search, 40.0 % by random: the search is not better"),
    ],
)
def test_comparison_is_at_the_same_number(search: float, random: float, said: str) -> None:
    rows = [("search", 0.1), ("search", search), ("search", 0.99), ("random", 0.2), ("random", random)]
    assert said in comparison(pd.DataFrame(rows, columns=["by", "hypervolume"]))
