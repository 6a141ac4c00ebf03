import math

import pytest

from nas.errors import NasError
from nas.limits.budget import Budget
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
        ("100 GFLOPs", "macs", 0, 100e9),
        ("80 .. 100 gmacs", "macs", 80e9, 100e9),
        (".5 gflops", "macs", 0, 0.5e9),
        ("500 MMACs", "macs", 0, 500e6),
        ("1 GFLOP", "macs", 0, 1e9),
        ("30 ms", "latency_ms", 0, 30),
        ("4 GB", "memory_bytes", 0, 4e9),
        ("30 M params", "params", 0, 30e6),
        ("3 mparameters", "params", 0, 3e6),
        ("accuracy>=.8", "accuracy", 0.8, math.inf),
        ("Accuracy >= 62.5 %", "accuracy", 0.625, math.inf),
        ("accuracy>=1", "accuracy", 1, math.inf),
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
    [
        "100",
        "",
        "100xyz",
        "gflops",
        "-5gflops",
        "5..2gflops",
        "0gflops",
        "1gflops,,2ms",
        "1gb-",
        "1ms-inference",
        "1" * 400 + "ms",
        "\u0663ms",
    ],
)
def test_bad_budgets_are_named(text: str) -> None:
    with pytest.raises(NasError, match=r"budget '.*'.*allowed: .*100gflops"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["accuracy<=.8", "macs>=.5", "accuracy>=", "accuracy", ".8>=accuracy", "accuracy>=-1"])
def test_what_is_no_limit_of_an_outcome_is_named(text: str) -> None:
    with pytest.raises(NasError, match=r"budget '.*' is not a limit; allowed: .*100gflops.* or accuracy>=0\.8"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["accuracy>=80", "accuracy>=0", "accuracy>=101%"])
def test_an_outcome_that_is_no_share_is_named(text: str) -> None:
    with pytest.raises(NasError, match=r"is not a share; allowed: accuracy>=0\.8 or accuracy>=80%, above 0, up to 1"):
        Budget.parse(text)


@pytest.mark.parametrize(
    "text", ["accuracy>=.5,accuracy>=.6", "10gflops,20gflops", "80..100 GFLOPs, 500 mmacs", "1gb,2mb"]
)
def test_two_limits_of_one_thing_are_refused(text: str) -> None:
    with pytest.raises(NasError, match=r"budget '.*' limits .* twice, by .* and .*; allowed: one limit of each"):
        Budget.parse(text)


def test_a_budget_is_shown_in_one_spelling() -> None:
    assert str(Budget.parse(".5 .. 2 GMACs, 30 MS @ h100")) == "0.5..2gflops,30ms@H100"


def test_memory_of_inference_and_of_training_are_limits_of_their_own() -> None:
    figures = cost(SearchSpace.load("tiny").sample(0))
    known = Budget.parse("1gb,1gb-inference").computed(figures)
    assert known["inference_memory_bytes"] == figures.inference_bytes + 4 * figures.params
    assert known["memory_bytes"] == figures.step_bytes + 12 * figures.params > known["inference_memory_bytes"]


def test_nan_is_inside_no_budget() -> None:
    budget = Budget.parse("80..100gflops,30ms")
    assert budget.violation({"macs": 90e9, "latency_ms": math.nan}) == math.inf
    assert budget.violation({"macs": math.nan}) == math.inf


@pytest.mark.parametrize(
    ("budget", "figures", "said", "moved"),
    [
        ("30ms", {"latency_ms": 41.0}, ["41.0 ms > 30 ms"], "41ms"),
        ("30ms", {"latency_ms": 41.23}, ["41.2 ms > 30 ms"], "42ms"),
        ("30ms", {"latency_ms": 30.0}, [], "30ms"),
        ("30ms", {"latency_ms": 30.004}, ["30.004 ms > 30 ms"], "31ms"),
        ("30ms", {}, [], "30ms"),
        ("80..100gflops", {"macs": 61.7e9}, ["61.7 GFLOPs < 80 GFLOPs"], "61..100gflops"),
        ("80..100gflops", {"macs": 1234e9}, ["1,234 GFLOPs > 100 GFLOPs"], "80..1300gflops"),
        (
            "4gb,30ms@H100",
            {"memory_bytes": 4.1e9, "latency_ms": 31.0},
            ["4,100 MB > 4,000 MB", "31.0 ms > 30 ms"],
            "4.2gb,31ms@H100",
        ),
        ("1mflops", {"macs": 1.5e3}, [], "1mflops"),
        ("1ms,accuracy>=.8", {"accuracy": 0.6549}, ["accuracy 65.5 % < 80 %"], "1ms,accuracy>=0.65"),
        ("accuracy>=.29", {"accuracy": 0.2899}, ["accuracy 28.99 % < 29 %"], "accuracy>=0.28"),
        ("accuracy>=.8", {"accuracy": 0.8}, [], "accuracy>=0.8"),
        ("0.001mflops", {"macs": 1.51e3}, ["0.00000151 GFLOPs > 0.000001 GFLOPs"], "0.0016mflops"),
    ],
)
def test_a_limit_that_is_broken_says_how_and_can_be_moved(
    budget: str, figures: dict[str, float], said: list[str], moved: str
) -> None:
    found = Budget.parse(budget)
    assert found.breaches(figures) == said
    assert str(found.reaching(figures)) == moved
    assert found.reaching(figures).violation(figures) == 0
