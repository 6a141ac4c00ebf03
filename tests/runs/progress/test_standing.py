"""How a search stands, by a proposer of the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nas.limits.metrics import METRICS
from nas.limits.objectives import Objectives
from nas.runs.progress.display import _standing
from nas.runs.progress.standing import PLAIN, Standing, sparkline


def proposer(*trained: tuple[float | None, float], running: int = 0) -> Any:
    """Candidates of an accuracy, None for a failure, and a log10 of multiply-adds."""
    costs = [*(cost for _, cost in trained), *[9.0] * running]
    candidates = [SimpleNamespace(costs=(cost,), priced=SimpleNamespace(figures={"macs": 10**cost})) for cost in costs]
    results = {i: SimpleNamespace(accuracy=accuracy) for i, (accuracy, _) in enumerate(trained)}
    gate = SimpleNamespace(objectives=Objectives((METRICS["macs"],)))
    counts = {"proposed": 9, "rejected": 3, "unreached": 1, "duplicates": 0}
    return SimpleNamespace(candidates=candidates, results=results, gate=gate, **counts)


def test_what_a_search_has_found() -> None:
    # The second dominates the third; the fourth is at chance, though the cheapest.
    stands = Standing.of(proposer((0.5, 9.0), (0.9, 10.0), (0.8, 10.0), (0.1, 8.0), (None, 8.5), running=2), 0.1, 2)
    assert stands.front == (0, 1) and stands.best == (1, 0)
    assert (stands.running, stands.done, stands.failed) == (2, 5, 1)
    assert stands.fates == ("2 running, 5 done, 1 failed; 9 proposed, of which 3 rejected, 1 out of reach, 0 repeated")
    # Bounded by accuracy 0.1 and 10^(10 + log10 1.1), whole 0.9 x (2 + log10 1.1) = 1.8373.
    margin = 0.04139
    first = 0.4 * (1 + margin) + 0.4 * margin
    assert stands.volumes == pytest.approx((first / 1.83725, first / 1.83725), abs=1e-4)


def test_what_a_terminal_shows() -> None:
    known = proposer((0.5, 9.0), (0.9, 10.0))
    shown = _standing(known, Standing.of(known, 0.1, 2), PLAIN).splitlines()
    assert shown[0] == "best of the front: 90.0 % (#1), 1.00 GFLOPs (#0)"
    assert shown[1] == "front: 2 networks, hypervolume 46.2 % ##" and shown[2].startswith("0 running, 2 done")


def test_nothing_is_known_and_all_is_at_chance() -> None:
    nothing = Standing.of(proposer(running=1), 0.1)
    assert (nothing.front, nothing.best, nothing.volumes, nothing.done) == ((), (), (), 0)
    only = Standing.of(proposer((0.1, 9.0)), 0.1, 8)
    assert only.front == (0,) and only.volumes == (0.0,)


def test_a_line_of_bars() -> None:
    assert sparkline([0.0, 0.5, 0.25, 1.0]) == "▁▅▃█"
    assert sparkline([0.0, 0.0], PLAIN) == "__" and sparkline([]) == ""
