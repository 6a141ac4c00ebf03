from __future__ import annotations

import math
from dataclasses import replace
from io import StringIO

from rich.console import Console

from nas.report.front import disturbances, export_command, front_summary, front_table
from nas.runs.folder.run import Run

PLUS_MINUS, DAGGER = "\N{PLUS-MINUS SIGN}", "\N{DAGGER}"


def test_front_table(run: Run) -> None:
    run.front = run.front[run.front["trial"] == 23]
    row = front_table(run).iloc[0]
    # 202 of 256 clips on validation, 198 on test: sqrt(.789 x .211 / 256) = .0255, .0262.
    assert row["Accuracy, validation (%)"] == f"78.9 {PLUS_MINUS} 2.5"
    assert row["Accuracy, test (%)"] == f"77.3 {PLUS_MINUS} 2.6"
    assert row["Pick"] == "accuracy, knee, latency, memory"
    assert row["GFLOPs"] == "24.4"
    assert row["Export"].endswith("run --pick 23 --out trial-23.yaml")


def test_what_no_trial_has_is_no_column(run: Run) -> None:
    run.front["latency_p95_ms"] = math.nan
    columns = front_table(run).columns
    assert "p95 (ms)" not in columns and "IQR (ms)" in columns and "Seeds" not in columns


def test_export_command_quotes_the_folder(run: Run) -> None:
    run.path = run.path / "a b; c"
    assert export_command(run, 3).endswith("a b; c' --pick 3 --out trial-3.yaml")


def test_means_have_errors_and_disturbed_measurements_a_mark(run: Run) -> None:
    run.front = run.front[run.front["trial"].isin([17, 23])].assign(
        accuracy_se=[0.0323, math.nan], test_accuracy_se=math.nan, seeds=[3, 1], latency_ms=[20.0, 1980.0]
    )
    run.front["flags"] = ["", "other processes used 3.00 of the 4 cores measured on"]
    table = front_table(run)
    assert table["Accuracy, validation (%)"].tolist() == [f"74.6 {PLUS_MINUS} 3.2", f"78.9 {PLUS_MINUS} 2.5"]
    assert table["Seeds"].tolist() == ["3", "1"]
    assert table["Latency, median (ms)"].tolist() == ["20.0", f"1,980 {DAGGER}"]
    note = f"{DAGGER} Trial 23: other processes used 3.00 of the 4 cores measured on."
    assert disturbances(run.front) == [note]
    summary = front_summary(run)
    assert list(summary.columns[1].cells) == [f"74.6 {PLUS_MINUS} 3.2", f"78.9 {PLUS_MINUS} 2.5"]
    assert str(summary.caption).endswith(note)


def test_summary_of_what_was_not_measured(run: Run) -> None:
    run.front[["latency_ms", "peak_memory_bytes", "test_accuracy"]] = math.nan
    columns = {str(column.header): list(column.cells) for column in front_summary(run).columns}
    assert set(columns["ms"]) == set(columns["MB"]) == set(columns["test %"]) == {"\N{EN DASH}"}


def test_the_summary_cuts_no_name_at_80_columns(run: Run) -> None:
    run.front = run.front.assign(operators="channel_attention*1 joint_filter*2 factorized*1", test_accuracy=0.5)
    run.record = replace(run.record, objectives=("accuracy", "macs"))
    printed = StringIO()
    Console(width=80, file=printed).print(front_summary(run))
    said = printed.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in said and all(len(line) <= 80 for line in said.splitlines())
    assert said.count("channel_attention*1") == said.count("joint_filter*2") == len(run.front) == 9
    assert [said.count(f"\n{pick} ") for pick in ("accuracy", "knee", "latency", "memory")] == [2, 1, 1, 1]
