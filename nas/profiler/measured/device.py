"""What is measured on and how: devices and dtypes by name, conditions, the name that keeps
numbers.
"""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, Self

import torch

from nas.errors import NasError
from nas.profiler.measured.disturbance import core_seconds
from nas.profiler.measured.gpu_state import near_cores
from nas.resources import installed_version

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OPTIMIZERS = ("AdamW", "Adam", "SGD", "RMSprop")
RUNTIMES = ("torch", "onnx")
LAUNCHING = 4  # cores of a process whose network a GPU computes: one launches, the others are its helpers'

_GPUS = Path("/proc/driver/nvidia/gpus")

# Words of a product name that tell nothing apart: makers, marketing, clock rates, core counts.
_NOISE = re.compile(
    r"\((?:r|tm)\)|@.*|\bwith\b.*|\S+-core\b|\b\d+th gen\b|"
    r"\b(?:amd|intel|nvidia|geforce|tesla|generation|cpu|processor)\b"
)


@dataclass(frozen=True)
class Conditions:
    """How something is measured. `check` refuses what does not go together; a record may be from
    another machine.

    Attributes:
        device: As `resolve_device` takes it; `resolved` holds the result.
        dtype: `fp32`, `bf16` or `fp16`: of weights and inputs, or what autocast computes in.
        batch: Clips per run.
        threads: Threads on the CPU, each with a core of its own where there are as many.
        autocast: Weights and inputs stay fp32 and `torch.autocast` chooses what is computed in
            `dtype`.
        channels_last_3d: Weights and inputs of five dimensions are laid out with their channels
            last.
        compile: The module goes through `torch.compile`.
        train: The optimizer of a whole training step (one of `OPTIMIZERS`); None measures
            inference.
        runtime: `torch`, or `onnx` for ONNX Runtime on the CPU.
        cuda_graph: The run is captured once and replayed.
    """

    device: str
    dtype: str
    batch: int
    threads: int
    autocast: bool = False
    channels_last_3d: bool = False
    compile: bool = False
    train: str | None = None
    runtime: str = "torch"
    cuda_graph: bool = False

    @classmethod
    def here(
        cls, device: str = "auto", dtype: str = "fp32", batch: int = 1, threads: int | None = None, **options: Any
    ) -> Self:
        """Conditions of this machine, checked.

        Args:
            device: `auto` and `cuda` become the device that they mean.
            dtype: As the attribute.
            batch: As the attribute.
            threads: All cores that this process may use unless given.
            options: The other attributes.

        Raises:
            NasError: As `check` does.
        """
        resolved = str(resolve_device(device))
        conditions = cls(resolved, dtype, batch, available_cores() if threads is None else threads, **options)
        conditions.check()
        return conditions

    def check(self) -> None:
        """Raises a NasError for a value that is unknown or impossible here, and for options that
        exclude each other.
        """
        device = resolve_device(self.device)
        resolve_dtype(self.dtype)
        for name, count in (("batch", self.batch), ("threads", self.threads)):
            if count < 1:
                raise NasError(f"{name} {count} is not allowed; allowed: whole numbers from 1")
        if self.train is not None and self.train not in OPTIMIZERS:
            raise NasError(f"train {self.train!r} is unknown; allowed: {', '.join(OPTIMIZERS)}")
        if self.runtime not in RUNTIMES:
            raise NasError(f"runtime {self.runtime!r} is unknown; allowed: {', '.join(RUNTIMES)}")
        if self.autocast and self.dtype == "fp32":
            raise NasError("autocast to dtype 'fp32' changes nothing; allowed: bf16, fp16")
        if self.cuda_graph and (device.type != "cuda" or self.train):
            raise NasError(f"cuda_graph on {device} is not allowed; allowed: inference on a CUDA device")
        if self.runtime == "onnx":
            if device.type != "cpu" or self.dtype != "fp32":
                raise NasError(f"runtime 'onnx' with {device} and {self.dtype} is not allowed; allowed: cpu and fp32")
            for option in ("channels_last_3d", "compile", "train"):
                if getattr(self, option):
                    raise NasError(f"runtime 'onnx' with {option} is not allowed; allowed: inference without options")
            for package in ("onnx", "onnxruntime", "onnxscript"):
                if not installed_version(package, otherwise=""):
                    raise NasError(
                        f"runtime 'onnx' needs {package}, which is not installed; allowed: torch, or onnx after "
                        f"pip install 'video-nas[onnx]'"
                    )

    @property
    def resolved(self) -> torch.device:
        """The torch device."""
        return resolve_device(self.device)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The torch dtype."""
        return resolve_dtype(self.dtype)

    @property
    def options(self) -> list[str]:
        """What the device's name has to say beyond device, dtype, batch and threads."""
        named = {
            "amp": self.autocast,
            "cl3d": self.channels_last_3d,
            "compile": self.compile,
            f"train-{self.train}".lower(): self.train,
            "onnx" + ".".join(installed_version("onnxruntime", otherwise="").split(".")[:2]): self.runtime == "onnx",
            "graph": self.cuda_graph,
        }
        return [name for name, chosen in named.items() if chosen]

    @property
    def name(self) -> str:
        """The name under which what is measured under these conditions is kept."""
        return device_name(self.resolved, self.dtype, self.batch, self.threads, self.options)


