"""Which clips could not be read."""

from __future__ import annotations

from collections.abc import Sequence

from nas.data.unreadable import read_unreadable
from nas.report.blocks import Block, Facts
from nas.report.panel import Panel
from nas.runs.folder.run import Run


class UnreadableClips(Panel):
    """The clips that the run left out, each with its reason."""

    title = "Clips that cannot be read"
    place = 67

    def applies(self, run: Run) -> bool:
        return bool(read_unreadable(run.path))

    def blocks(self, run: Run) -> Sequence[Block]:
        rows = [(f"{each.split} {each.clip}".strip(), each.reason) for each in read_unreadable(run.path)]
        return [Facts(rows, ("Clip", "Reason"), f"{len(rows)} clips" if len(rows) > 10 else "")]
