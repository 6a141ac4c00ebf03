"""The table of a front, for the report and for a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table

from nas.limits.metrics import METRICS, Metric
from nas.limits.objectives import DEFAULT_COST
from nas.report.trials import DISTURBED, STATES, accuracy_text, operators_text, picks, shown_metrics
from nas.runs.folder.run import Run
from nas.units import MISSING, number

# The columns of the front in a terminal that stand there whatever a run is of.
_IN_SUMMARY = {
    **{name: name for name in ("trial", "val %", "test %")},
    **{"macs": "GFLOPs", "latency_ms": "ms", "peak_memory_bytes": "MB"},
}
VALIDATION, TEST = "Accuracy, validation (%)", "Accuracy, test (%)"


def export_command(run: Run, trial: int) -> str:
    """The command that writes one trial's architecture to a file."""
    return f"nas export {_shown_path(run)} --pick {trial} --out trial-{trial}.yaml"


def _shown_path(run: Run) -> str:
    """The run folder as a command of a page names it: a page is passed on, and whose folders it
    was made in is nobody's business.
    """
    path = run.path
    if path.is_absolute():
        here = Path.cwd()
        path = path.relative_to(here) if path.is_relative_to(here) else Path(path.name)
    return shlex.quote(str(path))


def disturbances(trials: pd.DataFrame) -> list[str]:
    """What disturbed the measurements of some trials: a sentence for each that `DISTURBED` stands
    at.
    """
    rows = zip(trials["trial"], trials["flags"], strict=True)
    return [f"{DISTURBED} Trial {trial}: {flags}." for trial, flags in rows if flags]


def front_table(run: Run) -> pd.DataFrame:
    """The front as text, one row per trial in order of the first cost; units stand in the column
    names, and a figure that no trial has gets no column.
    """
    front, chosen = run.front, picks(run)
    table: dict[str, list[str]] = {
        "Trial": [str(trial) for trial in front["trial"]],
        "Pick": [", ".join(chosen.get(trial, ())) for trial in front["trial"]],
        VALIDATION: _accuracies(run, front, "val"),
        TEST: _accuracies(run, front, "test"),
        "Seeds": [str(value) for value in front["seeds"]],
        "Epochs": [number(value, 1) for value in front["epochs"]],
        **{metric.label: _figures(front, metric) for metric in shown_metrics(run) if metric.name in front},
        "Operators": [operators_text(value) for value in front["operators"]],
        "Export": [export_command(run, trial) for trial in front["trial"]],
    }
    if (front["seeds"] == 1).all():
        del table["Seeds"]
    empty = [name for name, cells in table.items() if cells and set(cells) == {MISSING}]
    return pd.DataFrame(table, dtype="str").drop(columns=empty)


def trials_table(run: Run) -> pd.DataFrame:
    """Every trial as text, one row each in order of its number, failed ones too; a figure that none
    has gets no column.
    """
    trials = run.confirmed()
    front = set(run.front["trial"])
    table: dict[str, list[str]] = {
        "Trial": [str(trial) for trial in trials["trial"]],
        "State": [
            f"{STATES.get(state, state)}{', on the front' * (trial in front)}"
            for trial, state in zip(trials["trial"], trials["state"], strict=True)
        ],
        VALIDATION: _accuracies(run, trials, "val"),
        "Epochs": [number(value, 1) for value in trials["epochs"]],
        "Seconds": [number(value, 2) for value in trials["seconds"]],
        **{metric.label: [number(value / metric.scale) for value in trials[metric.name]] for metric in _shown(run)},
        "Operators": [operators_text(value) for value in trials["operators"]],
    }
    empty = [name for name, cells in table.items() if cells and set(cells) == {MISSING}]
    return pd.DataFrame(table, dtype="str").drop(columns=empty)


def _shown(run: Run) -> list[Metric]:
    """The metrics of the table of all trials: without the spread of a latency."""
    return [metric for metric in shown_metrics(run) if metric.name in run.trials and "_iqr_" not in metric.name]


