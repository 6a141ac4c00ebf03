"""Timing of a forward: warm-up, an adaptive number of runs, and the statistics that are reported."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch

CONFIDENCE = 0.95
TOLERANCE = 0.03  # of the median: how far the ends of its confidence interval may lie from it
STABLE = 0.1  # warm-up ends when two successive times differ by less than this
WARM_UP_SHARE = 0.2  # of the time budget: the most that warm-up may take


@dataclass(frozen=True)
class Latency:
    """Times of one forward in milliseconds.

    Attributes:
        n: Number of timed runs.
        median: Median of the runs.
        iqr: Third quartile minus first; None below 4 runs.
        p95: 95th percentile; None below 20 runs.
        samples: The runs in the order in which they were timed.
    """

    n: int
    median: float
    iqr: float | None
    p95: float | None
    samples: list[float]

    @classmethod
    def of(cls, samples: Sequence[float]) -> Latency:
        """Summarises at least one run; percentiles are interpolated linearly between runs."""
        n = len(samples)
        iqr = p95 = None
        if n >= 4:
            first, _, third = statistics.quantiles(samples, n=4, method="inclusive")
            iqr = third - first
        if n >= 20:
            p95 = statistics.quantiles(samples, n=20, method="inclusive")[-1]
        return cls(n, statistics.median(samples), iqr, p95, list(samples))

    @property
    def relative_error(self) -> float | None:
        """Share of the median by which its 95 % confidence interval reaches beyond it; None below 6 runs."""
        interval = median_interval(self.samples)
        return interval and max(interval[1] - self.median, self.median - interval[0]) / self.median


def median_interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """Returns the confidence interval of the median that order statistics give, whatever the distribution.

    It runs from the k-th smallest to the k-th largest sample, with the largest k for which both tails of a
    binomial distribution (n, 1/2) together stay within 5 %. Returns None below 6 samples, where no k does.
    """
    n = len(samples)
    k, tails = 0, 2 * 0.5**n
    while tails <= 1 - CONFIDENCE:
        k += 1
        tails += 2 * math.comb(n, k) * 0.5**n
    ordered = sorted(samples)
    return (ordered[k - 1], ordered[n - k]) if k else None


def time_forward(
    run: Callable[[], object],
    device: torch.device,
    *,
    max_seconds: float,
    min_runs: int = 5,
    max_runs: int = 200,
) -> list[float]:
    """Times `run` until its median is known to within 3 %, or the time is up.

    Warm-up comes first: at least one call, until two successive times differ by less than 10 % or a fifth of the
    time is spent. A run that would not end in time is not begun, except for the first: where one run takes longer
    than what warm-up left of `max_seconds`, a single sample comes back.

    On CUDA a run is timed by events from an idle device whose L2 cache holds nothing of the network: launching the
    kernels counts. On a CPU it is timed by the wall clock with caches as the previous run left them.

    Args:
        run: One forward; the caller provides eval and inference mode.
        device: Where `run` computes.
        max_seconds: Time for warm-up and runs together.
        min_runs: Fewest runs after which the interval of the median may end the timing.
        max_runs: Most runs.

    Returns:
        Milliseconds of each run, in order.
    """
    timed = _cuda_timer(run, device) if device.type == "cuda" else _cpu_timer(run)
    begin = perf_counter()
    previous = timed()
    while perf_counter() - begin < WARM_UP_SHARE * max_seconds:
        current = timed()
        stable = abs(current - previous) < STABLE * previous
        previous = current
        if stable:
            break
    samples = [timed()]
    while len(samples) < max_runs and perf_counter() + samples[-1] / 1e3 < begin + max_seconds:
        error = Latency.of(samples).relative_error
        if len(samples) >= min_runs and error is not None and error <= TOLERANCE:
            break
        samples.append(timed())
    return samples


def _cpu_timer(run: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        begin = perf_counter()
        run()
        return (perf_counter() - begin) * 1e3

    return timed


def _cuda_timer(run: Callable[[], object], device: torch.device) -> Callable[[], float]:
    stream = torch.cuda.current_stream(device)
    # Writing twice the size of the cache leaves no line of weights or activations in it.
    flush = torch.empty(2 * torch.cuda.get_device_properties(device).L2_cache_size, dtype=torch.int8, device=device)

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def timed() -> float:
        flush.zero_()
        # Without this the host would launch kernels behind the flush, and part of the launching would go unseen.
        torch.cuda.synchronize(device)
        begin.record(stream)
        run()
        end.record(stream)
        torch.cuda.synchronize(device)
        return float(begin.elapsed_time(end))

    return timed
