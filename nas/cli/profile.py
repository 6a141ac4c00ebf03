"""`nas profile`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from nas.cli import cost_tables
from nas.cli.completion import networks
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
from nas.errors import NasError
from nas.runs.progress.news import busy
from nas.units import UNITS

if TYPE_CHECKING:
    from torch import nn

    from nas.profiler.computed.compare import Comparison
    from nas.profiler.computed.cost import Cost
    from nas.profiler.measured.device import Conditions
    from nas.profiler.measured.measure import Measurement
    from nas.profiler.target import Target

TABLES = ("layer", "operator", "module")
# Options that change a measurement and nothing else.
MEASURING = (
    "device",
    "dtype",
    "batch",
    "threads",
    "max_seconds",
    "patience",
    "strict",
    "autocast",
    "channels_last",
    "compiled",
    "train",
    "runtime",
    "cuda_graph",
)
WIDTH = 140  # of tables that are written to a file


def profile_command(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            help="An architecture file, a reference network's name, or package.module:factory, which is code of yours: "
            "the module is imported, from the current folder first, and the factory called.",
            autocompletion=networks,
        ),
    ],
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
    device: Device = "auto",
    dtype: Dtype = "fp32",
    batch: Batches = None,
    threads: Threads = None,
    max_seconds: MaxSeconds = 10.0,
    patience: Patience = 20.0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a measurement that was disturbed.")] = False,
    autocast: Autocast = False,
    channels_last: ChannelsLast = False,
    compiled: Compiled = False,
    train: Train = None,
    runtime: Runtime = "torch",
    cuda_graph: CudaGraph = False,
) -> None:
    """Show what a network costs, part by part, and how fast it runs here.

    Example: `nas profile vov3d_l --html cost.html`, or
    `nas profile mymodels.video:build --input 1x3x16x224x224 --compare`
    """
    if not measure:
        _refuse_options_of_measuring(context)
    batches = batch_sizes(batch)
    if by is not None and by not in TABLES:
        raise NasError(f"by {by!r} is unknown; allowed: {', '.join(TABLES)}")
    if depth is not None and by == "operator":
        raise NasError(f"depth {depth} is of no path of operators; allowed: --depth with rows by layer or module")
    if as_json and csv == "-":
        raise NasError("csv '-' and --json would both be printed; allowed: one of them, or a file for the CSV")
    if compare and csv == "-":
        raise NasError("csv '-' would leave no place for --compare; allowed: one of them, or a file for the CSV")
    for name, file in (("html", html), ("csv", Path(csv) if csv and csv != "-" else None)):
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            raise NasError(f"{name} {str(file)!r} cannot be written; allowed: a file in an existing folder")

    if ":" not in what or what.endswith((".yaml", ".yml")):
        from nas.architecture import load

        load(what)  # a name that is none is refused before torch is loaded
    from nas.profiler.measured.device import Conditions
    from nas.profiler.target import load_target

    target = load_target(what, inputs or [])
    # What cannot be measured is refused before anything is counted.
    conditions = [
        Conditions.here(
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
        for each in (batches or [target.batch] if measure else [])
    ]
    rows_by = by or ("layer" if target.architecture else "module")
    with Console(stderr=True).status("computing the cost"):
        figures, module = _cost(target, rows_by)
        _ = figures.layers  # counted when first read
    measured = _measured(target, conditions, max_seconds, patience, strict)
    comparison = _compared(target, module) if compare else None
    _show(what, target, figures, module, rows_by, depth, measured, comparison, html, as_json, csv)


def _refuse_options_of_measuring(context: typer.Context) -> None:
    """Raises a NasError for an option that would change a measurement where none is made."""
    for name in MEASURING:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = {"compiled": "compile"}.get(name, name.replace("_", "-"))
            raise NasError(f"--{option} does not go with --no-measure; allowed: one of them")


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
    with target.naming_failures():
        return cost(module, *args, **kwargs), module


def _floating(dtype: str | None) -> bool:
    from nas.profiler.target import INPUT_DTYPES

    return dtype is None or bool(INPUT_DTYPES[dtype].is_floating_point)


def _measured(
    target: Target, conditions: Sequence[Conditions], max_seconds: float, patience: float, strict: bool
) -> list[Measurement]:
    from nas.profiler.measured.measure import measure

    measured = []
    for each in conditions:
        with busy(Console(stderr=True), f"measuring {target.name}, batch {each.batch}"):
            measured.append(measure(target, **asdict(each), max_seconds=max_seconds, patience=patience, strict=strict))
    return measured


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
    kinds = {path: type(part).__name__ for path, part in module.named_modules()}
    finest = rows_by == "layer" and depth is None
    rows = list(figures.layers) if finest else cost_tables.grouped(figures.layers, depth, kinds)
    shown_inputs = " ".join(map(str, target.inputs))
    title = f"{what}, input {shown_inputs}"
    if html is not None:
        from nas.report.cost_page import write_cost_page

        # A page is passed on; the folders of its author are not.
        shown = f"{Path(what).name}, input {shown_inputs}" if target.architecture else title
        write_cost_page(html, shown, figures, rows, kinds, cost_tables.summary(figures))
        Console(stderr=True).print(f"page  {html}", highlight=False, soft_wrap=True)
    if csv is not None:
        text = cost_tables.as_csv(figures.operators if rows_by == "operator" else rows)
        if csv == "-":
            typer.echo(text, nl=False)
            return
        Path(csv).write_text(text, encoding="utf-8")
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
        table, left_out = cost_tables.layer_table(rows, figures, title, console)
        console.print(table)
        if left_out:
            words = f"no room for {', '.join(left_out)}: a wider window or --csv FILE has them"
            console.print(words, highlight=False)
    for line in (*cost_tables.summary(figures), UNITS):
        console.print(line, highlight=False, soft_wrap=not console.is_terminal)
    for measurement in measured:
        cost_tables.print_measurement(measurement, console)
    if comparison:
        cost_tables.print_comparison(comparison, console)
