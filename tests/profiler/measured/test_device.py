from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.errors import NasError
from nas.profiler.measured import device as device_module
from nas.profiler.measured.device import (
    Conditions,
    available_cores,
    cpu_slug,
    device_name,
    gpu_slug,
    resolve_device,
    resolve_dtype,
)

CPU = torch.device("cpu")


def x86(name: str) -> str:
    core = f"cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: {name}\nstepping\t: 1\n"
    return f"processor\t: 0\n{core}\nprocessor\t: 1\n{core}"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("AMD EPYC 9B14 96-Core Processor", "epyc-9b14"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "xeon-platinum-8481c"),
        ("13th Gen Intel(R) Core(TM) i7-13700K", "core-i7-13700k"),
        ("AMD Ryzen 7 PRO 5850U with Radeon Graphics", "ryzen-7-pro-5850u"),
        # No model number in the name: family and model tell a Genoa from a Milan.
        ("AMD EPYC", "epyc-25-17"),
        ("Intel(R) Xeon(R) Processor @ 2.60GHz", "xeon-25-17"),
        ("Intel(R) CPU @ 2.60GHz", "cpu-25-17"),
    ],
)
def test_cpu_slug_x86(name: str, slug: str) -> None:
    assert cpu_slug(x86(name)) == slug


def test_cpu_slug_arm_has_no_model_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    text = "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0c\n"
    assert cpu_slug(text) == "aarch64-0x41-0xd0c"


def test_cpu_slug_without_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert cpu_slug("") == "arm"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "h100-sxm-mig-1g-10gb"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm4-80gb"),
        ("Tesla V100-SXM2-16GB", "v100-sxm2-16gb"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
    ],
)
def test_gpu_slug(name: str, slug: str) -> None:
    assert gpu_slug(name) == slug


def test_device_name_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "system_file", lambda path: x86("AMD EPYC 9B14 96-Core Processor"))
    monkeypatch.setattr(device_module, "available_cores", lambda: 4)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    assert device_name(CPU, "fp32", 1, 4) == "epyc-9b14-4c.torch2.13.fp32.b1.t4"


def test_device_name_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch, "__version__", "2.11.0+cu130")
    assert device_name(torch.device("cuda:0"), "bf16", 1, 16) == "h100-sxm.cuda13.0.torch2.11.bf16.b1"


@pytest.mark.parametrize(
    ("options", "suffix"),
    [
        ({}, "bf16.b1.t4"),
        ({"autocast": True}, "bf16.b1.t4.amp"),
        ({"channels_last_3d": True, "compile": True}, "bf16.b1.t4.cl3d.compile"),
        ({"train": "AdamW"}, "bf16.b1.t4.train-adamw"),
        ({"runtime": "onnx"}, "bf16.b1.t4.onnx1.31"),
        ({"cuda_graph": True}, "bf16.b1.t4.graph"),
    ],
)
def test_device_name_says_what_options_changed(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], suffix: str
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: "1.31.1")
    name = Conditions("cpu", "bf16", 1, 4, **options).name
    assert name.split(".", 3)[3] == suffix


def test_pin_prefers_physical_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six hardware threads on three cores, numbered as Linux does: 0 and 3, 1 and 4, 2 and 5 are
    siblings.
    """
    bound: list[list[int]] = []
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 3, 4, 5}, raising=False)
    monkeypatch.setattr("os.sched_setaffinity", lambda pid, cores: bound.append(cores), raising=False)
    siblings = {
        f"/sys/devices/system/cpu/cpu{i}/topology/thread_siblings_list": f"{i % 3},{i % 3 + 3}" for i in range(6)
    }
    monkeypatch.setattr(device_module, "system_file", siblings.__getitem__)
    monkeypatch.setattr(device_module, "_busy_shares", dict)
    # Thread 5 is the second of its core, but 2 is not ours.
    assert [device_module.pin(n) for n in (1, 2, 3, 5, 6)] == [[0], [0, 1], [0, 1, 5], [0, 1, 3, 4, 5], None]
    assert len(bound) == 4
    # Of cores beside a GPU, if they are enough.
    assert [device_module.pin(n, near={1, 2, 4, 5}) for n in (1, 3, 4)] == [[1], [1, 4, 5], [0, 1, 3, 5]]
    # Core 0 is busy now; a tenth of core 1 is what every system does.
    monkeypatch.setattr(device_module, "_busy_shares", lambda: {0: 0.9, 1: 0.05})
    assert device_module.pin(1) == [1]


def test_launching_takes_a_few_cores_beside_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 threads four are enough where a GPU computes."""
    bound: list[tuple[int, set[int]]] = []
    threads: list[int] = []
    monkeypatch.setattr(device_module, "near_cores", lambda device: {8, 9, 10, 11})

    def pin(count: int, near: set[int]) -> list[int]:
        bound.append((count, near))
        return [8]

    monkeypatch.setattr(device_module, "pin", pin)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    assert device_module.bind(torch.device("cuda:1"), 64) == [8]
    device_module.bind(torch.device("cpu"), 64)
    assert bound == [(4, {8, 9, 10, 11}), (64, set())] and threads == [4, 64]


@pytest.mark.parametrize(
    ("gpus", "name", "expected"),
    [
        (0, "auto", "cpu"),
        (2, "auto", "cuda:0"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_resolve_device(monkeypatch: pytest.MonkeyPatch, gpus: int, name: str, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert resolve_device(name) == torch.device(expected)


@pytest.mark.parametrize(
    ("gpus", "name", "allowed"),
    [
        (0, "cuda", "auto, cpu"),
        (1, "cuda:1", "auto, cpu, cuda:0"),
        (1, "gpu", "auto, cpu, cuda:0"),
        (0, "", "auto, cpu"),
    ],
)
def test_resolve_device_names_what_is_there(
    monkeypatch: pytest.MonkeyPatch, gpus: int, name: str, allowed: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(NasError, match=re.escape(f"device {name!r} is not available; allowed: {allowed}") + "$"):
        resolve_device(name)


@pytest.mark.parametrize(
    ("visible", "driver", "refused"), [(None, True, True), ("0", True, True), ("", True, False), (None, False, False)]
)
def test_auto_does_not_mean_the_cpu_where_a_gpu_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str | None, driver: bool, refused: bool
) -> None:
    """The driver lists a GPU, torch is a build for CUDA, and CUDA does not come up."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(device_module, "_GPUS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if driver:
        (tmp_path / "0000:01:00.0").mkdir()
    if refused:
        with pytest.raises(NasError, match=r"device 'auto' finds a GPU that torch .* cannot use.*; allowed: a newer"):
            resolve_device("auto")
    else:
        assert resolve_device("auto") == CPU
    assert resolve_device("cpu") == CPU


def test_resolve_dtype() -> None:
    assert [resolve_dtype(name) for name in ("fp32", "bf16", "fp16")] == [torch.float32, torch.bfloat16, torch.float16]
    with pytest.raises(NasError, match="dtype 'float64' is unknown; allowed: fp32, bf16, fp16"):
        resolve_dtype("float64")


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("max 100000", 8), ("", 8), ("1600000 100000", 8)])
def test_available_cores_heeds_the_quota_of_a_container(
    monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(device_module, "system_file", lambda path: quota)
    assert available_cores() == cores
