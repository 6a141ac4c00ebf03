"""How to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from nas.report.blocks import Block, Code, Facts, Text
from nas.report.panel import Panel
from nas.runs.folder.journal import begun
from nas.runs.folder.run import Run
from nas.runs.settings import Settings

_TIMES = {"time": "time", "trial_timeout": "trial-timeout", "rung_seconds": "rungs"}  # seconds, and their options
_JOINED = ("proxy_frames", "proxy_size")  # that one option sets together


class Repeat(Panel):
    """The command, when it was typed, and the versions that decide results."""

    title = "How to repeat it"
    place = 86

    def applies(self, run: Run) -> bool:
        return run.record.settings is not None or bool(run.record.versions)

    def blocks(self, run: Run) -> Sequence[Block]:
        record, found = run.record, list[Block]()
        if record.settings:
            found += [Code(command(record.settings)), Text(_caution(record.settings), "note")]
        when = begun(run.path)
        facts = [("Begun", when)] if when else []
        facts += [("Machine", record.device)] if record.device else []
        facts += [(name, version) for name, version in record.versions.items()]
        return [*found, Facts(facts, ("What", "Which"))] if facts else found


def command(settings: Settings) -> str:
    """The command of a search with these settings: those that are not the defaults. Paths are there
    by their last part.
    """
    given, default = settings.without_folders(), Settings().model_dump()
    words: list[Any] = ["nas", "search", *([] if given["around"] else [given["space"]])]
    for name, value in given.items():
        if name == "space" or value is None or value == default.get(name):
            continue
        if name in _JOINED:
            continue
        if name in _TIMES:
            words += [f"--{_TIMES[name]}", f"{value:g}s"]
        elif isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{name.replace('_', '-')}")
        else:
            words += [f"--{name.replace('_', '-')}", value]
    if given["proxy_frames"] and given["proxy_size"]:
        words += ["--proxy", f"{given['proxy_frames']}x{given['proxy_size']}"]
    return shlex.join(map(str, words))


def _caution(settings: Settings) -> str:
    said = "Files and folders are named by their last part, and what stands for itself is left out."
    if settings.reproducible:
        return f"{said} On a CPU the same candidates are trained in the same order."
    return f"{said} What is proposed depends on which training ends first, and on the clock where time is limited."
