"""Runs in which no network keeps the limits as measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from nas.report.front import how_to_go_on, over_summary
from nas.report.page import compose
from nas.report.panels.headline import best, missing
from nas.report.panels.over import Over
from nas.runs.folder.run import Run

LOAD = "other processes used 1.90 of the 2 cores measured on"


@pytest.fixture
def over(run: Run) -> Run:
    """Three trials under 30 ms, all slower as measured, the second on a busy machine."""
    record = run.record.document() | {"budget": "100gflops,30ms", "front_of": 3}
    (run.path / "run.json").write_text(json.dumps(record))
    trials = run.trials.head(3).assign(macs=[1e9, 2e9, 3e9], accuracy=[0.25, 0.5, 0.75])
    trials.assign(latency_ms=[41.0, 52.5, 60.0], flags=["", LOAD, ""]).to_csv(run.path / "trials.csv", index=False)
    pd.read_csv(run.path / "front.csv").head(0).to_csv(run.path / "front.csv", index=False)
    return Run(run.path)


def test_a_network_over_a_limit_is_no_headline(over: Run) -> None:
    assert best(over).startswith(
        "No network is known to keep 100gflops,30ms: of 3 networks trained, 3 are over a limit. The nearest is trial "
    )
    assert best(over).endswith("on validation: 41.0 ms > 30 ms.")
    report = compose(over)
    assert "most accurate" not in report.markdown
    assert "o front was measured" not in report.markdown and "may be continued" not in report.markdown


def test_each_says_by_how_much_and_what_disturbed_it(over: Run) -> None:
    _, table, disturbed = (block.markdown() for block in Over().blocks(over))
    assert "41.0 ms > 30 ms |" in table and "60.0 ms > 30 ms |" in table
    assert "52.5 ms > 30 ms \N{DAGGER} |" in table and LOAD in disturbed
    columns = {str(column.header): list(column.cells) for column in over_summary(over).columns}
    assert columns["over the limit"] == ["41.0 ms > 30 ms", "52.5 ms > 30 ms \N{DAGGER}", "60.0 ms > 30 ms"]
    assert columns["val %"] == ["25.0 ± 2.7", "50.0 ± 3.1", "75.0 ± 2.7"]


def test_what_a_network_was_taken_for_stands_beside_what_it_is(over: Run) -> None:
    over.record = replace(over.record, objectives=("accuracy", "latency_ms"))
    over.over["latency_ms_predicted"] = [20.0, 25.0, 29.0]
    head, _, *rows = Over().blocks(over)[1].markdown().splitlines()
    assert "| GFLOPs | Latency, predicted (ms) | Over the limit |" in head
    assert ["| 20.0 | 41.0 ms > 30 ms |" in row for row in rows] == [True, False, False]


def test_the_advice_is_what_works(over: Run) -> None:
    wider, again, further = how_to_go_on(over)
    assert wider == "nas search --resume run --budget 100gflops,41ms makes a front of what is trained."
    assert again.startswith("nas search --resume run measures again what was disturbed")
    assert further.startswith("nas search --resume run --time 10m trains further")
    assert missing(over) == [wider, again, further]
    assert how_to_go_on(over, Path("/a b/c"))[0].startswith("nas search --resume '/a b/c' --budget")


def test_measuring_that_was_cut_short_is_called_so(over: Run) -> None:
    over.trials = pd.concat([over.trials, over.trials.assign(trial=[3, 4, 5], latency_ms=float("nan"))])
    assert missing(over) == ["3 further networks were not measured yet. nas search --resume goes on."]
    over.record = replace(over.record, front_of=6)  # they were at chance, and are not worth it
    assert len(missing(over)) == 3


def test_what_keeps_another_limit_is_the_best_so_far(over: Run) -> None:
    """The run was interrupted after its limits were changed to others that are computed."""
    document = json.loads((over.path / "run.json").read_text())
    (over.path / "run.json").write_text(json.dumps(document | {"budget": "2.5gflops", "front_of": None}))
    run = Run(over.path)
    assert best(run).startswith("The most accurate network so far: trial 1")
    assert run.over["breaks"].tolist() == ["3.00 GFLOPs > 2.5 GFLOPs"]


def test_a_front_has_none_of_them(over: Run) -> None:
    trials = pd.read_csv(over.path / "trials.csv").assign(latency_ms=[20.0, 52.5, 60.0])
    trials.to_csv(over.path / "trials.csv", index=False)
    trials.assign(pick="", seeds=1).to_csv(over.path / "front.csv", index=False)  # one that was edited by hand
    run = Run(over.path)
    assert run.front["trial"].tolist() == [0] and run.over["trial"].tolist() == [1, 2]
    assert "trial 0." in best(run)
