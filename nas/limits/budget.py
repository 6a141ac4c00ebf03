"""Budgets: hard limits such as `100gflops`, `80..100gflops`, `30ms`, `4gb` or `30mparams`,
comma-separated. Spaces and capitals make no difference, and multiply-adds may be called `gmacs`.

A limit may name the type of GPU that it is for, as Ray names them, such as `30ms@H100`: trials run
on those only. `nas.limits.metrics` has the units, and what each of them limits.

An outcome of training is limited from below, as in `accuracy>=.8` or `accuracy>=80%`. It is known
when a network is trained and not before, so it decides nothing of what is proposed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.errors import NasError, brief
from nas.limits.metrics import METRICS, budget_units, computed_figures, metrics
from nas.units import number

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
# The end of a range may touch its dots: `.5..1gflops`.
_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_OUTCOME = re.compile(rf"(?P<metric>[a-z_]+)\s*>=\s*(?P<low>{_NUMBER})\s*(?P<percent>%)?", re.IGNORECASE)
_LIMIT = re.compile(
    rf"(?:(?P<low>{_NUMBER})\s*\.\.\s*)?(?P<high>{_NUMBER})\s*"
    r"(?P<unit>[a-z]+(?:-[a-z]+)?|m params)\s*(?:@\s*(?P<gpu>.+))?",
    re.IGNORECASE,
)
# What people write for a unit of the table, in lower case.
_SPELLINGS = {
    **{f"{prefix}{word}": f"{prefix}flops" for prefix in "gm" for word in ("mac", "macs", "flop")},
    **dict.fromkeys(("mparam", "m params", "mparameters"), "mparams"),
}
_MOST = 1e30  # of any unit: what is larger is no limit


@dataclass(frozen=True)
class Limit:
    """One limit on one metric, both ends included.

    Attributes:
        text: In the table's own words, such as `80..100gflops`.
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

    def breach(self, value: float) -> str:
        """How a figure breaks the limit, such as `41.2 ms > 30 ms`; empty inside."""
        if math.isnan(value) or not self.violation(value):
            return ""
        metric, end = METRICS[self.metric], self.high if value > self.high else self.low
        limit = _plain(end / metric.scale, ",")
        texts = (number(value / metric.scale, digits) for digits in range(3, 12))
        outcome = f"{metric.title} " if metric.source == "trained" else ""
        # As many digits as it takes for the figure to read as another than the limit.
        shown = next((text for text in texts if float(text.replace(",", "")) != float(limit.replace(",", ""))), limit)
        return f"{outcome}{shown} {metric.unit} {'>' if value > self.high else '<'} {limit} {metric.unit}"

    def reaching(self, value: float) -> Limit:
        """The limit with the end that a figure breaks moved to it, outwards to two significant
        digits.
        """
        if not self.violation(value) or not math.isfinite(value) or value <= 0:
            return self
        if METRICS[self.metric].source == "trained":
            return _parse_limit(f"{self.metric}>={_plain(_rounded(value, 1.0, up=False))}")
        written = str(_LIMIT.fullmatch(self.text)["unit"])  # type: ignore[index]
        scale = budget_units()[written.lower()][1]
        low, high = self.low / scale, self.high / scale
        if value > self.high:
            high = _rounded(value, scale, up=True)
        else:
            low = _rounded(value, scale, up=False)
        text = f"{_plain(high)}{written}" if low == 0 else f"{_plain(low)}..{_plain(high)}{written}"
        return _parse_limit(f"{text}@{self.gpu_type}" if self.gpu_type else text)


