"""Candidates as the sampler sees them: codes, features, costs, limits, and the published networks
among them.
"""

from __future__ import annotations

import numpy as np
import pytest

from nas.architecture import Architecture, load
from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.profiler.computed.cost import cost
from nas.space import SearchSpace

TINY = SearchSpace.load("tiny")


def test_costs_features_and_violations_are_those_of_the_candidates() -> None:
    gate = Gate(TINY, Budget.parse("200mflops,0.1mparams"), lambda architecture: {"latency_ms": 1.0})
    rng = np.random.default_rng(0)
    drawn = [gate.sample(rng) for _ in range(12)]
    features = gate.features(drawn)
    for i, params in enumerate(drawn):
        architecture = TINY.decode(params)
        figures = cost(architecture)
        assert gate.costs([params])[0, 0] == np.log10(figures.macs)
        over = max(figures.macs / 200e6 - 1, 0) + max(figures.params / 0.1e6 - 1, 0)
        assert gate.violations([params])[0] == pytest.approx(over)
        assert gate.key(params) == architecture.hash
        assert features[i, 2] == sum(architecture.operators.values()) and features[i, 3:].sum() == pytest.approx(1)
    assert gate.candidate(drawn[0]).figures == {"macs": cost(TINY.decode(drawn[0])).macs, "latency_ms": 1.0} | {
        "params": cost(TINY.decode(drawn[0])).params
    }


def test_codes_are_positions_and_minus_one_where_there_is_no_choice() -> None:
    gate = Gate(TINY, Budget.parse("1gflops"))
    params = TINY.sample_params(np.random.default_rng(0))
    for hole, code in zip(TINY.holes, gate.codes([params])[0], strict=True):
        assert (hole.values[code] == params[hole.name]) if code >= 0 else hole.name not in params
    assert gate.codes([]).shape == (0, len(TINY.holes))


def test_places_are_ranks_of_numbers() -> None:
    gate = Gate(TINY, Budget.parse("1gflops"))
    params = TINY.sample_params(np.random.default_rng(0))
    numbers = 0
    for hole, place in zip(TINY.holes, gate.places([params])[0], strict=True):
        if hole.numeric and hole.name in params:
            below = sum(value < params[hole.name] for value in hole.values)  # type: ignore[operator]
            assert place == pytest.approx(below / max(1, len(hole.values) - 1))
            numbers += 1
        else:
            assert np.isnan(place)
    assert numbers and gate.places([]).shape == (0, len(TINY.holes))


def test_published_networks_are_found_and_those_inside_come_first() -> None:
    gate = Gate(SearchSpace.load("conv").with_classes(7), Budget.parse("10gflops"))
    found = [gate.candidate(params) for params in gate.references()]
    assert len(found) == 11  # X3D-XS, S and M differ in their input alone
    assert all(candidate.architecture.num_classes == 7 for candidate in found)
    assert [candidate.violation for candidate in found] == sorted(candidate.violation for candidate in found)
    assert found[0].violation == 0 and found[-1].violation > 1
    assert Gate(TINY, Budget.parse("1gflops")).references() == []
    around = Gate(SearchSpace.around(load("x3d_s"), 2), Budget.parse("10gflops"))
    assert around.references() == [{"edits": 0}]


def test_a_candidate_that_could_not_be_priced_is_tried_again() -> None:
    answers: list[ValueError | dict[str, float]] = [
        ValueError("the predictor is away"),
        ValueError("still"),
        {"latency_ms": 1.0},
    ]

    def predict(architecture: Architecture) -> dict[str, float]:
        answer = answers.pop(0)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    gate = Gate(TINY, Budget.parse("2ms"), predict)
    params = TINY.sample_params(np.random.default_rng(0))
    for message in ("away", "still"):
        with pytest.raises(ValueError, match=message):
            gate.candidate(params)
    assert gate.candidate(params).figures["latency_ms"] == 1.0
