"""`nas check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.completion import RECORD, folders
from nas.units import plural

DISAGREE = 2  # exit code


def check_command(run: Annotated[Path, typer.Argument(help="A run folder.", autocompletion=folders(RECORD))]) -> None:
    """Say whether the files of a run agree with each other; nothing is changed.

    Example: `nas check runs/hybrid-motion-1`
    """
    from nas.runs.folder.consistency import check_run

    findings = check_run(run)
    for note in findings.notes:
        typer.echo(f"note: {note}")
    for problem in findings.problems:
        typer.echo(f"error: {problem}", err=True)
    if findings.problems:
        raise typer.Exit(DISAGREE)
    typer.echo(f"the files of {run} agree: {plural(findings.trials, 'trial')}")
