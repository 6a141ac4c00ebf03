"""Samplers by name, and one of another package that knows costs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler

from nas.architecture import Architecture
from nas.errors import NasError
from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.profiler.computed.cost import cost
from nas.space import SearchSpace
from nas.trials import samplers
from nas.trials.proposer import Proposer
from nas.trials.results import TrialResult
from nas.trials.samplers import SAMPLERS, find_sampler, register

TINY = SearchSpace.load("tiny")


class Cheapest(BaseSampler):
    """Of 64 random candidates inside the budget the cheapest that was not proposed yet."""

    def __init__(self, gate: Gate, seed: int) -> None:
        self.gate, self.seed, self.exhausted = gate, seed, False

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        return dict(self.gate.distributions)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        drawn = [self.gate.sample(rng) for _ in range(64)]
        known = {self.gate.key(other.params) for other in study.get_trials(deepcopy=False) if other.params}
        inside = np.flatnonzero(self.gate.violations(drawn) == 0)
        order = inside[np.argsort(self.gate.costs([drawn[i] for i in inside])[:, 0], kind="stable")]
        new = [drawn[i] for i in order if self.gate.key(drawn[i]) not in known]
        self.exhausted = not new
        return dict(new[0] if new else drawn[0])

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution) -> Any:
        return RandomSampler(self.seed).sample_independent(study, trial, param_name, param_distribution)


@pytest.fixture
def cheapest() -> Iterator[str]:
    register("cheapest", Cheapest, once=True)
    yield "cheapest"
    del SAMPLERS["cheapest"]


def test_a_sampler_that_knows_costs_is_one_call(cheapest: str, tmp_path: Path) -> None:
    """The eight cheapest of what it draws, in order, are inside the budget; then none is left."""
    rng = np.random.default_rng(0)
    gate = Gate(TINY, Budget.parse("0.3gflops"))
    drawn = {TINY.decode(params).hash: params for params in (gate.sample(rng) for _ in range(64))}
    macs = sorted({key: cost(TINY.decode(params)).macs for key, params in drawn.items()}.values())
    assert macs[7] < 0.3e9
    found = []
    for _ in range(2):  # the second session goes on with what the first one left
        search = Proposer(gate, tmp_path, seed=0, sampler=cheapest)
        for _ in range(4):
            candidate = search.propose()
            assert candidate is not None
            found.append(candidate.cost.macs)
            search.record(candidate.index, TrialResult("finished", accuracy=0.5, curve=(0.5,)))
    assert found == macs[:8] and search.rejected == search.duplicates == 0


def test_names(cheapest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="sampler 'cheapest' exists; allowed: another name"):
        register("cheapest", Cheapest)
    with pytest.raises(NasError, match="sampler 'grid' is unknown; allowed: pareto, tpe, nsga2, gp, random, cheapest"):
        find_sampler("grid")
    monkeypatch.setattr(samplers, "find_spec", lambda name: None)
    message = r"sampler 'gp' needs scipy; allowed: another sampler, or pip install 'video-nas\[gp\]'"
    with pytest.raises(NasError, match=message):
        find_sampler("gp")
    assert find_sampler("tpe").once is False and find_sampler("pareto").once


def test_a_search_leaves_the_process_as_it_is(tmp_path: Path) -> None:
    verbosity, filters = optuna.logging.get_verbosity(), list(warnings.filters)
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        search = Proposer(Gate(TINY, Budget.parse("1gflops")), tmp_path, seed=0, sampler="tpe")
        candidate = search.propose()
        assert candidate is not None
        search.record(candidate.index, TrialResult("finished", accuracy=0.5, curve=(0.5,)))
        search.learn()
        assert (optuna.logging.get_verbosity(), list(warnings.filters)) == (optuna.logging.DEBUG, filters)
    finally:
        optuna.logging.set_verbosity(verbosity)


@pytest.mark.parametrize("sampler", ["pareto", "tpe"])
def test_what_has_no_figure_for_a_limit_is_outside_it(tmp_path: Path, sampler: str) -> None:
    """Of half of the networks the predicted latency is nan: they are rejected, also by another
    session.
    """

    def latency(architecture: Architecture) -> dict[str, float]:
        return {"latency_ms": math.nan if int(architecture.hash, 16) % 2 else 1.0}

    gate = Gate(TINY, Budget.parse("2ms"), latency)
    for _ in range(2):
        search = Proposer(gate, tmp_path, seed=0, sampler=sampler)
        for _ in range(6):
            candidate = search.propose()
            assert candidate is not None and int(candidate.architecture.hash, 16) % 2 == 0
            search.record(candidate.index, TrialResult("finished", accuracy=0.5, curve=(0.5,)))
    assert search.rejected if sampler == "tpe" else not search.rejected
