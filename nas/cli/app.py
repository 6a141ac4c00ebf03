"""The `nas` command: registers the commands and turns a user's error into one sentence and exit
code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer
from rich.console import Console
from rich.markup import escape

from nas.cli import export, import_latency, listing, profile, report, search, space
from nas.errors import NasError

app = typer.Typer(
    help="Architecture search for video networks, with costs that are measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "search": search.search_command,
    "space": space.space_command,
    "profile": profile.profile_command,
    "import-latency": import_latency.import_latency_command,
    "report": report.report_command,
    "export": export.export_command,
    "list": listing.list_command,
}
for name, command in _COMMANDS.items():
    app.command(name, no_args_is_help=name not in ("search", "list"))(command)


def main() -> None:
    """Entry point of the `nas` command."""
    try:
        app()
    except NasError as error:
        message = f"[bold red]error:[/] {escape(str(error))}"
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
