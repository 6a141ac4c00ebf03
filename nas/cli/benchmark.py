"""`nas benchmark`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from nas.cli.completion import MODEL, folders
from nas.cli.options import AllowOutside, Device, MaxSeconds, Threads
from nas.cli.progress import progress_bar
from nas.trained.files import check_model
from nas.units import MISSING, number, quantity

if TYPE_CHECKING:
    from nas.deployment.benchmark import Benchmark


def benchmark_command(
    model: Annotated[Path, typer.Argument(help="Folder of a trained network.", autocompletion=folders(MODEL))],
    data: Annotated[
        str | None, typer.Option(help="Labelled videos to take accuracies of; random clips by default.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which clips: val or test.")] = "val",
    device: Device = "auto",
    threads: Threads = None,
    max_seconds: MaxSeconds = 10.0,
    decoders: Annotated[int | None, typer.Option(help="Threads that decode; one per core by default.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    allow_outside: AllowOutside = False,
) -> None:
    """Run a trained network in torch, compiled, in ONNX Runtime and in OpenVINO, side by side.

    What is installed takes part. Times are of one clip, all runtimes in turn, and `ratio` is that
    to torch in the same turn; memory is that of a fresh process, and what differs are logits.

    Example: `nas benchmark runs/best --data clips/`
    """
    check_model(model)
    from nas.data.datasets import check_source, open_data

    if data is not None:
        check_source(data)
    from nas.deployment.benchmark import benchmark
    from nas.profiler.measured.device import available_cores
    from nas.trained.folder import load_model

    console = Console(stderr=as_json)
    labelled = None
    if data is not None:
        seed = load_model(model, "cpu").record.provenance.seed or 0
        labelled = open_data(data, seed=seed, allow_outside=allow_outside)
    with progress_bar(console, "running in every runtime") as progress:
        done = benchmark(
            model,
            labelled,
            split=split,
            device=device,
            threads=threads,
            max_seconds=max_seconds,
            workers=decoders or available_cores(),
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(done.to_dict(), allow_nan=False))
        return
    console.print(_table(done))
    notes = [", ".join(f"{row.runtime} {row.version}" for row in done.rows)]
    notes += [f"{name} left out: {reason}" for name, reason in done.skipped.items()]
    notes += [f"clip left out: {each.reason}" for each in done.unreadable]
    notes += [f"disturbed while it was timed: {flag}" for flag in done.flags]
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _share(difference: float | None) -> str:
    if difference is None:
        return "no number"
    return f"{difference:.1e}" if difference else "0"


def _table(done: Benchmark) -> Table:
    rows = done.rows
    devices = list(dict.fromkeys(row.device for row in rows))
    title = f"{rows[0].latency_ms.n} turns on {', '.join(devices)}; differences on {done.clips}"
    # Narrow enough for 80 columns with accuracies and their errors.
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    accuracies = rows[0].accuracy is not None
    for column in (
        "runtime",
        "on disk",
        *["accuracy"] * accuracies,
        "ms p50",
        "ms p90",
        "ratio",
        "memory",
        "differs",
    ):
        table.add_column(column, justify="left" if column == "runtime" else "right")
    for row in rows:
        p90 = row.latency_ms.p90
        table.add_row(
            row.runtime,
            quantity(row.file_bytes, "B"),
            *[str(row.accuracy)] * accuracies,
            number(row.latency_ms.median),
            MISSING if p90 is None else number(p90),
            f"{row.ratio:.2f}",
            quantity(row.peak_memory_bytes, "B"),
            _share(row.difference),
        )
    return table
