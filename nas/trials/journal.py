"""The journal of a study: a file of lines that Optuna reads back, in which a proposal is written
whole.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from nas.errors import NasError, one_line
from nas.trials.results import STUDY

DECIDED = "index"  # what is written last of a proposal that is to be trained, as an attribute of its trial
GRACE = 3  # seconds after which a lock that a killed search has left is taken over; a run has one writer
_BEGIN = b'{"op_code":4,'  # a trial begins
_TOLD = 6  # the operation that ends one


class Journal(JournalFileBackend):
    """Optuna's journal in a file with one writer.

    A line of it waits for the disk, and a proposal has one for each of its parameters. Those of a
    block are put there together, which is one wait.

    Args:
        path: The file; made where there is none. What a proposal has left unfinished is cut off, so
            that it is made again under the same number.
    """

    def __init__(self, path: Path) -> None:
        _cut_to_whole_proposals(path)
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path), grace_period=GRACE))
        self._lines = 0  # of the file that were read
        self._lost = 0  # lines that were read and never written
        self._held: list[dict[str, Any]] | None = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Writes at its end what is appended inside it, and nothing of it after an exception."""
        held: list[dict[str, Any]] = []
        self._held = held
        try:
            yield
        except BaseException:
            self._lost += len(held)
            raise
        finally:
            self._held = None
        if held:
            self.append_logs(held)
        deque(super().read_logs(self._lines), maxlen=0)  # which takes note of where the next line begins
        self._lines += len(held)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._held is None:
            super().append_logs(logs)
        else:
            self._held += logs

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        first = log_number_from - self._lost
        if self._held:
            yield from self._held[first - self._lines :]
            return
        for number, log in enumerate(super().read_logs(first), first):
            self._lines = number + 1
            yield log


def _cut_to_whole_proposals(path: Path) -> None:
    """Takes from a journal the line, and the proposal, that a full disk or a dying machine has left
    unfinished.
    """
    written = path.read_bytes() if path.exists() else b""
    whole = written.rfind(b"\n") + 1
    begin = written.rfind(b"\n" + _BEGIN, 0, whole) + 1
    number = written.count(b"\n" + _BEGIN, 0, whole) - 1
    if begin and _is_undecided(written[begin:whole].splitlines()[1:], number):
        whole = begin
    if whole < len(written):
        os.truncate(path, whole)


def _is_undecided(lines: list[bytes], number: int) -> bool:
    """Whether lines tell of that proposal alone, and not what becomes of it. Where one cannot be
    read, which is for Optuna to refuse, nothing is to be cut off.
    """
    try:
        entries = [json.loads(line) for line in lines]
        return all(
            entry["trial_id"] == number and entry["op_code"] != _TOLD and DECIDED not in entry.get("user_attr", {})
            for entry in entries
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return False


@contextmanager
def naming_journal(path: Path) -> Iterator[None]:
    """Turns what a journal raises that another program wrote, or that was changed, into a
    NasError.
    """
    try:
        yield
    except NasError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NasError(
            f"journal {str(path)!r} cannot be read ({one_line(error)}); "
            f"allowed: the {STUDY} of `nas search`, as it wrote it"
        ) from None
