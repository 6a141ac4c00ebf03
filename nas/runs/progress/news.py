"""What a run tells while it goes on: lines for people, events for programs, and a sign of life in
between.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Any, Self

from rich.console import Console

FIRST, EVERY = 2.0, 5.0  # seconds after which something is told of what goes on, and tells again
LEAST, REST = 2.0, 50.0  # between two times of what is done seldom: seconds, and in its own durations
Listener = Callable[[Mapping[str, Any]], None]


class EventConsole(Console):
    """A console that shows nothing and hands what is announced on it to a function.

    Args:
        listener: Called with each event: a mapping of JSON values that has `event`, its name, and
            `text`, the line that people would read.
    """

    def __init__(self, listener: Listener) -> None:
        super().__init__(file=io.StringIO(), quiet=True)
        self._listener = listener

    def tell(self, event: Mapping[str, Any]) -> None:
        """Hands on an event."""
        self._listener(event)


def announce(console: Console, text: str, event: str = "note", **facts: Any) -> None:
    """Tells something: a line for people, or an event with facts in JSON's types."""
    if isinstance(console, EventConsole):
        console.tell({"event": event, **facts, "text": text})
    else:
        console.print(text, highlight=False, markup=False, soft_wrap=True)


class Heartbeat:
    """Tells by a thread of its own that work goes on, while its context lasts: first after two
    seconds, then whenever some have passed in which nobody told anything.

    Args:
        tell: Called with the seconds since it began.
        every: How many seconds.
    """

    def __init__(self, tell: Callable[[float], None], every: float = EVERY) -> None:
        self._tell, self._every, self._stop = tell, every, threading.Event()
        self._began = time.monotonic()
        self._due = self._began + FIRST
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def told(self) -> None:
        """Somebody told something: the next sign of life has time."""
        self._due = time.monotonic() + self._every

    def _run(self) -> None:
        while not self._stop.wait(max(0.0, self._due - time.monotonic())):
            if time.monotonic() >= self._due:
                self.told()
                self._tell(time.monotonic() - self._began)


class Seldom:
    """Does something, when called, only if long enough has passed since the last time: two seconds,
    and fifty times as long as it took, so that it takes a fiftieth of the time at most.

    Args:
        do: What is done.
    """

    def __init__(self, do: Callable[[], None]) -> None:
        self._do, self._due = do, 0.0

    def __call__(self) -> None:
        began = time.monotonic()
        if began >= self._due:
            self._do()
            ended = time.monotonic()
            self._due = ended + max(LEAST, REST * (ended - began))


class Display:
    """What is shown while a context lasts: something that moves where `animated`, else signs of
    life where there is a heartbeat, else nothing.

    Args:
        moving: Moves while its own context lasts, as a bar of rich.
        animated: Whether it is shown.
        heartbeat: What tells where it is not.
    """

    def __init__(self, moving: AbstractContextManager[object], animated: bool, heartbeat: Heartbeat | None) -> None:
        self._animated, self._heartbeat = animated, None if animated else heartbeat
        self._shown = moving if animated else heartbeat or nullcontext()

    def __enter__(self) -> Self:
        self._shown.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.__exit__(kind, error, trace)

    def _told(self) -> None:
        """Something was told: the next sign of life has time."""
        if self._heartbeat:
            self._heartbeat.told()


@contextmanager
def busy(console: Console, what: str) -> Iterator[None]:
    """Shows that something goes on: a turning sign on a terminal, a line or an event every few
    seconds elsewhere, nothing on a quiet console.
    """
    if isinstance(console, EventConsole) or not (console.is_terminal or console.quiet):
        with Heartbeat(
            lambda seconds: announce(console, f"{what}, {seconds:.0f} s", "busy", what=what, seconds=round(seconds, 1))
        ):
            yield
    else:
        with console.status(what):
            yield
