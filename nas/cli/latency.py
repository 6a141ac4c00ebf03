"""`nas latency`: tables of layer latencies, grown here or brought from another device."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nas.cli.completion import networks, spaces
from nas.cli.options import (
    Autocast,
    Batches,
    ChannelsLast,
    Compiled,
    CudaGraph,
    Device,
    Dtype,
    MaxSeconds,
    Patience,
    Runtime,
    Threads,
    Train,
    batch_sizes,
)
from nas.errors import Interrupted, NasError
from nas.units import seconds

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.profiler.measured.device import Conditions
    from nas.profiler.tables.rows import Row, Workload
    from nas.space import SearchSpace

FOLDER = Path("profiles")
SAMPLES = 1000  # of a space at another input

Space = Annotated[str, typer.Argument(help="A search space's name or file.", autocompletion=spaces)]
Frames = Annotated[int | None, typer.Option(help="Frames of the clips; those of the space by default.", min=1)]
Size = Annotated[int | None, typer.Option(help="Height and width of the clips; those of the space by default.", min=1)]

latency = typer.Typer(help="Tables of layer latencies, from which the latency of a network is predicted.")


@latency.command("grow")
def grow_command(
    space: Space,
    time: Annotated[str, typer.Option(help="Time to measure, such as 30m.")] = "10m",
    frames: Frames = None,
    size: Size = None,
    device: Device = "auto",
    dtype: Dtype = "fp32",
    batch: Batches = None,
    threads: Threads = None,
) -> None:
    """Time the layers of a search space that this device's table lacks: profiles/DEVICE.csv grows.

    Example: `nas latency grow hybrid --time 30m`; run it again to go on
    """
    limit, batches = seconds(time), batch_sizes(batch) or [1]
    _architectures(space, frames, size)  # one that is none is refused before torch is loaded
    from nas.profiler.measured.device import Conditions

    for each in batches:
        _grow(_architectures(space, frames, size), Conditions.here(device, dtype, each, threads), limit)


@latency.command("export")
def export_command(
    space: Space,
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    frames: Frames = None,
    size: Size = None,
) -> None:
    """Write the layers of a search space as ONNX files, and a list for another device to fill in.

    Example: `nas latency export hybrid --out layers`
    """
    if out.exists() and not out.is_dir():
        raise NasError(f"out {str(out)!r} is a file; allowed: a folder")
    _architectures(space, frames, size)
    from nas.profiler.tables.remote import SAMPLES as EXPORTED
    from nas.profiler.tables.remote import export_onnx, export_parts
    from nas.profiler.tables.rows import read_lines, read_rows
    from nas.space import SearchSpace

    what = _architectures(space, frames, size, EXPORTED)
    what = what if isinstance(what, SearchSpace) else list(what)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "layers.csv"
    if file.exists() and any(read_rows(read_lines(file), f"list {str(file)!r}")):
        raise NasError(f"list {str(file)!r} holds milliseconds already; allowed: another folder, or moving it away")
    listed = export_parts(what, file)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("writing ONNX files", total=len(listed))
        _, skipped = export_onnx(what, out, progress=lambda _: bar.advance(task))
    for layer, reason in skipped.items():
        typer.echo(f"skipped {layer.key} ({layer.op} {layer.input}), which has no ONNX form: {reason}", err=True)
    typer.echo(
        f"{len(listed) - len(skipped)} files and their list are in {out}: fill in ms of {file} on the device, "
        f"then nas latency import {file} --device NAME"
    )


@latency.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="The list of layers, with milliseconds filled in.")],
    device: Annotated[
        str, typer.Option(help="Name of device, runtime and precision, such as pixel-8.onnxruntime1.20.fp16.b1.t4.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of latency tables.")] = FOLDER,
) -> None:
    """Make a latency table of what another device measured of the files of `nas latency export`.

    Example: `nas latency import layers/layers.csv --device pixel-8.onnxruntime1.20.fp16.b1.t4`
    """
    if not file.is_file():
        raise NasError(f"file {str(file)!r} is no file; allowed: the list of layers that nas latency export wrote")
    from nas.profiler.tables.remote import import_latency
    from nas.profiler.tables.table import Table

    table = import_latency(file, device)
    path = out / f"{device}.csv"
    if path.is_file():
        table = Table.load(path).merged(table)
    table.save(path)
    typer.echo(f"{len(table.layers)} layers and {len(table.networks)} networks are in {path}")


@latency.command("references")
def references_command(
    networks: Annotated[
        list[str] | None, typer.Argument(help="Reference networks; all by default.", autocompletion=networks)
    ] = None,
    max_seconds: MaxSeconds = 10.0,
    patience: Patience = 20.0,
    device: Device = "auto",
    dtype: Dtype = "fp32",
    batch: Batches = None,
    threads: Threads = None,
    autocast: Autocast = False,
    channels_last: ChannelsLast = False,
    compiled: Compiled = False,
    train: Train = None,
    runtime: Runtime = "torch",
    cuda_graph: CudaGraph = False,
) -> None:
    """Measure the reference networks that this device's table lacks: profiles/reference/DEVICE.csv.

    Example: `nas latency references --threads 4`; `nas list --measured` prints the tables
    """
    from nas.profiler.measured.device import Conditions
    from nas.profiler.measured.references import measure_references

    for each in batch_sizes(batch) or [1]:
        conditions = Conditions.here(
            device,
            dtype,
            each,
            threads,
            autocast=autocast,
            channels_last_3d=channels_last,
            compile=compiled,
            train=train,
            runtime=runtime,
            cuda_graph=cuda_graph,
        )
        with Console(stderr=True).status("") as status:

            def show(name: str, done: int, count: int) -> None:
                status.update(f"measuring {name}, {done + 1} of {count}")

            path = measure_references(FOLDER / "reference", conditions, networks or (), max_seconds, patience, show)
        typer.echo(f"table  {path}")


def _grow(what: SearchSpace | Iterable[Architecture], conditions: Conditions, limit: float) -> None:
    from nas.profiler.tables.growth import grow
    from nas.profiler.tables.table import Table

    table = Table.find(conditions, FOLDER)
    path = FOLDER / f"{table.device}.csv"
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("measuring", total=limit)
        begin = monotonic()

        def show(row: Row) -> None:
            words = f"{len(table.layers)} layers, {len(table.networks)} networks, last: {row.workload.op}"
            bar.update(task, completed=min(limit, monotonic() - begin), description=words)

        def tell(workload: Workload, reason: str) -> None:
            bar.console.print(f"skipped {workload.op} {workload.input} {workload.config}: {reason}", highlight=False)

        try:
            new = grow(what, table, path, conditions, max_seconds=limit, progress=show, skipped=tell)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; what was timed is in {path}; allowed: the same command again, which goes on"
            ) from None
    typer.echo(f"{new} new rows; {len(table.layers)} layers and {len(table.networks)} networks are in {path}")


def _architectures(
    space: str, frames: int | None, size: int | None, samples: int = SAMPLES
) -> SearchSpace | Iterable[Architecture]:
    """A space, or samples of it at another input."""
    from nas.space import SearchSpace

    found = SearchSpace.load(space)
    if frames is None and size is None:
        return found
    found.sample(0).resized(frames, size)  # an input that does not fit is refused before anything begins
    return (found.sample(seed).resized(frames, size) for seed in range(samples))
