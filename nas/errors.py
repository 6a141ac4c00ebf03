"""The error that a user can mend: its message is one sentence; commands end with exit code 2."""

from __future__ import annotations

import reprlib

_REPR = reprlib.Repr()
_REPR.maxlevel = 2


class NasError(ValueError):
    """Bad input. The message names the thing, its value and what is allowed."""


class Interrupted(NasError):
    """The user stopped what ran; the message says what is kept. Commands end with exit code 130."""


def brief(value: object, length: int = 60) -> str:
    """A value as messages show it: of a long one the beginning and the end."""
    _REPR.maxstring = _REPR.maxother = length
    text = _REPR.repr(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
