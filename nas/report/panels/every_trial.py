"""All trials as a table, which stands in for every chart."""

from __future__ import annotations

from collections.abc import Sequence

from nas.report.blocks import Block, Table
from nas.report.front import trials_table
from nas.report.panel import Panel
from nas.report.trials import trained
from nas.runs.folder.run import Run
from nas.units import plural


class EveryTrial(Panel):
    """Every trial with its figures, folded away, for the page alone: `trials.csv` has them too."""

    title = ""
    place = 31

    def applies(self, run: Run) -> bool:
        return len(trained(run)) > 0

    def blocks(self, run: Run) -> Sequence[Block]:
        rows = trials_table(run)
        return [
            Table(
                rows,
                "Table of all trials",
                words=["State", "Operators"],
                highlighted=list(run.trials["trial"].isin(run.front["trial"])),
                sortable=True,
                folded=f"{plural(len(rows), 'trial')} as a table",
            )
        ]
