"""Networks that break a limit."""

from __future__ import annotations

from collections.abc import Sequence

from nas.report.blocks import Block, Table, Text
from nas.report.front import disturbances, over_table
from nas.report.panel import Panel
from nas.runs.folder.run import Run


class Over(Panel):
    """What was trained and is over a limit, by how much, and what disturbed its measurement."""

    title = "Over the limits"
    place = 35

    def applies(self, run: Run) -> bool:
        return len(run.over) > 0

    def blocks(self, run: Run) -> Sequence[Block]:
        said = (
            "These networks were trained and are not on the front: predicted inside the limits, they are outside as "
            "measured or trained, or the limits were changed after they were trained."
        )
        table = Table(over_table(run), "Table of networks over the limits", ["Over the limit"], ["Operators", "Export"])
        return [Text(said, "note"), table, *(Text(text, "note") for text in disturbances(run.over))]
