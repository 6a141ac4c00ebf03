"""A fresh process that measures: how it is started, what it is asked and what it answers.

A process that trains, searches or has built other networks carries their memory, threads and
allocator state into whatever it measures. So whatever is measured is measured by a program of its
own, a module of this package that calls `serve`. Both sides exchange lines of JSON: a request is a
line, each of its answers is a line, and `null` ends them; in place of an answer, `{"error": ...}`
says in one sentence what a user can mend.

Importing torch takes most of the time of a short measurement. Where `FORKS`, a program may
therefore answer each request in a fork of itself, which has run nothing before either.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess  # nosec B404  # of words, without a shell
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from threading import Timer
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from nas.errors import NasError

FORKS = sys.platform == "linux"  # elsewhere system libraries may not survive a fork

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class MeasuringProcess:
    """A process that answers requests until the context ends, which ends it with all it started.

    Args:
        module: Its name; it calls `serve` when it runs as a program.
        doing: What it does, for messages: "measuring architecture 'x3d_s' on cpu".
        variables: What its environment has beside that of this process.
    """

    def __init__(self, module: str, doing: str, variables: Mapping[str, str] | None = None) -> None:
        self.doing = doing
        self._expired = False
        # A pipe that nobody reads would fill up and stop it.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        # A session of its own: Ctrl-C is for this process, which ends the child.
        self._process = subprocess.Popen(  # nosec B603  # this python and a module of the package
            command(module),
            env=environment_variables() | dict(variables or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self._kill()
        self._process.communicate()
        self._stderr.close()

    def ask(self, request: object, answer: TypeAdapter[Answer], limit: float | None = None) -> Iterator[Answer]:
        """Hands over a request and yields its answers as they come; leaving early ends the process.

        Args:
            request: A dataclass, of the type that the process serves.
            answer: Reads the type of the answers.
            limit: Seconds for all of them; none unless given.

        Raises:
            NasError: The process refused, died, took too long, or wrote what is no answer.
        """
        assert self._process.stdin and self._process.stdout
        timer = Timer(limit, self._expire) if limit is not None else None
        if timer:
            timer.start()
        complete = False
        try:
            with contextlib.suppress(BrokenPipeError):  # what it said before it died is read below
                self._process.stdin.write(_document(request) + "\n")
                self._process.stdin.flush()
            for line in self._process.stdout:
                found = self._read(line, answer)
                if found is None:
                    complete = True
                    return
                yield found
            raise self._failure(limit)
        finally:
            if timer:
                timer.cancel()
            if not complete:
                self._kill()

    def _read(self, line: str, answer: TypeAdapter[Answer]) -> Answer | None:
        try:
            found = json.loads(line)
            if isinstance(found, dict) and found.keys() == {"error"}:
                raise NasError(found["error"])
            return None if found is None else answer.validate_python(found)
        except (json.JSONDecodeError, ValidationError):
            raise NasError(
                f"{self.doing} gave no measurement but {line[:80]!r}: {self._last_words()}; "
                f"allowed: code that lets the process answer"
            ) from None

    def _failure(self, limit: float | None) -> NasError:
        """Why there are no more answers."""
        code = self._process.wait()
        if self._expired:
            return NasError(
                f"{self.doing} did not end within {limit:g} s; allowed: a smaller network or input, or more max_seconds"
            )
        if code == -signal.SIGKILL:
            return NasError(
                f"{self.doing} was killed by the system, which happens when memory runs out; "
                f"allowed: a network, input and batch that fit into memory"
            )
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
        return NasError(f"{self.doing} {how}: {self._last_words()}; allowed: a network, input and batch that run here")

    def _last_words(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return " ".join(lines[-1].split()) if lines else "it said nothing"

    def _expire(self) -> None:
        self._expired = True
        self._kill()

    def _kill(self) -> None:
        if self._process.poll() is None:  # else its number may be that of another process by now
            os.killpg(self._process.pid, signal.SIGKILL)


def command(module: str) -> list[str]:
    """The command that runs a module of this package; `-P` ignores a folder `nas` of the user."""
    return [sys.executable, "-P", "-m", module]


def environment_variables() -> dict[str, str]:
    """Those of this process; in a checkout the child finds this package where this process did."""
    variables = dict(os.environ)
    root = str(Path(__file__).resolve().parents[3])
    if root != sysconfig.get_path("purelib"):
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (root, variables.get("PYTHONPATH"))))
    return variables


def serve(request: type[Request], answers: Callable[[Request], Iterable[object]], fork: bool = False) -> None:
    """The main function of a process that measures.

    Args:
        request: The type of the requests, a dataclass.
        answers: Called with each; yields dataclasses. A NasError is handed over as the answer.
        fork: Answer each in a fork of this process. If it dies, this process dies of the same.
    """
    # Whatever libraries print goes to stderr: stdout carries the answers alone.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer_all(line: str) -> None:
        try:
            for answer in answers(TypeAdapter(request).validate_json(line)):
                print(_document(answer), file=lines)
            print("null", file=lines)
        except NasError as error:
            print(json.dumps({"error": str(error)}), file=lines)

    for line in sys.stdin:
        if fork:
            _in_fork(answer_all, line)
        else:
            answer_all(line)


def _in_fork(function: Callable[[str], None], line: str) -> None:
    """Calls a function in a fork, and ends this process as the fork ended unless that went well."""
    gc.freeze()  # a collection in the fork would copy the memory of all that was imported
    process = os.fork()
    if not process:
        code = 1
        try:
            function(line)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code < 0:
        os.kill(os.getpid(), -code)
    if code:
        sys.exit(code)


def _document(message: object) -> str:
    adapter: TypeAdapter[Any] = TypeAdapter(type(message))
    return adapter.dump_json(message).decode()
