"""`nas export`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from nas.errors import NasError, brief
from nas.limits.metrics import DEFAULT_PICK


def export_command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    pick: Annotated[
        str, typer.Option(help="accuracy (the most accurate), knee, latency, memory, or a trial's number.")
    ] = DEFAULT_PICK,
    out: Annotated[Path, typer.Option(help="Architecture file to write.")] = Path("best.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write the architecture of a pick as a file that `nas.build(nas.load(FILE))` builds.

    Comments at its head say where it comes from: run, trial, classes, accuracy, costs.

    Example: `nas export runs/hybrid-motion-1 --out best.yaml`
    """
    if os.path.isdir(out) or not os.path.isdir(out.parent):
        found = "a folder" if os.path.isdir(out) else "in a folder that does not exist"
        raise NasError(f"out {brief(str(out))} is {found}; allowed: a file in an existing folder")
    if os.path.lexists(out) and not force:
        raise NasError(f"out {brief(str(out))} exists; allowed: another file, or --force to write over it")
    from nas.runs.export import save_pick
    from nas.runs.folder import Run

    trial = save_pick(Run(run), pick, out)
    typer.echo(f"trial {trial} of {run} is in {out}")
