from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from nas.report.blocks import Facts
from nas.report.panels.time import Time
from nas.runs.folder.record import PHASES, RunRecord


def test_phases_are_in_their_order_with_their_share() -> None:
    record = RunRecord().spending("training", 5000.0).spending("planning", 30.0).spending("training", 400.0)
    run: Any = SimpleNamespace(record=record)
    assert Time().applies(run) and not Time().applies(SimpleNamespace(record=RunRecord()))  # type: ignore[arg-type]
    (block,) = Time().blocks(run)
    assert isinstance(block, Facts)
    assert [name for name, _ in block.rows] == ["planning", "training"]
    assert block.rows[1][1].startswith("1 h 30 min, 99.4 %, for ")


def test_every_phase_is_explained() -> None:
    record = RunRecord(phases_s=dict.fromkeys(PHASES, 1.0), step_s=1.0, slot_s=2.0)
    facts, _ = Time().blocks(SimpleNamespace(record=record))  # type: ignore[arg-type]
    assert isinstance(facts, Facts) and len(facts.rows) == len(PHASES)
