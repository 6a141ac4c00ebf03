"""The table of metrics: every figure of a network that is limited, compared, written down or drawn.

A budget's units, the objectives of a search, the columns of `trials.csv` and of the report's
tables, the axes of its plots, the picks and the lines of `nas space` are rows of this table. A new
figure that is computed from a cost is one further row and nothing else:

    Metric("energy_mj", "energy", "mJ", compute=millijoules, budget_units={"mj": 1.0})

Code of another package adds its row with `register` before it starts a search. Everything looks a
row up when it needs it, so nothing has to be told of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from nas.units import number

if TYPE_CHECKING:
    from nas.profiler.computed.cost import Cost

ACCURACY = "accuracy"  # on validation, a share
DEFAULT_PICK = ACCURACY  # of a run, wherever none is named: the most accurate network that keeps the limits
PREDICTED = "_predicted"  # behind the name of a measured metric: the metric that predicts it
Source = Literal["computed", "predicted", "measured", "trained"]


@dataclass(frozen=True)
class Metric:
    """One figure of a network at the target input, for one clip.

    Attributes:
        name: Its key in mappings of figures, and its column in the files of a run.
        title: What it is in words, such as `training memory`.
        unit: The unit in which it is shown, such as `MB`.
        scale: How many of the unit in which it is stored make one of `unit`.
        source: How it is known: computed from a cost, predicted from other networks, measured, or
            the outcome of a training, which a budget limits from below, as in `accuracy>=.8`.
        compute: The figure of a cost, where it is computed; else None.
        budget_units: The units in which a budget may limit it, in lower case, each with how many of
            the stored unit it is; empty where a budget cannot.
        noun: What follows the unit in a sentence, such as `parameters` in `3.2 M parameters`.
        label: Head of its column and of its axis; by default the title and the unit.
        pick: Name of the pick that takes the network with the best value of it; empty for none. Of
            several metrics with one pick, a measured one comes before others.
        less_is_better: Whether a smaller figure is the better one.
        logarithmic: Whether networks differ in it by factors, so that a logarithmic axis fits it
            and a search compares its logarithms.
        in_table: Whether the report's table of the front has a column of it.
        in_plot: Whether the report draws accuracy against it.
        short: What it is called where a search is told its objectives, beside its name.
        measured_as: Name of the metric that measures it, where it is computed; what was measured of
            a network decides over what was computed.

    Raises:
        ValueError: `compute` is given for a metric that is not computed, or lacks for one that is.
    """

    name: str
    title: str
    unit: str
    scale: float = 1.0
    source: Source = "computed"
    compute: Callable[[Cost], float] | None = None
    budget_units: Mapping[str, float] = field(default_factory=dict)
    noun: str = ""
    label: str = ""
    pick: str = ""
    less_is_better: bool = True
    logarithmic: bool = True
    in_table: bool = True
    in_plot: bool = False
    short: str = ""
    measured_as: str = ""

    def __post_init__(self) -> None:
        if (self.source == "computed") != (self.compute is not None):
            raise ValueError(
                f"metric {self.name!r} is {self.source}; allowed: compute for a computed metric, and only then"
            )
        if not self.label:
            object.__setattr__(self, "label", f"{self.title[:1].upper()}{self.title[1:]} ({self.unit})")

    @property
    def before(self) -> str:
        """The column of what is known of it before a network is measured; empty for none."""
        if self.source != "measured":
            return self.name
        predicted = f"{self.name}{PREDICTED}"
        return predicted if predicted in METRICS else ""

    @property
    def after(self) -> str:
        """The column of what was measured of it; empty for none."""
        return self.name if self.source == "measured" else self.measured_as

    def figure(self, value: float) -> str:
        """A figure with its unit, such as `25.5 ms`."""
        return f"{number(value / self.scale)} {self.unit}"

    def text(self, value: float) -> str:
        """A figure for a sentence, with three significant digits, such as `3.20 GFLOPs`."""
        return " ".join(filter(None, (number(value / self.scale), self.unit, self.noun)))


METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> None:
    """Adds a row to the table.

    Raises:
        ValueError: The table has a metric of that name, or one of its units, already.
    """
    shorts = {known.short for known in METRICS.values() if known.short}
    taken = {metric.name, metric.short} & {*METRICS, *shorts} or metric.budget_units.keys() & budget_units().keys()
    if taken:
        raise ValueError(f"metric {metric.name!r} brings {min(taken)!r}, which exists; allowed: new names and units")
    METRICS[metric.name] = metric


def metrics(source: Source | None = None) -> tuple[Metric, ...]:
    """The rows of the table in its order: all, or those that are known in one way."""
    return tuple(metric for metric in METRICS.values() if source in (None, metric.source))


def budget_units() -> dict[str, tuple[Metric, float]]:
    """Every unit of a budget: what it limits, and how many of the stored unit it is."""
    return {unit: (metric, scale) for metric in METRICS.values() for unit, scale in metric.budget_units.items()}


def pick_names() -> tuple[str, ...]:
    """The picks there are: two of accuracy, and those of the table of metrics."""
    return (DEFAULT_PICK, "knee", *pick_metrics())


def pick_metrics() -> dict[str, list[Metric]]:
    """The metrics of each pick by the pick's name; the first of which there are figures decides."""
    found: dict[str, list[Metric]] = {}
    for metric in sorted(METRICS.values(), key=lambda metric: metric.source != "measured"):
        if metric.pick:
            found.setdefault(metric.pick, []).append(metric)
    return found


