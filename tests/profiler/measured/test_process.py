"""The process that measures: stand-ins for it that answer, refuse, die and hang."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

import nas
from nas.errors import NasError
from nas.profiler.measured import process as process_module
from nas.profiler.measured.device import Conditions
from nas.profiler.measured.process import MeasuringProcess

SERVER = """
import os, sys
from dataclasses import dataclass
from nas.errors import NasError
from nas.profiler.measured.device import Conditions
from nas.profiler.measured.process import serve
@dataclass(frozen=True)
class Request:
    count: int
    conditions: Conditions

@dataclass(frozen=True)
class Answer:
    ms: float
    words: dict

def answers(request):
    print("printed by a library")
    if request.count < 0:
        raise NasError(f"count {request.count} is not allowed; allowed: numbers from 0")
    for i in range(request.count):
        yield Answer(i / 2, {"batch": request.conditions.batch, "here": os.environ.get("HERE")})

serve(Request, answers)
"""
FORKING = """
import os
from dataclasses import dataclass
from nas.profiler.measured.process import serve

@dataclass(frozen=True)
class Count:
    count: int

@dataclass(frozen=True)
class Answer:
    ms: float
    words: dict

seen = []

def answers(request):
    seen.append(request)
    if request.count < 0:
        os.kill(os.getpid(), -request.count)
    if request.count == 3:
        raise SystemExit(3)
    if request.count == 4:
        raise RuntimeError("no kernel")
    yield Answer(len(seen), {"parent": os.getppid()})

serve(Count, answers, fork=True)
"""
STARTER = """
import json, subprocess, time

sleeper = subprocess.Popen(["sleep", "60"])
print(json.dumps({"ms": sleeper.pid, "words": {}}), flush=True)
time.sleep(60)
"""


@dataclass(frozen=True)
class Request:
    count: int
    conditions: Conditions


@dataclass(frozen=True)
class Answer:
    ms: float
    words: dict[str, Any]


@dataclass(frozen=True)
class Count:
    count: int


ADAPTER = TypeAdapter(Answer)
Start = Callable[..., MeasuringProcess]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a program in place of a module of this package, and ends it with the test."""
    started: list[MeasuringProcess] = []

    def started_program(program: str, **options: Any) -> MeasuringProcess:
        monkeypatch.setattr(process_module, "command", lambda module: [sys.executable, "-c", program])
        started.append(MeasuringProcess("nas.stand_in", "timing a network", **options))
        return started[-1]

    yield started_program
    for process in started:
        process.end()


def request(count: int) -> Request:
    return Request(count, Conditions("cpu", "fp32", 4, 1))


def test_requests_and_answers_are_typed_and_a_refusal_is_no_end(start: Start) -> None:
    process = start(SERVER, variables={"HERE": "yes"})
    words = {"batch": 4, "here": "yes"}
    assert list(process.ask(request(2), ADAPTER)) == [Answer(0.0, words), Answer(0.5, words)]
    assert list(process.ask(request(0), ADAPTER)) == []


def test_a_refusal_is_the_error_of_this_process(start: Start) -> None:
    with pytest.raises(NasError, match=r"^count -1 is not allowed; allowed: numbers from 0$"):
        list(start(SERVER).ask(request(-1), ADAPTER))


@pytest.mark.skipif(not process_module.FORKS, reason="requests are answered in forks on Linux only")
@pytest.mark.parametrize(
    ("count", "message"),
    [
        (-9, "was killed by the system, which happens when memory runs out; allowed: "),
        (-6, "died of SIGABRT"),
        (3, "failed with exit code 3"),
        (4, "failed with exit code 1: RuntimeError: no kernel; allowed: "),
    ],
)
def test_a_fork_knows_of_no_request_before_and_its_death_is_that_of_the_process(
    start: Start, count: int, message: str
) -> None:
    process = start(FORKING)
    expected = Answer(1.0, {"parent": process._process.pid})
    for _ in range(2):
        assert list(process.ask(Count(1), ADAPTER)) == [expected]
    with pytest.raises(NasError, match=message):
        list(process.ask(Count(count), ADAPTER))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by the system, which happens when memory runs out; allowed: "),
        ("import os; os.kill(os.getpid(), 6)", "died of SIGABRT: it said nothing; allowed: "),
        ("raise RuntimeError('no kernel')", "failed with exit code 1: RuntimeError: no kernel; allowed: "),
        ("pass", "failed with exit code 0: it said nothing; allowed: "),
        ("import os; os.close(0); raise SystemExit(3)", "failed with exit code 3: it said nothing"),
        ("print('hello')", r"gave no measurement but 'hello\\n': it said nothing; allowed: "),
        ("print(3)", r"gave no measurement but '3\\n'"),
        ("""print('{"ms": "fast"}')""", 'gave no measurement but \'{"ms": '),
        ("""print('{"error": "too large"}')""", "^too large$"),
    ],
)
def test_a_failing_process_tells_why(start: Start, program: str, message: str) -> None:
    with pytest.raises(NasError, match=message):
        list(start(program).ask(request(1), ADAPTER))


def test_an_endless_process_is_given_up(start: Start) -> None:
    begin = time.perf_counter()
    with pytest.raises(NasError, match=r"^timing a network did not end within 0\.2 s; allowed: "):
        list(start("import time; time.sleep(60)").ask(request(1), ADAPTER, limit=0.2))
    assert time.perf_counter() - begin < 30


def test_an_interrupt_ends_the_process_and_what_it_started(start: Start) -> None:
    process = start(STARTER)
    with pytest.raises(KeyboardInterrupt), process:
        for answer in process.ask(request(1), ADAPTER):
            sleeper = int(answer.ms)
            raise KeyboardInterrupt
    assert process._process.returncode == -9
    for _ in range(100):
        state = Path(f"/proc/{sleeper}/stat")
        if not state.exists() or ") Z " in state.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{sleeper} runs")


def test_the_child_finds_this_package_wherever_the_user_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder `nas` of the user is not this package, and a checkout need not be installed."""
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    found = process_module.environment_variables()["PYTHONPATH"].split(os.pathsep)
    assert found == [str(Path(nas.__file__).parents[1]), "elsewhere"]
    assert process_module.command("nas.x")[1:] == ["-P", "-m", "nas.x"]
