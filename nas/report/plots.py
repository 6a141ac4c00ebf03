"""The report's figures: their data once, drawn by plotly for the page and by matplotlib for the
pictures.

Figures for the page are plain plotly JSON whose colours are CSS variables of the page
(`var(--front)`), so that they follow its light and dark theme.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.pareto.front import hypervolume, non_dominated
from nas.report.tables import (
    accuracy_text,
    clips,
    known,
    limits,
    number,
    operator_shares,
    operators_text,
    percent,
    picks,
    standard_error,
    trained,
)
from nas.runs.control import RANDOM, SEARCH
from nas.runs.folder import Run
from nas.units import plural

NOTHING = "Nothing to draw: no trial has this cost."

# Okabe and Ito's palette, told apart by colour-blind readers; the page's template has them as CSS
# variables.
_BLUE, _VERMILION, _GREY, _INK = "#0072B2", "#D55E00", "#8C8C8C", "#1A1A1A"


@dataclass(frozen=True)
class ParetoAxis:
    """A cost to draw accuracy against.

    Attributes:
        name: File name of the drawing without suffix.
        cost: The cost in words.
        label: The same on the axis, with its unit.
        unit: Unit of the axis.
        metric: The name under which a budget limits it.
        scale: Base units (multiply-adds, milliseconds, bytes) per unit of the axis.
    """

    name: str
    cost: str
    label: str
    unit: str
    metric: str
    scale: float


@dataclass(frozen=True)
class ParetoPlot:
    """Accuracy against one cost: all that a drawing needs.

    Attributes:
        axis: The cost.
        trials: Other trained trials that have this cost: `trial`, `x`, `accuracy`, `stopped`,
            `hover`.
        front: Trials of the front that have it: `trial`, `x`, `accuracy`, `error`, `label`,
            `hover`; `error` is a standard error or nan.
        limits: Limits of the budget in the unit of the axis.
        notes: Sentences about what is shown and what is not.
    """

    axis: ParetoAxis
    trials: pd.DataFrame
    front: pd.DataFrame
    limits: list[float]
    notes: list[str]

    @property
    def name(self) -> str:
        return self.axis.name

    @property
    def title(self) -> str:
        return f"Accuracy against {self.axis.cost}"

    @property
    def empty(self) -> bool:
        """Whether no trial has this cost."""
        return self.trials.empty and self.front.empty

    @property
    def line(self) -> pd.DataFrame:
        """The part of `front` that is not dominated in this cost, in order of `x`."""
        best = non_dominated(self.front[["accuracy", "x"]].to_numpy(float), [True, False])
        return self.front[best].sort_values("x")

    @property
    def log(self) -> bool:
        """Whether the costs span enough for a logarithmic axis."""
        low, high = self._ends
        return low > 0 and high > 4 * low

    @property
    def x_range(self) -> tuple[float, float]:
        """Ends of the x axis."""
        low, high = self._ends
        if self.log:
            room = (high / low) ** 0.06
            return low / room, high * room
        span = (high - low) or abs(high) or 1.0
        return low - 0.06 * span, high + 0.06 * span

    @property
    def ticks(self) -> list[float]:
        """Ticks of a logarithmic axis: 1, 2 and 5 times the powers of ten, or the powers alone
        where those are many.
        """
        low, high = self.x_range
        powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
        ticks = [factor * power for power in powers for factor in (1, 2, 5) if low <= factor * power <= high]
        return ticks if len(ticks) <= 10 else [power for power in powers if low <= power <= high]

    @property
    def _ends(self) -> tuple[float, float]:
        values = [*self.trials["x"], *self.front["x"], *self.limits]
        return (min(values), max(values)) if values else (1.0, 2.0)


def pareto_plots(run: Run) -> list[ParetoPlot]:
    """Returns accuracy against multiply-adds, latency and memory, in this order."""
    every, front = known(run), run.front
    measured = bool(front["latency_ms"].notna().any())
    return [
        _pareto_plot(
            run,
            ParetoAxis("pareto_macs", "multiply-adds", "GFLOPs", "GFLOPs", "macs", 1e9),
            every["macs"],
            front["macs"],
            [],
        ),
        _pareto_plot(
            run,
            ParetoAxis("pareto_latency", "latency", "Latency (ms)", "ms", "latency_ms", 1.0),
            every["latency_ms_predicted"],
            front["latency_ms" if measured else "latency_ms_predicted"],
            _latency_notes(run, measured),
        ),
        _pareto_plot(
            run,
            ParetoAxis(
                "pareto_memory", "training memory", "Memory to train on one clip (MB)", "MB", "memory_bytes", 1e6
            ),
            every["memory_bytes"],
            front["memory_bytes"],
            [_memory_note(run)],
        ),
    ]


def _pareto_plot(
    run: Run, axis: ParetoAxis, of_trials: pd.Series[Any], of_front: pd.Series[Any], notes: list[str]
) -> ParetoPlot:
    chosen = picks(run)
    every = known(run)
    trials = pd.DataFrame(
        {
            "trial": every["trial"],
            "x": of_trials / axis.scale,
            "accuracy": every["accuracy"],
            "stopped": every["state"] == "stopped",
            "hover": [_hover(run, row) for _, row in every.iterrows()],
        }
    ).dropna(subset="x")
    front = pd.DataFrame(
        {
            "trial": run.front["trial"],
            "x": of_front / axis.scale,
            "accuracy": run.front["accuracy"],
            "error": run.front["accuracy_se"].fillna(
                run.front["accuracy"].map(lambda value: standard_error(value, clips(run, "val")))
            ),
            "label": [", ".join(chosen.get(trial, ())) for trial in run.front["trial"]],
            "hover": [_hover(run, row) for _, row in run.front.iterrows()],
        }
    ).dropna(subset="x")
    # Each trial is drawn once: a second dot at the predicted latency would look like another trial.
    others = trials[~trials["trial"].isin(front["trial"])]
    return ParetoPlot(axis, others, front, [limit / axis.scale for limit in limits(run, axis.metric)], notes)


def _latency_notes(run: Run, measured: bool) -> list[str]:
    front, every = run.front, trained(run)
    notes = []
    if measured:
        notes.append("The front is drawn at its measured median latency, the other trials at their predicted one.")
        absent = int(front["latency_ms"].isna().sum())
        if absent:
            notes.append(f"Not drawn as front: {absent} of its {len(front)} trials, whose latency was not measured.")
    elif every["latency_ms_predicted"].notna().any():
        notes.append("No latency was measured; everything is drawn at its predicted latency.")
    else:
        notes.append("No latency was measured.")
    absent = int(every["latency_ms_predicted"].isna().sum())
    if absent:
        notes.append(f"{absent} of {len(every)} trained trials have no predicted latency.")
    return notes


def _memory_note(run: Run) -> str:
    computed = (
        "Computed for a training step of one float32 clip of the target input with AdamW: weights, its two moments, "
        "and the most bytes of activations and gradients that live at one time."
    )
    if run.front["peak_memory_bytes"].isna().all():
        return f"{computed} Peak memory of a forward was not measured."
    return f"{computed} The measured peak of a forward is another quantity; it is in the table of the front."


def _hover(run: Run, row: pd.Series[Any]) -> str:
    # plotly reads a little HTML in labels, so text of the run is escaped.
    state = {"finished": "finished", "stopped": "stopped early"}.get(row["state"], row["state"])
    costs = {
        f"{number(row['macs'] / 1e9)} GFLOPs": row["macs"],
        f"{number(row['params'] / 1e6)} M parameters": row["params"],
        f"{number(row['activation_bytes'] / 1e6)} MB activations": row["activation_bytes"],
    }
    measurements = {
        f"{number(row['latency_ms_predicted'])} ms predicted": row["latency_ms_predicted"],
        f"{number(row.get('latency_ms', math.nan))} ms measured": row.get("latency_ms", math.nan),
        f"{number(row.get('peak_memory_bytes', math.nan) / 1e6)} MB peak": row.get("peak_memory_bytes", math.nan),
    }
    epochs = "" if math.isnan(row["epochs"]) else f" after {plural(round(row['epochs']), 'epoch')}"
    seeds = f", {row['seeds']} seeds" if row["seeds"] > 1 else ""
    lines = [
        f"<b>trial {row['trial']}</b>, {html.escape(state)}{epochs}{seeds}",
        f"{accuracy_text(run, row, 'val')} on validation",
        ", ".join(text for text, value in costs.items() if not math.isnan(value)),
        ", ".join(text for text, value in measurements.items() if not math.isnan(value)),
        html.escape(operators_text(row["operators"])),
    ]
    return "<br>".join(line for line in lines if line)


def _label_places(plot: ParetoPlot) -> list[str]:
    """Labels stand towards the middle, where there is room; no point lies above and to the left of
    the line.
    """
    low, high = plot.x_range
    middle = math.sqrt(low * high) if plot.log else (low + high) / 2
    on_line = plot.front["trial"].isin(plot.line["trial"])
    return [
        "bottom right" if x < middle else "top left" if on else "bottom left"
        for x, on in zip(plot.front["x"], on_line, strict=True)
    ]


def _limit_text(plot: ParetoPlot, limit: float) -> str:
    return f"budget {limit:,g} {plot.axis.unit}"


def pareto_figure(plot: ParetoPlot) -> dict[str, Any]:
    """Returns a ParetoPlot as plotly JSON."""
    traces: list[dict[str, Any]] = []
    for stopped, name, symbol in ((False, "finished", "circle"), (True, "stopped early", "circle-open")):
        rows = plot.trials[plot.trials["stopped"] == stopped]
        if len(rows):
            marker = {"color": "var(--trial)", "size": 7, "symbol": symbol}
            traces.append(_scatter(rows, name, mode="markers", marker=marker))
    if len(plot.front):
        line = {"color": "var(--front)", "width": 2, "shape": "hv"}
        traces.append(_scatter(plot.line, "front", mode="lines", line=line, hoverinfo="skip", showlegend=False))
        errors = {"array": _percents(plot.front["error"]), "color": "var(--front)", "thickness": 1, "width": 3}
        marker = {"color": "var(--front)", "size": 11, "line": {"color": "var(--card)", "width": 1}}
        labels = {"text": list(plot.front["label"]), "textposition": _label_places(plot), "cliponaxis": False}
        traces.append(_scatter(plot.front, "front", mode="markers+text", marker=marker, error_y=errors, **labels))
    layout = _layout(plot.axis.label, "Validation accuracy (%)")
    layout["xaxis"]["range"] = [math.log10(x) for x in plot.x_range] if plot.log else list(plot.x_range)
    if plot.log:
        layout["xaxis"] |= {"type": "log", "tickvals": plot.ticks, "ticktext": [f"{tick:,g}" for tick in plot.ticks]}
    line = {"color": "var(--budget)", "width": 2, "dash": "dash"}
    layout["shapes"] = [
        {"type": "line", "x0": limit, "x1": limit, "yref": "paper", "y0": 0, "y1": 1, "line": line}
        for limit in plot.limits
    ]
    layout["annotations"] = [
        {
            "x": math.log10(limit) if plot.log else limit,
            "yref": "paper",
            "y": 0,
            "xanchor": "right",
            "xshift": -4,
            "yanchor": "bottom",
            "text": _limit_text(plot, limit),
            "showarrow": False,
            "font": {"color": "var(--budget-text)"},
        }
        for limit in plot.limits
    ]
    return {"data": traces, "layout": layout}


def _percents(values: pd.Series[Any]) -> list[float | None]:
    return [None if math.isnan(value) else round(100 * value, 2) for value in values]


def _scatter(rows: pd.DataFrame, name: str, **options: Any) -> dict[str, Any]:
    hover = {} if "hoverinfo" in options else {"hovertext": list(rows["hover"]), "hoverinfo": "text"}
    x = [float(value) for value in rows["x"]]
    return {"type": "scatter", "name": name, "x": x, "y": _percents(rows["accuracy"]), **hover, **options}


def _layout(x_title: str, y_title: str) -> dict[str, Any]:
    axis = {"gridcolor": "var(--grid)", "linecolor": "var(--muted)", "zeroline": False, "ticks": "outside"}
    return {
        "xaxis": {"title": {"text": x_title, "font": {"size": 13}}, **axis},
        "yaxis": {"title": {"text": y_title, "font": {"size": 13}}, **axis},
        "font": {"color": "var(--ink)", "family": "system-ui, sans-serif", "size": 13},
        "hoverlabel": {"align": "left", "bgcolor": "var(--card)", "font": {"color": "var(--ink)"}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 60, "r": 16, "t": 36, "b": 52},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }


def save_png(plot: ParetoPlot, path: Path) -> None:
    """Draws a ParetoPlot into a PNG file, 1600 x 1000 pixels."""
    # The object interface draws with Agg and leaves no global state behind.
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(8, 5), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(plot.title, loc="left")
    if plot.empty:
        axes.text(0.5, 0.5, NOTHING, ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        figure.savefig(path)
        return
    for stopped, name, face in ((False, "finished", _GREY), (True, "stopped early", "none")):
        rows = plot.trials[plot.trials["stopped"] == stopped]
        if len(rows):
            axes.scatter(rows["x"], 100 * rows["accuracy"], s=26, facecolors=face, edgecolors=_GREY, label=name)
    if len(plot.front):
        axes.step(plot.line["x"], 100 * plot.line["accuracy"], where="post", color=_BLUE)
        y, error = 100 * plot.front["accuracy"], 100 * plot.front["error"].fillna(0)
        axes.errorbar(
            plot.front["x"], y, yerr=error, fmt="o", ms=7, color=_BLUE, elinewidth=1, capsize=2, label="front"
        )
        for (_, row), place in zip(plot.front.iterrows(), _label_places(plot), strict=True):
            vertical, side = place.split()
            offset = (-7 if side == "left" else 7, 5 if vertical == "top" else -12)
            point, end = (row["x"], 100 * row["accuracy"]), "right" if side == "left" else "left"
            axes.annotate(row["label"], point, xytext=offset, textcoords="offset points", ha=end, color=_INK)
    for limit in plot.limits:
        axes.axvline(limit, color=_VERMILION, linestyle="--")
        axes.annotate(
            _limit_text(plot, limit),
            (limit, 0),
            xycoords=("data", "axes fraction"),
            xytext=(-5, 5),
            textcoords="offset points",
            ha="right",
            color=_INK,
        )
    if plot.log:
        axes.set_xscale("log")
        axes.set_xticks(plot.ticks, [f"{tick:,g}" for tick in plot.ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(*plot.x_range)
    axes.set_xlabel(plot.axis.label)
    axes.set_ylabel("Validation accuracy (%)")
    axes.grid(color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0)
    figure.savefig(path)


def progress(run: Run) -> pd.DataFrame:
    """How the search went: one row per trained trial in order of its number.

    Returns:
        `trial`, `accuracy`, `stopped`, `hover`, `best` (highest accuracy so far) and `hypervolume`:
        what the trials so far dominate in accuracy and log10 of multiply-adds, bounded by chance
        and by 1.1 times the most multiply-adds, as a share of what a perfect network at the fewest
        multiply-adds would dominate.
    """
    every = trained(run)
    chance = run.record.chance or 0.0
    accuracy = every["accuracy"].to_numpy(float)
    log_macs = np.log10(every["macs"].to_numpy(float))
    volumes: list[float] = []
    if len(every):
        worst = log_macs.max() + math.log10(1.1)
        whole = (1 - chance) * (worst - log_macs.min())
        values = np.column_stack([accuracy, log_macs])
        for count in range(1, len(values) + 1):
            volumes.append(hypervolume(values[:count], [chance, worst], [True, False]) / whole)
    return pd.DataFrame(
        {
            "trial": every["trial"],
            "accuracy": accuracy,
            "stopped": every["state"] == "stopped",
            "hover": [_hover(run, row) for _, row in every.assign(accuracy_se=math.nan, seeds=1).iterrows()],
            "best": np.maximum.accumulate(accuracy),
            "hypervolume": volumes,
        }
    )


def progress_figure(run: Run) -> dict[str, Any]:
    """Returns accuracy over trials above the hypervolume so far, as plotly JSON."""
    rows = progress(run).assign(x=lambda table: table["trial"])
    traces: list[dict[str, Any]] = []
    for stopped, name, symbol in ((False, "finished", "circle"), (True, "stopped early", "circle-open")):
        some = rows[rows["stopped"] == stopped]
        if len(some):
            marker = {"color": "var(--trial)", "size": 8, "symbol": symbol}
            traces.append(_scatter(some, name, mode="markers", marker=marker))
    line = {"color": "var(--front)", "width": 2, "shape": "hv"}
    best = rows.assign(accuracy=rows["best"])
    traces.append(_scatter(best, "best so far", mode="lines", line=line, hoverinfo="skip"))
    volume = rows.assign(accuracy=rows["hypervolume"], hover=[f"{percent(v)} %" for v in rows["hypervolume"]])
    line = {"color": "var(--volume)", "width": 2, "shape": "hv"}
    traces.append(_scatter(volume, "hypervolume so far", mode="lines", line=line, yaxis="y2"))
    layout = _layout("Trial", "Accuracy (%)")
    layout["yaxis2"] = layout["yaxis"] | {
        "domain": [0, 0.3],
        "title": {"text": "Hypervolume (%)", "font": {"size": 13}},
        "rangemode": "tozero",
    }
    layout["yaxis"] = layout["yaxis"] | {"domain": [0.4, 1]}
    layout["xaxis"]["anchor"] = "y2"
    chance = run.record.chance or 0.0
    if chance:
        line = {"color": "var(--muted)", "width": 1, "dash": "dot"}
        y = 100 * chance
        layout["shapes"] = [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}]
        layout["annotations"] = [
            {
                "xref": "paper",
                "x": 1,
                "y": y,
                "xanchor": "right",
                "yanchor": "bottom",
                "text": "chance",
                "showarrow": False,
            }
        ]
    return {"data": traces, "layout": layout}


def operators_figure(run: Run) -> dict[str, Any]:
    """Returns the share of layers per operator, on the front and over all trained trials, as plotly
    JSON.
    """
    shares = operator_shares(run)
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [html.escape(str(operator)) for operator in shares.index],
            "x": _percents(shares[column]),
            "marker": {"color": color},
            "hovertemplate": "%{x:.1f} % of layers<extra>%{y}</extra>",
        }
        for name, column, color in (
            ("all trained trials", "all", "var(--trial)"),
            ("front", "front", "var(--front)"),
        )
        if shares[column].notna().any()
    ]
    layout = _layout("Share of layers (%)", "")
    layout["margin"]["l"] = 110
    layout["legend"]["traceorder"] = "reversed"
    return {"data": traces, "layout": layout | {"barmode": "group", "bargap": 0.3}}


_CONTROL_AXES = {"trainings": "Trainings", "seconds": "Seconds of training, summed over parallel trials"}
_CONTROL_LINES = (
    (SEARCH, "search", "--front", _BLUE, "solid"),
    (RANDOM, "random search", "--budget", _VERMILION, "dot"),
)


def control_figure(run: Run, against: str) -> dict[str, Any]:
    """Returns the hypervolume of the search and of its random control as plotly JSON.

    Args:
        run: One with a control.
        against: `trainings` or `seconds`.
    """
    traces = []
    for by, name, variable, _, dash in _CONTROL_LINES:
        rows = run.control[run.control["by"] == by]
        line = {"color": f"var({variable})", "width": 2, "shape": "hv", "dash": dash}
        hover = [
            f"{name}, {plural(round(n), 'training')}, {seconds:.0f} s: {percent(volume)} %"
            for n, seconds, volume in zip(rows["trainings"], rows["seconds"], rows["hypervolume"], strict=True)
        ]
        marked = rows.assign(x=rows[against], accuracy=rows["hypervolume"], hover=hover)
        marker = {"color": f"var({variable})", "size": 6}
        traces.append(_scatter(marked, name, mode="lines+markers", line=line, marker=marker))
    layout = _layout(_CONTROL_AXES[against], "Hypervolume (%)")
    layout["yaxis"]["rangemode"] = layout["xaxis"]["rangemode"] = "tozero"
    return {"data": traces, "layout": layout}


def save_control_png(run: Run, path: Path) -> None:
    """Draws the hypervolume of the search and of its control against trainings and seconds, 2400 x
    1000 pixels.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(12, 5), dpi=200, layout="constrained")
    for axes, (against, label) in zip(figure.subplots(1, 2, sharey=True), _CONTROL_AXES.items(), strict=True):
        for by, name, _, color, dash in _CONTROL_LINES:
            rows = run.control[run.control["by"] == by]
            drawn = {"linestyle": "-" if dash == "solid" else ":", "color": color, "marker": "o", "label": name}
            axes.step(rows[against], 100 * rows["hypervolume"], where="post", **drawn)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="#E5E5E5")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower right")
    figure.axes[0].set_ylabel("Hypervolume (%)")
    figure.savefig(path, metadata={"Title": "Hypervolume of the search and of random search"})