def computed_figures(cost: Cost, names: Collection[str] | None = None) -> dict[str, float]:
    """The computed metrics of a cost by name.

    Args:
        cost: Of a network at the target input, one clip.
        names: Only of these metrics; what they do not name is not computed.
    """
    rows = (metric for metric in METRICS.values() if names is None or metric.name in names)
    return {metric.name: metric.compute(cost) for metric in rows if metric.compute}


for _metric in (
    Metric(
        "macs",
        "multiply-adds",
        "GFLOPs",
        1e9,
        compute=lambda cost: cost.macs,
        budget_units={"gflops": 1e9, "mflops": 1e6},
        label="GFLOPs",
        in_plot=True,
    ),
    Metric(
        "params",
        "parameters",
        "M",
        1e6,
        compute=lambda cost: cost.params,
        budget_units={"mparams": 1e6},
        noun="parameters",
        label="Params (M)",
    ),
    Metric(
        "activation_bytes",
        "activations kept for backward",
        "MB",
        1e6,
        compute=lambda cost: cost.activation_bytes,
        noun="of activations",
        label="Activations (MB)",
        pick="memory",
    ),
    Metric(
        "memory_bytes",  # of a training step in float32 with AdamW
        "training memory",
        "MB",
        1e6,
        compute=lambda cost: cost.training_bytes("adamw"),
        budget_units={"gb": 1e9, "mb": 1e6},
        noun="of training memory",
        label="Memory to train on one clip (MB)",
        in_table=False,
        in_plot=True,
        short="memory",
    ),
    Metric(
        "inference_memory_bytes",  # weights, and the most that lives at one time beside them
        "inference memory",
        "MB",
        1e6,
        compute=lambda cost: cost.inference_bytes + cost.parameter_bytes,
        budget_units={"gb-inference": 1e9, "mb-inference": 1e6},
        noun="of inference memory",
        in_table=False,
        short="inference-memory",
        measured_as="peak_memory_bytes",
    ),
    Metric(
        "latency_ms",  # the median; until a network is measured, a budget limits what is predicted
        "latency",
        "ms",
        source="measured",
        budget_units={"ms": 1.0},
        label="Latency, median (ms)",
        pick="latency",
        in_plot=True,
        short="latency",
    ),
    Metric("latency_iqr_ms", "interquartile range of the latency", "ms", source="measured", label="IQR (ms)"),
    Metric("latency_p95_ms", "95th percentile of the latency", "ms", source="measured", label="p95 (ms)"),
    Metric("latency_ms_predicted", "predicted latency", "ms", source="predicted", label="Latency, predicted (ms)"),
    Metric("latency_ms_low", "low end of the predicted latency", "ms", source="predicted", in_table=False),
    Metric("latency_ms_high", "high end of the predicted latency", "ms", source="predicted", in_table=False),
    Metric(ACCURACY, "accuracy", "%", 0.01, source="trained", less_is_better=False, logarithmic=False, in_table=False),
    Metric("peak_memory_bytes", "peak memory", "MB", 1e6, source="measured", noun="at the peak", pick="memory"),
):
    register(_metric)
