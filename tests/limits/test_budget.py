from typing import Any

import pytest

from nas.errors import NasError
from nas.limits.budget import Budget, fitting_micro_batch, gpu_share, training_step_memory, trial_memory
from nas.profiler.computed.cost import cost
from nas.space import SearchSpace


@pytest.mark.parametrize(
    ("text", "metric", "low", "high"),
    [
        ("100gflops", "macs", 0, 100e9),
        ("80..100GFLOPs", "macs", 80e9, 100e9),
        ("500mflops", "macs", 0, 5e8),
        ("30ms", "latency_ms", 0, 30),
        ("4gb", "memory_bytes", 0, 4e9),
        ("512mb", "memory_bytes", 0, 512e6),
        ("2gb-inference", "inference_memory_bytes", 0, 2e9),
        ("50..100MB-inference", "inference_memory_bytes", 50e6, 100e6),
        ("2.5mparams", "params", 0, 2.5e6),
    ],
)
def test_units(text: str, metric: str, low: float, high: float) -> None:
    (limit,) = Budget.parse(text).limits
    assert (limit.metric, limit.low, limit.high) == (metric, low, high)


def test_violations_add_up_and_unknown_figures_do_not_count() -> None:
    budget = Budget.parse("80..100gflops, 30mparams,10ms")
    assert str(budget) == "80..100gflops,30mparams,10ms"
    assert budget.violation({"macs": 90e9, "params": 30e6}) == 0
    assert budget.violation({"macs": 150e9, "params": 45e6}) == pytest.approx(0.5 + 0.5)
    assert budget.violation({"macs": 60e9}) == pytest.approx(0.25)
    assert budget.violation({"macs": 100e9, "latency_ms": 12}) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "text",
    ["100", "", "100xyz", "gflops", "-5gflops", "5..2gflops", "0gflops", "1gflops,,2ms", "1gb-", "1ms-inference"],
)
def test_bad_budgets_are_named(text: str) -> None:
    with pytest.raises(NasError, match=r"budget '.*'.*allowed: .*100gflops"):
        Budget.parse(text)


def test_memory_of_inference_and_of_training_are_limits_of_their_own() -> None:
    figures = cost(SearchSpace.load("tiny").sample(0))
    known = Budget.parse("1gb,1gb-inference").computed(figures)
    assert known["inference_memory_bytes"] == figures.inference_bytes + 4 * figures.params
    assert known["memory_bytes"] == figures.step_bytes + 12 * figures.params > known["inference_memory_bytes"]


class Step:
    """A step of 10 bytes a clip beside weights, moments and gradients of 3 and 1 bytes."""

    parameter_bytes = 1

    def training_bytes(self, optimizer: str, batch: int) -> int:
        assert optimizer == "adamw"
        return 3 + 10 * batch


@pytest.mark.parametrize(
    ("memory", "fits"), [(63, 6), (62.9, 3), (34, 3), (33.9, 2), (24, 2), (14, 1), (13.9, 0), (float("inf"), 6)]
)
def test_the_largest_divisor_of_the_batch_that_fits(memory: float, fits: int) -> None:
    """The whole batch takes 63, a part of it what remains of the gradients so far, 1, beside its
    own.
    """
    step: Any = Step()
    assert fitting_micro_batch(step, 6, memory) == fits
    assert training_step_memory(step, 6, 3) == 34 and training_step_memory(step, 6, 6) == 63


@pytest.mark.parametrize(
    ("needed", "share"),
    [
        ([1e9], 0.125),  # 64 of 80 GB are for trials: an eighth is 8 GB less 0.6
        ([7.4e9], 0.125),
        ([7.5e9], 0.1428),
        ([20e9], 0.3333),
        ([32e9], 1.0),
        ([500e9], 1.0),
        ([10e9] * 10 + [70e9], 0.1666),  # one in eleven may take smaller batches
    ],
)
def test_as_many_trials_share_a_gpu_as_most_candidates_allow(needed: list[float], share: float) -> None:
    assert gpu_share(needed, 80e9) == share
    assert trial_memory(80e9, 8) == pytest.approx(7.4e9) and trial_memory(1e9, 8) == 1


def test_several_such_shares_run_side_by_side() -> None:
    for gigabytes in range(1, 70):
        share = gpu_share([gigabytes * 1e9], 80e9)
        assert round(1 / share) * share <= 1 and share >= 1 / 8
