"""Trainings in processes of one thread, for so long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from video.table import start_worker, write

Job = tuple[Path, tuple[Any, ...]]


def run(function: Callable[..., dict[str, Any]], jobs: Sequence[Job], workers: int, minutes: float | None) -> None:
    """Writes what the function makes of each job's arguments to the job's file, unless it is there.

    After so many minutes nothing more is begun. A job that fails is named, and the others go on.
    """
    waiting = [job for job in jobs if not job[0].exists()]
    if not waiting or minutes == 0:
        return
    for path in {path.parent for path, _ in waiting}:
        path.mkdir(parents=True, exist_ok=True)
    deadline = None if minutes is None else time.time() + 60 * minutes
    with ProcessPoolExecutor(workers, get_context("spawn"), start_worker) as pool:
        running = {pool.submit(_job, function, deadline, *job): job[0] for job in waiting}
        for done, future in enumerate(as_completed(running), 1):
            path = running[future]
            if error := future.exception():
                print(f"{path} failed: {error}", file=sys.stderr, flush=True)
            elif future.result():
                print(f"{done}/{len(waiting)} {path.parent.name}/{path.stem}", file=sys.stderr, flush=True)


def _job(
    function: Callable[..., dict[str, Any]], deadline: float | None, path: Path, arguments: tuple[Any, ...]
) -> bool:
    if deadline is not None and time.time() > deadline:
        return False
    write(path, function(*arguments))
    return True
