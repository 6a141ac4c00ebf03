"""Budgets: hard limits such as `100gflops`, `80..100gflops`, `30ms`, `4gb` or `30mparams`,
comma-separated.

A limit may name the type of GPU that it is for, as Ray names them, such as `30ms@H100`: trials run
on those only.

The memory of the machine that trains is a limit too, but of another kind: a step that does not fit
is taken in smaller batches, and only a network of which not one clip fits is over it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.errors import NasError
from nas.profiler.computed.cost import Cost

# Unit -> (what it limits, how many of its base unit).
UNITS = {
    "gflops": ("macs", 1e9),
    "mflops": ("macs", 1e6),
    "mparams": ("params", 1e6),
    "gb": ("memory_bytes", 1e9),
    "mb": ("memory_bytes", 1e6),
    "gb-inference": ("inference_memory_bytes", 1e9),
    "mb-inference": ("inference_memory_bytes", 1e6),
    "ms": ("latency_ms", 1.0),
}
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
MEMORY_SHARE = 0.8  # of a device's memory; the rest goes to the allocator's fragments and kernels' workspaces
PROCESS_BYTES = 0.6e9  # of a trial beside what it trains: libraries and, on a GPU, its context
LIKELY = 0.9  # of the candidates that a trial's share of a GPU is meant for
MOST_PER_GPU = 8
_NUMBER = r"\d+(?:\.\d+)?"
_LIMIT = re.compile(
    rf"(?:(?P<low>{_NUMBER})\.\.)?(?P<high>{_NUMBER})(?P<unit>[a-z]+(?:-[a-z]+)?)(?:@(?P<gpu>.+))?", re.IGNORECASE
)


def training_memory(cost: Cost) -> int:
    """Bytes of a training step of one clip in float32 with AdamW."""
    return cost.training_bytes("adamw")


def inference_memory(cost: Cost) -> int:
    """Bytes of an inference pass of one clip in float32: weights, and the most that lives at one
    time beside them.
    """
    return cost.inference_bytes + cost.parameter_bytes


# What budgets may limit, from a cost.
COMPUTED: dict[str, Callable[[Cost], float]] = {
    "macs": lambda cost: cost.macs,
    "params": lambda cost: cost.params,
    "memory_bytes": training_memory,
    "inference_memory_bytes": inference_memory,
}


@dataclass(frozen=True)
class Limit:
    """One limit on one figure, both ends included."""

    text: str
    metric: str
    low: float
    high: float
    gpu_type: str | None = None

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
    return Limit(text, metric, low, high, _gpu_type(match["gpu"], text) if match["gpu"] else None)


def _gpu_type(name: str, text: str) -> str:
    found = [known for known in GPU_TYPES if known.lower() == name.lower()]
    if not found:
        raise NasError(f"budget {text!r} names an unknown GPU type; allowed after @: {', '.join(GPU_TYPES)}")
    return found[0]


def training_step_memory(cost: Cost, batch: int, micro_batch: int) -> int:
    """Bytes of a training step in float32 with AdamW, at most: those of a micro-batch, beside the
    gradients so far.
    """
    return cost.training_bytes("adamw", micro_batch) + (cost.parameter_bytes if micro_batch < batch else 0)


def fitting_micro_batch(cost: Cost, batch: int, memory_bytes: float) -> int:
    """The largest divisor of a batch that trains in so much memory; 0 if not even one clip does."""
    divisors = (n for n in range(batch, 0, -1) if batch % n == 0)
    return next((n for n in divisors if training_step_memory(cost, batch, n) <= memory_bytes), 0)


def gpu_share(needed_bytes: Sequence[float], gpu_bytes: float) -> float:
    """The share of a GPU that a trial takes, so that nine of ten candidates train with their whole
    batch.

    Args:
        needed_bytes: Of a training step of likely candidates.
        gpu_bytes: Memory of the GPU.

    Returns:
        One of 1, 1/2, ..., 1/8, rounded down to what Ray tells apart, so that as many as that do
        run side by side.
    """
    largest = float(np.quantile(needed_bytes, LIKELY))
    trials = next((n for n in range(MOST_PER_GPU, 1, -1) if trial_memory(gpu_bytes, n) >= largest), 1)
    return math.floor(1e4 / trials) / 1e4


def trial_memory(device_bytes: float, trials: int) -> float:
    """Bytes that networks, their gradients and activations may take in each of several trials on
    one device.
    """
    return max(1.0, MEMORY_SHARE * device_bytes / trials - PROCESS_BYTES)
