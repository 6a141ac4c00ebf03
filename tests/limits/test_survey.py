"""The nearest candidate to a budget, from costs alone."""

import pytest

from nas.architecture import Architecture
from nas.errors import NasError
from nas.limits import survey
from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.limits.survey import nearest
from nas.profiler.computed.cost import cost
from nas.space import SearchSpace

TINY = SearchSpace.load("tiny")


def narrow(seed: int) -> Budget:
    """Both limits within 0.3 % of a network that exists."""
    figures = cost(TINY.sample(seed))
    ends = (f"{0.997 * n:.6f}..{1.003 * n:.6f}" for n in (figures.macs / 1e6, figures.params / 1e6))
    return Budget.parse("{}mflops,{}mparams".format(*ends))


def test_two_narrow_limits_are_met_where_one_descent_gets_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = narrow(7)
    found = nearest(Gate(TINY, budget))
    assert found.violation == 0 and budget.violation(found.figures) == 0
    assert found.figures == budget.computed(cost(found.architecture))
    monkeypatch.setattr(survey, "STARTS", 1)
    monkeypatch.setattr(survey, "RESTARTS", 0)
    assert nearest(Gate(TINY, budget)).violation > 0


def test_a_predicted_latency_counts_where_it_is_limited() -> None:
    def by_depth(architecture: Architecture) -> dict[str, float]:
        return {"latency_ms": 2.0 * sum(len(stage.layers) for stage in architecture.stages)}

    assert nearest(Gate(TINY, Budget.parse("5ms"), by_depth)).figures["latency_ms"] == 4
    assert nearest(Gate(TINY, Budget.parse("1ms"), by_depth)).violation == pytest.approx(3)


@pytest.mark.parametrize("width", [4, {"choice": [4]}])
def test_a_space_of_one_candidate_has_its_nearest(width: object) -> None:
    document = {
        "input": {"frames": 4, "size": 16},
        "stem": {"op": "conv", "stride": [1, 4, 4]},
        "stages": [{"width": width, "layers": [{"op": "full3d"}]}],
        "head": {"op": "mean"},
    }
    space = SearchSpace.from_document(document, "one")
    found = nearest(Gate(space, Budget.parse("1..2mparams")))
    assert found.figures["params"] == cost(found.architecture).params
    assert found.violation == pytest.approx(1 - found.figures["params"] / 1e6)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_few_samples_are_enough_to_begin_with(samples: int) -> None:
    assert nearest(Gate(TINY, narrow(7)), samples=samples).violation >= 0


def test_no_samples_are_refused() -> None:
    with pytest.raises(NasError, match="samples 0 is not allowed; allowed: whole numbers from 1"):
        nearest(Gate(TINY, narrow(7)), samples=0)
