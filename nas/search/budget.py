"""Budgets: hard limits such as `100gflops`, `80..100gflops`, `30ms`, `4gb` or `30mparams`, comma-separated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nas.errors import NasError
from nas.profiler.cost import Cost

# Unit -> (what it limits, how many of its base unit).
UNITS = {
    "gflops": ("macs", 1e9),
    "mflops": ("macs", 1e6),
    "mparams": ("params", 1e6),
    "gb": ("memory_bytes", 1e9),
    "mb": ("memory_bytes", 1e6),
    "ms": ("latency_ms", 1.0),
}
_NUMBER = r"\d+(?:\.\d+)?"
_LIMIT = re.compile(rf"(?:(?P<low>{_NUMBER})\.\.)?(?P<high>{_NUMBER})(?P<unit>[a-z]+)", re.IGNORECASE)


def training_memory(cost: Cost) -> int:
    """Bytes of a training step of one clip in float32 with AdamW."""
    return cost.training_bytes("adamw")


# What budgets may limit, from a cost.
COMPUTED: dict[str, Callable[[Cost], float]] = {
    "macs": lambda cost: cost.macs,
    "params": lambda cost: cost.params,
    "memory_bytes": training_memory,
}


@dataclass(frozen=True)
class Limit:
    """One limit on one figure, both ends included."""

    text: str
    metric: str
    low: float
    high: float

    def violation(self, value: float) -> float:
        """By what share of the nearer end the value lies outside; 0 inside."""
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
        return cls(tuple(_parse_limit(part.strip()) for part in text.split(",")))

    def __str__(self) -> str:
        return ",".join(limit.text for limit in self.limits)

    def metrics(self) -> set[str]:
        return {limit.metric for limit in self.limits}

    def computed(self, cost: Cost) -> dict[str, float]:
        """The figures of a cost that have a limit; no other is computed."""
        return {metric: COMPUTED[metric](cost) for metric in self.metrics() if metric in COMPUTED}

    def violation(self, figures: Mapping[str, float]) -> float:
        """Sum of the violations of all limits whose figure is known; 0 inside the budget."""
        return sum(limit.violation(figures[limit.metric]) for limit in self.limits if limit.metric in figures)


def _parse_limit(text: str) -> Limit:
    allowed = f"a number or range with a unit of {', '.join(UNITS)}, such as 100gflops, 80..100gflops, 30ms or 4gb"
    match = _LIMIT.fullmatch(text)
    if not match or match["unit"].lower() not in UNITS:
        problem = "has no unit" if re.fullmatch(_NUMBER, text) else "is not a limit"
        raise NasError(f"budget {text!r} {problem}; allowed: {allowed}")
    metric, scale = UNITS[match["unit"].lower()]
    low, high = float(match["low"] or 0) * scale, float(match["high"]) * scale
    if high <= 0 or low > high:
        raise NasError(f"budget {text!r} is an empty range; allowed: {allowed}")
    return Limit(text, metric, low, high)
