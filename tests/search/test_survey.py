"""The nearest candidate to a budget, from costs alone."""

import numpy as np
import pytest

from nas.architecture import load
from nas.profiler.cost import cost
from nas.search import survey
from nas.search.budget import Budget
from nas.search.survey import Pricer, nearest
from nas.space import SearchSpace

TINY = SearchSpace.load("tiny")
ALL = Budget.parse("1gflops,1mparams,1gb,1gb-inference")


def narrow(seed: int) -> Budget:
    """Both limits within 0.3 % of a network that exists."""
    figures = cost(TINY.sample(seed))
    ends = (f"{0.997 * n:.6f}..{1.003 * n:.6f}" for n in (figures.macs / 1e6, figures.params / 1e6))
    return Budget.parse("{}mflops,{}mparams".format(*ends))


def test_prices_are_those_of_the_candidates() -> None:
    rng = np.random.default_rng(0)
    for space, count in ((TINY, 20), (SearchSpace.around(load("x3d_xs"), 2), 2)):
        drawn = [space.sample_params(rng) for _ in range(count)]
        for params, figures in zip(drawn, Pricer(space, ALL).figures(drawn), strict=True):
            assert figures == ALL.computed(cost(space.decode(params)))


def test_two_narrow_limits_are_met_where_one_descent_gets_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = narrow(7)
    architecture, figures, violation = nearest(TINY, budget)
    assert violation == 0 and budget.violation(figures) == 0
    assert figures == Budget.parse("1gflops,1mparams,1gb-inference").computed(cost(architecture))
    monkeypatch.setattr(survey, "STARTS", 1)
    monkeypatch.setattr(survey, "KICKS", 0)
    assert nearest(TINY, budget)[2] > 0


def test_a_predicted_latency_counts_where_it_is_limited() -> None:
    budget = Budget.parse("5ms")
    by_depth = lambda architecture: 2.0 * sum(len(stage.layers) for stage in architecture.stages)  # noqa: E731
    assert nearest(TINY, budget, latency=by_depth)[1]["latency_ms"] == 4
    assert nearest(TINY, Budget.parse("1ms"), latency=by_depth)[2] == pytest.approx(3)
    assert "latency_ms" not in nearest(TINY, Budget.parse("1gflops"), latency=by_depth)[1]


@pytest.mark.parametrize("width", [4, {"choice": [4]}])
def test_a_space_of_one_candidate_has_its_nearest(width: object) -> None:
    document = {
        "input": {"frames": 4, "size": 16},
        "stem": {"op": "conv", "stride": [1, 4, 4]},
        "stages": [{"width": width, "layers": [{"op": "full3d"}]}],
        "head": {"op": "mean"},
    }
    space = SearchSpace.from_document(document, "one")
    architecture, figures, violation = nearest(space, Budget.parse("1..2mparams"))
    assert figures["params"] == cost(architecture).params and violation == pytest.approx(1 - figures["params"] / 1e6)
