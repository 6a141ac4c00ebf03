"""Latencies that another device measures by itself, such as a phone: out as ONNX files and a list,
back as a list.

`export_parts` writes a CSV file with a line for every layer and network, the columns of a latency
table with `ms`, `error` and `runs` left empty; `export_onnx` writes what each line is about as
`<key>.onnx`. On the device every file is timed with whatever runtime it has, `ms` is filled in, and
`import_latency` makes a table of it. A table that holds some whole networks as well predicts with a
fitted overhead and an interval that is known, so export about thirty of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from nas.architecture import Architecture, Part
from nas.errors import NasError, brief
from nas.models.network import build, build_part, part_inputs
from nas.profiler.measured.execution import write_onnx
from nas.profiler.tables.growth import NETWORKS
from nas.profiler.tables.rows import Workload, network_workload, part_workloads, read_lines, read_rows, write_rows
from nas.profiler.tables.table import Table
from nas.profiler.target import Target
from nas.resources import replacing
from nas.space import SearchSpace

SAMPLES = 200  # of a space: their layers are exported


Made = tuple[nn.Module, tuple[torch.Tensor, ...]]  # a module and its arguments


def _layer(part: Part, batch: int) -> Made:
    return build_part(part), part_inputs(part, torch.randn, batch)


def _network(architecture: Architecture, batch: int) -> Made:
    clips, _ = Target.of(architecture).example(batch=batch)
    return build(architecture), clips


def _listed(
    what: SearchSpace | Iterable[Architecture], networks: int, batch: int
) -> dict[str, tuple[Workload, Callable[[], Made]]]:
    """Every different layer, and the first networks, by key: what it is, and how to make it."""
    architectures = [what.sample(seed) for seed in range(SAMPLES)] if isinstance(what, SearchSpace) else list(what)
    found: dict[str, tuple[Workload, Callable[[], Made]]] = {}
    for architecture in architectures:
        for part, workload in zip(architecture.parts(), part_workloads(architecture), strict=True):
            found.setdefault(workload.key, (workload, partial(_layer, part, batch)))
    for architecture in architectures[:networks]:
        workload = network_workload(architecture)
        found.setdefault(workload.key, (workload, partial(_network, architecture, batch)))
    return found


def export_parts(
    what: SearchSpace | Iterable[Architecture], path: str | Path, *, networks: int = NETWORKS
) -> list[Workload]:
    """Writes the list of what a device should time, with empty columns for its answers.

    Args:
        what: Architectures, or a space, of which 200 samples are taken.
        path: The CSV file.
        networks: How many of the first architectures are listed as wholes, too.

    Returns:
        What is listed.
    """
    listed = [workload for workload, _ in _listed(what, networks, 1).values()]
    with open(path, "w", newline="", encoding="utf-8") as file:
        write_rows(file, ((workload, "", "", "") for workload in listed))
    return listed


def export_onnx(
    what: SearchSpace | Iterable[Architecture],
    folder: str | Path,
    *,
    networks: int = NETWORKS,
    batch: int = 1,
    progress: Callable[[Workload], None] | None = None,
) -> tuple[list[Path], dict[Workload, str]]:
    """Writes one ONNX file, `<key>.onnx`, for every line of `export_parts` that is not there yet.

    Weights are random: they do not change how long a layer takes. Layers take a map (batch, T, H,
    W, C), networks a clip (batch, C, T, H, W), in fp32.

    Args:
        what: As for `export_parts`.
        folder: Made where it is missing.
        networks: As for `export_parts`.
        batch: Clips.
        progress: Called after each line, whether its file was written, is there already or cannot
            be written.

    Returns:
        The new files, and what the exporter of this torch cannot write, with its reason in one
        line.

    Raises:
        NasError: The packages for it are not installed.
        OSError: A file cannot be written.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise NasError(
            f"ONNX files need {' and '.join(missing)}; allowed once installed: pip install 'video-nas[onnx]'"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    skipped: dict[Workload, str] = {}
    for key, (workload, make) in _listed(what, networks, batch).items():
        path = folder / f"{key}.onnx"
        if not path.exists():
            module, arguments = make()
            try:
                with replacing(path) as draft:
                    write_onnx(module, arguments, draft)
            except OSError:  # of the folder, not of the layer
                raise
            except Exception as error:  # the exporter raises types of many packages
                skipped[workload] = _reason(error)
            else:
                written.append(path)
        if progress:
            progress(workload)
    return written, skipped


def _reason(error: BaseException) -> str:
    """First line of what an error began with: the exporter wraps it in a page about how to report
    it.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def import_latency(path: str | Path, device: str) -> Table:
    """Makes a table of the list that a device has filled in; lines without `ms` are passed over.

    Args:
        path: The CSV file of `export_parts`, with milliseconds in `ms` and, where known, `error` (a
            share of `ms`) and `runs`.
        device: Name for the device, runtime and precision, such as
            `pixel-8.onnxruntime1.20.fp16.b1.t4`.

    Raises:
        NasError: The file cannot be read, a line is not right (with its number), the same layer has
            two different lines, nothing is filled in, or the device's name does not suit a file
            name.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", device):
        raise NasError(
            f"device {brief(device)} is not allowed; allowed: a name of up to 100 letters, digits, dots, - and _"
        )
    where = f"list {str(path)!r}"
    table = Table(device)
    lines: dict[str, int] = {}
    for i, row in read_rows(read_lines(path), where):
        first = lines.setdefault(row.workload.key, i)
        if first != i and not math.isclose(table.rows[row.workload.key].ms, row.ms):
            raise NasError(
                f"{where}, line {i}: ms {row.ms:g} of {row.workload.key!r} differs from that of line {first}; "
                f"allowed: one line for each layer"
            )
        table.add(row)
    if not table.rows:
        raise NasError(f"{where} has no milliseconds; allowed: a number in column ms for at least one line")
    return table
