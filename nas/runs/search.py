"""`nas.search` and its resumption: settings are checked, a plan is made, its stages are gone
through.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Unpack

from rich.console import Console

from nas.errors import Interrupted, NasError
from nas.locks import locked
from nas.resources import drafts
from nas.runs.checks import check_new, check_settings
from nas.runs.folder.record import RECORD
from nas.runs.folder.run import Run
from nas.runs.options import ResumeOptions, SearchOptions
from nas.runs.planning.plan import Plan
from nas.runs.progress.news import EventConsole, Listener, busy
from nas.runs.settings import CHANGEABLE, Settings, with_settings
from nas.runs.stages.sequence import run_stages
from nas.trials.results import STUDY
from nas.units import plural

_DEFAULTS = Settings()
# A cluster runs what it likes in who joins it, and a storage gets what Ray writes.
_NAMED_AGAIN = ("address", "storage")


@with_settings(*Settings.model_fields)
def search(
    space: str | Path = _DEFAULTS.space,
    budget: str = _DEFAULTS.budget,
    data: str | Path = _DEFAULTS.data,
    *,
    out: str | Path | None = None,
    quiet: bool = False,
    on_event: Listener | None = None,
    **settings: Unpack[SearchOptions],
) -> Run:
    """Searches a space for the networks that are worth having under a budget.

    Args:
        {settings}
        out: The run folder, which must not hold a run yet; `runs/<space>-<data>-<number>` by
            default.
        quiet: Print nothing.
        on_event: Called with each event of the run, a mapping of JSON values with `event` (plan,
            warning, busy, trained, confirmed, measured, note) and `text`; nothing is printed then.

    Returns:
        The finished run. Its front is empty where no network keeps the limits as measured; `over`
        has those networks.

    Raises:
        NasError: A setting is not allowed, the data cannot be read, or nothing in the space meets
            the budget.
        Interrupted: The user stopped it; what was trained is kept.
    """
    checked = Settings.of(space=space, budget=budget, data=data, **settings)
    check_settings(checked)
    console = _console(quiet, on_event)
    started = time.monotonic()
    with busy(console, "planning"):
        plan = Plan.of(checked.absolute(), console)
    planning = time.monotonic() - started
    folder = Path(out) if out else _free_folder(plan)
    check_new(folder)
    return _run(plan, folder, planning)


@with_settings(*CHANGEABLE, unchanged=True)
def resume(
    path: str | Path, *, quiet: bool = False, on_event: Listener | None = None, **changes: Unpack[ResumeOptions]
) -> Run:
    """Goes on with an interrupted run, or with a finished one when more trials or time are given.

    A search that had come to its end is not prolonged unless one of them is given, but what was
    left to confirm is. What is trained stays the same proxy, whatever machine goes on with it.
    Under another budget the front is made again of the networks that were trained, and what is
    measured already is not measured again.
    Settings that are not given are as the run was started, but for trials and time: if one of them
    is given, the other is no limit any more. Trials count those that the run has; time does not. An
    address or storage that the run was started with is named again: code runs at the one, files go
    to the other, and the run folder may be another's.

    Args:
        path: The run folder.
        {settings}
        quiet: Print nothing.
        on_event: As of `search`.

    Returns:
        The finished run.

    Raises:
        NasError: No such run, a setting cannot be changed, or its space or data have gone or have
            other classes.
        Interrupted: The user stopped it again.
    """
    folder = Path(path)
    before = Run(folder)
    record = before.record
    if len(before.trials) and not (os.path.isfile(folder / STUDY) and os.path.getsize(folder / STUDY)):
        raise NasError(
            f"run {str(path)!r} has {plural(len(before.trials), 'trial')} and no journal {STUDY!r}, which is its "
            "memory; allowed: a run with all its files, or a new run"
        )
    if record.settings is None or record.proxy is None:
        lacking = " and ".join(name for name in ("settings", "proxy") if getattr(record, name) is None)
        raise NasError(
            f"{RECORD} of run {str(path)!r} has no {lacking} that this version reads; allowed: the file as nas search "
            "wrote it, or a new run"
        )
    given = {name: value for name, value in changes.items() if value is not None}
    if fixed := [name for name in given if name not in CHANGEABLE]:
        raise NasError(f"{fixed[0]} of a run cannot be changed; allowed: {', '.join(CHANGEABLE)}")
    for name in _NAMED_AGAIN:
        if (before := getattr(record.settings, name)) is not None and name not in given:
            raise NasError(
                f"run {str(path)!r} was started with {name} {before!r}, which is not taken from a folder that anybody "
                f"may have written; allowed: the same with --{name} {before}, if you trust it, or another"
            )
    more = "trials" in given or "time" in given
    if more:
        given = {"trials": None, "time": None} | given
    proxy = {
        "epochs": record.proxy.epochs,
        "proxy_frames": record.proxy.frames,
        "proxy_size": max(record.proxy.size),
        "objectives": ",".join(record.objectives),  # the journal has their values
    }
    settings = _with_data(record.settings.changed(**proxy, **given).absolute(), folder)
    console = _console(quiet, on_event)
    started = time.monotonic()
    with busy(console, "planning"):
        plan = Plan.of(settings, console, folder / "space.yaml", record)
    planning = time.monotonic() - started
    if plan.data.classes != record.classes:
        raise NasError(
            f"data {settings.data!r} has other classes than run {str(path)!r} began with "
            f"({len(plan.data.classes)}, and {len(record.classes)} before); allowed: the same classes, or a new run"
        )
    return _run(plan, folder, planning, more)


def _with_data(settings: Settings, folder: Path) -> Settings:
    """Settings whose data are there: a run of an earlier version names them relative to the folder
    where it was started, which often holds the run folder, or the `runs` that holds it.

    Raises:
        NasError: The data are not found.
    """
    if settings.data_is_there:
        return settings
    for start in folder.absolute().parents[:2]:
        nearby = settings.changed(data=start / settings.data)
        if nearby.data_is_there:
            return nearby
    raise NasError(
        f"data {settings.data!r} of run {str(folder)!r} are not there; allowed: the data where they were, or "
        "nas search --resume in the folder in which the run was started"
    )


def _console(quiet: bool, on_event: Listener | None) -> Console:
    return EventConsole(on_event) if on_event else Console(quiet=quiet)


def _free_folder(plan: Plan) -> Path:
    stem = f"{plan.space.name}-{plan.data.name}"
    number = 1
    while Path("runs", f"{stem}-{number}").exists():
        number += 1
    return Path("runs", f"{stem}-{number}")


def _run(plan: Plan, folder: Path, planning: float, more: bool = False) -> Run:
    """Makes the run folder and goes through the stages; see `nas.runs.stages.sequence.run_stages`.

    Raises:
        NasError: The folder cannot be made, or nothing was trained.
        Interrupted: The user stopped it.
    """
    try:
        (folder / "architectures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NasError(
            f"out {str(folder)!r} cannot be made ({error.strerror}); allowed: a folder in one that can be written to"
        ) from None
    try:
        with locked(folder):
            for draft in drafts(folder):  # of a process that was killed
                draft.unlink(missing_ok=True)
            return run_stages(plan, folder, more, planning)
    except Exception as error:
        if not (reason := _no_room(error)):
            raise
        again = f"nas search --resume {folder}" if (folder / RECORD).exists() else "the same search again"
        raise NasError(
            f"run {str(folder)!r} cannot be written on ({reason}); allowed: more room there, and then {again}"
        ) from None
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; what was trained is kept; allowed: nas search --resume {folder}") from None


def _no_room(error: BaseException | None) -> str | None:
    """What the operating system says if an error comes of a full disk, itself or as a cause of it;
    Ray wraps what happens while trials run.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return error.strerror
        error = error.__cause__ or error.__context__
    return None
