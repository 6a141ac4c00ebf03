"""Turns of layers beside the reference: when they end, and what is kept of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas.architecture import Architecture, Part
from nas.profiler.measured import device as device_module
from nas.profiler.measured import latency
from nas.profiler.measured.device import Conditions
from nas.profiler.tables import turns
from nas.profiler.tables.turns import Answer, Bench, Skipped, Timed, TurnsRequest, time_turns, timed

HERE = Conditions("cpu", "fp32", 1, 1)
Make = Callable[..., Architecture]


class Clock:
    """A clock that only turns advance, by a second each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: Sequence[Sequence[float]]) -> None:
        self.now = 0.0
        self.turns = itertools.cycle(times)
        monkeypatch.setattr(turns, "perf_counter", lambda: self.now)

    def turn(self) -> Sequence[float]:
        self.now += 1.0
        return next(self.turns)


def test_the_faster_of_two_references_stands_for_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    found = time_turns(Clock(monkeypatch, [[2.0, 10.0, 30.0, 3.0], [5.0, 10.0, 30.0, 2.0]]).turn, seconds=100)
    assert found == [[2.0] * 5, [10.0] * 5, [30.0] * 5]


@pytest.mark.parametrize(
    ("usual", "shortest", "expected"),
    [
        # The third shortest is within 3 % of the shortest: the fewest turns are enough.
        (10.25, 10.0, 5),
        # 5 % away: the time ends the turns, after 10 s.
        (10.5, 10.0, 11),
        # 20 % away, others are at work: three times as long.
        (12.0, 10.0, 31),
    ],
)
def test_turns_end_when_the_shortest_time_is_known_or_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch, usual: float, shortest: float, expected: int
) -> None:
    times = [[1.0, shortest, 1.0]] + [[1.0, usual, 1.0]] * 99
    assert len(time_turns(Clock(monkeypatch, times).turn, seconds=10)[1]) == expected


