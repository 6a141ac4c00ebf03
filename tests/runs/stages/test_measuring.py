"""What latencies are predicted from, without measuring anything."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from nas.errors import NasError
from nas.limits.budget import Budget
from nas.limits.objectives import Objectives
from nas.profiler.measured.device import Conditions, available_cores
from nas.profiler.tables.rows import Row, network_workload, part_workloads
from nas.profiler.tables.table import Table
from nas.runs.folder.tables import LATENCIES
from nas.runs.stages import measuring
from nas.runs.stages.measuring import DRAFT, latency_predictor, predicted, predicted_latency
from nas.space import SearchSpace

TINY = SearchSpace.load("tiny")
SAMPLE = [TINY.sample(seed) for seed in range(20)]


def plan(budget: str = "30ms", objectives: str | None = None, dtype: str = "fp32") -> Any:
    settings = SimpleNamespace(seed=0, measure_seconds=5.0)
    device = torch.device("cpu")
    return SimpleNamespace(
        budget=Budget.parse(budget),
        objectives=Objectives.asked(objectives, Budget.parse(budget)),
        space=TINY,
        settings=settings,
        device=device,
        conditions=Conditions.here("cpu", dtype),
        console=Console(quiet=True),
    )


def fill(table: Table, ms: float) -> None:
    """Every layer takes so long, and a network the sum of its layers."""
    for architecture in SAMPLE:
        layers = part_workloads(architecture)
        for workload in layers:
            table.add(Row(workload, ms, 0.01, 5))
        table.add(Row(network_workload(architecture), ms * len(layers), 0.01, 5))


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Stands in for growth: 2 ms a layer; remembers how it was called."""
    calls: list[dict[str, Any]] = []

    def grow(what: Any, table: Table, path: Path, conditions: Conditions, **options: Any) -> int:
        assert callable(options.pop("skipped"))
        calls.append({**options, "known": len(table.rows)})
        fill(table, 2.0)
        table.save(path)
        return 1

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measuring, "grow", grow)
    return calls


def test_without_a_limit_of_latency_nothing_is_measured(grown: list[Any], tmp_path: Path) -> None:
    assert latency_predictor(plan("1gflops"), tmp_path) is None
    assert predicted(None)(None) == {} and grown == []  # type: ignore[arg-type]


def test_a_table_is_grown_once_and_kept_in_the_run(grown: list[dict[str, Any]], tmp_path: Path) -> None:
    for _ in range(2):
        predictor = latency_predictor(plan(), tmp_path)
        assert predictor
        found = predictor.predict(SAMPLE[0])
        assert found.ms == pytest.approx(2 * len(part_workloads(SAMPLE[0]))) and found.low <= found.ms <= found.high
    assert grown == [{"max_seconds": 60.0, "networks": 12, "known": 0}]
    assert (tmp_path / LATENCIES).exists() and not (tmp_path / DRAFT).exists()
    columns = predicted(predictor)(SimpleNamespace(architecture=SAMPLE[0]))  # type: ignore[arg-type]
    assert set(columns) == {"latency_ms_predicted", "latency_ms_low", "latency_ms_high"}


def test_an_objective_of_latency_has_one_too(grown: list[dict[str, Any]], tmp_path: Path) -> None:
    predictor = latency_predictor(plan("1gflops", "accuracy,macs,latency"), tmp_path)
    assert predictor and len(grown) == 1
    expected = 2 * len(part_workloads(SAMPLE[0]))
    assert predicted_latency(predictor)(SAMPLE[0]) == {"latency_ms": pytest.approx(expected)}
    assert predicted_latency(None)(SAMPLE[0]) == {}


def test_growth_that_was_cut_short_goes_on(grown: list[dict[str, Any]], tmp_path: Path) -> None:
    table = Table.under(Conditions("cpu", "fp32", 1, available_cores()))
    table.add(Row(part_workloads(SAMPLE[0])[0], 2.0, 0.01, 5))
    table.save(tmp_path / DRAFT)
    latency_predictor(plan(), tmp_path)
    assert grown[0]["known"] == 1


def test_the_table_of_the_device_is_used_where_it_is_one_of_the_space(
    grown: list[dict[str, Any]], tmp_path: Path
) -> None:
    table = Table.under(Conditions("cpu", "fp32", 1, available_cores()))
    fill(table, 3.0)
    table.save(tmp_path / "profiles" / f"{table.device}.csv")
    predictor = latency_predictor(plan(), tmp_path)
    assert predictor and grown == []
    assert predictor.predict(SAMPLE[0]).ms == pytest.approx(3 * len(part_workloads(SAMPLE[0])))

    other = plan()
    other.space = SearchSpace.load("hybrid")
    folder = tmp_path / "other"
    folder.mkdir()
    latency_predictor(other, folder)
    assert grown[0]["known"] == 0


def test_a_stored_table_that_is_none_is_named(grown: list[Any], tmp_path: Path) -> None:
    (tmp_path / LATENCIES).write_text("nothing\n")
    with pytest.raises(NasError, match=r"latency_table\.csv"):
        latency_predictor(plan(), tmp_path)


def test_latency_is_predicted_and_measured_under_what_was_asked_for(
    grown: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under: list[Any] = []
    monkeypatch.setattr(measuring, "measure", lambda architecture, *given, **options: under.append((given, options)))
    asked = plan(dtype="bf16")
    predictor = latency_predictor(asked, tmp_path)
    assert predictor and ".bf16.b1." in predictor.device
    measuring._measured(asked, SAMPLE[0], patience=2.0)
    asked.conditions = replace(asked.conditions, device="cuda:0", cuda_graph=True)
    measuring._measured(asked, SAMPLE[0])
    assert under == [
        (("cpu", "bf16"), {"cuda_graph": False, "max_seconds": 5.0, "patience": 2.0}),
        (("cuda:0", "bf16"), {"cuda_graph": True, "max_seconds": 5.0, "patience": 0.0}),
    ]
