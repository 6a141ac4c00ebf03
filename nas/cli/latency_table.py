"""Tables of layer latencies from the command line: grown here, or exported for another device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nas.architecture import Architecture
from nas.cli.options import seconds
from nas.errors import NasError
from nas.space import SearchSpace

if TYPE_CHECKING:
    from nas.profiler.measured.device import Conditions

FOLDER = Path("profiles")
SAMPLES = 1000  # of a space at another input


def measure_table(
    names: Sequence[str], batches: Sequence[int], options: Mapping[str, Any], max_seconds: float, patience: float
) -> None:
    """Measures the reference networks that this device's table lacks, and writes
    `profiles/reference/<device>.csv`.
    """
    from nas.profiler.measured.references import measure_references

    stderr = Console(stderr=True)
    for batch in batches:
        conditions = _conditions(options, batch)
        conditions.check()
        with stderr.status("") as status:

            def show(name: str, done: int, count: int) -> None:
                status.update(f"measuring {name}, {done + 1} of {count}")

            path = measure_references(FOLDER / "reference", conditions, names, max_seconds, patience, show)
        typer.echo(f"table  {path}")


def grow_table(
    space: str, frames: int | None, size: int | None, time: str, batches: Sequence[int], options: Mapping[str, Any]
) -> None:
    """Times the layers of a space that the table of this device lacks, and writes
    `profiles/<device>.csv`.
    """
    limit = seconds(time)
    for batch in batches:
        _grow(_architectures(space, frames, size), _conditions(options, batch), limit)


def _conditions(options: Mapping[str, Any], batch: int) -> Conditions:
    from nas.profiler.measured.device import Conditions, available_cores, resolve_device

    fixed = {
        **options,
        "device": str(resolve_device(options["device"])),
        "threads": available_cores() if options["threads"] is None else options["threads"],
    }
    return Conditions(**fixed, batch=batch)


def _grow(what: SearchSpace | Iterable[Architecture], conditions: Conditions, limit: float) -> None:
    from nas.profiler.tables.growth import grow
    from nas.profiler.tables.table import Row, Table

    table = Table.find(conditions, FOLDER)
    path = FOLDER / f"{table.device}.csv"
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("measuring", total=limit)
        begin = monotonic()

        def show(row: Row) -> None:
            known = f"{len(table.layers)} layers, {len(table.networks)} networks, last: {row.piece.op}"
            bar.update(task, completed=min(limit, monotonic() - begin), description=known)

        new = grow(what, table, path, conditions, max_seconds=limit, progress=show)
    typer.echo(f"{new} new lines; {len(table.layers)} layers and {len(table.networks)} networks are in {path}")


def write_parts(space: str, frames: int | None, size: int | None, folder: Path) -> None:
    """Writes the layers of a space as ONNX files, and the list that another device fills in as
    `layers.csv`.
    """
    from nas.profiler.tables.remote import SAMPLES as EXPORTED
    from nas.profiler.tables.remote import export_parts, write_onnx
    from nas.profiler.tables.table import read_lines, read_rows

    if folder.exists() and not folder.is_dir():
        raise NasError(f"onnx-out {str(folder)!r} is a file; allowed: a folder")
    folder.mkdir(parents=True, exist_ok=True)
    what = _architectures(space, frames, size, EXPORTED)
    what = what if isinstance(what, SearchSpace) else list(what)
    file = folder / "layers.csv"
    if file.exists() and any(read_rows(read_lines(file), f"list {str(file)!r}")):
        raise NasError(f"list {str(file)!r} holds milliseconds already; allowed: another folder, or moving it away")
    listed = export_parts(what, file)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("writing ONNX files", total=len(listed))
        _, skipped = write_onnx(what, folder, progress=lambda piece: bar.advance(task))
    for piece, reason in skipped.items():
        typer.echo(f"skipped {piece.key} ({piece.op} {piece.input}), which has no ONNX form: {reason}", err=True)
    typer.echo(
        f"{len(listed) - len(skipped)} files and their list are in {folder}: fill in ms of {file} on the device, "
        f"then nas import-latency {file} --device NAME"
    )


def _architectures(
    space: str, frames: int | None, size: int | None, samples: int = SAMPLES
) -> SearchSpace | Iterable[Architecture]:
    """A space, or samples of it at another input."""
    searched = SearchSpace.load(space)
    if frames is None and size is None:
        return searched
    searched.sample(0).resized(frames, size)  # an input that does not fit is refused before anything begins
    return (searched.sample(seed).resized(frames, size) for seed in range(samples))
