"""What networks are compared by: names, what is refused, and figures as they are compared."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from nas.errors import NasError
from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.limits.metrics import METRICS, Metric, register
from nas.limits.objectives import Objectives
from nas.profiler.computed.cost import cost
from nas.space import SearchSpace

TINY = SearchSpace.load("tiny")
ALLOWED = "accuracy and one to three of macs, params, activation_bytes, memory, inference-memory, latency"


@pytest.fixture
def layers() -> Iterator[Metric]:
    """More is better here, and a network of twice as many is not twice as good."""
    metric = Metric(
        "layers",
        "layers",
        "layers",
        compute=lambda cost: float(cost.params % 97),
        less_is_better=False,
        logarithmic=False,
    )
    register(metric)
    yield metric
    del METRICS[metric.name]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("accuracy,latency", ("accuracy", "latency_ms")),
        ("macs , accuracy", ("accuracy", "macs")),
        ("accuracy,memory,inference-memory,params", ("accuracy", "memory_bytes", "inference_memory_bytes", "params")),
        ("accuracy,latency_ms,macs", ("accuracy", "latency_ms", "macs")),
    ],
)
def test_objectives_are_named_as_metrics_or_in_short(text: str, names: tuple[str, ...]) -> None:
    assert Objectives.asked(text, Budget.parse("1gflops")).names == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy,speed", f"objective 'speed' is unknown; allowed: {ALLOWED}"),
        ("accuracy,", f"objective '' is unknown; allowed: {ALLOWED}"),
        ("accuracy,latency_iqr_ms", "objective 'latency_iqr_ms' is unknown"),  # nobody predicts it
        ("accuracy,peak_memory_bytes", "objective 'peak_memory_bytes' is unknown"),
        ("accuracy,latency_ms_predicted", "objective 'latency_ms_predicted' is unknown"),
        ("accuracy", f"objectives 'accuracy' are 1; allowed: {ALLOWED}"),
        ("accuracy,macs,params,latency,memory", "are 5; allowed"),
        ("macs,params", f"objectives 'macs,params' lack accuracy; allowed: {ALLOWED}"),
        ("accuracy,macs,macs", "objectives 'accuracy,macs,macs' name one twice"),
        ("accuracy,latency,latency_ms", "name one twice"),
        ("accuracy,accuracy,macs", "name one twice"),
    ],
)
def test_other_objectives_are_refused(text: str, message: str) -> None:
    with pytest.raises(NasError, match=message):
        Objectives.asked(text, Budget.parse("1gflops"))


@pytest.mark.parametrize(
    ("budget", "cost"),
    [
        ("100gflops", "macs"),
        ("20ms,1gflops", "latency_ms"),
        ("500mb-inference", "inference_memory_bytes"),
        ("4gb,30ms", "memory_bytes"),
        ("30mparams", "params"),
    ],
)
def test_unless_named_the_first_limit_says_what_is_compared(budget: str, cost: str) -> None:
    assert Objectives.asked(None, Budget.parse(budget)).names == ("accuracy", cost)


def test_what_another_program_registered_is_left_out_of_a_record() -> None:
    assert Objectives.recorded(["accuracy", "energy_mj", "latency_ms"]).names == ("accuracy", "latency_ms")
    assert Objectives.recorded(["accuracy", "energy_mj"]).names == ("accuracy", "macs")
    assert Objectives.recorded([]).names == ("accuracy", "macs")


def test_a_metric_that_a_record_names_twice_counts_once() -> None:
    assert Objectives.recorded(["accuracy", "params", "params", "macs"]).names == ("accuracy", "params", "macs")


def test_costs_are_compared_by_their_logarithm_and_less_is_better(layers: Metric) -> None:
    objectives = Objectives.of(["accuracy", "macs", "layers"])
    assert objectives.compared([(1000.0, 5.0), (10.0, 7.0)]).tolist() == [[3.0, -5.0], [1.0, -7.0]]
    assert str(objectives) == "accuracy, multiply-adds and layers"
    assert objectives.labels == ("accuracy", "log10_macs", "-layers")
    assert objectives.maximise == (True, False, False)
    with pytest.raises(NasError, match="objective 'macs' of a network is 0; allowed: figures above 0"):
        objectives.compared([(0.0, 5.0)])
    gate = Gate(TINY, Budget.parse("1gflops"), objectives=objectives)
    params = TINY.sample_params(np.random.default_rng(0))
    figures = cost(TINY.decode(params))
    assert gate.costs([params]).tolist() == [[pytest.approx(math.log10(figures.macs)), -(figures.params % 97)]]


def test_what_was_measured_takes_the_place_of_what_was_known_before() -> None:
    objectives = Objectives.of(["accuracy", "latency", "inference-memory"])
    table = pd.DataFrame(
        {
            "accuracy": [0.5, 0.6],
            "latency_ms_predicted": [10.0, 20.0],
            "latency_ms": [math.nan, 30.0],
            "inference_memory_bytes": [1e6, 2e6],
            "peak_memory_bytes": [math.nan, 4e6],
        }
    )
    assert objectives.figures(table).tolist() == [[10.0, 1e6], [30.0, 4e6]]
    assert objectives.figures(table, measured=False).tolist() == [[10.0, 1e6], [20.0, 2e6]]
    assert objectives.points(table, measured=False)[0].tolist() == [0.5, 1.0, 6.0]
    assert objectives.ordered(table.assign(trial=[0, 1]).iloc[::-1])["trial"].tolist() == [0, 1]
    assert np.isnan(objectives.figures(table[["accuracy"]])).all()


def test_a_latency_is_an_objective_where_it_is_predicted() -> None:
    objectives = Objectives.of(["accuracy", "latency"])
    params = TINY.sample_params(np.random.default_rng(0))
    gate = Gate(TINY, Budget.parse("1gflops"), lambda architecture: {"latency_ms": 100.0}, objectives)
    assert gate.costs([params]).tolist() == [[2.0]] and gate.costs([]).shape == (0, 1)
    with pytest.raises(NasError, match="objective 'latency_ms' is not predicted; allowed: a gate that is handed its"):
        Gate(TINY, Budget.parse("1gflops"), objectives=objectives).costs([params])
