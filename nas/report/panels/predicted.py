"""What was predicted beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from nas.limits.metrics import METRICS
from nas.report.blocks import Block, Table, Text
from nas.report.panel import Panel
from nas.report.trials import DISTURBED, prediction_text
from nas.runs.folder.run import Run
from nas.units import number, plural


class Pair(NamedTuple):
    """A figure that is known before a network is measured, and the measured one."""

    before: str
    after: str


_PAIRS = (Pair("latency_ms_predicted", "latency_ms"), Pair("inference_memory_bytes", "peak_memory_bytes"))
MOST = 30  # networks in a table


class Predicted(Panel):
    """Latency as predicted and memory as computed, beside both as measured, of each network that
    was.
    """

    title = "Predicted beside measured"
    place = 75

    def applies(self, run: Run) -> bool:
        return any(len(_both(run, pair)) for pair in _PAIRS)

    def blocks(self, run: Run) -> Sequence[Block]:
        said, tables = [], []
        for pair in _PAIRS:
            both = _both(run, pair)
            if both.empty:
                continue
            metric = METRICS[pair.after]
            ratios = both[pair.before] / both[pair.after]
            how = f", {prediction_text(both)}," if pair.before == "latency_ms_predicted" else ""
            said.append(
                f"The {METRICS[pair.before].title}{how} is {_range(ratios)} times the measured {metric.title} of "
                f"{plural(len(both), 'network')}."
            )
            tables.append(_column(both, pair))
        table = pd.concat(tables, axis=1).sort_index().head(MOST).fillna("").reset_index(names="Trial")
        said += [f"The first {MOST} are shown."] * any(len(_both(run, pair)) > MOST for pair in _PAIRS)
        shown = Table(table.astype(str), "Predicted beside measured")
        return [Text(" ".join(said), "note"), shown]


def _range(ratios: pd.Series) -> str:
    low, high = number(ratios.min(), 2), number(ratios.max(), 2)
    return low if low == high else f"between {low} and {high}"


def _both(run: Run, pair: Pair) -> pd.DataFrame:
    """The networks of which both figures are known, those of the front and others."""
    others = run.confirmed()
    every = pd.concat([run.front, others[~others["trial"].isin(run.front["trial"])]], ignore_index=True)
    return every[every[pair.before].notna() & every[pair.after].notna()]


def _column(both: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    before, after = METRICS[pair.before], METRICS[pair.after]
    marks = [f" {DISTURBED}" if flags and pair.after == "latency_ms" else "" for flags in both["flags"]]
    measured = [f"{number(value / after.scale)}{mark}" for value, mark in zip(both[pair.after], marks, strict=True)]
    return pd.DataFrame(
        {
            before.label: [number(value / before.scale) for value in both[pair.before]],
            after.label: measured,
            f"{after.title.capitalize()}, ratio": [number(value, 2) for value in both[pair.before] / both[pair.after]],
        },
        index=both["trial"],
    )
