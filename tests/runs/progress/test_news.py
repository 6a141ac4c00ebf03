"""Lines and events of a run, and its signs of life, by a clock of the test's own."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from nas.runs.progress import news
from nas.runs.progress.display import SearchProgress
from nas.runs.progress.news import EventConsole, Heartbeat, announce, busy


class Clock:
    """Time passes only while somebody waits.

    Attributes:
        now: Seconds.
        waits: How often somebody may wait before the work is over.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, waits: int) -> None:
        self.now, self.waits = 100.0, waits
        monkeypatch.setattr(news.time, "monotonic", lambda: self.now)

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.waits -= 1
        return self.waits < 0


def beats(heart: Heartbeat, clock: Clock) -> None:
    """Runs what the thread of a heartbeat runs, in this one."""
    heart._stop.wait = clock.wait  # type: ignore[method-assign,assignment]
    heart._run()


def test_a_sign_of_life_comes_after_two_seconds_and_then_every_five(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(monkeypatch, 4), list[float]()
    beats(Heartbeat(told.append), clock)
    assert told == [2.0, 7.0, 12.0, 17.0]


def test_what_is_told_otherwise_puts_the_next_sign_off(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(monkeypatch, 3), list[float]()
    heart = Heartbeat(told.append)
    clock.now += 1.5
    heart.told()
    beats(heart, clock)
    assert told == [6.5, 11.5, 16.5]


def test_work_that_ends_is_told_no_more() -> None:
    told: list[float] = []
    with Heartbeat(told.append) as heart:
        pass
    assert told == [] and not heart._thread.is_alive()


def test_lines_for_people_and_events_for_programs() -> None:
    file, events = io.StringIO(), list[Mapping[str, Any]]()
    announce(Console(file=file), "trial 3 [bold] takes 4.1 ms", "measured", trial=3)
    assert file.getvalue() == "trial 3 [bold] takes 4.1 ms\n"
    console = EventConsole(events.append)
    announce(console, "trial 3 takes 4.1 ms", "measured", trial=3)
    console.print("nothing of this")
    assert events == [{"event": "measured", "trial": 3, "text": "trial 3 takes 4.1 ms"}]


@pytest.mark.parametrize("quiet", [False, True])
def test_something_moves_where_it_is_piped_unless_it_is_quiet(monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    file = io.StringIO()
    monkeypatch.setattr(news, "FIRST", 0.0)
    with busy(Console(file=file, quiet=quiet), "reading clips"):
        for _ in range(200):
            if "reading" in file.getvalue():
                break
            news.time.sleep(0.01)
    assert file.getvalue() == ("" if quiet else "reading clips, 0 s\n")


def test_a_training_that_takes_long_is_told_with_how_many_are_done() -> None:
    file, events = io.StringIO(), list[Mapping[str, Any]]()
    SearchProgress(Console(file=file), 24, None)._beat(7.2)
    assert file.getvalue() == "training, 0 of 24 done, 7 s\n"
    SearchProgress(EventConsole(events.append), None, 60.0)._beat(7.2)
    assert events == [
        {"event": "busy", "what": "training", "seconds": 7.2, "done": 0, "of": None, "text": "training, 0 done, 7 s"}
    ]
