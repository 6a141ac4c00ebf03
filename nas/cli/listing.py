"""`nas list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nas.errors import NasError
from nas.resources import resource_folder, resource_names
from nas.units import magnitude


def list_command(
    published: Annotated[
        bool,
        typer.Option("--published", help="Print the reference networks beside their papers' figures, as Markdown."),
    ] = False,
    measured: Annotated[
        bool,
        typer.Option("--measured", help="Print the reference networks as measured on every device, as Markdown."),
    ] = False,
    plots: Annotated[Path | None, typer.Option(help="With --measured: folder for a picture per device.")] = None,
    operators: Annotated[
        bool, typer.Option("--operators", help="Print the operators that a file may name, as Markdown.")
    ] = False,
) -> None:
    """List the search spaces, the reference networks and the devices with latency tables that the
    package holds.

    Example: `nas list --published > docs/results/reference_networks.md`
    """
    if measured:
        typer.echo(_measured_page(plots), nl=False)
        return
    if plots is not None:
        raise NasError(f"plots {str(plots)!r} is of no table; allowed: --plots beside --measured")
    if published:
        typer.echo(_published_page(), nl=False)
        return
    if operators:
        from nas.architecture.reference import operators_page

        typer.echo(operators_page(), nl=False)
        return
    from nas.space import SearchSpace

    typer.echo("search spaces")
    for name in resource_names("search_spaces"):
        space = SearchSpace.load(name)
        target = space.sample(0).input
        shape = f"{target.frames}x{target.size[0]}x{target.size[1]}"
        typer.echo(f"  {name:<10} {magnitude(space.size)} networks at {shape}")
    typer.echo("reference networks")
    for name in resource_names("search_spaces/reference") or ["none yet"]:
        typer.echo(f"  {name}")
    typer.echo("devices with latency tables")
    devices = sorted(path.stem for path in resource_folder("profiles").glob("*.csv"))
    for name in devices or ["none yet"]:
        typer.echo(f"  {name}")


def _published_page() -> str:
    """The table of reference networks as a Markdown page."""
    import pandas as pd

    from nas.profiler.computed.published import reference_table

    rows = [
        "# Reference networks",
        "",
        "Every file of `search_spaces/reference/`, priced by `nas` at its own input, beside the figures of its paper;",
        "what a paper leaves out (see the note) is left out of both.",
        "MACs are multiply-adds of convolutions, linear layers and attention products for one clip (frames x height x",
        "width); papers print 10^9 of them as GFLOPs. A ratio is computed over published. Accuracies are the papers',",
        "in % top-1, of their trained weights. This page is printed by `nas list --published`.",
        "",
        "| network | source | input | params | published, M | ratio | MACs | published, G | ratio | top-1 | note |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    formats = {"params": "{:,}", "mparams": "{:.9g}", "params_ratio": "{:.3f}"}
    formats |= {"macs": "{:,}", "gmacs": "{:.10g}", "macs_ratio": "{:.3f}"}
    with Console(stderr=True).status("pricing the reference networks"):
        table = reference_table()
    for row in table.to_dict("records"):
        figures = [pattern.format(row[key]) if pd.notna(row[key]) else "" for key, pattern in formats.items()]
        cells = [row["network"], row["source"], row["input"], *figures, row["top1"], row["note"]]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows) + "\n"


def _measured_page(plots: Path | None) -> str:
    """The tables of measured reference networks as a Markdown page."""
    from nas.profiler.measured.references import measured

    if plots is not None and not plots.is_dir():
        raise NasError(f"plots {str(plots)!r} is no folder; allowed: an existing folder")
    rows = [
        "# Reference networks, measured",
        "",
        "Every file of `search_spaces/reference/` at its own input with random weights, measured by",
        "`nas latency references` in fresh processes; a device's name says hardware, torch, dtype,",
        "batch and threads. Latency is the median, with its interquartile range; memory is the peak of one",
        "forward, weights included. Beside reference: how many times as long as a small fixed network that",
        "ran in turn with it. Accuracies are the papers', in % top-1. This page is printed by",
        "`nas list --measured`.",
    ]
    for device, table in measured().items():
        rows += ["", f"## {device}", ""]
        if plots is not None:
            from nas.report.reference_plot import draw_references

            draw_references(table, device, plots / f"{device}.png")
            rows += [f"![latency against multiply-adds]({plots.name}/{device}.png)", ""]
        rows += [
            "| network | input | params, M | GMACs | moved, GB | memory, MB | latency, ms | IQR | runs | clips/s "
            "| beside reference | top-1 | notes |",
            "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---|",
        ]
        for row in table.to_dict("records"):
            cells = [
                row["network"],
                row["input"],
                f"{row['params'] / 1e6:.2f}",
                f"{row['macs'] / 1e9:.2f}",
                f"{row['bytes_moved'] / 1e9:.2f}",
                f"{row['peak_memory_bytes'] / 1e6:.0f}",
                f"{row['latency_ms']:.4g}",
                "" if row["latency_iqr_ms"] != row["latency_iqr_ms"] else f"{row['latency_iqr_ms']:.3g}",
                row["runs"],
                f"{row['clips_per_s']:.3g}",
                "" if row["reference_ratio"] != row["reference_ratio"] else f"{row['reference_ratio']:.4g}",
                row["top1"],
                row["flags"],
            ]
            rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows) + "\n"
