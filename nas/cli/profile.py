"""`nas profile`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from nas.errors import NasError

if TYPE_CHECKING:
    from torch import nn

    from nas.profiler.computed.compare import Comparison
    from nas.profiler.computed.cost import Cost
    from nas.profiler.measured.measure import Measurement
    from nas.profiler.target import Target

TABLES = ("layer", "operator", "module")
WIDTH = 140  # of tables that are written to a file


def profile_command(
    what: Annotated[
        str | None,
        typer.Argument(help="An architecture file, a reference network's name, or package.module:factory."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", help="What a factory's module takes, such as 1x3x16x224x224 or ids=1x77:int64; may repeat."
        ),
    ] = None,
    measure: Annotated[bool, typer.Option(help="Measure latency and memory as well.")] = True,
    compare: Annotated[
        bool, typer.Option("--compare", help="Count with fvcore, ptflops and torch as well, and say why they differ.")
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(help="Rows: layer, operator or module; layers of an architecture and modules of a factory."),
    ] = None,
    depth: Annotated[
        int | None, typer.Option(help="Levels of a path that rows are summed below; readable by default.", min=1)
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Page to write: a treemap of the cost beside the table.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    csv: Annotated[str | None, typer.Option(help="File to write the rows to, with raw numbers; - prints them.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    dtype: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    batch: Annotated[
        list[str] | None, typer.Option(help="Clips per forward; 1,2,4 or several options measure each.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads on the CPU; all of its cores by default.")] = None,
    max_seconds: Annotated[float, typer.Option(help="Time to measure each batch.")] = 10.0,
    autocast: Annotated[bool, typer.Option("--autocast", help="Autocast to the dtype; weights stay fp32.")] = False,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Weights and clips with their channels last.")
    ] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Measure the module through torch.compile.")] = False,
    train: Annotated[str | None, typer.Option(help="Measure a training step with AdamW, Adam, SGD or RMSprop.")] = None,
    runtime: Annotated[str, typer.Option(help="torch, or onnx for ONNX Runtime.")] = "torch",
    cuda_graph: Annotated[bool, typer.Option("--cuda-graph", help="Capture the run once and time its replay.")] = False,
    patience: Annotated[
        float, typer.Option(help="Further seconds in which a disturbed measurement is taken again.", min=0)
    ] = 20.0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a measurement that was disturbed.")] = False,
    space: Annotated[
        str | None, typer.Option(help="Instead of one network: time the layers of this search space for a table.")
    ] = None,
    time: Annotated[str, typer.Option(help="With --space: time to measure, such as 10m.")] = "10m",
    frames: Annotated[int | None, typer.Option(help="With --space: frames of the clips.", min=1)] = None,
    size: Annotated[int | None, typer.Option(help="With --space: height and width of the clips.", min=1)] = None,
    reference_table: Annotated[
        bool,
        typer.Option(
            "--reference-table",
            help="Instead of one network: measure all reference networks for a table of this device.",
        ),
    ] = False,
    onnx_out: Annotated[
        Path | None,
        typer.Option(
            help="With --space: write its layers as ONNX files here, for another device, and measure nothing."
        ),
    ] = None,
) -> None:
    """Show what a network costs, part by part, and how fast it runs here.

    Example: `nas profile vov3d_l --html cost.html`,
    `nas profile mymodels.video:build --input 1x3x16x224x224 --compare`,
    or `nas profile --space hybrid --time 10m` for a table of layer latencies
    """
    batches = _batches(batch or [])
    options: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "threads": threads,
        "autocast": autocast,
        "channels_last_3d": channels_last,
        "compile": compiled,
        "train": train,
        "runtime": runtime,
        "cuda_graph": cuda_graph,
    }
    if space is not None:
        if what is not None or inputs:
            raise NasError(f"network {what or inputs!r} stands beside --space {space}; allowed: one of them")
        from nas.cli.latency_table import grow_table, write_parts

        if onnx_out is not None:
            write_parts(space, frames, size, onnx_out)
        else:
            grow_table(space, frames, size, time, batches or [1], options)
        return
    if reference_table:
        from nas.cli.latency_table import measure_table

        measure_table([] if what is None else [what], batches or [1], options, max_seconds, patience)
        return
    if what is None:
        raise NasError("nothing to profile is named; allowed: a network, or --space and a search space")
    for option, value in (("frames", frames), ("size", size), ("onnx-out", onnx_out)):
        if value is not None:
            raise NasError(f"{option} {str(value)!r} is of no search space; allowed: --{option} beside --space")
    if by is not None and by not in TABLES:
        raise NasError(f"by {by!r} is unknown; allowed: {', '.join(TABLES)}")
    if as_json and csv == "-":
        raise NasError("csv '-' and --json would both be printed; allowed: one of them, or a file for the CSV")
    for name, file in (("html", html), ("csv", Path(csv) if csv and csv != "-" else None)):
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            raise NasError(f"{name} {str(file)!r} cannot be written; allowed: a file in an existing folder")

    from nas.profiler.target import load_target

    target = load_target(what, inputs or [])
    if measure:  # what cannot be measured is refused before anything is counted
        _check(options, batches or [target.batch])
    rows_by = by or ("layer" if target.architecture else "module")
    with Console(stderr=True).status("computing the cost"):
        figures, module = _cost(target, rows_by)
        _ = figures.layers  # counted when first read
    measured = []
    if measure:
        measured = _measured(
            target, batches, {**options, "max_seconds": max_seconds, "patience": patience, "strict": strict}
        )
    comparison = _compared(target, module) if compare else None
    _show(what, target, figures, module, rows_by, depth, measured, comparison, html, as_json, csv)


def _batches(texts: Sequence[str]) -> list[int]:
    numbers = [number.strip() for text in texts for number in text.split(",")]
    for number in numbers:
        if not (number.isascii() and number.isdigit() and int(number)):
            raise NasError(f"batch {number!r} is not allowed; allowed: whole numbers from 1, separated by commas")
    return [int(number) for number in numbers]


def _cost(target: Target, rows_by: str) -> tuple[Cost, nn.Module]:
    """The cost, and the module that it is of: a factory's is made once, an architecture's has no
    weights.
    """
    import torch

    from nas.profiler.computed.cost import cost

    if target.architecture and rows_by != "module":
        return cost(target.architecture), target.build("meta")
    module = target.build("meta" if target.architecture else "cpu")
    # What is no activation keeps its numbers: masks and indices decide what a module does.
    example = {
        entry: entry.tensor(torch.device("meta" if _floating(entry.dtype) else "cpu"), torch.float32)
        for entry in target.inputs
    }
    args = [tensor for entry, tensor in example.items() if entry.name is None]
    kwargs = {entry.name: tensor for entry, tensor in example.items() if entry.name is not None}
    with target.explained():
        return cost(module, *args, **kwargs), module


def _check(options: dict[str, Any], batches: Sequence[int]) -> None:
    from nas.profiler.measured.device import Conditions, available_cores

    threads = available_cores() if options["threads"] is None else options["threads"]
    for batch in batches:
        Conditions(**{**options, "threads": threads}, batch=batch).check()


def _floating(dtype: str | None) -> bool:
    from nas.profiler.target import INPUT_DTYPES

    return dtype is None or bool(INPUT_DTYPES[dtype].is_floating_point)


def _measured(target: Target, batches: Sequence[int], options: dict[str, Any]) -> list[Measurement]:
    from nas.profiler.measured.measure import measure

    taken = []
    with Console(stderr=True).status("") as status:
        for batch in batches or [target.batch]:
            status.update(f"measuring {target.name}, batch {batch}")
            taken.append(measure(target, batch=batch, **options))
    return taken


def _compared(target: Target, module: nn.Module) -> Comparison:
    from nas.profiler.computed.compare import compare

    stderr = Console(stderr=True)

    def progress(tool: str) -> None:
        stderr.print(f"counting with {tool}", style="dim", highlight=False)

    stderr.print("other tools run real forward passes, which takes a while", style="dim", highlight=False)
    args, kwargs = target.example("cpu")
    return compare(target.build() if target.architecture else module, args, kwargs, progress=progress)


def _show(
    what: str,
    target: Target,
    figures: Cost,
    module: nn.Module,
    rows_by: str,
    depth: int | None,
    measured: Sequence[Measurement],
    comparison: Comparison | None,
    html: Path | None,
    as_json: bool,
    csv: str | None,
) -> None:
    from nas.cli import cost_tables
    from nas.units import UNITS

    kinds = {path: type(part).__name__ for path, part in module.named_modules()}
    finest = rows_by == "layer" and depth is None
    rows = list(figures.layers) if finest else cost_tables.grouped(figures.layers, depth, kinds)
    shown_inputs = " ".join(map(str, target.inputs))
    title = f"{what}, input {shown_inputs}"
    if html is not None:
        from nas.report.cost_plot import write_cost_page

        write_cost_page(html, title, figures, rows, kinds, cost_tables.summary(figures))
        Console(stderr=True).print(f"page  {html}", highlight=False, soft_wrap=True)
    if csv is not None:
        text = cost_tables.as_csv(figures.operators if rows_by == "operator" else rows)
        if csv == "-":
            typer.echo(text, nl=False)
            return
        Path(csv).write_text(text)
    if as_json:
        document = {
            "what": what,
            "inputs": [str(entry) for entry in target.inputs],
            "cost": figures.to_dict(),
            "measurements": [measurement.to_dict() for measurement in measured],
            "comparison": asdict(comparison) if comparison else None,
        }
        typer.echo(json.dumps(document))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    if rows_by == "operator":
        console.print(cost_tables.operator_table(figures.operators, figures, title))
    else:
        console.print(cost_tables.layer_table(rows, figures, title))
    for line in (*cost_tables.summary(figures), UNITS):
        console.print(line, highlight=False, soft_wrap=not console.is_terminal)
    for measurement in measured:
        cost_tables.print_measurement(measurement, console)
    if comparison:
        cost_tables.print_comparison(comparison, console)
