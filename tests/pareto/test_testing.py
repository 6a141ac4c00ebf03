"""The checks of a space for samplers: on the spaces of this package, and on spaces with a fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from nas.architecture import load
from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.pareto.parameters import IndependentSpace, Params, Space
from nas.pareto.testing import SPACE_CHECKS, check_space
from nas.space import SearchSpace

INDEPENDENT = IndependentSpace(
    {
        "letter": CategoricalDistribution(["a", None, 2]),
        "one": CategoricalDistribution(["only"]),
        "step": IntDistribution(1, 7, step=3),
        "width": IntDistribution(1, 64, log=True),
        "rate": FloatDistribution(1e-4, 1.0, log=True),
        "tenths": FloatDistribution(0.0, 1.0, step=0.1),
    },
    features=lambda candidates: [[float(params["step"])] for params in candidates],
)
SPACES: dict[str, Space] = {
    "independent": INDEPENDENT,
    "independent, one value": IndependentSpace({"x": CategoricalDistribution(["only"])}),
    "gate": Gate(SearchSpace.load("tiny"), Budget.parse("1gflops")),
    "gate of a neighbourhood": Gate(SearchSpace.around(load("x3d_s").resized(4, (32, 32)), 2), Budget.parse("1gflops")),
}


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("check", SPACE_CHECKS, ids=lambda check: check.__name__)
def test_spaces_of_this_package(name: str, check: Any) -> None:
    check(SPACES[name])


class Faulty(IndependentSpace):
    """A space with methods of its own, by name."""

    def __init__(self, **methods: Any) -> None:
        super().__init__({"x": IntDistribution(0, 999), "y": CategoricalDistribution("ab")})
        self.__dict__.update(methods)


def forgetful(params: Params, rng: np.random.Generator) -> Params:
    params["x"] = 0  # type: ignore[index]
    return params


def growing(candidates: Sequence[Params]) -> np.ndarray:
    return np.arange(len(candidates))[:, None]


DRAWN_ELSEWHERE: dict[str, Any] = {"sample": lambda rng: {"x": int(np.random.default_rng().integers(999)), "y": "a"}}


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (DRAWN_ELSEWHERE, "with the same generator"),
        ({"sample": lambda rng: {"x": 1000, "y": "a"}}, "sample gave 'x' 1000; allowed: IntDistribution"),
        ({"sample": lambda rng: {"x": 1}}, "of which contains says that it is no candidate"),
        ({"sample": lambda rng: {"x": 1, "y": "a", "z": 1}}, r"with \['z'\], of which there is no distribution"),
        ({"mutate": forgetful}, "mutate changed the mapping"),
        ({"mutate": lambda params, rng: params}, "mutate left all of 16 candidates as they were"),
        (
            {"contains": lambda params: params.keys() == {"x", "y"}},
            "contains is true of .* is of another space",
        ),
        ({"key": lambda params: tuple(params.items())}, "depends on the order"),
        ({"codes": lambda candidates: np.zeros((len(candidates), 1))}, "codes are float64; allowed: whole numbers"),
        ({"codes": lambda candidates: np.full((len(candidates), 1), -2)}, "codes have -2; allowed: -1 and more"),
        ({"codes": growing}, "codes of .* depend on the candidates beside it"),
        ({"codes": lambda candidates: np.zeros(len(candidates), int)}, r"codes have shape \(16,\); allowed"),
        ({"features": lambda candidates: np.full((len(candidates), 1), np.nan)}, "features have nan or inf"),
    ],
)
def test_faults_are_found(methods: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_space(Faulty(**methods))
