"""What became of the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from nas.report.blocks import Block, Facts
from nas.report.panel import Panel
from nas.runs.folder import Run

_MEANINGS = {
    "proposed": "proposed",
    "rejected": "rejected before training: over the budget, or impossible to build",
    "unreached": "out of reach: below the floor, or too large to train in this time",
    "duplicates": "skipped: the same network as an earlier one",
    "trained": "trained",
    "stopped_early": "of these stopped early",
    "failed": "failed beside these",
}


class Candidates(Panel):
    """How many networks were proposed, rejected, trained and lost."""

    title = "Candidates"
    place = 80

    def applies(self, run: Run) -> bool:
        return run.record.counts is not None

    def blocks(self, run: Run) -> Sequence[Block]:
        counts = asdict(run.record.counts) if run.record.counts else {}
        rows = [(f"{counts[name]:,}", meaning) for name, meaning in _MEANINGS.items()]
        return [Facts(rows, ("Candidates", "What became of them"))]
