from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nas.profiler.measured import latency
from nas.profiler.measured.calibration import ReferenceNetwork, reference_run
from nas.profiler.measured.latency import (
    Latency,
    Paired,
    launch_bound,
    median_interval,
    time_forward,
    time_pairs,
)

CPU = torch.device("cpu")


# --------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    ("n", "ranks"),
    [
        (1, None),
        (5, None),  # 2 / 2^5 = 6.25 % lies outside even the widest interval
        (6, (1, 6)),  # 2 / 2^6 = 3.1 %
        (9, (2, 8)),  # 2 (1 + 9) / 2^9 = 3.9 %
        (10, (2, 9)),  # 2 (1 + 10) / 2^10 = 2.1 %; one rank more would make 10.9 %
        (100, (40, 61)),  # as tabulated for the sign test
    ],
)
def test_median_interval_ranks(n: int, ranks: tuple[int, int] | None) -> None:
    shuffled = [float(i * 7 % n + 1) if math.gcd(7, n) == 1 else float(i + 1) for i in range(n)]
    assert median_interval(shuffled) == ranks


def test_percentiles_come_with_enough_runs() -> None:
    assert Latency.of([8.0]) == Latency(1, 8.0, None, None, None, [8.0])
    assert Latency.of([3.0, 1.0, 2.0]) == Latency(3, 2.0, None, None, None, [3.0, 1.0, 2.0])
    # Quartiles of 1..5 lie on the second and fourth value.
    assert Latency.of([5.0, 4.0, 3.0, 2.0, 1.0]).iqr == 2.0
    assert Latency.of([float(i) for i in range(19)]).p90 is None
    # Of 0..20 the 90th percentile lies on rank 0.9 * 20 = 18, of 0..40 the 95th on 0.95 * 40 = 38.
    found = Latency.of([float(i) for i in range(21)])
    assert (found.p90, found.p95) == (pytest.approx(18.0), None)
    assert Latency.of([float(i) for i in range(39)]).p95 is None
    assert Latency.of([float(i) for i in range(41)]).p95 == pytest.approx(38.0)


def test_ratio_is_the_median_of_pairs() -> None:
    # The machine is three times as slow in the second pair: its ratio is the same. The third pair
    # had one outlier.
    found = Paired.of([([20.0], [10.0]), ([60.0], [30.0]), ([90.0], [10.0])])
    assert found.ratio == pytest.approx(2.0)
    assert found.reference_ms == 10.0
    assert found.samples == [10.0, 30.0, 10.0]


def test_a_pair_compares_means() -> None:
    # (1 + 3) / 2 over (4 + 12) / 2; the tenth percentile of 4 and 12 lies a tenth of the way.
    found = Paired.of([([1.0, 3.0], [4.0, 12.0])])
    assert (found.ratio, found.reference_ms, found.samples) == (0.25, 8.0, [4.0, 12.0])
    assert found.fastest_ms == pytest.approx(4.8)
    assert Paired.of([([1.0], [4.0])]) == Paired(0.25, 4.0, 4.0, [4.0])


def test_slowed_is_the_median_over_the_fastest_runs() -> None:
    assert Paired.of([([1.0], [10.0])] * 20).slowed == 0.0
    # A fifth of the runs took 10 ms, the others 15.
    assert Paired.of([([1.0], [10.0 if i < 4 else 15.0]) for i in range(20)]).slowed == pytest.approx(0.5)


def test_relative_error_is_the_farther_end() -> None:
    assert Latency.of([10.0] * 5).relative_error is None
    assert Latency.of([10.0] * 6).relative_error == 0.0
    # Six runs: the interval is the range, 9 to 12 around a median of 10.
    assert Latency.of([9.0, 10.0, 10.0, 10.0, 10.0, 12.0]).relative_error == pytest.approx(0.2)


# ------------------------------------------------------------------------------------ adaptive loop


