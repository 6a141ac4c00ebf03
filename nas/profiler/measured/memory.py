"""Peak memory of a run: a forward, or a training step.

A training step is measured when the optimizer has its moments, so the second one counts, and so it
is with a run that compiles or captures something first. With `torch.compile` on a CPU, what the
compiler keeps of the network is in the process too and is counted.

CUDA: the most bytes that torch's allocator had handed out at one time during the forward. Included
are weights, buffers, the input, activations and workspaces (cuBLAS and cuDNN take theirs from the
same allocator). That of cuBLAS is the same for every network, and each stream that multiplies
matrices keeps one: `workspace_bytes` tells its size, for who compares small networks. A plain run
has one stream, a CUDA graph another for its capture. Not included are the CUDA context with its
loaded kernels (some hundred MB per process) and memory that torch caches unused.

CPU: the highest resident set of the process during the forward, minus its resident set before input
and model were built, both without mapped files. Included are weights, buffers, the input,
activations and workspaces. Not included are what importing torch takes and the code of libraries,
which the system shares and can drop. Freed memory goes back to the system at once while this is
measured: what the GNU C library would keep for later use differs from process to process and can be
as much as the network needs. (With another C library, what it keeps is counted.) The kernel adds up
resident pages core by core in steps, so the number is good to about 128 KiB per core.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

_M_MMAP_THRESHOLD = -3  # of malloc.h
_MMAP_THRESHOLD = 128 * 1024  # bytes; the value at the start, which grows up to 32 MiB with use unless it is set


def peak_bytes(
    prepare: Callable[[], Callable[[], object]], device: torch.device, warm: bool = False, captured: bool = False
) -> int:
    """Returns the peak memory of one run, in bytes.

    On a CPU this slows down allocation for the rest of the process, and memory that the process
    freed before may hide some of what the forward takes: call it in a fresh process of its own.

    Args:
        prepare: Builds model and input and returns the run, which provides eval and inference mode.
        device: Where the run computes.
        warm: Whether the second run is the one that counts.
        captured: Whether the run is a CUDA graph, of which what was handed out since
            `nas.profiler.measured.execution.captured` began to capture it counts.
    """
    if device.type == "cuda":
        run = prepare()
        if warm:
            run()
        torch.cuda.synchronize(device)
        if not captured:
            torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    # CDLL(None), mallopt and malloc_trim: none of them is everywhere.
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        libc.malloc_trim(0)
    before = _resident("VmRSS")
    run = prepare()
    if warm:
        run()
    # Where this is refused, the peak is that of the whole process, building the model included.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    run()
    return _resident("VmHWM") - before


def workspace_bytes(device: torch.device, dtype: torch.dtype) -> int:
    """Returns how much of a GPU's memory cuBLAS takes for a stream when it first multiplies there.

    The stream is a new one, so call it when the peak is known: what it takes it keeps.
    """
    gc.collect()  # of what was measured, which would be freed meanwhile
    before = torch.cuda.memory_allocated(device)
    with torch.cuda.stream(torch.cuda.Stream(device)):  # type: ignore[no-untyped-call]
        square = torch.zeros(16, 16, device=device, dtype=dtype)
        torch.mm(square, square)
    torch.cuda.synchronize(device)
    del square
    return torch.cuda.memory_allocated(device) - before


def _resident(key: str) -> int:
    """`VmRSS` (now) or `VmHWM` (peak) in bytes, less the resident pages of files now."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if " kB" in rest}
        return (kib[key] - kib["RssFile"]) * 1024
    except (OSError, KeyError):
        # The last resort, because on Linux it starts from the peak of the process that started this
        # one.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
