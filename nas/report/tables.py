"""What the report says in numbers: formatting, and the tables of both the page and the Markdown."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from rich.table import Table

from nas.errors import NasError
from nas.limits.budget import Budget
from nas.runs.folder import PICKS, Run, choose

MISSING = "\N{EN DASH}"
MARK = "\N{DAGGER}"  # at a latency whose measurement was disturbed
_ACCURACY = {"val": "accuracy", "test": "test_accuracy"}
GFLOPS_NOTE = (
    "GFLOPs here are 10\N{SUPERSCRIPT NINE} multiply-adds of convolutions, linear layers and attention products "
    "at the target input."
)

_COUNTS = {
    "proposed": "proposed",
    "rejected": "rejected before training: over the budget, or impossible to build",
    "duplicates": "skipped: the same network as an earlier one",
    "trained": "trained",
    "stopped_early": "of these stopped early",
    "failed": "failed beside these",
}


def number(value: float, digits: int = 3) -> str:
    """Formats with so many significant digits, never in powers of ten; nan is a dash."""
    if not math.isfinite(value):
        return MISSING
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, digits - 1 - magnitude)}f}"


def percent(share: float) -> str:
    """Formats a share as a percentage with one decimal, without the sign; nan is a dash."""
    return f"{100 * share:.1f}" if math.isfinite(share) else MISSING


def duration(seconds: float) -> str:
    """Formats seconds as hours, minutes and seconds, the two largest units that count."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 60:
        return f"{number(seconds, 2)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(value: Any) -> str:
    """Formats [height, width] or one side in pixels."""
    sides = value if isinstance(value, list) else [value, value]
    return "\N{MULTIPLICATION SIGN}".join(map(str, sides))


def standard_error(accuracy: float, clips: float) -> float:
    """Standard error of a share of correct answers out of `clips`; nan when the number of clips is
    unknown.
    """
    return math.sqrt(accuracy * (1 - accuracy) / clips) if clips > 0 else math.nan


def clips(run: Run, split: str) -> float:
    """Number of clips of a split, or nan when the run does not say."""
    return float(run.record.clips.get(split, math.nan))


def accuracy_text(run: Run, row: pd.Series[Any], split: str) -> str:
    """Accuracy of a trial in per cent with its standard error where it is known, such as `81.3 ±
    2.4 %`.

    The error is that over seeds where there are several, else of a share of so many clips.
    """
    name = _ACCURACY[split]
    error = row[f"{name}_se"]
    if math.isnan(error):
        error = standard_error(row[name], clips(run, split))
    return f"{_with_error(row[name], error)} %"


def _with_error(share: float, error: float) -> str:
    return f"{percent(share)} ± {percent(error)}" if math.isfinite(error) else percent(share)


def trained(run: Run) -> pd.DataFrame:
    """The trials that have an accuracy, that which the search saw."""
    return run.trials[run.trials["state"] != "failed"]


def known(run: Run) -> pd.DataFrame:
    """The trials that have an accuracy, the mean over seeds where they were trained again."""
    table = run.confirmed()
    return table[table["state"] != "failed"]


def disturbances(run: Run) -> list[str]:
    """What disturbed the measurements of the front: a sentence for each trial that `MARK` stands
    at.
    """
    rows = zip(run.front["trial"], run.front["flags"], strict=True)
    return [f"{MARK} Trial {trial}: {flags}." for trial, flags in rows if flags]


def picks(run: Run) -> dict[int, list[str]]:
    """The trials of the front that picks mean, each with the names of its picks; latency only where
    it was measured.
    """
    found: dict[int, list[str]] = {}
    for name in PICKS if len(run.front) else ():
        if name == "latency" and run.front["latency_ms"].isna().all():
            continue
        found.setdefault(choose(run.front, name), []).append(name)
    return found


def export_command(run: Run, trial: int) -> str:
    """The command that writes one trial's architecture to a file."""
    return f"nas export {shlex.quote(str(run.path))} --pick {trial} --out trial-{trial}.yaml"


def front_table(run: Run) -> pd.DataFrame:
    """The front as text, one row per trial in order of multiply-adds; units stand in the column
    names.
    """
    front, chosen = run.front, picks(run)

    def column(name: str, scale: float = 1.0) -> list[str]:
        return [number(value / scale) for value in front[name]]

    table: dict[str, list[str]] = {
        "Trial": [str(trial) for trial in front["trial"]],
        "Pick": [", ".join(chosen.get(trial, ())) for trial in front["trial"]],
        "Accuracy, validation (%)": _accuracies(front, "accuracy"),
        "Accuracy, test (%)": _accuracies(front, "test_accuracy"),
        "Seeds": [str(value) for value in front["seeds"]],
        "Epochs": [number(value, 1) for value in front["epochs"]],
        "GFLOPs": column("macs", 1e9),
        "Params (M)": column("params", 1e6),
        "Activations (MB)": column("activation_bytes", 1e6),
        "Latency, median (ms)": _latencies(front),
        "IQR (ms)": column("latency_iqr_ms"),
        "p95 (ms)": column("latency_p95_ms"),
        "Latency, predicted (ms)": column("latency_ms_predicted"),
        "Peak memory (MB)": column("peak_memory_bytes", 1e6),
        "Operators": [operators_text(value) for value in front["operators"]],
        "Export": [export_command(run, trial) for trial in front["trial"]],
    }
    if front["latency_ms_predicted"].isna().all():
        del table["Latency, predicted (ms)"]
    if (front["seeds"] == 1).all():
        del table["Seeds"]
    return pd.DataFrame(table, dtype="str")


