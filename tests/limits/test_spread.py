"""Random candidates over costs: evenly up to a limit, from a floor, under a ceiling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nas.architecture import load
from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.limits.objectives import Objectives
from nas.limits.spread import Reach
from nas.space import SearchSpace

TINY = SearchSpace.load("tiny")


def drawn(gate: Gate, metric: str = "macs", count: int = 36) -> np.ndarray:
    rng = np.random.default_rng(0)
    found = [gate.candidate(gate.sample(rng)) for _ in range(count)]
    return np.array([{"macs": each.cost.macs, "params": each.cost.params}[metric] for each in found])


def test_draws_are_spread_up_to_the_limit_and_not_over_the_spaces_own_mass() -> None:
    """Of tiny's own draws two in three have more than .2 GFLOPs."""
    own = [
        Gate(TINY, Budget.parse("9gflops")).candidate(TINY.sample_params(np.random.default_rng(i))) for i in range(20)
    ]
    assert np.mean([each.cost.macs > 0.2e9 for each in own]) > 0.5
    found = drawn(Gate(TINY, Budget.parse("0.2gflops")))
    inside = found[found <= 0.2e9]
    assert len(inside) > 0.6 * len(found)
    thirds = np.histogram(np.log(inside), 3, (math.log(0.05e9), math.log(0.2e9)))[0]
    assert (thirds > 0.15 * len(found)).all()


def test_a_search_begins_at_a_twentieth_of_what_it_reaches_or_where_it_is_told() -> None:
    gate = Gate(TINY, Budget.parse("0.5gflops"), reach=Reach(None))
    assert gate.spread.top == pytest.approx(0.5e9, rel=0.01)
    assert gate.spread.floor == pytest.approx(0.025e9, rel=0.01)
    told = Gate(TINY, Budget.parse("0.5gflops"), reach=Reach(0.3e9))
    assert told.spread.floor == 0.3e9
    assert (drawn(told, count=30) >= 0.2e9).mean() > 0.7


def test_what_is_below_the_floor_or_over_the_ceiling_is_out_of_reach_and_not_over_the_budget() -> None:
    gate = Gate(TINY, Budget.parse("5gflops"), reach=Reach(0.1e9, 0.4e9))
    rng = np.random.default_rng(1)
    several = [TINY.sample_params(rng) for _ in range(30)]
    macs = np.array([gate.candidate(params).cost.macs for params in several])
    unreached = np.array([gate.unreached(params) for params in several])
    over, under = macs > 0.4e9, macs < 0.1e9
    assert over.any() and under.any()
    assert unreached[over] == pytest.approx(macs[over] / 0.4e9 - 1)
    assert unreached[under] == pytest.approx(1 - macs[under] / 0.1e9)
    assert not unreached[~over & ~under].any()
    assert (gate.violations(several) == unreached).all()
    assert not any(gate.candidate(params).violation for params in several)
    assert gate.spread.macs[1] <= 0.4e9


def test_the_first_cost_that_is_compared_is_what_draws_are_spread_over() -> None:
    gate = Gate(TINY, Budget.parse("0.3mparams"), objectives=Objectives.of(("accuracy", "params")), reach=Reach(None))
    assert gate.spread.top == pytest.approx(0.3e6, rel=0.05)
    params = drawn(gate, "params")
    assert (params <= 0.3e6).mean() > 0.5 and params.max() / params.min() > 5


def test_a_space_without_widths_and_depths_is_drawn_from_as_it_is() -> None:
    around = SearchSpace.around(load("x3d_s").resized(4, (32, 32)), 2)
    gate = Gate(around, Budget.parse("1gflops"), reach=Reach(None))
    draws = [gate.sample(np.random.default_rng(seed)) for seed in range(20)]
    assert all(gate.contains(params) for params in draws) and len({gate.key(params) for params in draws}) > 5


def test_sizes_tilt_widths_and_depths_alone() -> None:
    def mean(name: str, size: float) -> float:
        rng = np.random.default_rng(0)
        return float(np.mean([float(TINY.sample_params(rng, size)[name]) for _ in range(200)]))  # type: ignore[arg-type]

    assert mean("stages.0.width", -8) < 18 < 60 < mean("stages.0.width", 8)
    assert mean("stages.1.layers.repeat", -8) < 1.05 and mean("stages.1.layers.repeat", 8) > 2.9
    assert mean("stages.0.width", 0) == pytest.approx(40, abs=4)
    operators = [TINY.sample_params(np.random.default_rng(i), 8.0)["stages.0.layers.0.op"] for i in range(120)]
    assert len(set(operators)) == 6 and max(map(operators.count, operators)) < 40
