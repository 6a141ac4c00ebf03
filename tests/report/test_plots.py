from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from nas.report import plots
from nas.runs.folder import Run


def test_every_trial_is_drawn_once(run: Run) -> None:
    for plot in plots.pareto_plots(run):
        drawn = [*plot.trials["trial"], *plot.front["trial"]]
        assert sorted(drawn) == [number for number in range(24) if number != 7]


def test_units_and_limits(run: Run) -> None:
    run.record = replace(run.record, budget="100gflops,30ms,4gb")
    macs, latency, memory = plots.pareto_plots(run)
    assert macs.front["x"].tolist() == pytest.approx((run.front["macs"] / 1e9).tolist())
    assert latency.front["x"].tolist() == run.front["latency_ms"].tolist()
    assert memory.front["x"].tolist() == pytest.approx((run.front["memory_bytes"] / 1e6).tolist())
    assert [plot.limits for plot in (macs, latency, memory)] == [[100.0], [30.0], [4000.0]]
    label = plots.pareto_figure(memory)["layout"]["annotations"][0]["text"]
    assert label == "budget 4,000 MB"


def test_line_is_not_dominated_in_its_own_cost(run: Run) -> None:
    for plot in plots.pareto_plots(run):
        assert plot.line["x"].is_monotonic_increasing
        assert plot.line["accuracy"].is_monotonic_increasing


def test_ticks_stay_inside_the_axis(run: Run) -> None:
    plot = plots.pareto_plots(run)[0]
    assert plot.log
    assert plot.ticks == [2, 5, 10, 20, 50, 100]


def test_narrow_costs_are_linear(run: Run) -> None:
    run.record = replace(run.record, budget=None)
    run.trials["macs"] = np.linspace(50e9, 60e9, 24)
    run.front["macs"] = np.linspace(50e9, 60e9, len(run.front))
    plot = plots.pareto_plots(run)[0]
    assert not plot.log
    assert plot.x_range == pytest.approx((49.4, 60.6))


def test_labels_stand_towards_the_middle(run: Run) -> None:
    run.record = replace(run.record, budget=None)
    run.trials = run.trials[run.trials["trial"] < 0]
    run.front = run.front.iloc[:3].assign(macs=[10e9, 19e9, 20e9], accuracy=[0.5, 0.9, 0.8])
    (plot, *_) = plots.pareto_plots(run)
    assert plots.pareto_figure(plot)["data"][-1]["textposition"] == ["bottom right", "top left", "bottom left"]


def test_figures_are_valid_plotly(run: Run) -> None:
    figures = [plots.pareto_figure(plot) for plot in plots.pareto_plots(run)]
    for figure in [*figures, plots.progress_figure(run), plots.operators_figure(run)]:
        go.Figure(json.loads(json.dumps(figure, allow_nan=False)))


def test_hover_cannot_carry_markup(run: Run) -> None:
    run.trials["operators"] = "<b>x</b>"
    assert "&lt;b&gt;x" in plots.pareto_plots(run)[0].trials["hover"].iloc[0]


def test_progress(run: Run) -> None:
    run.record = replace(run.record, chance=0.0)
    run.trials = run.trials.head(3).assign(accuracy=[0.5, 0.25, 1.0], macs=[10.0, 100.0, 10.0])
    rows = plots.progress(run)
    assert rows["best"].tolist() == [0.5, 0.5, 1.0]
    assert rows["hypervolume"].tolist() == pytest.approx([0.5, 0.5, 1.0])


def test_latency_notes(run: Run) -> None:
    run.front.loc[0, "latency_ms"] = np.nan
    assert "Not drawn as front: 1 of its 9" in " ".join(plots.pareto_plots(run)[1].notes)
    run.front["latency_ms"] = np.nan
    assert "everything is drawn at its predicted latency" in plots.pareto_plots(run)[1].notes[0]
    run.front["latency_ms_predicted"] = np.nan
    run.trials["latency_ms_predicted"] = np.nan
    plot = plots.pareto_plots(run)[1]
    assert plot.notes == ["No latency was measured.", "23 of 23 trained trials have no predicted latency."]
    assert plot.empty


def test_save_png(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    plots.save_png(plots.pareto_plots(run)[0], path)
    with Image.open(path) as image:
        assert image.size == (1600, 1000)
