"""The table of metrics, and that a new row of it is all that a new metric takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nas.errors import NasError
from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.limits.metrics import METRICS, Metric, computed_figures, metrics, register
from nas.limits.objectives import Objectives
from nas.limits.survey import check_budget, survey
from nas.profiler.computed.cost import Cost, cost
from nas.space import SearchSpace

TINY = SearchSpace.load("tiny")


def millijoules(figures: Cost) -> float:
    """4 pJ a multiply-add and 100 pJ a byte."""
    return 4e-9 * figures.macs + 1e-7 * figures.bytes_moved


@pytest.fixture
def energy() -> Iterator[Metric]:
    metric = Metric("energy_mj", "energy", "mJ", compute=millijoules, budget_units={"mj": 1.0, "j": 1e3})
    register(metric)
    yield metric
    del METRICS[metric.name]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("macs", 3.2e9, "3.20 GFLOPs"),
        ("params", 31_460_000, "31.5 M parameters"),
        ("memory_bytes", 4.2e9, "4,200 MB of training memory"),
        ("latency_ms", 12.345, "12.3 ms"),
        ("latency_ms", float("nan"), "\N{EN DASH} ms"),
    ],
)
def test_figures_in_a_sentence(name: str, value: float, text: str) -> None:
    assert METRICS[name].text(value) == text


def test_computed_figures_are_those_of_the_cost() -> None:
    figures = cost(TINY.sample(0))
    assert computed_figures(figures) == {
        "macs": figures.macs,
        "params": figures.params,
        "activation_bytes": figures.activation_bytes,
        "memory_bytes": figures.step_bytes + 12 * figures.params,
        "inference_memory_bytes": figures.inference_bytes + 4 * figures.params,
    }
    assert computed_figures(figures, ["params", "latency_ms"]) == {"params": figures.params}


def test_a_computed_metric_is_one_row(energy: Metric) -> None:
    (limit,) = Budget.parse("2..3J").limits
    assert (limit.metric, limit.low, limit.high) == ("energy_mj", 2e3, 3e3)
    assert survey(TINY, 2)["energy_mj"].tolist() == [
        millijoules(cost(TINY.decode(TINY.sample_params(rng)))) for rng in [np.random.default_rng(0)] for _ in range(2)
    ]
    params = TINY.sample_params(np.random.default_rng(0))
    spent = millijoules(cost(TINY.decode(params)))
    gate = Gate(TINY, Budget.parse(f"{spent / 2:.6f}mj"), objectives=Objectives.of(["accuracy", "macs", "energy_mj"]))
    assert gate.violations([params])[0] == pytest.approx(1, rel=1e-3)
    assert gate.costs([params, params])[1].tolist() == np.log10([cost(TINY.decode(params)).macs, spent]).tolist()
    assert gate.costs([]).shape == (0, 2)
    with pytest.raises(NasError, match=r"its nearest candidate has \d\S* mJ, which misses 0\.000001mj by \d+ %; allow"):
        check_budget(Gate(TINY, Budget.parse("0.000001mj")))


def test_a_name_or_a_unit_is_taken_once(energy: Metric) -> None:
    with pytest.raises(ValueError, match="'energy_mj' brings 'energy_mj'"):
        register(energy)
    with pytest.raises(ValueError, match="'power' brings 'mj'"):
        register(Metric("power", "power", "W", source="measured", budget_units={"mj": 1.0}))
    with pytest.raises(ValueError, match="'power' is measured; allowed: compute"):
        Metric("power", "power", "W", source="measured", compute=millijoules)


def test_the_table_of_every_version_keeps_its_columns() -> None:
    """The names in the files of runs, in their order."""
    computed = ["macs", "params", "activation_bytes", "memory_bytes", "inference_memory_bytes"]
    predicted = ["latency_ms_predicted", "latency_ms_low", "latency_ms_high"]
    measured = ["latency_ms", "latency_iqr_ms", "latency_p95_ms", "peak_memory_bytes"]
    names: dict[Any, list[str]] = {"computed": computed, "predicted": predicted, "measured": measured}
    assert {source: [metric.name for metric in metrics(source)] for source in names} == names
    assert len(metrics()) == 13 and [metric.name for metric in metrics("trained")] == ["accuracy"]


def test_reading_a_budget_of_a_gpu_type_imports_neither_ray_nor_torch() -> None:
    program = (
        "import sys; from nas.limits.budget import Budget; print(Budget.parse('30ms@h100').gpu_type); "
        "print([name for name in ('ray', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["H100", "[]"]
