"""`nas export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.errors import NasError


def export_command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    pick: Annotated[str, typer.Option(help="knee, accuracy, latency, memory, or a trial's number.")] = "knee",
    out: Annotated[Path, typer.Option(help="Architecture file to write.")] = Path("best.yaml"),
) -> None:
    """Write the architecture of a pick as a file that `nas.build(nas.load(FILE))` builds.

    Example: `nas export runs/hybrid-motion-1 --pick knee --out best.yaml`
    """
    from nas.runs.folder import Run

    searched = Run(run)
    architecture = searched.pick(pick)
    if not out.parent.is_dir():
        raise NasError(f"out {str(out)!r} is in a folder that does not exist; allowed: a file in an existing folder")
    architecture.save(out)
    typer.echo(f"trial {searched.pick_trial(pick)} of {run} is in {out}")
