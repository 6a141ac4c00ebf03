from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas.limits.metrics import METRICS, Metric, register
from nas.report.charts.chart import Chart, Points, Steps
from nas.report.panels.accuracy_against_cost import AccuracyAgainstCost, accuracy_charts
from nas.runs.folder.run import Run

FIT = "a fit of computed costs to the latencies that this run measured"


def charts(run: Run) -> dict[str, Chart]:
    return {chart.name: chart for chart in accuracy_charts(run)}


def front(chart: Chart) -> Points:
    return next(mark for mark in chart.planes[0].marks if isinstance(mark, Points) and mark.name == "front")


def dots(chart: Chart) -> int:
    return sum(len(mark.x) for mark in chart.planes[0].marks if isinstance(mark, Points))


def test_every_trial_is_drawn_once(run: Run) -> None:
    found = charts(run)
    # What the run compared networks by comes first.
    assert list(found) == ["pareto_macs", "pareto_activation", "pareto_memory", "pareto_latency"]
    assert [dots(chart) for chart in found.values()] == [23] * 4  # one of 24 failed
    assert [len(front(chart).x) for chart in found.values()] == [9] * 4


def test_a_memory_that_was_measured_is_drawn_there(run: Run) -> None:
    run.record = replace(run.record, objectives=("accuracy", "inference_memory_bytes"), budget="500mb-inference")
    run.trials["inference_memory_bytes"] = 2e8
    run.trials["peak_memory_bytes"] = np.nan
    first = next(iter(accuracy_charts(run)))
    assert first.name == "pareto_inference_memory" and first.size == "tall"
    assert front(first).x == pytest.approx((run.front["peak_memory_bytes"] / 1e6).tolist())
    assert [rule.text for rule in first.planes[0].rules] == ["budget 500 MB"]
    assert first.notes == [
        "The front is drawn at its measured inference memory.",
        "Other trials are drawn at their computed inference memory.",
    ]


def test_units_and_limits(run: Run) -> None:
    run.record = replace(run.record, budget="100gflops,30ms,4gb")
    found = charts(run)
    assert front(found["pareto_macs"]).x == pytest.approx((run.front["macs"] / 1e9).tolist())
    assert front(found["pareto_latency"]).x == run.front["latency_ms"].tolist()
    assert front(found["pareto_memory"]).x == pytest.approx((run.front["memory_bytes"] / 1e6).tolist())
    rules = {name: chart.planes[0].rules for name, chart in found.items()}
    assert {name: [rule.at for rule in some] for name, some in rules.items()} == {
        "pareto_macs": [100.0],
        "pareto_activation": [],
        "pareto_latency": [30.0],
        "pareto_memory": [4000.0],
    }
    assert rules["pareto_memory"][0].text == "budget 4,000 MB"


def line(chart: Chart) -> list[tuple[float, float]]:
    steps = next(mark for mark in chart.planes[0].marks if isinstance(mark, Steps))
    return list(zip(steps.x, steps.y, strict=True))


def test_the_line_is_the_best_at_each_cost_of_its_own_chart(run: Run) -> None:
    """What the page says of it: nothing that is drawn lies above it, but for what is predicted
    beside what was measured.
    """
    found = charts(run)
    for name in ("pareto_macs", "pareto_memory"):
        drawn = [
            point
            for mark in found[name].planes[0].marks
            if isinstance(mark, Points)
            for point in zip(mark.x, mark.y, strict=True)
        ]
        best = [
            (x, y)
            for x, y in drawn
            if y > 100 / 12 and not any(a <= x and b >= y and (a, b) != (x, y) for a, b in drawn)
        ]
        assert line(found[name]) == sorted(best)
    measured = list(zip(front(found["pareto_latency"]).x, front(found["pareto_latency"]).y, strict=True))
    assert set(line(found["pareto_latency"])) <= set(measured)


def test_beside_means_a_single_training_is_not_on_the_line(run: Run) -> None:
    alone = run.trials["trial"] == 0
    run.trials.loc[alone, "accuracy"] = 0.99
    best = (float(run.trials.loc[alone, "macs"].iloc[0]) / 1e9, 99.0)
    assert best in line(charts(run)["pareto_macs"])
    run.front["seeds"] = 2
    assert best not in line(charts(run)["pareto_macs"])
    assert "were trained with more than one seed and keep" in AccuracyAgainstCost().blocks(run)[0].markdown()


def test_a_network_off_the_front_that_was_measured_is_drawn_there(run: Run) -> None:
    run.trials.loc[run.trials["trial"] == 0, "latency_ms"] = 0.5
    chart = charts(run)["pareto_latency"]
    assert chart.notes[0] == "The front is drawn at its measured latency, and so 1 other trial."
    assert (0.5, 100 * run.trials["accuracy"][0]) in line(chart)


