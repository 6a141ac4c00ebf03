"""The `nas` command: registers the commands, and ends with one sentence and exit code 2 on a user's
error, with 130 on Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

import nas
from nas.cli import benchmark, check, evaluate, export, listing, predict, profile, report, search, show, space, train
from nas.cli.data import data
from nas.cli.latency import latency
from nas.errors import Interrupted, NasError, brief, message_of

app = typer.Typer(
    help="Architecture search for video networks, with costs that are measured.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "search": search.search_command,
    "space": space.space_command,
    "train": train.train_command,
    "profile": profile.profile_command,
    "evaluate": evaluate.evaluate_command,
    "predict": predict.predict_command,
    "show": show.show_command,
    "report": report.report_command,
    "check": check.check_command,
    "export": export.export_command,
    "benchmark": benchmark.benchmark_command,
    "list": listing.list_command,
}
for name, command in _COMMANDS.items():
    app.command(name, no_args_is_help=name not in ("search", "list"))(command)
app.add_typer(latency, name="latency", no_args_is_help=True)
app.add_typer(data, name="data", no_args_is_help=True)


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a batch system sends, as Ctrl-C
    try:
        # Typer's own way to end would print a box around its message.
        sys.exit(app(prog_name="nas", standalone_mode=False) or 0)
    except NasError as error:
        _print_error(str(error))
        sys.exit(130 if isinstance(error, Interrupted) else 2)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:  # of a file that no command looked at before
        what = repr(error.filename) if error.filename else "a file"
        _print_error(f"{what} cannot be read or written ({error.strerror}); allowed: files with rights and room")
        sys.exit(2)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        _print_usage_error(error)
        sys.exit(2)


def _print_error(message: str) -> None:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)


def _print_usage_error(error: Any) -> None:
    """Prints in one line what Typer refuses: an option that there is not, or a value of another
    type; a command alone prints its help.
    """
    message, context = message_of(ValueError(error.format_message())), getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        path, given = (context.command_path if context else "nas"), _value_of(error)
        message = message.replace("Invalid value for", f"Invalid value {brief(given)} for") if given else message
        _print_error(f"{message.rstrip('.')}; allowed: what {path} --help lists")


def _value_of(error: Any) -> str:
    """What was typed for the option that an error is of; empty for an argument."""
    names = getattr(getattr(error, "param", None), "opts", ())
    typed = [place for place, word in enumerate(sys.argv) if word.partition("=")[0] in names]
    if not typed:
        return ""
    _, equals, value = sys.argv[typed[-1]].partition("=")
    following = [value] if equals else sys.argv[typed[-1] + 1 :]
    return following[0] if following else ""


if __name__ == "__main__":
    main()