def resolve_device(name: str) -> torch.device:
    """Returns the device that `name` means: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or
    `cuda:<index>`.

    Raises:
        NasError: There is no such device here.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto" and not gpus and torch.version.cuda and _driver_has_gpus():
        raise NasError(
            f"device 'auto' finds a GPU that torch {torch.__version__} cannot use, perhaps for a driver too old for "
            f"CUDA {torch.version.cuda}; allowed: a newer driver, a torch for this one, or cpu"
        )
    available = ["cpu", *(f"cuda:{i}" for i in range(gpus))]
    wanted = {"auto": available[min(gpus, 1)], "cuda": "cuda:0"}.get(name, name)
    if wanted not in available:
        raise NasError(f"device {name!r} is not available; allowed: auto, {', '.join(available)}")
    return torch.device(wanted)


def _driver_has_gpus() -> bool:
    """Whether NVIDIA's driver has a GPU that this process is not kept from."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (visible is None or visible not in ("", "-1")) and any(_GPUS.glob("*"))


def use_device(device: torch.device) -> None:
    """Makes a GPU the one that this process means where no device is named: events and graphs are
    of the current device, whatever the tensors' is.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)


def resolve_dtype(name: str) -> torch.dtype:
    """Returns the torch dtype called `name`.

    Raises:
        NasError: No such name.
    """
    if name not in DTYPES:
        raise NasError(f"dtype {name!r} is unknown; allowed: {', '.join(DTYPES)}")
    return DTYPES[name]


def device_name(device: torch.device, dtype: str, batch: int, threads: int, options: Iterable[str] = ()) -> str:
    """Returns the name under which what was measured here is kept.

    Args:
        device: As `resolve_device` returns it.
        dtype: Name of the dtype: `fp32`, `bf16`, `fp16`.
        batch: Clips per forward.
        threads: Threads of the forward; part of the name on a CPU only.
        options: What else changes the numbers, as `Conditions.options` lists it.

    Returns:
        For example `h100-sxm.cuda13.0.torch2.11.bf16.b1` or
        `epyc-9b14-4c.torch2.13.fp32.b1.t4.compile`.
    """
    torch_version = "torch" + ".".join(torch.__version__.split(".")[:2])
    if device.type == "cuda":
        runtime = f"cuda{torch.version.cuda}" if torch.version.cuda else f"rocm{torch.version.hip}"
        parts = [gpu_slug(torch.cuda.get_device_name(device)), runtime, torch_version, dtype, f"b{batch}"]
    else:
        cpu = f"{cpu_slug(system_file('/proc/cpuinfo'))}-{available_cores()}c"
        parts = [cpu, torch_version, dtype, f"b{batch}", f"t{threads}"]
    return ".".join([*parts, *options])


def gpu_slug(name: str) -> str:
    """Shortens a GPU's product name: `NVIDIA A100-SXM4-80GB` is `a100-sxm4-80gb`."""
    # The SXM board is the one H100 whose product name does not say which board it is.
    return _slug(name).replace("h100-80gb-hbm3", "h100-sxm")


