from __future__ import annotations

from dataclasses import replace

import pytest

from nas.report.panels.progress import progress, progress_chart
from nas.runs.folder.run import Run


def test_progress(run: Run) -> None:
    run.record = replace(run.record, chance=0.0, objectives=("accuracy", "macs"))
    run.trials = run.trials.head(3).assign(accuracy=[0.5, 0.25, 1.0], macs=[10.0, 100.0, 10.0])
    rows = progress(run)
    assert rows["best"].tolist() == [0.5, 0.5, 1.0]
    assert rows["hypervolume"].tolist() == pytest.approx([0.5, 0.5, 1.0])


def test_hypervolume_is_of_the_objectives_as_the_search_knew_them(run: Run) -> None:
    run.record = replace(run.record, chance=0.0, objectives=("accuracy", "latency_ms"))
    run.trials = run.trials.head(3).assign(accuracy=[0.5, 0.25, 1.0], latency_ms_predicted=[10.0, 100.0, 10.0])
    run.trials["latency_ms"] = 50.0
    assert progress(run)["hypervolume"].tolist() == pytest.approx([0.5, 0.5, 1.0])
    assert "in accuracy above chance and in the logarithm of predicted latency, bounded" in progress_chart(run).notes[0]


def test_chance_is_a_line_where_it_is_known(run: Run) -> None:
    assert [rule.at for rule in progress_chart(run).planes[0].rules] == pytest.approx([100 / 12])
    run.record = replace(run.record, chance=0.5)
    # Of ten trials the last is at chance, then the first and the second are too.
    run.trials = run.trials.drop(7).head(10).assign(accuracy=[0.9, 0.1, *[0.9] * 7, 0.5])
    assert progress_chart(run).planes[0].rules[0].text_at == 0
    run.trials = run.trials.assign(accuracy=[0.5, 0.5, *[0.9] * 7, 0.5])
    assert progress_chart(run).planes[0].rules[0].text_at == 1
    run.record = replace(run.record, chance=None)
    assert not progress_chart(run).planes[0].rules
