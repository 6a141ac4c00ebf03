"""Peak memory of a forward.

CUDA: the most bytes that torch's allocator had handed out at one time during the forward. Included are weights,
buffers, the input, activations and workspaces (cuBLAS and cuDNN take theirs from the same allocator). Not included
are the CUDA context with its loaded kernels (some hundred MB per process) and memory that torch caches unused.

CPU: the highest resident set of the process during the forward, minus its resident set before input and model were
built, both without mapped files. Included are weights, buffers, the input, activations, workspaces, and memory
that the C library keeps when the forward frees it (which varies by some percent from process to process). Not
included are what importing torch takes, what building the model freed again, and the code of libraries, which the
system shares and can drop.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch


def resident_bytes() -> int:
    """Returns the resident set of this process without mapped files and freed memory, in bytes."""
    _trim()
    return _resident("VmRSS")


def peak_bytes(run: Callable[[], object], device: torch.device, baseline: int) -> int:
    """Returns the peak memory of one call of `run`, in bytes.

    Args:
        run: One forward; the caller provides eval and inference mode.
        device: Where `run` computes.
        baseline: `resident_bytes()` before input and model were built; of no account on CUDA.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    _trim()
    _reset_peak()
    run()
    return _resident("VmHWM") - baseline


def _trim() -> None:
    """Hands freed memory back to the system: building a model leaves up to a third of its size behind."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # not the GNU C library
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> None:
    """Sets the peak of the resident set to its present size; where that is refused, building the model counts too."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _resident(key: str) -> int:
    """`VmRSS` (now) or `VmHWM` (peak) in bytes, less the resident pages of files now."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if " kB" in rest}
        return (kib[key] - kib["RssFile"]) * 1024
    except (OSError, KeyError):
        # The last resort, because on Linux it starts from the peak of the process that started this one.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
