"""What became of all that was proposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from nas.report.blocks import Block, Facts
from nas.report.panel import Panel
from nas.runs.folder.run import Run

_MEANINGS = {
    "proposed": "proposed, of which",
    "rejected": "were rejected before training: over the budget, or impossible to build",
    "unreached": "were out of reach: below the floor, or too large to train in this time",
    "duplicates": "were the same network as an earlier one",
    "trained": "were trained",
    "failed": "failed in training",
}
STOPPED = "of the trained were stopped early, as others were better at the same point"


class Candidates(Panel):
    """What became of every proposal: trained, lost, or why it was not trained."""

    title = "What was not trained, and why"
    place = 70

    def applies(self, run: Run) -> bool:
        return run.record.counts is not None

    def blocks(self, run: Run) -> Sequence[Block]:
        counts = asdict(run.record.counts) if run.record.counts else {}
        rows = [(f"{counts[name]:,}", meaning) for name, meaning in _MEANINGS.items()]
        rest = counts["proposed"] - sum(counts[name] for name in _MEANINGS if name != "proposed")
        if rest > 0:
            rows.append((f"{rest:,}", "had no result when this was written: cut off, or still in training"))
        return [Facts([*rows, (f"{counts['stopped_early']:,}", STOPPED)], ("Candidates", "What became of them"))]
