"""What the time allows, from a pace in plain numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.limits.pace import Pace
from nas.runs.planning.effort import Effort, Time, duration, gflops, planned

# 4 epochs of 10 steps of 16 clips, judged after 1, 2 and 4 on 32, at 1 % of the multiply-adds.
EFFORT = Effort(8, (28, 28), (1, 2, 4), 160, 16, 32, 0.01)
PACE = Pace(0.1, 1e-10)
G = 1e9


def test_seconds_of_a_training() -> None:
    """A step of a network of 10 GFLOPs: .1 s and 3 x .1 x 16 = 4.8 GMAC in .48 s."""
    assert EFFORT.seconds(PACE, 10 * G) == pytest.approx(40 * 0.58 + 3 * 32 * 0.1 * G * 1e-10)
    assert EFFORT.seconds(PACE, 0) == pytest.approx(4.0)
    assert EFFORT.largest(PACE, EFFORT.seconds(PACE, 7 * G)) == pytest.approx(7 * G)
    assert EFFORT.largest(PACE, 3.0) == 0


def test_the_pace_of_some_steps() -> None:
    macs = [1e8, 1e9, 5e9]
    found = Pace.fitted(macs, [0.05 + 2e-10 * each for each in macs])
    assert (found.step_s, found.mac_s) == (pytest.approx(0.05), pytest.approx(2e-10))
    assert Pace.fitted([1e9], [0.5]).mac_s == pytest.approx(5e-10)
    assert Pace.fitted([1e8, 1e9], [0.001, 0.5]).step_s == 0  # the larger one was disturbed
    assert Pace.fitted([1e8, 1e9], [0.5, 0.4]).mac_s > 0
    assert Pace.nominal(2, False) == Pace(0.0, 1 / 20e9) and Pace.nominal(2, True) == Pace(0.0, 1 / 500e9)


def test_no_training_takes_more_than_a_twentieth_and_the_range_stays_a_range() -> None:
    time = Time(20 * EFFORT.seconds(PACE, 7 * G), 100.0, 2)
    assert time.ceiling(EFFORT, PACE, 1 * G) == pytest.approx(7 * G)
    assert time.ceiling(EFFORT, PACE, 5 * G) == pytest.approx(10 * G)


def test_networks_that_are_expected() -> None:
    time = Time(1000.0, 1000.0, 2)
    each = EFFORT.seconds(PACE, 2 * G)
    assert time.networks(EFFORT, PACE, 2 * G, 2 * G) == int(2.0 * 0.7 * 2000 / each)
    assert time.networks(EFFORT, PACE, 2 * G, 20 * G) < time.networks(EFFORT, PACE, 2 * G, 10 * G)


def test_the_most_that_the_time_allows() -> None:
    efforts = [replace(EFFORT, rungs=(n,)) for n in range(3, 31)]

    def epochs(seconds: float | None) -> int:
        time = None if seconds is None else Time(seconds, seconds, 2)
        return planned(efforts, PACE, time, 1 * G, 10 * G).rungs[-1]

    assert epochs(10.0) == 3  # whatever it allows, three
    assert epochs(1e6) == 30
    some = epochs(1000.0)
    assert 3 < some < 30
    time = Time(1000.0, 1000.0, 2)
    assert all(time.reached(efforts[n - 3], PACE, 10 * G) for n in (3, some))
    assert time.enough(efforts[some - 3], PACE, 1 * G, 10 * G)
    assert not time.enough(efforts[some - 2], PACE, 1 * G, 10 * G) or not time.reached(efforts[some - 2], PACE, 10 * G)
    assert epochs(None) == 10  # a training of 9 / ln 10 = 3.9 GFLOPs takes half a minute at most
    assert time.networks(efforts[some - 3], PACE, 1 * G, 10 * G) >= 40


def test_where_the_largest_is_out_of_reach_the_middle_of_what_the_time_allows_is_trained() -> None:
    """Of three to `most` epochs that train 40 networks each, all times being in proportion."""
    efforts = [replace(EFFORT, rungs=(n,)) for n in range(3, 31)]
    time = Time(600.0, 600.0, 2)
    assert not time.reached(efforts[0], PACE, 100 * G)
    most = max(each.rungs[-1] for each in efforts if time.enough(each, PACE, 0.5 * G, 100 * G))
    assert 8 < most < 30
    found = planned(efforts, PACE, time, 0.5 * G, 100 * G).rungs[-1]
    assert found <= (3 * most) ** 0.5 * 1.01 < found + 1.05
    assert planned(efforts, PACE, Time(4.0, 4.0, 2), 0.5 * G, 100 * G) == efforts[0]


@pytest.mark.parametrize(("seconds", "text"), [(59, "1m"), (61, "2m"), (5400, "90m"), (5401, "2h"), (7300, "3h")])
def test_durations_are_what_an_option_takes(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes_in_a_sentence() -> None:
    assert [gflops(n) for n in (12.3e9, 99.9e9, 0.066e9)] == ["12 GFLOPs", "100 GFLOPs", "0.066 GFLOPs"]
