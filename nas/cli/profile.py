"""`nas profile`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from nas.architecture import load


def profile_command(
    architecture: Annotated[str, typer.Argument(help="An architecture file, or a reference network's name.")],
    measure: Annotated[bool, typer.Option(help="Measure latency and memory as well.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    dtype: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    batch: Annotated[int, typer.Option(help="Clips per forward.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what an architecture costs, part by part, and how fast it runs here.

    Example: `nas profile best.yaml --device cpu`
    """
    from nas.profiler.cost import cost
    from nas.profiler.measure import measure as measure_architecture

    network = load(architecture)
    figures = cost(network)
    measured = measure_architecture(network, device, dtype, batch) if measure else None
    if as_json:
        print(json.dumps({"cost": asdict(figures), "measurement": measured.to_dict() if measured else None}))
        return
    console = Console()
    table = Table("part", "operator", "output", "GFLOPs", "params (M)", "activations (MB)", title=architecture)
    for row in figures.layers:
        table.add_row(row.path, row.op, row.shape, *_numbers(row.macs, row.params, row.activation_bytes))
    table.add_section()
    table.add_row("total", "", "", *_numbers(figures.macs, figures.params, figures.activation_bytes), style="bold")
    console.print(table)
    console.print(
        "GFLOPs are 10^9 multiply-adds of convolutions, linear layers and attention products; activations are what "
        "training keeps for one float32 clip.",
        highlight=False,
    )
    if measured:
        latency = measured.latency_ms
        spread = f", IQR {latency.iqr:.3g} ms" if latency.iqr is not None else ""
        console.print(
            f"{measured.device}: median {latency.median:.4g} ms{spread} (n={latency.n}), "
            f"peak memory {measured.peak_memory_bytes / 1e6:.4g} MB",
            highlight=False,
        )
        for flag in measured.flags:
            console.print(f"[yellow]note:[/] {flag}", highlight=False)


def _numbers(macs: int, params: int, activation_bytes: int) -> tuple[str, str, str]:
    return f"{macs / 1e9:.4f}", f"{params / 1e6:.4f}", f"{activation_bytes / 1e6:.2f}"
