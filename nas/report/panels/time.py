"""Where the hours went."""

from __future__ import annotations

from collections.abc import Sequence

from nas.report.blocks import Block, Facts, Text
from nas.report.panel import Panel
from nas.report.text import percent
from nas.runs.folder.record import PHASES, workers_busy
from nas.runs.folder.run import Run
from nas.units import duration

_WAITED_FOR = {
    "planning": "the costs of sampled networks, and the lists of clips",
    "reading clips": "decoding",
    "measuring layers": "the table that latencies are predicted from",
    "training": "proposals and proxies",
    "random control": "proxies of random search",
    "confirming": "the front with further seeds",
    "published networks": "networks of the size of the pick",
    "measuring": "latency and memory of the front",
    "reporting": "this page, when the search wrote it",
}


class Time(Panel):
    """How long each phase took, all sessions together."""

    title = "Where the time went"
    place = 84

    def applies(self, run: Run) -> bool:
        return bool(run.record.phases_s)

    def blocks(self, run: Run) -> Sequence[Block]:
        record = run.record
        spent = {name: record.phases_s[name] for name in PHASES if record.phases_s.get(name)}
        total = sum(spent.values()) or 1.0
        rows = [
            (name, f"{duration(seconds)}, {percent(seconds / total)} %, for {_WAITED_FOR[name]}")
            for name, seconds in spent.items()
        ]
        said = [Text(f"{workers_busy(record.step_s, record.slot_s)}.")] if record.slot_s else []
        return [Facts(rows, ("Phase", "Took")), *said]
