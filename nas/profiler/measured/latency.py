"""Timing of a forward: warm-up, an adaptive number of runs, the reference beside it, and what is
reported.

What is reported is what a clock saw. A machine that others use, or that changes its clock, shows in
a second number: a small fixed network, the reference, is timed in alternation with what is
measured, and the median over pairs of (time / time of the reference beside it) is far steadier than
either time. `Paired.ratio` times a reference time of one's own choosing is the latency on a machine
as fast as that reference says.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch

from nas.profiler.measured.calibration import ReferenceKind

CONFIDENCE = 0.95
TOLERANCE = 0.03  # of the median: how far the ends of its confidence interval may lie from it
STABLE = 0.1  # warm-up ends when two successive times differ by less than this
WARM_UP_SHARE = 0.2  # of the time budget: the most that warm-up may take
PAIRS_SHARE = 0.3  # of the time budget: the least that pairs take
REFERENCE_SHARE = 0.1  # of a run: the time that the reference beside it should take, so that it sees the same machine
REPEATS = 20  # of runs or references in a pair, at most
LAUNCH_SHARE = 0.5  # of the time of a run, from which on launching is what it takes
SLOWED = 0.1  # of its fastest runs: by how much the reference may be slower before the machine counts as disturbed


Pair = tuple[list[float], list[float]]  # times of runs, and of the references right after them, in milliseconds


@dataclass(frozen=True)
class Latency:
    """Times of one forward in milliseconds.

    Attributes:
        n: Number of timed runs.
        median: Median of the runs: their p50.
        iqr: Third quartile minus first; None below 4 runs.
        p90: 90th percentile; None below 20 runs, where fewer than two runs would lie above it and a
            single outlier would be the figure.
        p95: 95th percentile; None below 40 runs, for the same reason.
        samples: The runs in the order in which they were timed.
    """

    n: int
    median: float
    iqr: float | None
    p90: float | None
    p95: float | None
    samples: list[float]

    @classmethod
    def of(cls, samples: Sequence[float]) -> Latency:
        """Summarises at least one run; percentiles are interpolated linearly between runs."""
        n = len(samples)
        iqr = p90 = p95 = None
        if n >= 4:
            first, _, third = statistics.quantiles(samples, n=4, method="inclusive")
            iqr = third - first
        if n >= 20:
            p90 = statistics.quantiles(samples, n=10, method="inclusive")[-1]
        if n >= 40:
            p95 = statistics.quantiles(samples, n=20, method="inclusive")[-1]
        return cls(n, statistics.median(samples), iqr, p90, p95, list(samples))

    @property
    def relative_error(self) -> float | None:
        """Share of the median by which its 95 % confidence interval reaches beyond it; None below 6
        runs.
        """
        interval = median_interval(self.samples)
        return interval and max(interval[1] - self.median, self.median - interval[0]) / self.median


@dataclass(frozen=True)
class Paired:
    """The reference network, timed in alternation with what is measured.

    Attributes:
        ratio: Median over pairs of (mean time of the runs) / (mean time of the references right
            after them).
        reference_ms: Median time of the reference in milliseconds.
        fastest_ms: Tenth percentile of the reference: its time while nothing disturbed it.
        samples: The reference times in order.
        kind: Which reference it was, as `reference_run` takes it.
    """

    ratio: float
    reference_ms: float
    fastest_ms: float
    samples: list[float]
    kind: ReferenceKind = "network"

    @classmethod
    def of(cls, pairs: Sequence[Pair], kind: ReferenceKind = "network") -> Paired:
        """Summarises at least one pair."""
        ratio = statistics.median(statistics.fmean(runs) / statistics.fmean(references) for runs, references in pairs)
        samples = [time for _, references in pairs for time in references]
        fastest = samples[0]
        if len(samples) > 1:
            fastest = statistics.quantiles(samples, n=10, method="inclusive")[0]
        return cls(ratio, statistics.median(samples), fastest, samples, kind)

    @property
    def slowed(self) -> float:
        """Share by which the reference's median lies above its fastest runs."""
        return self.reference_ms / self.fastest_ms - 1


