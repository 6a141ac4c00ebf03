"""The `nas` command: registers the commands, and ends with one sentence and exit code 2 on a user's
error, with 130 on Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import nas
from nas.cli import evaluate, export, listing, predict, profile, report, search, show, space
from nas.cli.latency import latency
from nas.errors import Interrupted, NasError

app = typer.Typer(
    help="Architecture search for video networks, with costs that are measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "search": search.search_command,
    "space": space.space_command,
    "profile": profile.profile_command,
    "evaluate": evaluate.evaluate_command,
    "predict": predict.predict_command,
    "show": show.show_command,
    "report": report.report_command,
    "export": export.export_command,
    "list": listing.list_command,
}
for name, command in _COMMANDS.items():
    app.command(name, no_args_is_help=name not in ("search", "list"))(command)
app.add_typer(latency, name="latency", no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nas {nas.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the `nas` command."""
    try:
        app()
    except NasError as error:
        message = f"[bold red]error:[/] {escape(str(error))}"
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
        sys.exit(130 if isinstance(error, Interrupted) else 2)
    except KeyboardInterrupt:
        sys.exit(130)
