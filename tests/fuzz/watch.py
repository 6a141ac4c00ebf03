"""What every case of the fuzzer must do: end in success or in one NasError, soon and in little
memory where it is refused.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nas.errors import NasError

REFUSED_SECONDS = 2.0  # of processor time
REFUSED_BYTES = 500_000_000  # above what the process had before
ENDS_SECONDS = 300  # of wall time; what waits for ever, such as for a pipe, is interrupted then
ADDRESS_SPACE = 8_000_000_000  # that a case may take beyond what there was: it must not harm the machine


class Waits(BaseException):
    """A case did not end; no code under test catches it."""


class Outcomes:
    """How the cases of one kind ended."""

    def __init__(self) -> None:
        self.accepted = self.refused = 0
        self.slowest = 0.0
        self.most_bytes = 0


def check(case: Callable[[], object], outcomes: Outcomes) -> None:
    """Runs a case and asserts how it ends."""
    if _status("VmHWM") - _status("VmRSS") > REFUSED_BYTES / 5:  # what it forgets takes a while
        _forget_peak()
    before, began = _status("VmRSS"), time.process_time()
    try:
        case()
    except NasError as error:
        seconds, taken = time.process_time() - began, _status("VmHWM") - before
        message = str(error)
        assert len(message.splitlines()) == 1 and message.isprintable(), message
        assert len(message) < 2500, f"{len(message)} characters: {message[:300]}"
        assert "allowed" in message, message
        assert seconds <= REFUSED_SECONDS, f"{seconds:.1f} s to refuse: {message}"
        assert taken <= REFUSED_BYTES, f"{taken:,} bytes to refuse: {message}"
        outcomes.refused += 1
        outcomes.slowest, outcomes.most_bytes = max(outcomes.slowest, seconds), max(outcomes.most_bytes, taken)
    else:
        outcomes.accepted += 1


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Bounds the memory and the time of each case that `bounded` runs within."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + ADDRESS_SPACE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Interrupts what does not end."""

    def interrupt(*_: object) -> None:
        raise Waits(f"no end within {ENDS_SECONDS} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(ENDS_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    """A figure of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return 0
