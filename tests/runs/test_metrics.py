"""A metric that is one row of the table of metrics: in the files of a run, picked and reported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.errors import NasError
from nas.limits.budget import Budget
from nas.limits.gate import Gate
from nas.limits.metrics import METRICS, Metric, register
from nas.limits.objectives import Objectives
from nas.profiler.computed.cost import cost
from nas.report.front import front_table
from nas.runs.folder.record import RunRecord
from nas.runs.folder.tables import FRONT, TRIALS, read_front, read_trials, trials_table, write_table
from nas.runs.selection.picks import choose, picks_of
from nas.space import SearchSpace
from nas.trials.proposer import Proposer
from nas.trials.results import TrialResult
from nas.units import number

MACS = Objectives.of(["accuracy", "macs"])


@pytest.fixture
def intensity() -> Iterator[Metric]:
    """More multiply-adds for a byte moved are better here."""
    metric = Metric(
        "macs_per_byte",
        "multiply-adds per byte",
        "/B",
        compute=lambda figures: figures.macs / figures.bytes_moved,
        pick="intensity",
        less_is_better=False,
    )
    register(metric)
    yield metric
    del METRICS[metric.name]


def test_a_metric_is_a_column_and_a_pick(intensity: Metric, tmp_path: Path) -> None:
    search = Proposer(Gate(SearchSpace.load("tiny"), Budget.parse("1gflops")), tmp_path, seed=0, sampler="random")
    for i in range(3):
        candidate = search.propose()
        assert candidate is not None
        search.record(candidate.index, TrialResult("finished", accuracy=0.5 + 0.1 * i, curve=(0.5,), epochs=1))
    expected = [
        figures.macs / figures.bytes_moved
        for figures in (cost(candidate.architecture) for candidate in search.candidates)
    ]
    write_table(tmp_path / TRIALS, trials_table(search))
    assert read_trials(tmp_path)["macs_per_byte"].tolist() == pytest.approx(expected)
    write_table(tmp_path / FRONT, trials_table(search))
    front = read_front(tmp_path)
    picks = picks_of(front, front, MACS)
    assert list(picks) == ["accuracy", "knee", "memory", "intensity"]  # no latency was measured
    assert picks["intensity"] == expected.index(max(expected)) and picks["accuracy"] == 2
    assert picks_of(front.iloc[:0], front.iloc[:0], MACS) == {}
    run: Any = SimpleNamespace(front=front, path=tmp_path, picks=lambda: picks, objectives=MACS, record=RunRecord())
    row = front_table(run).set_index("Trial").loc[str(picks["intensity"])]
    assert row["Multiply-adds per byte (/B)"] == number(max(expected))
    assert "intensity" in row["Pick"]
    with pytest.raises(NasError, match="pick 'latency' needs a measured latency and this front has none; allowed"):
        choose(front, "latency", MACS)
