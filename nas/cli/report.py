"""`nas report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report_command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write into; the run's own by default.")] = None,
) -> None:
    """Write the report of a run: HTML, Markdown and PNG; the tables are in its CSV files.

    Example: `nas report runs/hybrid-motion-1`
    """
    from nas.runs.folder import Run

    found = Run(run)
    from nas.report import write

    for path in write(found, out):
        typer.echo(path)