def over_table(run: Run) -> pd.DataFrame:
    """The networks that break a limit as text, one row per trial in order of the first cost."""
    over = run.over
    before = [metric.before for metric in run.objectives.costs if metric.name != DEFAULT_COST and metric.before in over]
    table = {
        "Trial": [str(trial) for trial in over["trial"]],
        VALIDATION: _accuracies(run, over, "val"),
        TEST: _accuracies(run, over, "test"),
        "GFLOPs": [number(value / 1e9) for value in over["macs"]],
        # What it was taken for, beside what it is.
        **{METRICS[name].label: _figures(over, METRICS[name]) for name in before},
        "Over the limit": [
            f"{breaks} {DISTURBED}" if flags else breaks
            for breaks, flags in zip(over["breaks"], over["flags"], strict=True)
        ],
        "Operators": [operators_text(value) for value in over["operators"]],
        "Export": [export_command(run, trial) for trial in over["trial"]],
    }
    if set(table[TEST]) == {MISSING}:
        del table[TEST]
    return pd.DataFrame(table, dtype="str")


def _narrow_table(title: str, notes: Sequence[str]) -> Table:
    """A table of a terminal that spends no column on lines, with notes below it."""
    return Table(
        title=title,
        caption="\n".join(notes),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )


def over_summary(run: Run) -> Table:
    """The networks that break a limit as a table for a terminal."""
    texts = over_table(run)
    notes = ["accuracy of the proxy; GFLOPs are 10^9 multiply-adds", *disturbances(run.over)]
    table = _narrow_table(f"over the limits in {run.path}", notes)
    heads = {"Trial": "trial", VALIDATION: "val %", "GFLOPs": "GFLOPs", "Over the limit": "over the limit"}
    for head in heads.values():
        table.add_column(head, no_wrap=head != "over the limit", overflow="fold")
    table.add_column("operators", overflow="fold")
    for row, operators in zip(texts.to_dict("records"), run.over["operators"], strict=True):
        table.add_row(*(row[name] for name in heads), operators)
    return table


def how_to_go_on(run: Run, path: Path | None = None) -> list[str]:
    """What helps where no network keeps the limits: sentences that name the command.

    Args:
        run: The run.
        path: How the command names its folder; by default as a page that is passed on may.
    """
    command = f"nas search --resume {shlex.quote(str(path)) if path else _shown_path(run)}"
    said = [f"{command} --budget {run.reaching()} makes a front of what is trained."]
    if any(run.over["flags"]):
        said.append(f"{command} measures again what was disturbed: type it when the machine is quiet.")
    return [*said, f"{command} --time 10m trains further networks under the same limits."]


def _accuracies(run: Run, trials: pd.DataFrame, split: str) -> list[str]:
    """In per cent, with the standard error where it is known."""
    return [accuracy_text(run, row, split).removesuffix(" %") for row in trials.to_dict("records")]


def _figures(front: pd.DataFrame, metric: Metric) -> list[str]:
    """In the unit of the metric; a measured latency is marked where it was disturbed."""
    texts = [number(value / metric.scale) for value in front[metric.name]]
    if metric.name != "latency_ms":
        return texts
    return [f"{text} {DISTURBED}" if flags else text for text, flags in zip(texts, front["flags"], strict=True)]


def front_summary(run: Run) -> Table:
    """The front as a table for a terminal."""
    front, texts = run.front, front_table(run)
    errors = "\N{PLUS-MINUS SIGN} one standard error, over seeds or of a share of the clips, the larger"
    notes = [
        f"accuracy of the proxy, {errors}; GFLOPs are 10^9 multiply-adds; median latency and peak memory as measured",
        *disturbances(front),
    ]
    table = _narrow_table(f"front of {run.path}", notes)
    # What the run compared networks by beside these.
    others = [METRICS[name] for metric in run.objectives.costs for name in (metric.before, metric.after) if name]
    columns = {
        # The picks stand below the number, so that 80 columns have room for the names of operators.
        "trial": texts["Trial"].str.cat(texts["Pick"].str.replace(", ", "\n"), "\n").str.rstrip(),
        "val %": texts[VALIDATION],
        "test %": texts.get(TEST),
        "GFLOPs": texts["GFLOPs"],
        "ms": texts.get("Latency, median (ms)"),
        "MB": texts.get("Peak memory (MB)"),
        **{metric.label: texts.get(metric.label) for metric in others if metric.name not in _IN_SUMMARY},
        "operators": front["operators"],
    }
    for name, cells in columns.items():
        justify: JustifyMethod = "left" if name in ("trial", "operators") else "right"
        table.add_column(name, no_wrap=name in _IN_SUMMARY.values(), overflow="fold", justify=justify)
        columns[name] = pd.Series([MISSING] * len(front)) if cells is None else cells
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(str, row))
    return table
