"""The networks that a reader is most likely to want."""

from __future__ import annotations

from collections.abc import Sequence

from nas.limits.metrics import DEFAULT_PICK, pick_metrics
from nas.report.blocks import Block, Card, Cards, Text
from nas.report.front import disturbances, export_command
from nas.report.panel import Panel
from nas.report.trials import (
    DISTURBED,
    accuracy_text,
    objectives_text,
    operators_text,
    picks,
    shown_metrics,
)
from nas.runs.folder.run import Run
from nas.units import plural


class Picks(Panel):
    """A card for each network that a pick means, with the command that exports it."""

    title = "Picks"
    place = 10

    def applies(self, run: Run) -> bool:
        return len(run.front) > 0

    def blocks(self, run: Run) -> Sequence[Block]:
        cards = [_card(run, trial, names) for trial, names in picks(run).items()]
        return [Cards(cards), Text(_meaning(run), "note")]


def _card(run: Run, trial: int, names: list[str]) -> Card:
    row = run.row(trial)
    facts = [(name, accuracy_text(run, row, split)) for name, split in (("validation", "val"), ("test", "test"))]
    named = [f"{name} (default)" if name == DEFAULT_PICK else name for name in names]
    for metric in shown_metrics(run):
        # The spread of a latency and predictions are in the table of the front.
        if metric.name in row and (metric.source == "computed" or metric.pick):
            mark = f" {DISTURBED}" if metric.name == "latency_ms" and row["flags"] else ""
            facts.append((metric.title, metric.figure(float(row[metric.name])) + mark))
    operators = operators_text(row["operators"])
    return Card(" + ".join(named), f"trial {trial}", facts, operators, export_command(run, trial))


def _meaning(run: Run) -> str:
    offered, chosen = run.offered(), run.picks()
    if len(run.front) == len(offered) == 1:
        return "The front is one network, so every pick means it."
    meanings = [f"{DEFAULT_PICK}, the default, is the best of the front on validation"]
    if "knee" in chosen:
        meanings.append(
            f"knee is the nearest of the front to the best in {objectives_text(run)} together, each scaled over the "
            "front, costs that differ by factors as their logarithm"
        )
    for name, of in pick_metrics().items():
        # The first that there are figures of decides, as in `nas.runs.selection.picks.choose`.
        for metric in [each for each in of if name in chosen and offered[each.name].notna().any()][:1]:
            best = "lowest" if metric.less_is_better else "highest"
            where = f" of the {plural(int(offered[metric.name].notna().sum()), 'network')} measured"
            meanings.append(f"{name} is the {best} {metric.title}{where * (metric.source == 'measured')}")
    said = f"{'; '.join(meanings)}."
    if len(meanings) > 1:
        said += (
            f" {'All keep the limits; those' if run.budget else 'Those'} that are not the default are more than two "
        )
        said += "standard errors above chance."
    else:
        said += " No other is offered: none is more than two standard errors above chance."
    mark = f" {DISTURBED}: the measurement was disturbed, as the table of the front says." * any(run.front["flags"])
    elsewhere = offered[offered["trial"].isin(chosen.values()) & ~offered["trial"].isin(run.front["trial"])]
    return " ".join([f"{said[0].upper()}{said[1:]}{mark}", *disturbances(elsewhere)])