@dataclass(frozen=True)
class Budget:
    """Several limits that must all hold."""

    limits: tuple[Limit, ...]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Reads a budget.

        Raises:
            NasError: A part is no number with a known unit, a range is empty, a limit is zero, or
                two parts limit the same.
        """
        limits = tuple(_parse_limit(part.strip()) for part in text.split(","))
        first: dict[str, Limit] = {}
        for limit in limits:
            other = first.setdefault(limit.metric, limit)
            if other is not limit:
                raise NasError(
                    f"budget {brief(text)} limits {METRICS[limit.metric].title} twice, by {other.text} and "
                    f"{limit.text}; allowed: one limit of each, such as 80..100gflops for a range"
                )
        types = sorted({limit.gpu_type for limit in limits if limit.gpu_type})
        if len(types) > 1:
            raise NasError(
                f"budget {brief(text)} names the GPU types {' and '.join(types)}; allowed: one for all limits"
            )
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

    def breaches(self, figures: Mapping[str, float]) -> list[str]:
        """How the figures that are known break limits, such as `41.2 ms > 30 ms`."""
        texts = [limit.breach(figures[limit.metric]) for limit in self.limits if limit.metric in figures]
        return [text for text in texts if text]

    def reaching(self, figures: Mapping[str, float]) -> Budget:
        """The budget with its limits moved, outwards to two significant digits, until the figures
        that are known keep them.
        """
        moved = (limit.reaching(figures.get(limit.metric, math.nan)) for limit in self.limits)
        return Budget(tuple(moved))


def _rounded(value: float, scale: float, up: bool) -> float:
    """A figure above 0 in a unit of so many, with two significant digits: what a budget of it
    includes the figure.
    """
    shown = value / scale
    step = 10.0 ** (math.floor(math.log10(shown)) - 1)
    whole = round(shown / step, 9)  # 4.1 / 0.1 is a little more than 41
    found = float(_plain((math.ceil(whole) if up else math.floor(whole)) * step))
    if up:
        return found if found * scale >= value else found + step
    return found if found * scale <= value else found - step


def _plain(value: float, separator: str = "") -> str:
    """A number without a power of ten."""
    return f"{value:{separator}.12f}".rstrip("0").rstrip(".")


def _parse_limit(text: str) -> Limit:
    units = budget_units()
    allowed = (
        f"a number or range with a unit of {', '.join(units)}, such as 100gflops, 80..100gflops, 30ms or 4gb, or "
        "accuracy>=0.8"
    )
    if outcome := _OUTCOME.fullmatch(text):
        return _parse_outcome(outcome, text, allowed)
    match = _LIMIT.fullmatch(text)
    written = match["unit"].lower() if match else ""
    unit = _SPELLINGS.get(written, written)
    if not match or unit not in units:
        problem = "has no unit" if re.fullmatch(_NUMBER, text) else "is not a limit"
        raise NasError(f"budget {brief(text)} {problem}; allowed: {allowed}")
    metric, scale = units[unit]
    low, high = float(match["low"] or 0) * scale, float(match["high"]) * scale
    if high <= 0 or low > high:
        raise NasError(f"budget {brief(text)} is an empty range; allowed: {allowed}")
    if high > _MOST:
        raise NasError(f"budget {brief(text)} is no limit of anything; allowed: {allowed}")
    gpu = _gpu_type(match["gpu"].strip(), text) if match["gpu"] else None
    # A number that begins with its point gets a zero before it.
    ends = (end if end[0] != "." else f"0{end}" for end in (match["low"], match["high"]) if end)
    return Limit(f"{'..'.join(ends)}{unit}{f'@{gpu}' if gpu else ''}", metric.name, low, high, gpu)


def _parse_outcome(match: re.Match[str], text: str, allowed: str) -> Limit:
    name, share = match["metric"].lower(), float(match["low"]) / (100 if match["percent"] else 1)
    if name not in {metric.name for metric in metrics("trained")}:
        raise NasError(f"budget {brief(text)} is not a limit; allowed: {allowed}")
    if not 0 < share <= 1:
        raise NasError(f"budget {brief(text)} is not a share; allowed: {name}>=0.8 or {name}>=80%, above 0, up to 1")
    return Limit(f"{name}>={_plain(share)}", name, share, math.inf)


def _gpu_type(name: str, text: str) -> str:
    found = [known for known in GPU_TYPES if known.lower() == name.lower()]
    if not found:
        raise NasError(f"budget {brief(text)} names an unknown GPU type; allowed after @: {', '.join(GPU_TYPES)}")
    return found[0]
