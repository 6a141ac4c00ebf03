"""`nas list`."""

from __future__ import annotations

import typer

from nas.resources import resource_folder, resource_names
from nas.space import SearchSpace


def list_command() -> None:
    """List the search spaces, the reference networks and the devices with latency tables that the package holds.

    Example: `nas list`
    """
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