def median_interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """Returns the confidence interval of the median that order statistics give, whatever the
    distribution.

    It runs from the k-th smallest to the k-th largest sample, with the largest k for which both
    tails of a binomial distribution (n, 1/2) together stay within 5 %. Returns None below 6
    samples, where no k does.
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

    Warm-up comes first: at least one call, until two successive times differ by less than 10 % or a
    fifth of the time is spent. A run that would not end in time is not begun, except for the first:
    where one run takes longer than what warm-up left of `max_seconds`, a single sample comes back.

    On CUDA a run is timed by events from an idle device whose L2 cache holds nothing of the
    network: launching the kernels counts. On a CPU it is timed by the wall clock with caches as the
    previous run left them.

    Args:
        run: One forward; the caller provides eval and inference mode.
        device: Where `run` computes.
        max_seconds: Time for warm-up and runs together.
        min_runs: Fewest runs after which the interval of the median may end the timing.
        max_runs: Most runs.

    Returns:
        Milliseconds of each run, in order.
    """
    timed = _timer(device)
    begin = perf_counter()
    _warm_up(lambda: timed(run), begin + WARM_UP_SHARE * max_seconds)
    samples = [timed(run)]
    while len(samples) < max_runs and perf_counter() + samples[-1] / 1e3 < begin + max_seconds:
        if len(samples) >= min_runs and _known(samples):
            break
        samples.append(timed(run))
    return samples


def time_pairs(
    run: Callable[[], object],
    reference: Callable[[], object],
    device: torch.device,
    *,
    max_seconds: float,
    min_runs: int = 20,
    max_runs: int = 1000,
) -> list[Pair]:
    """Times `run` as `time_forward` does, in alternation with the reference.

    Where one of the two takes much less time it runs several times in each pair: a reference too
    short beside a long run would see too little of what the machine did meanwhile, and a short run
    would always find the reference's data in the caches. The pairs take a third of the time at
    least, because what slows a machine comes and goes in seconds: an interval from one good second
    says more than it knows.

    Args:
        run: One forward or training step.
        reference: One forward of the reference network, as `reference_run` returns it.
        device: Where both compute.
        max_seconds: Time for warm-up and pairs together; a pair that would not end in time is not
            begun, except for the first.
        min_runs: Fewest runs after which the interval of the median may end the timing.
        max_runs: No further pair begins after as many.

    Returns:
        The pairs in order.
    """
    timed = _timer(device)
    begin = perf_counter()
    warm_until = begin + WARM_UP_SHARE * max_seconds
    alone = _warm_up(lambda: timed(reference), warm_until)
    took = _warm_up(lambda: timed(run), warm_until)
    runs = max(1, min(REPEATS, round(alone / took)))
    references = max(1, min(REPEATS, round(REFERENCE_SHARE * took / alone)))
    pairs: list[Pair] = []
    samples: list[float] = []
    started = perf_counter()
    while len(samples) < max_runs:
        now = perf_counter()
        if pairs and now + sum(map(sum, pairs[-1])) / 1e3 >= begin + max_seconds:
            break
        if len(samples) >= min_runs and now >= started + PAIRS_SHARE * max_seconds and _known(samples):
            break
        pairs.append(([timed(run) for _ in range(runs)], [timed(reference) for _ in range(references)]))
        samples += pairs[-1][0]
    return pairs


def _warm_up(timed: Callable[[], float], until: float) -> float:
    """Runs until two successive times differ by less than 10 %, at least once; returns the last
    time.
    """
    previous = timed()
    while perf_counter() < until:
        current = timed()
        stable = abs(current - previous) < STABLE * previous
        previous = current
        if stable:
            break
    return previous


def _known(samples: Sequence[float]) -> bool:
    """Whether the median is known to within the tolerance."""
    error = Latency.of(samples).relative_error
    return error is not None and error <= TOLERANCE


def launch_bound(run: Callable[[], object], device: torch.device) -> bool:
    """Whether a GPU waits for the host in a run, as told by one from an idle device: most of its
    time has gone when the last kernel is launched.
    """
    torch.cuda.synchronize(device)
    begin = perf_counter()
    run()
    launched = perf_counter()
    torch.cuda.synchronize(device)
    return launched - begin > LAUNCH_SHARE * (perf_counter() - begin)


def _timer(device: torch.device) -> Callable[[Callable[[], object]], float]:
    """Returns what times one call, in milliseconds."""
    return _cuda_timer(device) if device.type == "cuda" else cpu_timed


def cpu_timed(run: Callable[[], object]) -> float:
    """Milliseconds of one call by the wall clock."""
    begin = perf_counter()
    run()
    return (perf_counter() - begin) * 1e3


def _cuda_timer(device: torch.device) -> Callable[[Callable[[], object]], float]:
    stream = torch.cuda.current_stream(device)
    flush = cache_flush(device)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def timed(run: Callable[[], object]) -> float:
        flush.zero_()
        # Without this the host would launch kernels behind the flush, and part of the launching
        # would go unseen.
        torch.cuda.synchronize(device)
        begin.record(stream)
        run()
        end.record(stream)
        torch.cuda.synchronize(device)
        return float(begin.elapsed_time(end))

    return timed


def cache_flush(device: torch.device) -> torch.Tensor:
    """What leaves nothing of weights and activations in a GPU's L2 cache when it is written to."""
    size = 2 * torch.cuda.get_device_properties(device).L2_cache_size
    return torch.empty(size, dtype=torch.int8, device=device)
