"""Budgets: hard limits such as `100gflops`, `80..100gflops`, `30ms`, `4gb` or `30mparams`,
comma-separated.

A limit may name the type of GPU that it is for, as Ray names them, such as `30ms@H100`: trials run
on those only. `nas.limits.metrics` has the units, and what each of them limits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.errors import NasError
from nas.limits.metrics import budget_units, computed_figures

if TYPE_CHECKING:
    from nas.profiler.computed.cost import Cost

# As Ray names them: read from Ray they would cost the second that its import takes.
GPU_TYPES = (
    "A100",
    "A100-40G",
    "A100-80G",
    "A10G",
    "B200",
    "B300",
    "GB200",
    "GB300",
    "H100",
    "H20",
    "H200",
    "K80",
    "L4",
    "L40S",
    "P100",
    "P4",
    "RTX-PRO-6000",
    "T4",
    "V100",
)
_NUMBER = r"\d+(?:\.\d+)?"
_LIMIT = re.compile(
    rf"(?:(?P<low>{_NUMBER})\.\.)?(?P<high>{_NUMBER})(?P<unit>[a-z]+(?:-[a-z]+)?)(?:@(?P<gpu>.+))?", re.IGNORECASE
)


@dataclass(frozen=True)
class Limit:
    """One limit on one metric, both ends included.

    Attributes:
        text: As it was written, such as `80..100gflops`.
        metric: Name of the metric in `nas.limits.metrics`.
        low, high: The ends, in the unit in which the metric is stored.
        gpu_type: The type of GPU that it is for, as Ray names it, or None for any.
    """

    text: str
    metric: str
    low: float
    high: float
    gpu_type: str | None = None

    def violation(self, value: float) -> float:
        """By what share of the nearer end the value lies outside; 0 inside, inf for nan."""
        if math.isnan(value):
            return math.inf
        if value > self.high:
            return value / self.high - 1
        return 1 - value / self.low if value < self.low else 0.0


@dataclass(frozen=True)
class Budget:
    """Several limits that must all hold."""

    limits: tuple[Limit, ...]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Reads a budget.

        Raises:
            NasError: A part is no number with a known unit, a range is empty, or a limit is zero.
        """
        limits = tuple(_parse_limit(part.strip()) for part in text.split(","))
        types = sorted({limit.gpu_type for limit in limits if limit.gpu_type})
        if len(types) > 1:
            raise NasError(f"budget {text!r} names the GPU types {' and '.join(types)}; allowed: one for all limits")
        return cls(limits)

    def __str__(self) -> str:
        return ",".join(limit.text for limit in self.limits)

    @property
    def gpu_type(self) -> str | None:
        """The type of GPU that a limit names, as Ray names it."""
        return next((limit.gpu_type for limit in self.limits if limit.gpu_type), None)

    def metrics(self) -> set[str]:
        """Names of the metrics that are limited."""
        return {limit.metric for limit in self.limits}

    def computed(self, cost: Cost) -> dict[str, float]:
        """The figures of a cost that have a limit; no other is computed."""
        return computed_figures(cost, self.metrics())

    def violation(self, figures: Mapping[str, float]) -> float:
        """Sum of the violations of all limits whose figure is known; 0 inside the budget."""
        return sum(limit.violation(figures[limit.metric]) for limit in self.limits if limit.metric in figures)


def _parse_limit(text: str) -> Limit:
    units = budget_units()
    allowed = f"a number or range with a unit of {', '.join(units)}, such as 100gflops, 80..100gflops, 30ms or 4gb"
    match = _LIMIT.fullmatch(text)
    if not match or match["unit"].lower() not in units:
        problem = "has no unit" if re.fullmatch(_NUMBER, text) else "is not a limit"
        raise NasError(f"budget {text!r} {problem}; allowed: {allowed}")
    metric, scale = units[match["unit"].lower()]
    low, high = float(match["low"] or 0) * scale, float(match["high"]) * scale
    if high <= 0 or low > high:
        raise NasError(f"budget {text!r} is an empty range; allowed: {allowed}")
    return Limit(text, metric.name, low, high, _gpu_type(match["gpu"], text) if match["gpu"] else None)


def _gpu_type(name: str, text: str) -> str:
    found = [known for known in GPU_TYPES if known.lower() == name.lower()]
    if not found:
        raise NasError(f"budget {text!r} names an unknown GPU type; allowed after @: {', '.join(GPU_TYPES)}")
    return found[0]