def cpu_slug(cpuinfo: str) -> str:
    """Shortens a CPU's product name: `AMD EPYC 9B14 96-Core Processor` is `epyc-9b14`.

    A name without a model number (hypervisors hide it) or no name at all (ARM) is followed by the
    numbers that identify the core: family and model, or implementer and part.

    Args:
        cpuinfo: The text of /proc/cpuinfo; empty where there is none.
    """
    fields = _fields(cpuinfo)
    slug = _slug(_model(fields)) or "cpu"
    if "model name" in fields and any(char.isdigit() for char in slug):
        return slug
    keys = ("cpu family", "model", "CPU implementer", "CPU part")
    return "-".join([slug, *(fields[key] for key in keys if key in fields)])


def available_cores() -> int:
    """Returns how many cores this process may use: its affinity, or the quota of its cgroup where
    that is less.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = system_file("/sys/fs/cgroup/cpu.max").partition(" ")
    return min(cores, math.ceil(int(quota) / int(period))) if quota.isdigit() else cores


def memory_bytes(device: torch.device) -> int:
    """Returns the memory of a GPU, or the main memory that this process may use: the machine's, or
    its cgroup's.
    """
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limit = system_file("/sys/fs/cgroup/memory.max")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, int(limit)) if limit.isdigit() else total


def bind(device: torch.device, threads: int) -> list[int] | None:
    """Gives this process so many threads, binds it to as many cores and returns their numbers, as
    `pin` does. Where a GPU computes, a few cores beside it launch.
    """
    near = set[int]()
    if device.type == "cuda":
        threads, near = min(threads, LAUNCHING), near_cores(device)
    cores = pin(threads, near)
    torch.set_num_threads(threads)
    return cores


def pin(threads: int, near: Collection[int] = ()) -> list[int] | None:
    """Binds this process to as many cores as it computes with, and returns their numbers.

    Those of `near` are taken, if it may use enough of them. No two threads get the same physical
    core while another is free, and the cores that are idle now come first. Call it before torch
    starts its threads, and after everything that asks for `available_cores`.

    Returns:
        None where nothing was bound: the system has no affinity, or fewer cores than threads.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    preferred = [core for core in allowed if core in near]
    allowed = preferred if len(preferred) >= threads else allowed
    if threads > len(allowed):
        return None
    busy = _busy_shares() if threads < len(allowed) else {}
    # In steps of a fifth: less is what every system does now and then.
    chosen = sorted(allowed, key=lambda core: (_sibling_rank(core, allowed), round(5 * busy.get(core, 0.0)), core))[
        :threads
    ]
    os.sched_setaffinity(0, chosen)
    return sorted(chosen)


def _busy_shares(seconds: float = 0.2) -> dict[int, float]:
    """The share of each core that processes use now."""
    ticks = os.sysconf("SC_CLK_TCK")
    before, _ = core_seconds(system_file("/proc/stat"), ticks)
    sleep(seconds)
    after, _ = core_seconds(system_file("/proc/stat"), ticks)
    return {core: (after[core] - before.get(core, 0.0)) / seconds for core in after}


def _sibling_rank(core: int, allowed: list[int]) -> int:
    """How many allowed hardware threads of the same physical core come before this one."""
    siblings = system_file(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")  # such as 0,32 or 0-1
    ranges = [(int(low), int(high or low)) for low, high in re.findall(r"(\d+)(?:-(\d+))?", siblings)]
    return sum(any(low <= other <= high for low, high in ranges) for other in allowed if other < core)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", _NOISE.sub(" ", name.lower())).strip("-")


def cpu_model(cpuinfo: str) -> str:
    """Returns the processor's name in the text of /proc/cpuinfo; where it has none, what Python
    knows.
    """
    return _model(_fields(cpuinfo))


def _model(fields: dict[str, str]) -> str:
    return fields.get("model name") or platform.processor() or platform.machine()


def _fields(cpuinfo: str) -> dict[str, str]:
    """The first value of each key: that of the first core."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def system_file(path: str) -> str:
    """Returns the text of a file of the system; empty where there is none."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