class Clock:
    """A clock that only runs advance."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, durations_ms: Iterable[float]) -> None:
        self.now = 0.0
        self.calls = 0
        self.durations = iter(durations_ms)
        monkeypatch.setattr(latency, "perf_counter", lambda: self.now)

    def run(self) -> None:
        self.now += next(self.durations) / 1e3
        self.calls += 1


def test_a_steady_forward_ends_as_soon_as_the_interval_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, itertools.repeat(10.0))
    samples = time_forward(clock.run, CPU, max_seconds=10)
    assert samples == pytest.approx([10.0] * 6)
    assert clock.calls == 2 + 6


def test_min_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, itertools.repeat(10.0))
    assert len(time_forward(clock.run, CPU, max_seconds=10, min_runs=12)) == 12


def test_warm_up_lasts_until_times_are_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    # 100 -> 50 -> 20 -> 19: only the last step is below 10 %.
    clock = Clock(monkeypatch, itertools.chain([100.0, 50.0, 20.0, 19.0], itertools.repeat(18.0)))
    assert time_forward(clock.run, CPU, max_seconds=10) == pytest.approx([18.0] * 6)


def test_warm_up_ends_after_a_fifth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # 100 and 200 ms in turn are never stable: 14 calls take 2.1 s, the first sum above 2 s.
    clock = Clock(monkeypatch, itertools.cycle([100.0, 200.0]))
    samples = time_forward(clock.run, CPU, max_seconds=10)
    assert clock.calls - len(samples) == 14
    assert clock.now <= 10.0


def test_a_noisy_forward_stops_at_max_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, itertools.cycle([1.0, 2.0]))
    assert len(time_forward(clock.run, CPU, max_seconds=1000, max_runs=30)) == 30


@pytest.mark.parametrize(
    ("seconds", "n", "total"),
    [
        (8.0, 1, 16.0),  # one call to warm up, one sample
        (4.0, 1, 8.0),  # a second sample would end after 12 s
        (1.5, 4, 9.0),  # two calls to warm up; the fifth sample would end after 10.5 s
    ],
)
def test_a_long_forward_is_bounded(monkeypatch: pytest.MonkeyPatch, seconds: float, n: int, total: float) -> None:
    clock = Clock(monkeypatch, itertools.repeat(seconds * 1e3))
    assert len(time_forward(clock.run, CPU, max_seconds=10)) == n
    assert clock.now == pytest.approx(total)


# -------------------------------------------------------------------------------------------- pairs


class Machine:
    """A clock that two networks advance by what they take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run_ms: float, reference_ms: float) -> None:
        self.now, self.order = 0.0, ""
        self.run = lambda: self._take("n", run_ms)
        self.reference = lambda: self._take("r", reference_ms)
        monkeypatch.setattr(latency, "perf_counter", lambda: self.now)

    def _take(self, who: str, ms: float) -> None:
        self.order += who
        self.now += ms / 1e3


@pytest.mark.parametrize(
    ("run_ms", "reference_ms", "pair"),
    [
        (10.0, 10.0, "nr"),
        (2.0, 10.0, "nnnnnr"),  # five short runs are as long as a reference
        (0.01, 10.0, "n" * 20 + "r"),
        (300.0, 10.0, "nrrr"),  # the reference is to take a tenth
        (1000.0, 1.0, "n" + "r" * 20),
    ],
)
def test_pairs_alternate(monkeypatch: pytest.MonkeyPatch, run_ms: float, reference_ms: float, pair: str) -> None:
    machine = Machine(monkeypatch, run_ms, reference_ms)
    found = time_pairs(machine.run, machine.reference, CPU, max_seconds=10)
    assert machine.order == "rrnn" + pair * len(found)
    for runs, references in found:
        assert runs == pytest.approx([run_ms] * pair.count("n"))
        assert references == pytest.approx([reference_ms] * pair.count("r"))


def test_steady_pairs_end_after_a_third_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 10.0, 10.0)
    # 3 s of pairs of 20 ms; warm-up, 40 ms, comes before.
    assert len(time_pairs(machine.run, machine.reference, CPU, max_seconds=10)) in (150, 151)


def test_no_pair_begins_that_would_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 900.0, 100.0)
    # 0.2 s + 1.8 s of warm-up; pairs of 1 s end after 3, 4, ... 9 s, and the next might end at 10.
    assert len(time_pairs(machine.run, machine.reference, CPU, max_seconds=9.99)) == 7
    slow = Machine(monkeypatch, 8000.0, 100.0)
    assert len(time_pairs(slow.run, slow.reference, CPU, max_seconds=1)) == 1


def test_the_reference_network_is_the_one_that_ratios_were_taken_with() -> None:
    with torch.device("meta"):
        network = ReferenceNetwork()
    # Per block: 32*32*27+32 of the convolution, 32*96+96, 64 of the norm, 32*128+128 and 128*32+32.
    assert sum(p.numel() for p in network.parameters()) == 3 * (27680 + 3168 + 64 + 4224 + 4128)
    clip = torch.empty(ReferenceNetwork.INPUT, device="meta")
    with FlopCounterMode(display=False) as counter:
        assert network(clip).shape == clip.shape
    # 1568 positions: convolution 27*32*32, qkv 32*96, mlp 2*32*128, attention 2*196*32; two flops a
    # multiply-add.
    assert counter.get_total_flops() == 2 * 3 * 1568 * (27648 + 3072 + 8192 + 12544)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_reference_runs_in_every_dtype(dtype: torch.dtype) -> None:
    output = reference_run(CPU, dtype)()
    assert isinstance(output, torch.Tensor)
    assert output.dtype == dtype
    assert output.isfinite().all()


@pytest.mark.parametrize(("launching", "after", "bound"), [(3.0, 0.5, True), (0.01, 0.002, True), (0.5, 3.0, False)])
def test_a_network_is_bound_by_launching_if_its_kernels_end_soon_after(
    launching: float, after: float, bound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was under way before, 7 ms, does not count."""
    machine, ends = Machine(monkeypatch, launching, 0.0), iter([7.0, after])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: machine._take("s", next(ends)))
    assert launch_bound(machine.run, torch.device("cuda:0")) is bound
    assert machine.order == "sns"


def test_beside_a_network_that_is_bound_by_kernels_large_ones_are_timed() -> None:
    """64 frames of 56x56 where a GPU computes; here 4 of 16x16."""
    output = reference_run(CPU, torch.float32, "kernels")()
    assert isinstance(output, torch.Tensor) and output.shape == (1, 4, 16, 16, 32)
    assert Paired.of([([2.0], [1.0])], "kernels").kind == "kernels"
    assert Paired.of([([2.0], [1.0])]).kind == "network"
