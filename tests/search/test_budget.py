import pytest

from nas.errors import NasError
from nas.search.budget import Budget


@pytest.mark.parametrize(
    ("text", "metric", "low", "high"),
    [
        ("100gflops", "macs", 0, 100e9),
        ("80..100GFLOPs", "macs", 80e9, 100e9),
        ("500mflops", "macs", 0, 5e8),
        ("30ms", "latency_ms", 0, 30),
        ("4gb", "memory_bytes", 0, 4e9),
        ("512mb", "memory_bytes", 0, 512e6),
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


@pytest.mark.parametrize("text", ["100", "", "100xyz", "gflops", "-5gflops", "5..2gflops", "0gflops", "1gflops,,2ms"])
def test_bad_budgets_are_named(text: str) -> None:
    with pytest.raises(NasError, match=r"budget '.*'.*allowed: .*100gflops"):
        Budget.parse(text)
