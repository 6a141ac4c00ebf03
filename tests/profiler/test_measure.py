from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Iterable

import pytest
import torch

from nas.architecture import Architecture
from nas.errors import NasError
from nas.profiler import latency
from nas.profiler import measure as measure_module
from nas.profiler.latency import Latency, median_interval, time_forward
from nas.profiler.measure import Measurement, measure

CPU = torch.device("cpu")
TINY = Architecture.parse(
    {
        "name": "tiny",
        "input": {"frames": 4, "size": 16},
        "num_classes": 5,
        "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2]},
        "stages": [{"width": 8, "layers": [{"op": "d2plus1d", "modules": 2}]}],
    }
)


# ----------------------------------------------------------------------------------------- statistics


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


def test_latency_of_one_to_twenty_runs() -> None:
    assert Latency.of([8.0]) == Latency(1, 8.0, None, None, [8.0])
    assert Latency.of([3.0, 1.0, 2.0]) == Latency(3, 2.0, None, None, [3.0, 1.0, 2.0])
    # Quartiles of 1..5 lie on the second and fourth value.
    assert Latency.of([5.0, 4.0, 3.0, 2.0, 1.0]).iqr == 2.0
    assert Latency.of([float(i) for i in range(1, 20)]).p95 is None
    # Of 0..20 the 95th percentile lies on rank 0.95 * 20 = 19.
    assert Latency.of([float(i) for i in range(21)]).p95 == pytest.approx(19.0)


def test_relative_error_is_the_farther_end() -> None:
    assert Latency.of([10.0] * 5).relative_error is None
    assert Latency.of([10.0] * 6).relative_error == 0.0
    # Six runs: the interval is the range, 9 to 12 around a median of 10.
    assert Latency.of([9.0, 10.0, 10.0, 10.0, 10.0, 12.0]).relative_error == pytest.approx(0.2)


# -------------------------------------------------------------------------------------- adaptive loop


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


# --------------------------------------------------------------------------------------------- memory


def test_peak_bytes_of_a_known_forward() -> None:
    """32 MiB of weights and, at one time, three maps of 64 MiB; building leaves garbage that must not count."""
    program = """
import torch
from nas.profiler.memory import peak_bytes

def prepare():
    garbage = [torch.ones(2**18) for _ in range(50)]
    weights = torch.ones(2**23)
    def forward():
        a = torch.ones(2**24)
        b = a + 1
        c = a + b
        del a, b, c
        return torch.ones(2**24) + weights[0]
    return forward

torch.set_num_threads(1)
print(peak_bytes(prepare, torch.device("cpu")))
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(output) == pytest.approx(224 * 2**20, abs=4 * 2**20)


# -------------------------------------------------------------------------------------------- measure


def test_measures_a_tiny_network() -> None:
    found = measure(TINY, device="cpu", batch=2, threads=1, max_seconds=0.5)
    times = found.latency_ms
    assert times.n == len(times.samples) >= 1
    assert min(times.samples) <= times.median <= max(times.samples)
    assert 0 < times.median < 5000
    # Far below what torch itself takes, so neither torch nor this process is in it.
    assert 0 < found.peak_memory_bytes < 16 * 2**20
    assert found.device.endswith(".fp32.b2.t1")
    assert found.environment["threads"] == 1
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.gpu
def test_measures_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    found = measure(TINY, device="cuda", dtype="bf16", max_seconds=2)
    assert 0 < found.latency_ms.median < 1000
    assert 0 < found.peak_memory_bytes < 256 * 2**20
    assert found.device.endswith(".bf16.b1")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"device": "tpu"}, "device 'tpu' is not available"),
        ({"dtype": "int8"}, "dtype 'int8' is unknown"),
        ({"batch": 0}, "batch 0 is not allowed"),
        ({"threads": 0}, "threads 0 is not allowed"),
        ({"max_seconds": 0.0}, "max_seconds 0.0 is not allowed"),
        ({"max_seconds": math.nan}, "max_seconds nan is not allowed"),
    ],
)
def test_bad_arguments(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(NasError, match=message):
        measure(TINY, **kwargs)  # type: ignore[arg-type]


def test_unknown_name() -> None:
    with pytest.raises(NasError, match="'no_such_network'"):
        measure("no_such_network")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by the system, which happens when memory runs out"),
        ("import os; os.kill(os.getpid(), 6)", "died of SIGABRT: it said nothing"),
        ("raise RuntimeError('no kernel')", "failed with exit code 1: RuntimeError: no kernel"),
        ("print('hello')", r"gave no measurement but 'hello\\n'"),
        ("print(3)", r"gave no measurement but '3\\n'"),
        ("""print('{"error": "too large"}')""", "^too large$"),
    ],
)
def test_a_failing_process_tells_why(monkeypatch: pytest.MonkeyPatch, program: str, message: str) -> None:
    monkeypatch.setattr(measure_module, "_COMMAND", [sys.executable, "-c", program])
    with pytest.raises(NasError, match=message):
        measure(TINY, device="cpu")


def test_an_endless_process_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_module, "_COMMAND", [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(measure_module, "START_SECONDS", 0)
    with pytest.raises(NasError, match=r"did not end within 0\.3 s"):
        measure(TINY, device="cpu", max_seconds=0.05)


def test_what_does_not_fit_is_said() -> None:
    # 2^40 clips of 3 x 4 x 16 x 16 floats are 12 petabytes: the allocation itself fails.
    with pytest.raises(NasError, match="'tiny' at batch 1099511627776 does not fit into the memory of cpu"):
        measure(TINY, device="cpu", batch=2**40)


@pytest.mark.parametrize(
    ("cores", "threads", "busy", "stolen", "flags"),
    [
        (4, 4, 14.0, 0.0, []),  # 4 of 14 CPU seconds in 10 s are not ours: 0.4 cores, and none is left over
        (4, 4, 16.0, 0.0, ["other processes used 0.6 cores during the measurement"]),
        (8, 2, 38.0, 0.0, []),  # 2.8 of 6 cores left over
        (8, 2, 42.0, 0.0, ["other processes used 3.2 cores during the measurement"]),
        (4, 4, 10.0, 5.0, ["the hypervisor withheld 0.5 cores during the measurement"]),
    ],
)
def test_flags_of_a_shared_processor(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, busy: float, stolen: float, flags: list[str]
) -> None:
    readings = iter([(0.0, 0.0, 0.0, 0.0), (10.0, busy, stolen, 10.0)])
    monkeypatch.setattr(measure_module, "_cpu_seconds", lambda: next(readings))
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert measure_module._CpuUse().flags(threads) == flags
