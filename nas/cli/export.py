"""`nas export`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from nas.errors import NasError, brief


def export_command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    pick: Annotated[str, typer.Option(help="knee, accuracy, latency, memory, or a trial's number.")] = "knee",
    out: Annotated[Path, typer.Option(help="Architecture file to write.")] = Path("best.yaml"),
) -> None:
    """Write the architecture of a pick as a file that `nas.build(nas.load(FILE))` builds.

    Example: `nas export runs/hybrid-motion-1 --pick knee --out best.yaml`
    """
    if os.path.isdir(out) or not os.path.isdir(out.parent):
        found = "a folder" if os.path.isdir(out) else "in a folder that does not exist"
        raise NasError(f"out {brief(str(out))} is {found}; allowed: a file in an existing folder")
    from nas.runs.folder import Run

    searched = Run(run)
    architecture = searched.pick(pick)
    architecture.save(out)
    typer.echo(f"trial {searched.pick_trial(pick)} of {run} is in {out}")
