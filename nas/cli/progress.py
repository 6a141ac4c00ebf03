"""The bar that commands show beside long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nas.runs.progress.news import Heartbeat, announce


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left on a terminal, a line every few seconds elsewhere.

    Args:
        console: Where it is shown.
        what: What goes on, such as `evaluating`.

    Yields:
        A function to be called with (done, to do).
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if not console.is_terminal:
        passed = ""

        def show(done: int, total: int) -> None:
            nonlocal passed
            passed = f", {done} of {total} done"

        with Heartbeat(lambda seconds: announce(console, f"{what}{passed}, {seconds:.0f} s")):
            yield show
        return
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
