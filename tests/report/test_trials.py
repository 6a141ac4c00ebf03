from __future__ import annotations

import math
from dataclasses import replace

import pytest

from nas.report.trials import (
    accuracy_text,
    budget_limits,
    clip_text,
    hover_text,
    objectives_text,
    picks,
)
from nas.runs.folder.record import ClipShape
from nas.runs.folder.run import Run


def test_accuracy_has_the_larger_error_of_seeds_and_of_its_clips(run: Run) -> None:
    row = run.front.to_dict("records")[-1]
    row["accuracy"], row["accuracy_se"] = 0.8, math.nan
    assert accuracy_text(run, row, "val") == "80.0 \N{PLUS-MINUS SIGN} 2.5 %"  # sqrt(0.8 * 0.2 / 256)
    row["accuracy_se"] = 0.01
    assert accuracy_text(run, row, "val") == "80.0 \N{PLUS-MINUS SIGN} 2.5 %"
    row["accuracy_se"] = 0.03
    assert accuracy_text(run, row, "val") == "80.0 \N{PLUS-MINUS SIGN} 3.0 %"
    run.record = replace(run.record, clips={})
    row["accuracy_se"] = math.nan
    assert accuracy_text(run, row, "val") == "80.0 %"


def test_hover_cannot_carry_markup(run: Run) -> None:
    row = run.front.to_dict("records")[0]
    row["operators"], row["state"] = "<b>x</b>*2", "<i>"
    text = hover_text(run, row)
    assert "&lt;b&gt;x&lt;/b&gt;\N{MULTIPLICATION SIGN}2" in text and "&lt;i&gt;" in text


def test_hover_names_the_figures_that_there_are(run: Run) -> None:
    row = run.front.to_dict("records")[0]
    row["macs"], row["latency_ms"], row["peak_memory_bytes"] = 2.5e9, 12.5, math.nan
    lines = hover_text(run, row).split("<br>")
    assert "multiply-adds 2.50 GFLOPs" in lines and "latency 12.5 ms" in lines
    assert not any("peak memory" in line for line in lines)


def test_latency_is_no_pick_where_none_was_measured(run: Run) -> None:
    assert "latency" in {name for names in picks(run).values() for name in names}
    run.front["latency_ms"] = math.nan
    assert "latency" not in {name for names in picks(run).values() for name in names}


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
def test_budget_limits(run: Run, budget: str | None, metric: str, expected: list[float]) -> None:
    run.record = replace(run.record, budget=budget)
    assert budget_limits(run, metric) == expected


def test_words(run: Run) -> None:
    assert clip_text(ClipShape(frames=1, size=(32, 48))) == "1 frame of 32\N{MULTIPLICATION SIGN}48 pixels"
    assert objectives_text(run) == "accuracy, multiply-adds and activations kept for backward"
