from __future__ import annotations

from dataclasses import replace

from nas.report.panels.candidates import Candidates
from nas.report.panels.settings import settings_rows
from nas.runs.folder.run import Run


def test_settings_rows(run: Run) -> None:
    rows = dict(settings_rows(run))
    assert rows["proxy.size"] == "32, 32"
    assert rows["chance"] == "0.0833333"
    assert rows["workers"] == "\N{EN DASH}"
    assert not any(name.startswith("counts") for name in rows)


def test_every_candidate_is_accounted_for(run: Run) -> None:
    (block,) = Candidates().blocks(run)
    rows = block.markdown().splitlines()[2:]
    assert rows[0] == "| 40 | proposed, of which |"
    counts = [int(row.split("|")[1]) for row in rows]
    proposed, rejected, unreached, duplicates, trained, failed, stopped = counts
    assert proposed == rejected + unreached + duplicates + trained + failed and stopped == 10


def test_what_has_no_result_yet_is_accounted_for_too(run: Run) -> None:
    assert run.record.counts
    run.record = replace(run.record, counts=replace(run.record.counts, proposed=42))
    (block,) = Candidates().blocks(run)
    assert "| 2 | had no result when this was written" in block.markdown()
