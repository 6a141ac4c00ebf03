"""What the run was asked for, and what it decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nas.report.blocks import Block, Facts
from nas.report.panel import Panel
from nas.runs.folder.run import Run
from nas.units import MISSING

# Counts have a panel of their own; the others stand among the settings again.
_ELSEWHERE = ("counts", "trials", "time_s", "seed")


class Settings(Panel):
    """The record of the run, by name."""

    title = "Settings"
    place = 90

    def blocks(self, run: Run) -> Sequence[Block]:
        rows = settings_rows(run)
        return [Facts(rows, ("Setting", "Value"), f"{len(rows)} values")]


def settings_rows(run: Run) -> list[tuple[str, str]]:
    """The record of the run as rows of (dotted name, value), without what is shown elsewhere."""
    document = run.record.shown()
    return list(_flat({name: value for name, value in document.items() if name not in _ELSEWHERE}, ""))


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
