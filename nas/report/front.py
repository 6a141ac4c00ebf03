"""The table of a front, for the report and for a terminal."""

from __future__ import annotations

import shlex

import pandas as pd
from rich.table import Table

from nas.limits.metrics import Metric, metrics
from nas.report.text import with_error
from nas.report.trials import DISTURBED, operators_text, picks
from nas.runs.folder import Run
from nas.units import MISSING, number

VALIDATION, TEST = "Accuracy, validation (%)", "Accuracy, test (%)"


def export_command(run: Run, trial: int) -> str:
    """The command that writes one trial's architecture to a file."""
    return f"nas export {shlex.quote(str(run.path))} --pick {trial} --out trial-{trial}.yaml"


def disturbances(run: Run) -> list[str]:
    """What disturbed the measurements of the front: a sentence for each trial that `DISTURBED`
    stands at.
    """
    rows = zip(run.front["trial"], run.front["flags"], strict=True)
    return [f"{DISTURBED} Trial {trial}: {flags}." for trial, flags in rows if flags]


def front_table(run: Run) -> pd.DataFrame:
    """The front as text, one row per trial in order of multiply-adds; units stand in the column
    names, and a figure that no trial has gets no column.
    """
    front, chosen = run.front, picks(run)
    table: dict[str, list[str]] = {
        "Trial": [str(trial) for trial in front["trial"]],
        "Pick": [", ".join(chosen.get(trial, ())) for trial in front["trial"]],
        VALIDATION: _accuracies(front, "accuracy"),
        TEST: _accuracies(front, "test_accuracy"),
        "Seeds": [str(value) for value in front["seeds"]],
        "Epochs": [number(value, 1) for value in front["epochs"]],
        **{metric.label: _figures(front, metric) for metric in metrics() if metric.in_table and metric.name in front},
        "Operators": [operators_text(value) for value in front["operators"]],
        "Export": [export_command(run, trial) for trial in front["trial"]],
    }
    if (front["seeds"] == 1).all():
        del table["Seeds"]
    empty = [name for name, cells in table.items() if cells and set(cells) == {MISSING}]
    return pd.DataFrame(table, dtype="str").drop(columns=empty)


def _accuracies(front: pd.DataFrame, name: str) -> list[str]:
    """In per cent, with the standard error where there are several seeds."""
    return [with_error(*pair) for pair in zip(front[name], front[f"{name}_se"], strict=True)]


def _figures(front: pd.DataFrame, metric: Metric) -> list[str]:
    """In the unit of the metric; a measured latency is marked where it was disturbed."""
    texts = [number(value / metric.scale) for value in front[metric.name]]
    if metric.name != "latency_ms":
        return texts
    return [f"{text} {DISTURBED}" if flags else text for text, flags in zip(texts, front["flags"], strict=True)]


def front_summary(run: Run) -> Table:
    """The front as a table for a terminal."""
    front, texts = run.front, front_table(run)
    seeds = "; \N{PLUS-MINUS SIGN} is one standard error over seeds" if (front["seeds"] > 1).any() else ""
    notes = [
        f"accuracy of the proxy{seeds}; GFLOPs are 10^9 multiply-adds; median latency and peak memory as measured",
        *disturbances(run),
    ]
    table = Table(title=f"front of {run.path}", caption="\n".join(notes))
    columns = {
        "trial": texts["Trial"],
        "val %": texts[VALIDATION],
        "test %": texts.get(TEST),
        "GFLOPs": texts["GFLOPs"],
        "ms": texts.get("Latency, median (ms)"),
        "MB": texts.get("Peak memory (MB)"),
        "operators": front["operators"],
        "pick": texts["Pick"],
    }
    for name, cells in columns.items():
        table.add_column(name, no_wrap=name not in ("operators", "pick"))
        columns[name] = pd.Series([MISSING] * len(front)) if cells is None else cells
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(str, row))
    return table
