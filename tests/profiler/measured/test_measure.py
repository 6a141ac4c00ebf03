from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.architecture import Architecture
from nas.errors import NasError
from nas.profiler.measured import device as device_module
from nas.profiler.measured import measure as measure_module
from nas.profiler.measured import phases as phases_module
from nas.profiler.measured.device import OPTIMIZERS, Conditions
from nas.profiler.measured.environment import Environment
from nas.profiler.measured.execution import export, prepare
from nas.profiler.measured.latency import Latency, Paired
from nas.profiler.measured.measure import Measurement, measure
from nas.profiler.measured.phases import Memory, PhasesAnswer, PhasesRequest, Timing, measured_phases
from nas.profiler.target import Input, Target

TINY = Architecture.parse(
    {
        "name": "tiny",
        "input": {"frames": 4, "size": 16},
        "num_classes": 5,
        "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2]},
        "stages": [{"width": 8, "layers": [{"op": "d2plus1d", "modules": 2}]}],
    }
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nas" / "reference_ms.json"


# ------------------------------------------------------------------------------------------- memory


def test_peak_bytes_of_a_known_forward() -> None:
    """32 MiB of weights and, at one time, three maps of 64 MiB; building leaves garbage that must
    not count.
    """
    program = """
import torch
from nas.profiler.measured.memory import peak_bytes

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


# ------------------------------------------------------------------------------------------ measure


def test_measures_a_tiny_network() -> None:
    found = measure(TINY, device="cpu", batch=2, threads=1, max_seconds=0.5)
    times = found.latency_ms
    assert times.n == len(times.samples) >= 1
    assert min(times.samples) <= times.median <= max(times.samples)
    assert 0 < times.median < 5000
    # Far below what torch itself takes, so neither torch nor this process is in it.
    assert 0 < found.peak_memory_bytes < 16 * 2**20
    assert found.device.endswith(".fp32.b2.t1")
    assert found.environment.threads == 1
    assert len(found.environment.affinity or ()) == 1
    assert found.conditions == Conditions("cpu", "fp32", 2, 1)
    assert found.reference is not None
    assert 0 < found.reference.fastest_ms <= found.reference.reference_ms <= max(found.reference.samples)
    assert found.normalized_ms(2.0) == pytest.approx(2 * found.reference.ratio)
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"device": "tpu"}, "device 'tpu' is not available"),
        ({"dtype": "int8"}, "dtype 'int8' is unknown"),
        ({"batch": 0}, "batch 0 is not allowed"),
        ({"threads": 0}, "threads 0 is not allowed"),
        ({"max_seconds": 0.0}, "max_seconds 0.0 is not allowed"),
        ({"max_seconds": math.nan}, "max_seconds nan is not allowed"),
        ({"train": "Lion"}, "train 'Lion' is unknown; allowed: AdamW, Adam, SGD, RMSprop"),
        ({"runtime": "tvm"}, "runtime 'tvm' is unknown; allowed: torch, onnx"),
        ({"autocast": True}, "autocast to dtype 'fp32' changes nothing; allowed: bf16, fp16"),
        (
            {"device": "cpu", "cuda_graph": True},
            "cuda_graph on cpu is not allowed; allowed: inference on a CUDA device",
        ),
        ({"device": "cpu", "runtime": "onnx", "dtype": "bf16"}, "runtime 'onnx' with cpu and bf16 is not allowed"),
        ({"device": "cpu", "runtime": "onnx", "train": "SGD"}, "runtime 'onnx' with train is not allowed"),
        ({"device": "cpu", "runtime": "onnx", "compile": True}, "runtime 'onnx' with compile is not allowed"),
    ],
)
def test_bad_arguments(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(NasError, match=message):
        measure(TINY, **kwargs)  # type: ignore[arg-type]


def test_unknown_name() -> None:
    with pytest.raises(NasError, match="'no_such_network'"):
        measure("no_such_network")


def test_an_endless_process_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    program = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr("nas.profiler.measured.process.command", lambda module: program)
    monkeypatch.setattr(measure_module, "START_SECONDS", 0)
    with pytest.raises(NasError, match=r"did not end within 0\.3 s"):
        measure(TINY, device="cpu", max_seconds=0.05)


def test_what_does_not_fit_is_said() -> None:
    # 2^40 clips of 3 x 4 x 16 x 16 floats are 12 petabytes: the allocation itself fails.
    with pytest.raises(NasError, match="'tiny' at batch 1099511627776 does not fit into the memory of cpu"):
        measure(TINY, device="cpu", batch=2**40)


def test_onnx_names_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.version", version)
    with pytest.raises(NasError, match=r"runtime 'onnx' needs onnx, which is not installed; .*'video-nas\[onnx\]'$"):
        measure(TINY, device="cpu", runtime="onnx")


def answering(monkeypatch: pytest.MonkeyPatch, flags: list[str], reference_ms: float = 10.0) -> None:
    """Lets measuring processes answer at once: three pairs, of which a run takes twice as long as
    the reference.
    """
    paired = Paired.of([([2 * reference_ms], [reference_ms])] * 3)
    timing = Timing("abacus", Latency.of([2 * reference_ms] * 3), paired, Environment(), list(flags))
    answer = PhasesAnswer(Memory(7), timing)
    monkeypatch.setattr(measure_module, "_fresh_processes", lambda *_: nullcontext(lambda request: answer))


def test_strict_refuses_what_was_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, ["a neighbour", "heat"])
    assert measure(TINY, "cpu").flags == ["a neighbour", "heat"]
    with pytest.raises(
        NasError, match=r"^measuring architecture 'tiny' .* was disturbed: a neighbour; heat; allowed: "
    ):
        measure(TINY, "cpu", strict=True)
    answering(monkeypatch, [])
    found = measure(TINY, "cpu", strict=True)
    assert (found.normalized_ms(), found.normalized_ms(5.0)) == (20.0, 10.0)


def test_a_machine_that_became_slower_is_flagged(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    answering(monkeypatch, [], reference_ms=10.0)
    assert measure(TINY, "cpu", threads=1).flags == []
    # 11.4 ms are within 15 % of 10, 11.6 are not; a ratio of 2 makes 20 ms at the fastest
    # reference.
    answering(monkeypatch, [], reference_ms=11.4)
    assert measure(TINY, "cpu", threads=1).flags == []
    answering(monkeypatch, [], reference_ms=11.6)
    found = measure(TINY, "cpu", threads=1)
    assert found.flags == [
        "the machine is slower than it was: the reference network took 11.6 ms in the median, and 10.0 ms when it was "
        "fastest"
    ]
    assert found.normalized_ms() == pytest.approx(20.0)
    assert measure(TINY, "cpu", "bf16", threads=1).flags == []  # another dtype has its own reference
    answering(monkeypatch, [], reference_ms=8.0)
    assert measure(TINY, "cpu", threads=1).quiet_reference_ms == 8.0
    assert sorted(json.loads(cache.read_text()).values()) == [8.0, 11.6]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "b"}'])
def test_a_damaged_cache_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, cache: Path, text: str) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(text)
    answering(monkeypatch, [])
    assert measure(TINY, "cpu").quiet_reference_ms == 10.0


def test_records_without_conditions_and_reference_are_read() -> None:
    old = {
        "latency_ms": asdict(Latency.of([1.0])),
        "peak_memory_bytes": 1,
        "device": "abacus",
        "environment": {},
        "flags": [],
    }
    found = Measurement.from_dict(old)
    assert found.reference is None
    with pytest.raises(NasError, match="measurement on abacus has no reference network"):
        found.normalized_ms(1.0)


def test_a_record_of_a_gpu_is_read_where_there_is_none() -> None:
    conditions = Conditions("cuda:7", "bf16", 1, 1, cuda_graph=True)
    record = Measurement(Latency.of([1.0]), 1, "h100", Environment(), [], conditions)
    assert Measurement.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def run_of(conditions: Conditions) -> object:
    return prepare(Target.of(TINY), conditions)()


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"dtype": "fp32"}, torch.float32),
        ({"dtype": "bf16"}, torch.bfloat16),
        ({"dtype": "bf16", "autocast": True}, torch.bfloat16),
        ({"dtype": "fp32", "channels_last_3d": True}, torch.float32),
    ],
)
def test_a_forward_under_options(options: dict[str, Any], dtype: torch.dtype) -> None:
    output = run_of(Conditions(**{"device": "cpu", "batch": 2, "threads": 1, **options}))
    assert isinstance(output, torch.Tensor)
    assert (output.shape, output.dtype, output.requires_grad) == ((2, 5), dtype, False)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_training_step_moves_the_weights(monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    model = torch.nn.Linear(3, 2)
    before = model.weight.detach().clone()
    target = Target(None, "torch.nn:Identity", (Input((4, 3)),))
    monkeypatch.setattr(Target, "build", lambda self, device: model)
    monkeypatch.setattr("nas.profiler.measured.execution.LEARNING_RATE", 0.1)
    prepare(target, Conditions("cpu", "fp32", 4, 1, train=optimizer))()
    assert not torch.equal(model.weight, before)
    assert model.weight.grad is None


def test_what_has_no_output_to_train_is_refused() -> None:
    target = Target(None, "torch.nn:Identity", (Input((4, 3)),))
    refused = pytest.raises(NasError, match="optimizer got an empty parameter list")
    with refused, target.naming_failures("training step"):
        prepare(target, Conditions("cpu", "fp32", 4, 1, train="SGD"))


def test_a_forward_that_refuses_its_input_says_why() -> None:
    with pytest.raises(NasError, match=r"^forward of 'torch.nn:ReLU' with input 1x3 2 failed: TypeError: ") as caught:
        measure("torch.nn:ReLU", "cpu", inputs=["1x3", "2"], threads=1, max_seconds=0.1)
    assert "\n" not in str(caught.value)


def test_onnx_runtime(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    conditions = Conditions("cpu", "fp32", 2, 1, runtime="onnx")
    target = Target.of(TINY)
    export(target, conditions, tmp_path / "tiny.onnx")
    outputs: Any = prepare(target, conditions, tmp_path / "tiny.onnx")()
    assert [output.shape for output in outputs] == [(2, 5)]
    assert ".t1.onnx" in conditions.name


def test_a_disturbed_measurement_is_taken_again_and_the_least_disturbed_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine is quiet at a reference of 10 ms: 20 and 30 are disturbed, 10.5 is not."""
    reference = iter([20.0, 30.0, 10.5, 40.0])
    phases = []

    def ask(request: PhasesRequest) -> PhasesAnswer:
        phases.append(request.phases)
        if request.phases == ("memory",):
            return PhasesAnswer(Memory(1))
        ms = next(reference)
        paired = Paired(2.0, ms, 10.0, [ms] * 3)
        return PhasesAnswer(None, Timing("x", Latency.of([2 * ms] * 3), paired, Environment(), []))

    monkeypatch.setattr(measure_module, "_fresh_processes", lambda *_: nullcontext(ask))
    monkeypatch.setattr(measure_module, "PAUSE", 0.0)
    found = measure("x3d_xs", "cpu", threads=1, patience=60)
    assert found.latency_ms.median == 21 and found.flags == []
    assert phases == [("memory",), ("latency",), ("latency",), ("latency",)]
    reference = iter([30.0, 20.0])
    monkeypatch.setattr(measure_module, "perf_counter", iter(range(0, 100, 40)).__next__)
    found = measure("x3d_xs", "cpu", threads=1, patience=60)
    assert found.latency_ms.median == 40 and len(found.flags) == 1


def test_measured_is_on_the_gpu_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph is captured on the current device, which is the first one unless set."""
    used: list[torch.device] = []

    class Reached(Exception):
        pass

    def import_code(self: Target) -> None:
        assert used == [torch.device("cuda:1")]
        raise Reached

    monkeypatch.setattr(device_module, "resolve_device", torch.device)
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr(Target, "import_code", import_code)
    request = PhasesRequest(Target.of(TINY).to_dict(), Conditions("cuda:1", "bf16", 1, 4), 1.0, ("latency",))
    with pytest.raises(Reached):
        list(measured_phases(request))


@pytest.mark.parametrize(("bound", "kind"), [(True, "network"), (False, "kernels")])
def test_the_reference_on_a_gpu_is_bound_by_what_the_network_is_bound_by(
    bound: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Launching beside a network that waits for the host, large kernels beside one that does not;
    its fastest times are kept apart.
    """
    runs: list[object] = []

    class Calm:
        gpu = None

        def flags(self) -> list[str]:
            return []

    def pairs(run: object, reference: object, device: torch.device, max_seconds: float) -> list[Any]:
        runs.append(reference)
        return [([2.0] * 6, [1.0])]

    monkeypatch.setattr(device_module, "resolve_device", torch.device)
    monkeypatch.setattr(measure_module, "device_name", lambda *_: "gpu")
    monkeypatch.setattr(phases_module, "prepare", lambda *_: lambda: None)
    monkeypatch.setattr(phases_module, "launch_bound", lambda run, device: bound)
    monkeypatch.setattr(phases_module, "reference_run", lambda device, dtype, kind: kind)
    monkeypatch.setattr(phases_module, "Watch", lambda *_: Calm())
    monkeypatch.setattr(phases_module, "time_pairs", pairs)
    conditions = Conditions("cuda:0", "bf16", 1, 4)
    timing = phases_module._timing(Target.of(TINY), conditions, None, "gpu", Environment(), 1.0)
    assert runs == [kind] and timing.reference.kind == kind
    request = PhasesRequest(Target.of(TINY).to_dict(), conditions, 1.0, ("latency",))
    known = {"gpu": 3.0, "gpu.kernels": 0.5}
    monkeypatch.setattr(measure_module, "_fastest_known", lambda key, fastest_ms: known[key])
    found = measure_module._measurement(Memory(1), request, PhasesAnswer(None, timing))
    assert found.quiet_reference_ms == {"network": 3.0, "kernels": 0.5}[kind]
