"""`nas search`: an option for every setting of a search, and what is done with the run."""

from __future__ import annotations

import inspect
import json as json_text
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

import typer
from rich.console import Console

from nas.cli.completion import RECORD, folders, networks, spaces
from nas.cli.options import clip_shape, option_name, refuse_two_regions
from nas.cli.space import SAMPLES, survey_table
from nas.errors import NasError, brief
from nas.runs.progress.news import EventConsole, announce, busy
from nas.runs.settings import CHANGEABLE, GROUPS, Settings
from nas.units import seconds

_COMPLETED = {"around": networks}  # what a shell offers for options of settings
RUN = "Run"  # the panel of the options that are no settings
NOTHING_FOUND = 1  # exit code of a search that trained networks of which none keeps the limits


class TextOption(NamedTuple):
    """An option whose text is read into settings of another form.

    Attributes:
        help: Of the option.
        read: The settings that its text means.
    """

    help: str
    read: Callable[[str], dict[str, Any]]


def _share(text: str) -> dict[str, Any]:
    try:
        return {"gpus_per_trial": float(text)}
    except ValueError:
        return {"gpus_per_trial": text}


def _rungs(text: str) -> float | None:
    if text == "epochs":
        return None
    try:
        return seconds(text)
    except NasError:
        raise NasError(f"rungs {brief(text)} are none; allowed: epochs, or a time such as 20s") from None


def _proxy(text: str) -> dict[str, Any]:
    frames, size = clip_shape(text)
    return {"proxy_frames": frames, "proxy_size": size}


# In place of the options of the settings that they are read into.
_TEXT_OPTIONS = {
    "time": TextOption(
        "Time to train, such as 30m, confirmation and control included; without --trials and --time 6.5m, with "
        "--trials alone no limit.",
        lambda text: {"time": seconds(text)},
    ),
    "trial_timeout": TextOption(
        "Time after which a training is ended, as it may hang, and counts as failed, such as 20m; none by default.",
        lambda text: {"trial_timeout": seconds(text)},
    ),
    "gpus_per_trial": TextOption(
        "Share of a GPU per trial, such as 0.25; by default, or auto, as many share one as memory and cores allow.",
        _share,
    ),
    "rungs": TextOption(
        "When a proxy is judged: epochs, or the training time to the first time, such as 20s; epochs by default.",
        lambda text: {"rung_seconds": _rungs(text)},
    ),
    "proxy": TextOption("Frames x size of the clips trained on, such as 8x32; small by default.", _proxy),
}
_READ_FROM = {"rung_seconds": "rungs", "proxy_frames": "proxy", "proxy_size": "proxy"}


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives the command its options: what `Settings` lists, by its groups and in its words."""
    types = get_type_hints(Settings)
    options: dict[str, inspect.Parameter] = {}
    for setting, field in Settings.model_fields.items():
        name = _READ_FROM.get(setting, setting)
        text = _TEXT_OPTIONS.get(name)
        # What stands in backticks is the name of another setting, which is an option here.
        words = text.help if text else re.sub(r"`(\w+)`", lambda match: option_name(match[1]), field.description or "")
        flags = [option_name(name)] if types[setting] is bool else []
        panel = next(group.title for group in GROUPS if setting in group.model_fields)
        kind = (
            typer.Argument(help=words, autocompletion=spaces)
            if name == "space"
            else typer.Option(*flags, help=words, rich_help_panel=panel, autocompletion=_COMPLETED.get(name))
        )
        options[name] = inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if text else field.default,
            annotation=Annotated[str | None if text else types[setting], kind],
        )
    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [*options.values(), *(each for each in own if each.kind is not inspect.Parameter.VAR_KEYWORD)]
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    )
    return command


@_with_options
def search_command(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option(help="Run folder to write; runs/SPACE-DATA-N by default.", rich_help_panel=RUN)
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Run folder to go on with, as it was started but for "
            f"{', '.join(map(option_name, CHANGEABLE))}; its networks count as trials too.",
            rich_help_panel=RUN,
            autocompletion=folders(RECORD),
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, train nothing.", rich_help_panel=RUN)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the result.", rich_help_panel=RUN)] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print an event a line, as JSON, and nothing else.", rich_help_panel=RUN)
    ] = False,
    **options: Any,
) -> None:
    """Search a space for the networks that are worth having under a budget.

    Example: `nas search hybrid --budget 100gflops --data videos.csv --time 30m --out runs/mine`,
    or `nas search --around vov3d_l --edits 6 --budget 8gflops`
    """
    console: Console = Console()
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if resume is None:
        refuse_two_regions(*(options[name] if name in given else None for name in ("space", "around", "edits")))
    else:
        refused = [name for name in given if name not in ("resume", "quiet", "json", *CHANGEABLE)]
        if refused:
            allowed = ", ".join(map(option_name, (*CHANGEABLE, "quiet", "json")))
            raise NasError(f"{option_name(refused[0])} does not go with --resume; allowed: {allowed}")
    settings: dict[str, Any] = {}
    for name in (name for name in given if name in options):
        settings |= _TEXT_OPTIONS[name].read(options[name]) if name in _TEXT_OPTIONS else {name: options[name]}
    from nas.runs.checks import check_new, check_settings
    from nas.runs.folder.record import REPORTING, read_record, write_record

    if resume is None:
        check_settings(Settings.of(**settings))
        if out is not None and not dry_run:
            check_new(out)
    else:
        read_record(resume)
    on_event = print_event if json else None
    if on_event:
        console = EventConsole(on_event)
    what = f"run {resume}" if resume else f"space {settings.get('space', Settings.model_fields['space'].default)}"
    if not dry_run and (json or not quiet):
        announce(console, f"nas search of {what}", "begin")
    with busy(Console(quiet=True) if quiet and not json else console, "loading"):
        from nas.report import front_summary, how_to_go_on, over_summary, write
        from nas.runs.folder.export import BEST
        from nas.runs.planning.plan import Plan
        from nas.runs.search import resume as resume_search
        from nas.runs.search import search
        from nas.runs.selection.control import comparison

    if resume is not None:
        run = resume_search(resume, quiet=quiet, on_event=on_event, **settings)
    else:
        if dry_run:
            plan = Plan.of(Settings.of(**settings), console)
            announce(console, f"{plan.describe()}\nNothing was trained.", "plan")
            for doubt in plan.doubts:
                announce(console, f"warning: {doubt}", "warning")
            console.print(survey_table(plan.space, plan.budget, SAMPLES, console))
            return
        run = search(**settings, out=out, quiet=quiet, on_event=on_event)
    started = time.monotonic()
    page, found = write(run)[0], not run.front.empty
    write_record(run.record.spending(REPORTING, time.monotonic() - started), run.path)
    console.print(front_summary(run) if found else over_summary(run))
    if len(run.control) and found:
        announce(console, comparison(run.control))
    if found:
        best = run.path / BEST
        facts = {"run": str(run.path), "report": str(page), "best": str(best), "pick": run.pick_trial()}
        announce(console, f"report  {page}\nbest    {best}", "end", **facts)
        return
    lines = [f"No trained network keeps {run.record.budget} as measured.", *how_to_go_on(run, run.path)]
    facts = {"run": str(run.path), "report": str(page), "best": None, "pick": None}
    announce(console, "\n".join([*lines, f"report  {page}"]), "end", **facts)
    raise typer.Exit(NOTHING_FOUND)


def print_event(event: Mapping[str, Any]) -> None:
    """Prints an event as a line of JSON."""
    # With its line break in one piece: signs of life come from another thread.
    print(f"{json_text.dumps(event)}\n", end="", flush=True)
