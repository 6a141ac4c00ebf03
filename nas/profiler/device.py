"""What is measured on: devices and dtypes by name, the name under which numbers are kept, the environment."""

from __future__ import annotations

import math
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

from nas.errors import NasError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Words of a product name that tell nothing apart: makers, marketing, clock rates, core counts.
_NOISE = re.compile(
    r"\((?:r|tm)\)|@.*|\bwith\b.*|\S+-core\b|\b\d+th gen\b|"
    r"\b(?:amd|intel|nvidia|geforce|tesla|generation|cpu|processor)\b"
)


def resolve_device(name: str) -> torch.device:
    """Returns the device that `name` means: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:<index>`.

    Raises:
        NasError: There is no such device here.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    available = ["cpu", *(f"cuda:{i}" for i in range(gpus))]
    wanted = {"auto": available[min(gpus, 1)], "cuda": "cuda:0"}.get(name, name)
    if wanted not in available:
        raise NasError(f"device {name!r} is not available; allowed: auto, {', '.join(available)}")
    return torch.device(wanted)


def resolve_dtype(name: str) -> torch.dtype:
    """Returns the torch dtype called `name`.

    Raises:
        NasError: No such name.
    """
    if name not in DTYPES:
        raise NasError(f"dtype {name!r} is unknown; allowed: {', '.join(DTYPES)}")
    return DTYPES[name]


def device_name(device: torch.device, dtype: str, batch: int, threads: int) -> str:
    """Returns the name under which what was measured here is kept.

    Args:
        device: As `resolve_device` returns it.
        dtype: Name of the dtype: `fp32`, `bf16`, `fp16`.
        batch: Clips per forward.
        threads: Threads of the forward; part of the name on a CPU only.

    Returns:
        For example `h100-sxm.cuda13.0.torch2.11.bf16.b1` or `epyc-9b14-4c.torch2.13.fp32.b1.t4`.
    """
    torch_version = "torch" + ".".join(torch.__version__.split(".")[:2])
    if device.type == "cuda":
        runtime = f"cuda{torch.version.cuda}" if torch.version.cuda else f"rocm{torch.version.hip}"
        return f"{gpu_slug(torch.cuda.get_device_name(device))}.{runtime}.{torch_version}.{dtype}.b{batch}"
    return f"{cpu_slug(_read('/proc/cpuinfo'))}-{available_cores()}c.{torch_version}.{dtype}.b{batch}.t{threads}"


def gpu_slug(name: str) -> str:
    """Shortens a GPU's product name: `NVIDIA A100-SXM4-80GB` is `a100-sxm4-80gb`."""
    # The SXM board is the one H100 whose product name does not say which board it is.
    return _slug(name).replace("h100-80gb-hbm3", "h100-sxm")


def cpu_slug(cpuinfo: str) -> str:
    """Shortens a CPU's product name: `AMD EPYC 9B14 96-Core Processor` is `epyc-9b14`.

    A name without a model number (hypervisors hide it) or no name at all (ARM) is followed by the numbers
    that identify the core: family and model, or implementer and part.

    Args:
        cpuinfo: The text of /proc/cpuinfo; empty where there is none.
    """
    fields = _fields(cpuinfo)
    slug = _slug(_cpu_model(fields)) or "cpu"
    if "model name" in fields and any(char.isdigit() for char in slug):
        return slug
    keys = ("cpu family", "model", "CPU implementer", "CPU part")
    return "-".join([slug, *(fields[key] for key in keys if key in fields)])


def available_cores() -> int:
    """Returns how many cores this process may use: its affinity, or the quota of its cgroup where that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    return min(cores, math.ceil(int(quota) / int(period))) if quota.isdigit() else cores


def environment(device: torch.device) -> dict[str, Any]:
    """Returns what a measurement on `device` depends on, as JSON-able values; None where the system does not say.

    `load_average` is that of the last minute. `tf32` tells whether convolutions and matrix products in fp32
    may be rounded to TF32 on a GPU.
    """
    found: dict[str, Any] = {
        "cpu": _cpu_model(_fields(_read("/proc/cpuinfo"))),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "os": platform.platform(),
    }
    if device.type == "cuda":
        found |= {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda or torch.version.hip,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "tf32": {
                "convolution": torch.backends.cudnn.allow_tf32,
                "matmul": torch.backends.cuda.matmul.allow_tf32,
            },
        }
    return found


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", _NOISE.sub(" ", name.lower())).strip("-")


def _cpu_model(fields: dict[str, str]) -> str:
    return fields.get("model name") or platform.processor() or platform.machine()


def _fields(cpuinfo: str) -> dict[str, str]:
    """The first value of each key: that of the first core."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
