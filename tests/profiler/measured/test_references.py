"""The table of measured reference networks: it goes on where it stopped; the page shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import nas
from nas.cli.app import app
from nas.profiler.measured import references
from nas.profiler.measured.device import Conditions
from nas.profiler.measured.environment import Environment
from nas.profiler.measured.latency import Latency
from nas.profiler.measured.measure import Measurement, Paired

CONDITIONS = Conditions("cpu", "fp32", batch=2, threads=1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the networks that were measured, each at 40 ms for two clips."""
    names: list[str] = []

    def measure(architecture: nas.Architecture, **options: Any) -> Measurement:
        assert options == {**vars(CONDITIONS), "max_seconds": 1.0, "patience": 0.0}
        assert architecture.name
        names.append(architecture.name)
        paired = Paired(ratio=4.0, reference_ms=10.0, fastest_ms=9.0, samples=[10.0] * 3)
        return Measurement(
            Latency.of([39.0, 40.0, 41.0]), 10**8, "cpu", Environment(), ["busy"], CONDITIONS, paired, 9.0
        )

    monkeypatch.setattr(references, "measure", measure)
    return names


def test_networks_that_the_table_has_are_not_measured_again(asked: list[str], tmp_path: Path) -> None:
    path = references.measure_references(tmp_path / "t", CONDITIONS, ["x3d_s", "x3d_xs"], 1.0)
    assert path.parent == tmp_path / "t" and path.stem == CONDITIONS.name
    assert asked == ["x3d_xs", "x3d_s"]  # the cheapest first
    references.measure_references(tmp_path / "t", CONDITIONS, ["x3d_s", "r3d_18"], 1.0)
    assert asked == ["x3d_xs", "x3d_s", "r3d_18"]
    table = pd.read_csv(path).set_index("network")
    assert list(table.index) == ["r3d_18", "x3d_s", "x3d_xs"]
    row = table.loc["r3d_18"]
    assert (row["params"], row["latency_ms"], row["clips_per_s"]) == (33_371_472, 40, 50)
    assert (row["reference_ratio"], row["flags"], row["input"]) == (4, "busy", "16x112x112")


def test_wrong_networks_and_tables_are_refused(asked: list[str], tmp_path: Path) -> None:
    with pytest.raises(nas.NasError, match=r"reference network 'x3d' is unknown; allowed: .*x3d_s"):
        references.measure_references(tmp_path, CONDITIONS, ["x3d"], 1.0)
    (tmp_path / f"{CONDITIONS.name}.csv").write_text("network\nx3d_s\n")
    with pytest.raises(nas.NasError, match="has no column 'input'"):
        references.measure_references(tmp_path, CONDITIONS, ["x3d_s"], 1.0)
    assert not asked


def test_the_page_shows_every_device(asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    references.measure_references(tmp_path / "reference", CONDITIONS, ["x3d_s", "r3d_18"], 1.0)
    monkeypatch.setattr(references, "resource_folder", lambda _: tmp_path)
    done = CliRunner().invoke(app, ["list", "--measured", "--plots", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert f"## {CONDITIONS.name}" in done.output
    assert "| r3d_18 | 16x112x112 | 33.37 | 40.70 |" in done.output
    assert (tmp_path / f"{CONDITIONS.name}.png").stat().st_size > 10_000
