"""`nas report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from nas.cli.completion import RECORD, folders

if TYPE_CHECKING:
    from nas.runs.folder.run import Run


def report_command(
    run: Annotated[Path, typer.Argument(help="A run folder.", autocompletion=folders(RECORD))],
    out: Annotated[Path | None, typer.Option(help="Folder to write into; the run's own by default.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write the page again whenever the search has gone on, until it ends.")
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option(help="Another run folder, which the report compares this with.", autocompletion=folders(RECORD)),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print an event a line, as JSON, and nothing else.")] = False,
) -> None:
    """Write the report of a run: HTML, Markdown and pictures; the tables are in its CSV files.

    Example: `nas report runs/hybrid-motion-1`, or with `--watch` beside a search
    """
    from nas.cli.search import print_event
    from nas.errors import Interrupted, NasError
    from nas.report import watch as watch_run
    from nas.report import write
    from nas.runs.folder.run import Run
    from nas.runs.progress.news import EventConsole, announce
    from nas.units import plural

    console = EventConsole(print_event) if json else Console(quiet=quiet)

    def told(found: Run, paths: list[Path]) -> None:
        facts = {"files": [str(path) for path in paths], "trials": len(found.trials), "running": found.running}
        lines = (
            [f"{paths[0]}, {plural(len(found.trials), 'trial')} so far"]
            if found.running
            else [str(path) for path in paths]
        )
        announce(console, "\n".join(lines), "report", **facts)

    if watch and compare:
        raise NasError(f"compare {str(compare)!r} does not go with --watch; allowed: one of them")
    if not watch:
        found = Run(run)
        told(found, write(found, out, Run(compare) if compare else None))
        return
    try:
        watch_run(run, out, told)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; the page is as it was last written; allowed: nas report {run}") from None
