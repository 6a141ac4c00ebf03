"""The error that a user can mend, whose message is one sentence, and the words for other errors."""

from __future__ import annotations

import reprlib

_REPR = reprlib.Repr()
_REPR.maxlevel = 2
SHOWN = 200  # characters of a path in a message
_HALF = 1000  # characters of a message that are kept at each end
_FULL = (  # what errors without a type of their own say where memory ran out: torch on a CPU, CUDA, cuBLAS, cuDNN
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DEVICE_ALLOCATION_FAILED",
)


class NasError(ValueError):
    """Bad input. The message names the thing, its value and what is allowed.

    Whatever a value in it holds, it is one line of printable text of at most 2000 characters.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(_printable(message))


def _printable(text: str) -> str:
    """A text with its control characters as escapes, and of a long one the beginning and the end,
    which says what is allowed.
    """
    text = _ends(text)  # before it is walked through, as it may be of any length
    if text.isprintable():
        return text
    return _ends("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text))


def _ends(text: str) -> str:
    return text if len(text) <= 2 * _HALF else f"{text[:_HALF]} ... {text[5 - _HALF :]}"


class Interrupted(NasError):
    """The user stopped what ran; the message says what is kept. Commands end with exit code 130."""


def message_of(error: BaseException) -> str:
    """The message of an error without its line breaks."""
    return " ".join(str(error).split())


def one_line(error: BaseException) -> str:
    """The type and message of an error without its line breaks."""
    message = message_of(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, told without importing torch.

    That of a CPU allocation is a plain RuntimeError, and so is that of a GPU where CUDA or one of
    its libraries, and not torch's allocator, asked for memory: of a kernel that is loaded when it
    is first launched, or a library's handle.
    """
    return any(kind.__name__ in ("OutOfMemoryError", "MemoryError") for kind in type(error).__mro__) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _FULL)
    )


def context_lost(error: BaseException) -> bool:
    """Whether an error of torch says that the device failed and not what ran on it, told without
    importing torch.

    An illegal access, a failed assertion or a device that is gone leaves a CUDA context in which
    every later call fails too: whoever holds it has to end. Running out of memory is not of that
    kind.
    """
    if out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    return any(kind.__name__ == "AcceleratorError" for kind in type(error).__mro__) or "CUDA error" in str(error)


def brief(value: object, length: int = 60) -> str:
    """A value as messages show it: of a long one the beginning and the end."""
    _REPR.maxstring = _REPR.maxother = length
    try:
        text = _REPR.repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        text = "an integer of too many digits to print"
    return text if len(text) <= length else f"{text[: length - 3]}..."