def test_turns_wait_for_every_job_and_for_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known: the first job at once, the second after its third turn at 5 ms, the reference
    after its third at 1 ms.
    """
    times = [[1.0, 9.0, 5.0, 2.0], *[[2.0, 9.0, 7.0, 2.0]] * 5, *[[1.0, 9.0, 5.0, 2.0]] * 9]
    assert len(time_turns(Clock(monkeypatch, times).turn, seconds=100)[0]) == 8


def test_no_more_turns_than_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [[1.0, float(2**i), 1.0] for i in range(100)]
    assert len(time_turns(Clock(monkeypatch, times).turn, seconds=1e6)[1]) == turns.MOST


class FakeBench:
    """Jobs are what they are of; times are those given, the reference first."""

    batch, captures = 1, False

    def __init__(self, *times: list[float]) -> None:
        self.times = times
        self.ran: list[tuple[list[Any], float]] = []

    def layer(self, part: Part) -> Any:
        return SimpleNamespace(name=part.path, launch_ms=0.0)

    def network(self, architecture: Architecture) -> Any:
        return SimpleNamespace(name=architecture.hash, launch_ms=0.0)

    def check(self, job: Any) -> None:
        pass

    def launched(self, job: Any) -> Any:
        return SimpleNamespace(name=job.name, launch_ms=0.25)

    def run(self, jobs: list[Any], seconds: float) -> list[list[float]]:
        self.ran.append(([job.name for job in jobs], seconds))
        return [self.times[0], *(self.times[1 + i % (len(self.times) - 1)] for i in range(len(jobs)))]


def request(*architectures: Architecture, layers: Sequence[tuple[int, int]], **options: Any) -> TurnsRequest:
    documents = [architecture.document() for architecture in architectures]
    return TurnsRequest(HERE, documents, list(layers), **{"networks": [], "seconds": 60.0, **options})


def answered(bench: FakeBench, wanted: TurnsRequest) -> list[Answer]:
    return list(timed(bench, wanted))  # type: ignore[arg-type]


def test_the_shortest_times_are_kept(architecture: Make) -> None:
    bench = FakeBench([2.0, 1.0, 5.0, 1.5], [9.0, 3.0, 4.5, 3.3], [8.0, 8.0, 8.0, 8.0])
    found = answered(bench, request(architecture(), layers=[(0, 1), (0, 0)]))
    assert found == [
        # 3 ms over 1 ms; the third shortest, 4.5 ms, is half as much longer.
        Timed(0, 3.0, 0.5, 4, 1.0, 0.25),
        Timed(1, 8.0, 0.0, 4, 1.0, 0.25),
    ]
    assert [jobs for jobs, _ in bench.ran] == [["stages.0.layers.0", "stem"]]


def test_layers_come_in_groups_and_networks_alone_after_them(architecture: Make) -> None:
    first, second = architecture(layers=18), architecture()
    bench = FakeBench([1.0] * 5, [2.0] * 5)
    wanted = request(first, second, layers=[(0, i) for i in range(20)], networks=[1, 0])
    found = answered(bench, wanted)
    assert [each.index for each in found] == list(range(22))
    # Networks are timed from an idle device, launching included.
    assert [each.launch_ms for each in found if isinstance(each, Timed)] == [0.25] * 20 + [0.0] * 2
    assert [(len(jobs), seconds) for jobs, seconds in bench.ran] == [
        (16, pytest.approx(16 * 0.08)),
        (4, pytest.approx(4 * 0.08)),
        (1, 1.0),
        (1, 1.0),
    ]
    assert [jobs for jobs, _ in bench.ran[2:]] == [[second.hash], [first.hash]]


def test_what_has_not_begun_in_time_is_left_out(monkeypatch: pytest.MonkeyPatch, architecture: Make) -> None:
    """A group takes 10 s; within 15 s two begin."""
    now = 0.0

    class Slow(FakeBench):
        def run(self, jobs: list[Any], seconds: float) -> list[list[float]]:
            nonlocal now
            now += 10.0
            return super().run(jobs, seconds)

    monkeypatch.setattr(turns, "perf_counter", lambda: now)
    wanted = request(architecture(), layers=[(0, 0), (0, 1), (0, 2)], networks=[0], seconds=15.0, together=1)
    assert [found.index for found in answered(Slow([1.0] * 5, [2.0] * 5), wanted)] == [0, 1]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("no kernel"), ValueError("bad\nshape")], ids=str
)
def test_what_does_not_run_is_skipped_and_the_rest_is_timed(architecture: Make, error: Exception) -> None:
    class Lacking(FakeBench):
        def check(self, job: Any) -> None:
            if job.name == "stages.0.layers.0":
                raise error

    found = answered(Lacking([1.0] * 5, [2.0] * 5), request(architecture(), layers=[(0, 0), (0, 1), (0, 2)]))
    assert found == [Skipped(1, " ".join(str(error).split())), *(Timed(i, 2.0, 0.0, 5, 1.0, 0.25) for i in (0, 2))]


def test_device_that_failed_ends_the_process(architecture: Make) -> None:
    """After it every call of the process fails, whatever it is of."""

    class Dead(FakeBench):
        def check(self, job: Any) -> None:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(torch.AcceleratorError):
        answered(Dead(), request(architecture(), layers=[(0, 0), (0, 1)]))


def bench() -> Bench:
    """One that does not bind this process to cores."""
    made = Bench.__new__(Bench)
    made.device, made.dtype, made.batch, made.captures = torch.device("cpu"), torch.float32, 2, False
    return made


def test_reference_opens_and_closes_a_turn_and_arguments_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = 0.0, []

    def job(name: str, seconds: float) -> turns.Job:
        def prepare() -> tuple[torch.Tensor, ...]:
            nonlocal now
            now += 100.0
            return (torch.zeros(3),)

        def run(x: torch.Tensor) -> None:
            nonlocal now
            now += seconds
            calls.append(name)

        return turns.Job(prepare, run)

    monkeypatch.setattr(latency, "perf_counter", lambda: now)
    made = bench()
    made.reference = job("reference", 1.0)
    found = made.run([job("a", 2.0), job("b", 3.0)], seconds=1e9)
    assert found == [[1e3] * turns.FEWEST, [2e3] * turns.FEWEST, [3e3] * turns.FEWEST]
    assert calls[:4] == ["a", "b", "a", "b"]  # warm-up
    assert calls[4:8] == ["reference", "a", "b", "reference"]
    assert len(calls) == 4 + 4 * turns.FEWEST


def test_layers_run_on_a_fresh_copy_and_networks_on_a_clip_of_the_batch(architecture: Make) -> None:
    made = bench()
    layer = made.layer(architecture().parts()[1])
    (first,), (second,) = layer.prepare(), layer.prepare()
    assert first.shape == (2, 4, 8, 8, 8) and torch.equal(first, second) and first.data_ptr() != second.data_ptr()
    assert layer.run(first).shape == first.shape  # type: ignore[attr-defined]
    network = made.network(architecture())
    (clip,) = network.prepare()
    assert clip.shape == (2, 3, 4, 16, 16) and network.run(clip).shape == (2, 5)  # type: ignore[attr-defined]
    assert not network.run.training  # type: ignore[attr-defined]


class Gpu:
    """A queue of what a host launches, at one unit of time each, on a GPU that takes three for each
    kernel; `events` read the GPU's clock.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host = self.device = 0.0
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: self.wait())
        monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: self.launch(cycles / turns.HOLD * 1.5))
        monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: Event(self))
        monkeypatch.setattr(latency, "perf_counter", lambda: self.host / 1e3)

    def launch(self, takes: float) -> None:
        self.device = max(self.device, self.host) + takes

    def kernels(self, count: int, takes: float, launching: float) -> None:
        for _ in range(count):
            self.host += launching
            self.launch(takes)

    def wait(self) -> None:
        self.host = self.device = max(self.host, self.device)


