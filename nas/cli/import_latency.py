"""`nas import-latency`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_latency_command(
    file: Annotated[Path, typer.Argument(help="The list of layers, with milliseconds filled in.")],
    device: Annotated[
        str, typer.Option(help="Name of device, runtime and precision, such as pixel-8.onnxruntime1.20.fp16.b1.t4.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of latency tables.")] = Path("profiles"),
) -> None:
    """Make a latency table of what another device has measured of the layers of `nas profile
    --space … --onnx-out`.

    Example: `nas import-latency parts/layers.csv --device pixel-8.onnxruntime1.20.fp16.b1.t4`
    """
    from nas.profiler.tables.remote import import_latency
    from nas.profiler.tables.table import Table

    table = import_latency(file, device)
    path = out / f"{device}.csv"
    if path.is_file():
        table = Table.load(path).merged(table)
    table.save(path)
    typer.echo(f"{len(table.layers)} layers and {len(table.networks)} networks are in {path}")
