"""`nas list`."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.resources import resource_folder, resource_names
from nas.space import SearchSpace


def list_command(
    published: Annotated[
        bool,
        typer.Option("--published", help="Print the reference networks beside their papers' figures, as Markdown."),
    ] = False,
) -> None:
    """List the search spaces, the reference networks and the devices with latency tables that the package holds.

    Example: `nas list --published > docs/reference_networks.md`
    """
    if published:
        typer.echo(_published_page(), nl=False)
        return
    typer.echo("search spaces")
    for name in resource_names("search_spaces"):
        space = SearchSpace.load(name)
        target = space.sample(0).input
        shape = f"{target.frames}x{target.size[0]}x{target.size[1]}"
        typer.echo(f"  {name:<10} {space.size:.3g} networks at {shape}")
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

    from nas.profiler.published import reference_table

    rows = [
        "# Reference networks",
        "",
        "Every file of `search_spaces/reference/`, priced by `nas` at its own input, beside the figures of its paper.",
        "MACs are multiply-adds of convolutions, linear layers and attention products for one clip (frames x height x",
        "width); papers print 10^9 of them as GFLOPs. A ratio is computed over published. Accuracies are the papers',",
        "in % top-1, of their trained weights. This page is printed by `nas list --published`.",
        "",
        "| network | source | input | params | published, M | ratio | MACs | published, G | ratio | top-1 | note |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    formats = {"params": "{:,}", "mparams": "{:.9g}", "params_ratio": "{:.3f}"}
    formats |= {"macs": "{:,}", "gmacs": "{:.10g}", "macs_ratio": "{:.3f}"}
    for row in reference_table().to_dict("records"):
        figures = [pattern.format(row[key]) if pd.notna(row[key]) else "" for key, pattern in formats.items()]
        cells = [row["network"], row["source"], row["input"], *figures, row["top1"], row["note"]]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows) + "\n"