def _accuracies(front: pd.DataFrame, name: str) -> list[str]:
    """In per cent, with the standard error where there are several seeds."""
    return [_with_error(*pair) for pair in zip(front[name], front[f"{name}_se"], strict=True)]


def _latencies(front: pd.DataFrame) -> list[str]:
    """In milliseconds, marked where the measurement was disturbed."""
    rows = zip(front["latency_ms"], front["flags"], strict=True)
    return [f"{number(ms)} {MARK}" if flags else number(ms) for ms, flags in rows]


def operator_counts(operators: Iterable[str]) -> Counter[str]:
    """Sums layers per operator over texts such as `t2d*3 d2plus1d*2`.

    Raises:
        NasError: A part is not `<operator>` or `<operator>*<number>`.
    """
    counts: Counter[str] = Counter()
    for text in operators:
        for part in text.split():
            match = re.fullmatch(r"(\w+)(?:\*(\d+))?", part)
            if not match:
                raise NasError(f"operators {text!r} cannot be read at {part!r}; allowed: parts such as t2d*3")
            counts[match[1]] += int(match[2] or 1)
    return counts


def operators_text(operators: str) -> str:
    """The same text with a multiplication sign for the asterisk."""
    return operators.replace("*", "\N{MULTIPLICATION SIGN}")


def operator_shares(run: Run) -> pd.DataFrame:
    """Share of layers (0..1) per operator (index), on the `front` and over `all` trained trials;
    nan if none are.
    """
    counts = {"front": operator_counts(run.front["operators"]), "all": operator_counts(trained(run)["operators"])}
    table = pd.DataFrame({name: pd.Series(count, dtype=float) for name, count in counts.items()}).fillna(0.0)
    return (table / table.sum()).sort_values(["all", "front"])


def limits(run: Run, metric: str) -> list[float]:
    """The limits that the run's budget sets on `macs`, `latency_ms` or `memory_bytes`, in base
    units, low ends too.
    """
    if not run.record.budget:
        return []
    found = [limit for limit in Budget.parse(run.record.budget).limits if limit.metric == metric]
    return [end for limit in found for end in (limit.low, limit.high) if end > 0]


def counts_rows(run: Run) -> list[tuple[str, str]]:
    """What became of the candidates: rows of (number, meaning)."""
    counts = run.record.counts
    return [(f"{getattr(counts, key):,}", meaning) for key, meaning in _COUNTS.items()] if counts else []


def settings_rows(run: Run) -> list[tuple[str, str]]:
    """The settings of the run as rows of (dotted name, value), without the counts."""
    return [(key, value) for key, value in _flat(run.record.shown(), "") if not key.startswith("counts.")]


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield f"{prefix}{key}", ", ".join(map(str, value))
        elif isinstance(value, float):
            yield f"{prefix}{key}", f"{value:.6g}"
        else:
            yield f"{prefix}{key}", MISSING if value is None else str(value)


def front_summary(run: Run) -> Table:
    """The front as a table for a terminal."""
    seeds = "; \N{PLUS-MINUS SIGN} is one standard error over seeds" if (run.front["seeds"] > 1).any() else ""
    notes = [
        f"accuracy of the proxy{seeds}; GFLOPs are 10^9 multiply-adds; median latency and peak memory as measured",
        *disturbances(run),
    ]
    table = Table(
        *("trial", "val %", "test %", "GFLOPs", "ms", "MB", "operators", "pick"),
        title=f"front of {run.path}",
        caption="\n".join(notes),
    )
    for column in table.columns[:6]:
        column.no_wrap = True
    texts = front_table(run).to_dict("records")
    for row, text in zip(run.front.to_dict("records"), texts, strict=True):
        table.add_row(
            str(row["trial"]),
            text["Accuracy, validation (%)"],
            text["Accuracy, test (%)"],
            number(row["macs"] / 1e9),
            text["Latency, median (ms)"],
            number(row["peak_memory_bytes"] / 1e6),
            str(row["operators"]),
            text["Pick"],
        )
    return table