class Event:
    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def record(self) -> None:
        self.at = max(self.gpu.device, self.gpu.host)

    def elapsed_time(self, end: Event) -> float:
        return end.at - self.at


@pytest.mark.parametrize(("takes", "launching"), [(3.0, 1.0), (0.5, 2.0)])
def test_kernels_and_launching_are_told_apart(takes: float, launching: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten kernels: whichever is slower, both are found, alone and behind another layer."""
    gpu, made = Gpu(monkeypatch), bench()
    made.device = torch.device("cuda:0")
    jobs = [made.launched(turns.Job(tuple, lambda: gpu.kernels(10, takes, launching))) for _ in range(2)]
    assert [job.launch_ms for job in jobs] == pytest.approx([10 * launching] * 2)
    assert made._timed(jobs) == pytest.approx([10 * takes] * 2)
    # From an idle device, as a network is timed, it is what takes longer.
    whole = made._timed([turns.Job(tuple, lambda: gpu.kernels(10, takes, launching))])
    assert whole == pytest.approx([launching + 10 * takes if takes > launching else 10 * launching + takes])


def test_a_captured_layer_is_timed_without_its_launching(architecture: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a graph, from an idle device, is longer than what the layer takes there. A row has
    none, as a network launches one graph and not its layers.
    """
    gpu, made = Gpu(monkeypatch), bench()
    made.device, made.captures = torch.device("cuda:0"), True
    jobs = [made.launched(turns.Job(tuple, lambda: gpu.kernels(1, 0.5, 2.0))) for _ in range(2)]
    assert made._timed(jobs) == pytest.approx([0.5, 0.5])
    fake = FakeBench([2.0], [4.0] * 3)
    for fake.captures, expected in ((False, 0.25), (True, 0.0)):
        (answer,) = answered(fake, request(architecture(), layers=[(0, 0)]))
        assert isinstance(answer, Timed) and answer.launch_ms == expected


def test_a_captured_layer_is_replayed_where_its_input_lies(architecture: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed: list[torch.Tensor] = []
    monkeypatch.setattr(turns, "captured", lambda run, device: lambda: replayed.append(run()))
    made = bench()
    made.captures = True
    job = made.layer(architecture().parts()[1])
    assert job.prepare() == ()
    job.run()
    (output,) = replayed
    assert output.shape == (2, 4, 8, 8, 8) and output.is_inference()
    assert made.launched(job).launch_ms == 0.0
    made.network(architecture()).run()
    assert replayed[1].shape == (2, 5)


def test_layers_are_timed_on_the_gpu_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events without a stream are of the current device, which is the first one unless set."""
    used: list[torch.device] = []
    monkeypatch.setattr(device_module, "resolve_device", torch.device)
    monkeypatch.setattr(turns, "bind", lambda device, threads: None)
    monkeypatch.setattr(torch.cuda, "set_device", used.append)

    class Reached(Exception):
        pass

    def reference(device: torch.device, dtype: torch.dtype) -> None:
        assert used == [torch.device("cuda:1")]
        raise Reached

    monkeypatch.setattr(turns, "reference_block", reference)
    with pytest.raises(Reached):
        Bench(Conditions("cuda:1", "bf16", 1, 4))