def test_labels_stand_towards_the_middle(run: Run) -> None:
    run.record = replace(run.record, budget=None)
    run.trials = run.trials[run.trials["trial"] < 0]
    run.front = run.front.iloc[:3].assign(macs=[10e9, 19e9, 20e9], accuracy=[0.5, 0.9, 0.8])
    assert front(charts(run)["pareto_macs"]).places == ["bottom right", "top left", "bottom left"]


def test_what_is_measured_and_what_is_predicted(run: Run) -> None:
    assert charts(run)["pareto_latency"].notes == [
        "The front is drawn at its measured latency.",
        f"Other trials are drawn at their predicted latency, {FIT}.",
    ]
    run.front.loc[0, "latency_ms"] = np.nan
    notes = charts(run)["pareto_latency"].notes
    assert "Not drawn as front: 1 of its 9 trials, whose latency was not measured." in notes
    run.trials["latency_ms_predicted"] = np.nan
    notes = charts(run)["pareto_latency"].notes
    assert notes[-1] == "14 of 14 other trained trials have no predicted latency, and are not drawn."
    run.front["latency_ms"] = np.nan
    chart = charts(run)["pareto_latency"]
    assert chart.notes[0] == "No latency was measured."  # the front has its predictions still
    run.front["latency_ms_predicted"] = np.nan
    chart = charts(run)["pareto_latency"]
    assert chart.empty
    assert chart.notes[1:] == ["23 of 23 trained trials have no predicted latency, and are not drawn."]


def test_predictions_alone_are_called_so(run: Run) -> None:
    run.front["latency_ms"] = np.nan
    chart = charts(run)["pareto_latency"]
    assert chart.notes == [f"No latency was measured; everything is drawn at its predicted latency, {FIT}."]
    run.trials["latency_ms_low"] = 1.0
    assert charts(run)["pareto_latency"].notes[0].endswith("predicted latency, added up from measured layers.")


def test_one_network_has_no_line_to_read(run: Run) -> None:
    assert "The line of a chart joins" in AccuracyAgainstCost().blocks(run)[0].markdown()
    run.trials, run.front = (table[table["trial"] == 23] for table in (run.trials, run.front))
    assert "The line" not in AccuracyAgainstCost().blocks(run)[0].markdown()
    assert not any(isinstance(mark, Steps) for chart in accuracy_charts(run) for mark in chart.planes[0].marks)


def test_a_metric_that_is_added_has_a_chart(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.limits.metrics.METRICS", dict(METRICS))
    register(Metric("energy_mj", "energy", "mJ", compute=lambda cost: cost.macs / 1e9, in_plot=True))
    run.trials["energy_mj"], run.front["energy_mj"] = 3.0, 4.0
    chart = charts(run)["pareto_energy"]
    assert chart.title == "Accuracy against energy" and chart.planes[0].x.label == "Energy (mJ)"
    assert front(chart).x == [4.0] * 9


def test_a_label_goes_where_no_dot_is(run: Run) -> None:
    """Above the step and to the left of its dot, unless a network off the front lies there."""
    run.record = replace(run.record, budget=None)
    run.trials = run.trials.head(1).assign(trial=90, macs=15e9, accuracy=0.3)
    run.front = run.front.iloc[:2].assign(macs=[10e9, 20e9], accuracy=[0.5, 0.9])
    assert front(charts(run)["pareto_macs"]).places[1] == "top left"
    run.trials = run.trials.assign(macs=19e9, accuracy=0.94)
    assert front(charts(run)["pareto_macs"]).places[1] == "bottom left"


def test_a_metric_that_nobody_knows_has_no_chart(run: Run) -> None:
    run.trials = run.trials.assign(latency_ms_predicted=np.nan)
    run.front = run.front.assign(latency_ms_predicted=np.nan, latency_ms=np.nan)
    note, *shown = AccuracyAgainstCost().blocks(run)
    assert "No trial has a known latency, so there is no chart of it." in note.markdown()
    assert not any("pareto_latency" in block.markdown() for block in shown)


def test_the_text_of_a_limit_stands_where_no_dot_is(run: Run) -> None:
    run.record = replace(run.record, budget="100gflops")
    run.front = run.front.head(0)
    run.trials = run.trials.drop(7).head(3).assign(macs=[5e9, 9e10, 9e10], accuracy=[0.5, 0.45, 0.4])
    (rule,) = charts(run)["pareto_macs"].planes[0].rules
    # At a tenth of a phone's height it would be 2.6 pixels above the middle of a dot of 8.
    assert rule.text_at == 0.2 and rule.side == "left"
    run.trials["macs"] = [5e9, 6e9, 6e9]
    (rule,) = charts(run)["pareto_macs"].planes[0].rules
    assert rule.text_at == 0
    # 17 letters of 7 pixels do not fit between the axis and a line at a fifth of a phone's 240.
    run.trials["macs"] = [1e11, 1e12, 1e13]
    run.record = replace(run.record, budget="200gflops")
    (rule,) = charts(run)["pareto_macs"].planes[0].rules
    assert rule.side == "right"
