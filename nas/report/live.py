"""Keeps the page of a run as its files are, while a search writes them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from nas.errors import NasError
from nas.locks import Watch
from nas.report.page import write, write_page
from nas.runs.folder.confirmations import CONFIRMATIONS
from nas.runs.folder.record import RECORD
from nas.runs.folder.run import Run
from nas.runs.folder.tables import FRONT, TRIALS

EVERY, REST = 2.0, 10.0  # between two looks: seconds, and times as long as the page took
_FILES = (RECORD, TRIALS, FRONT, CONFIRMATIONS)


def watch(folder: Path, out: Path | None = None, told: Callable[[Run, list[Path]], None] = lambda *_: None) -> None:
    """Writes the page whenever the files of a run have changed, and once nobody writes the run any
    more the whole report; the page of a run that goes on loads itself again.

    Args:
        folder: Of a run that is being written, which may not have come to its first file, or of
            one that has ended.
        out: As of `nas.report.write`.
        told: Called with the run as it was read and what was written of it.

    Raises:
        NasError: The folder is no run, or what is in it when nobody writes it cannot be read.
    """
    lock = Watch(folder)
    seen: tuple[tuple[int, int], ...] = ()
    while lock.alive():  # looked at before the files: what changes after them is seen the next time
        began, stamps = time.monotonic(), _stamps(folder)
        if stamps != seen and (folder / RECORD).exists():
            try:
                run = Run(folder, running=True)
                told(run, [write_page(run, out)])
                seen = stamps
            except NasError:  # files of two moments, or the output, which the last look refuses too
                pass
        time.sleep(max(EVERY, REST * (time.monotonic() - began)))
    run = Run(folder)
    told(run, write(run, out))


def _stamps(folder: Path) -> tuple[tuple[int, int], ...]:
    """What changes when the files do: time and size of each."""
    found = []
    for name in _FILES:
        try:
            state = os.stat(folder / name)
            found.append((state.st_mtime_ns, state.st_size))
        except FileNotFoundError:
            found.append((0, 0))
    return tuple(found)
