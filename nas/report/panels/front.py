"""The front as a table."""

from __future__ import annotations

from collections.abc import Sequence

from nas.limits.metrics import Metric
from nas.report.blocks import Block, Table, Text
from nas.report.front import disturbances, front_table
from nas.report.panel import Panel
from nas.report.text import listed
from nas.report.trials import objectives_text, prediction_text, trained
from nas.runs.folder.run import Run
from nas.units import plural


class Front(Panel):
    """The networks of the front with all their figures, and what disturbed their measurements."""

    title = "Front"
    place = 30

    def applies(self, run: Run) -> bool:
        return len(run.front) > 0

    def blocks(self, run: Run) -> Sequence[Block]:
        rows = front_table(run)
        table = Table(
            rows,
            "Table of the front",
            words=["Pick"],
            below=["Operators", "Export"],
            highlighted=[bool(pick) for pick in rows["Pick"]],
            sortable=True,
        )
        return [Text(_meaning(run), "note"), table, *(Text(text, "note") for text in disturbances(run.front))]


def _is_measured(run: Run, metric: Metric) -> bool:
    return bool(run.front[metric.after].notna().any())


def _meaning(run: Run) -> str:
    """What being on the front means here."""
    count, among = len(run.front), plural(len(trained(run)), "trained network")
    if len(trained(run)) == 1:
        return "One network was trained, so nothing stands beside it."
    several = bool((run.front["seeds"] > 1).any())
    seen = " as the search saw them" if several else ""
    goals = objectives_text(run)
    said = f"Of {among}{seen}, no other is at least as good as one of these in {goals} and better in one of them."
    if count == 1:
        best = "" if several else ", the best in all of them"
        said += f" It is one network{best}, so there is nothing to trade one for another."
    if several:
        said += " What another of these dominates by the means over seeds has left it."
    if run.record.chance is not None and (run.front["accuracy"] <= run.record.chance).all():
        said += " None is better than guessing. Networks over a limit as measured are left out."
    else:
        said += " Networks no better than guessing, or over a limit as measured, are left out."
    as_measured = [metric.title for metric in run.objectives.costs if metric.after and _is_measured(run, metric)]
    if as_measured:
        said += f" The {listed(as_measured)} of a network counts as measured, where it was measured."
    if run.front["latency_ms_predicted"].notna().any():
        said += f" Predicted latency is {prediction_text(run.front)}."
    return said
