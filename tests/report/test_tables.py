from __future__ import annotations

import math

import pytest

from nas.errors import NasError
from nas.report import tables
from nas.search.run_folder import Run


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
    run.settings["budget"] = budget
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
