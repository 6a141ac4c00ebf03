"""What a measurement depends on: the hardware, the software and the load of this machine."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from pydantic import TypeAdapter, ValidationError
from torch import device as Device  # the class below has a field of the name torch

from nas.errors import NasError, brief
from nas.profiler.measured.device import available_cores, cpu_model, system_file
from nas.profiler.measured.gpu_state import GpuState


@dataclass(frozen=True)
class Rounding:
    """Whether products in fp32 may be rounded to TF32 on a GPU."""

    convolution: bool
    matmul: bool

    @classmethod
    def now(cls) -> Self:
        """Asks torch's newer switches: the older ones, `allow_tf32`, raise once a program has used
        these.
        """
        return cls(
            convolution=torch.backends.cudnn.conv.fp32_precision == "tf32",  # type: ignore[attr-defined]
            matmul=torch.backends.cuda.matmul.fp32_precision == "tf32",
        )


@dataclass(frozen=True)
class Environment:
    """Hardware, software and load; None where the system does not say, or a file does not.

    Attributes:
        cpu: The processor's name.
        cores: Cores that the process may use.
        threads: Threads of torch.
        cpu_capability: Vector instructions that torch's kernels use.
        governor: What sets the clock of the cores.
        load_average: Of the last minute.
        torch: Version.
        python: Version.
        os: Name and version.
        gpu: Its product name.
        cuda: Version of CUDA, or of ROCm.
        cudnn: Version.
        tf32: What may be rounded to TF32.
        affinity: Cores that the process was bound to.
        driver: What the driver said after the measurement.
    """

    cpu: str | None = None
    cores: int | None = None
    threads: int | None = None
    cpu_capability: str | None = None
    governor: str | None = None
    load_average: float | None = None
    torch: str | None = None
    python: str | None = None
    os: str | None = None
    gpu: str | None = None
    cuda: str | None = None
    cudnn: int | None = None
    tf32: Rounding | None = None
    affinity: list[int] | None = None
    driver: GpuState | None = None

    @classmethod
    def here(cls, device: Device, threads: int | None = None) -> Self:
        """Returns what a measurement on `device` depends on now.

        Args:
            device: What is measured on.
            threads: Those of torch unless given.
        """
        gpu = device.type == "cuda"
        return cls(
            cpu=cpu_model(system_file("/proc/cpuinfo")),
            cores=available_cores(),
            threads=threads or torch.get_num_threads(),
            cpu_capability=torch.backends.cpu.get_cpu_capability(),
            governor=system_file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
            load_average=os.getloadavg()[0],
            torch=torch.__version__,
            python=platform.python_version(),
            os=platform.platform(),
            gpu=torch.cuda.get_device_name(device) if gpu else None,
            cuda=torch.version.cuda or torch.version.hip if gpu else None,
            cudnn=torch.backends.cudnn.version() if gpu else None,  # type: ignore[no-untyped-call]
            tf32=Rounding.now() if gpu else None,
        )

    @classmethod
    def from_document(cls, document: Any, where: str) -> Self:
        """Reads what `to_document` wrote; keys that are unknown are left out.

        Args:
            document: Plain mappings, lists and numbers.
            where: What holds them, for messages.

        Raises:
            NasError: A value is none that the field can have.
        """
        try:
            return TypeAdapter(cls).validate_python(document)
        except ValidationError as error:
            (first, *_) = error.errors()
            field = ".".join(map(str, ("environment", *first["loc"])))
            message = first["msg"].removeprefix("Input should be ")
            raise NasError(f"{where}, {field} {brief(first['input'])} is not allowed; allowed: {message}") from None

    def to_document(self) -> dict[str, Any]:
        """What is known, as plain mappings, lists and numbers."""
        return {name: value for name, value in asdict(self).items() if value is not None}
