"""What several panels say of the trials of a run."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from nas.limits.metrics import METRICS, Metric, metrics
from nas.report.charts.chart import Colour, Points
from nas.report.text import listed, with_error
from nas.runs.folder.record import ClipShape, RunRecord
from nas.runs.folder.run import Run
from nas.runs.selection.ranking import larger_error
from nas.units import plural

Row = Mapping[Any, Any]  # of a table of trials, by column
DISTURBED = "\N{DAGGER}"  # at a figure whose measurement was disturbed
GFLOPS_NOTE = (
    "GFLOPs here are 10\N{SUPERSCRIPT NINE} multiply-adds of convolutions, linear layers and attention products "
    "at the target input."
)
_ACCURACY = {"val": "accuracy", "test": "test_accuracy"}
USES = {"train": "training", "val": "validation", "test": "test"}
STATES = {"finished": "finished", "stopped": "stopped early"}


def trained(run: Run) -> pd.DataFrame:
    """The trials that have an accuracy, that which the search saw."""
    return run.trials[run.trials["state"] != "failed"]


def known(run: Run) -> pd.DataFrame:
    """The trials that have an accuracy, the mean over seeds where they were trained again."""
    table = run.confirmed()
    return table[table["state"] != "failed"]


def picks(run: Run) -> dict[int, list[str]]:
    """The trials that picks mean, each with the names of its picks."""
    found: dict[int, list[str]] = {}
    for name, trial in run.picks().items():
        found.setdefault(trial, []).append(name)
    return found


def error_of(run: Run, row: Row, split: str) -> float:
    """Standard error of a trial's accuracy: over seeds or that of a share of so many clips,
    whichever is larger; nan where neither is known.
    """
    return larger_error(row, _ACCURACY[split], run.record.clips.get(split))


def accuracy_text(run: Run, row: Row, split: str) -> str:
    """Accuracy of a trial on `val` or `test` in per cent with its standard error where it is known,
    such as `81.3 ± 2.4 %`.
    """
    return f"{with_error(row[_ACCURACY[split]], error_of(run, row, split))} %"


def data_text(record: RunRecord) -> str:
    """What a run's clips are, such as `motion: 12 classes, 4096 train, 512 val, 512 test clips`."""
    name, description = record.data or "unknown data", (record.data_description or "").rstrip(".")
    if description.startswith(f"{name}:"):
        return description
    return f"{name} ({description})" if description else name


def clips_used(record: RunRecord) -> str:
    """The clips of a training, such as `1,024 training, 256 validation and 256 test`; empty where a
    run does not say.
    """
    return listed([f"{record.clips[split]:,} {use}" for split, use in USES.items() if record.clips.get(split)])


def clip_text(shape: ClipShape) -> str:
    """A clip in words, such as `8 frames of 32×32 pixels`."""
    size = "\N{MULTIPLICATION SIGN}".join(map(str, shape.size))
    return f"{plural(shape.frames, 'frame')} of {size} pixels"


def budget_limits(run: Run, metric: str) -> list[float]:
    """The limits that the run's budget sets on a metric, in its stored unit, low ends too."""
    found = [limit for limit in run.budget.limits if limit.metric == metric] if run.budget else []
    return [end for limit in found for end in (limit.low, limit.high) if 0 < end < math.inf]


def judged_as_measured(run: Run) -> bool:
    """Whether a limit is of a figure that is measured: until it is, nobody knows what keeps it."""
    return any(METRICS[limit.metric].after for limit in run.budget.limits) if run.budget else False


def prediction_text(trials: pd.DataFrame) -> str:
    """Where predicted latencies are from: a table of layers gives intervals, a fit does not."""
    if trials["latency_ms_low"].notna().any():
        return "added up from measured layers"
    return "a fit of computed costs to the latencies that this run measured"


def objectives_text(run: Run) -> str:
    """What the front is of, in words."""
    return listed([METRICS[name].title if name in METRICS else name for name in run.record.objectives])


def costs_text(run: Run) -> str:
    """The costs as the search compared networks by them, such as `the logarithm of multiply-adds`;
    latency is the predicted one.
    """
    texts = []
    for metric in run.objectives.costs:
        title = METRICS[metric.before].title
        texts.append(f"the logarithm of {title}" if metric.logarithmic else title)
    return listed(texts)


def operators_text(operators: str) -> str:
    """Layers per operator with a multiplication sign for the asterisk."""
    return operators.replace("*", "\N{MULTIPLICATION SIGN}")


def shown_metrics(run: Run) -> list[Metric]:
    """The metrics that tables of networks have a column of: those that want one, and what the run
    compared networks by.
    """
    wanted = {name for metric in run.objectives.costs for name in (metric.before, metric.after)}
    return [metric for metric in metrics() if metric.in_table or metric.name in wanted]


def hover_text(run: Run, row: Row) -> str:
    """What the page says of a trial at its dot: HTML, as plotly reads a little of it."""
    state = str(STATES.get(row["state"], row["state"]))
    epochs = "" if math.isnan(row["epochs"]) else f" after {plural(round(row['epochs']), 'epoch')}"
    seeds = f", {row['seeds']} seeds" if row.get("seeds", 1) > 1 else ""
    figures = [(metric, float(row.get(metric.name, math.nan))) for metric in shown_metrics(run)]
    lines = [
        f"<b>trial {row['trial']}</b>, {html.escape(state)}{epochs}{seeds}",
        f"{accuracy_text(run, row, 'val')} on validation",
        *(f"{metric.title} {metric.figure(value)}" for metric, value in figures if not math.isnan(value)),
        html.escape(operators_text(row["operators"])),
    ]
    return "<br>".join(line for line in lines if line)


def points_by_state(rows: pd.DataFrame) -> list[Points]:
    """Dots of trials, rings where they were stopped early: one mark a state that occurs.

    Args:
        rows: `state`, `x`, `y`, `hover` per trial.
    """
    marks = []
    for state, name in STATES.items():
        some = rows[rows["state"] == state]
        if len(some):
            x, y, hollow = list(some["x"]), list(some["y"]), state == "stopped"
            marks.append(Points(name, x, y, Colour.TRIAL, list(some["hover"]), hollow))
    return marks
