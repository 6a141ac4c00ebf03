from __future__ import annotations

import math
from dataclasses import replace

import pytest

from nas.errors import NasError
from nas.report import tables
from nas.runs.folder import Run


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.345, "12.3"), (0.04567, "0.0457"), (1234.5, "1,234"), (123.4, "123"), (0.0, "0.00"), (2.0, "2.00"),
     (math.nan, "\N{EN DASH}")],
)  # fmt: skip
def test_number(value: float, text: str) -> None:
    assert tables.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.21, "3.2 s"), (59.6, "60 s"), (312, "5 min 12 s"), (7265, "2 h 1 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text


def test_standard_error() -> None:
    assert tables.standard_error(0.5, 100) == pytest.approx(0.05)
    assert math.isnan(tables.standard_error(0.5, math.nan))


def test_operator_counts() -> None:
    assert tables.operator_counts(["t2d*3 d2plus1d*2", "t2d", ""]) == {"t2d": 4, "d2plus1d": 2}
    with pytest.raises(NasError, match=r"at '\*3'"):
        tables.operator_counts(["t2d *3"])


def test_operator_shares(run: Run) -> None:
    shares = tables.operator_shares(run)
    assert shares.sum().tolist() == pytest.approx([1.0, 1.0])
    assert set(shares.columns) == {"front", "all"}


@pytest.mark.parametrize(
    ("budget", "metric", "expected"),
    [
        ("100gflops", "macs", [1e11]),
        ("80..100gflops,30ms", "macs", [8e10, 1e11]),
        ("80..100gflops,30.5ms", "latency_ms", [30.5]),
        ("100gflops", "memory_bytes", []),
        (None, "macs", []),
    ],
)
def test_limits(run: Run, budget: str | None, metric: str, expected: list[float]) -> None:
    run.record = replace(run.record, budget=budget)
    assert tables.limits(run, metric) == expected


def test_front_table(run: Run) -> None:
    run.front = run.front[run.front["trial"] == 23]
    row = tables.front_table(run).iloc[0]
    # 202 of 256 clips on validation, 198 on test.
    assert row["Accuracy, validation (%)"] == "78.9"
    assert row["Accuracy, test (%)"] == "77.3"
    assert row["Pick"] == "knee, accuracy, latency, memory"
    assert row["Export"].endswith("run --pick 23 --out trial-23.yaml")


def test_export_command_quotes_the_folder(run: Run) -> None:
    run.path = run.path / "a b; c"
    assert tables.export_command(run, 3).endswith("a b; c' --pick 3 --out trial-3.yaml")


def test_settings_rows(run: Run) -> None:
    rows = dict(tables.settings_rows(run))
    assert rows["proxy.size"] == "32, 32"
    assert rows["chance"] == "0.0833333"
    assert rows["time_s"] == tables.MISSING
    assert not any(name.startswith("counts") for name in rows)


def test_means_have_errors_and_disturbed_measurements_a_mark(run: Run) -> None:
    run.front = run.front[run.front["trial"].isin([17, 23])].assign(
        accuracy_se=[0.0123, math.nan], test_accuracy_se=math.nan, seeds=[3, 1], latency_ms=[20.0, 1980.0]
    )
    run.front["flags"] = ["", "other processes used 3.00 of the 4 cores measured on"]
    table = tables.front_table(run)
    assert table["Accuracy, validation (%)"].tolist() == ["74.6 \N{PLUS-MINUS SIGN} 1.2", "78.9"]
    assert table["Seeds"].tolist() == ["3", "1"]
    assert table["Latency, median (ms)"].tolist() == ["20.0", "1,980 \N{DAGGER}"]
    note = "\N{DAGGER} Trial 23: other processes used 3.00 of the 4 cores measured on."
    assert tables.disturbances(run) == [note]
    summary = tables.front_summary(run)
    assert list(summary.columns[1].cells) == ["74.6 \N{PLUS-MINUS SIGN} 1.2", "78.9"]
    assert str(summary.caption).endswith(note)
