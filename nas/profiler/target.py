"""What is profiled: an architecture, or any `nn.Module` that a factory makes, with the inputs of
its forward.

A target is plain data, because it crosses into the fresh process that measures it: that process
builds the module again. A factory is code that the user names on purpose; it is imported and called
as `python -m` would, with the current folder before the installed packages.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, Self

import torch
from torch import nn

from nas.architecture import Architecture, load
from nas.errors import NasError, one_line, out_of_memory
from nas.models.network import build

INPUT_DTYPES = {
    name: getattr(torch, name)
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
}
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_FILE = re.compile(r"(.+\.py):(\w[\w.]*)")
_INPUT = re.compile(r"(?:([A-Za-z_]\w*)=)?([1-9]\d*(?:x[1-9]\d*)*)(?::(\w+))?")


@dataclass(frozen=True)
class Input:
    """One tensor that a forward takes.

    Attributes:
        shape: Its sizes, the batch first.
        name: Keyword under which it is handed over; None where it goes by position.
        dtype: One of `INPUT_DTYPES`; None for the floating dtype that is measured.
    """

    shape: tuple[int, ...]
    name: str | None = None
    dtype: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `1x3x16x224x224`, `name=1x3x16x224x224` or either with a dtype behind it,
        `1x77:int64`.

        Raises:
            NasError: Anything else.
        """
        match = _INPUT.fullmatch(text)
        if not match:
            raise NasError(
                f"input {text!r} is not allowed; allowed: sizes such as 1x3x16x224x224, name=1x3x16x224x224 for a "
                f"keyword, and a dtype behind them, as in ids=1x77:int64"
            )
        name, sizes, dtype = match.groups()
        if dtype is not None and dtype not in INPUT_DTYPES:
            raise NasError(f"input {text!r} has dtype {dtype!r}; allowed: {', '.join(INPUT_DTYPES)}")
        return cls(tuple(int(size) for size in sizes.split("x")), name, dtype)

    def __str__(self) -> str:
        prefix = f"{self.name}=" if self.name else ""
        return prefix + "x".join(map(str, self.shape)) + (f":{self.dtype}" if self.dtype else "")

    def tensor(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Normal noise for floating dtypes; ones for the others: a valid index, and a mask that
        hides nothing.
        """
        wanted = INPUT_DTYPES[self.dtype] if self.dtype else dtype
        if not wanted.is_floating_point:
            return torch.ones(self.shape, device=device, dtype=wanted)
        return torch.randn(self.shape, device=device, dtype=wanted)


@dataclass(frozen=True)
class Target:
    """What is profiled.

    Attributes:
        architecture: The architecture, or None for a factory.
        factory: `package.module:factory`, or None for an architecture.
        inputs: What the forward takes; for an architecture one clip of its own input size.
    """

    architecture: Architecture | None
    factory: str | None
    inputs: tuple[Input, ...]

    @classmethod
    def of(cls, architecture: Architecture) -> Self:
        """The target that an architecture is."""
        entry = architecture.input
        return cls(architecture, None, (Input((1, entry.channels, entry.frames, *entry.size)),))

    @property
    def name(self) -> str:
        """The factory, or the architecture's name, or its hash where it has none."""
        return self.factory or (self.architecture and (self.architecture.name or self.architecture.hash)) or ""

    @property
    def kind(self) -> str:
        """What it is, in a word for messages."""
        return "factory" if self.factory else "architecture"

    @property
    def batch(self) -> int:
        """The leading size of the first input."""
        return self.inputs[0].shape[0]

    def to_dict(self) -> dict[str, Any]:
        """The target as plain mappings, lists and numbers."""
        document = self.architecture.document() if self.architecture else None
        return {
            "architecture": document,
            "factory": self.factory,
            "inputs": [asdict(entry) for entry in self.inputs],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The target that `to_dict` wrote."""
        architecture = Architecture.parse(data["architecture"]) if data["architecture"] else None
        inputs = tuple(Input(**{**entry, "shape": tuple(entry["shape"])}) for entry in data["inputs"])
        return cls(architecture, data["factory"], inputs)

    def with_batch(self, batch: int) -> Target:
        """The same target with another batch: every input whose leading size is the batch gets the
        new one.
        """
        inputs = tuple(
            Input((batch, *entry.shape[1:]), entry.name, entry.dtype) if entry.shape[0] == self.batch else entry
            for entry in self.inputs
        )
        return Target(self.architecture, self.factory, inputs)

    def import_code(self) -> Callable[[], object]:
        """Imports what `build` needs and returns the call that makes the module.

        Raises:
            NasError: The module does not import or has no such factory, with the underlying
                message.
        """
        if self.architecture is not None:
            architecture = self.architecture
            return lambda: build(architecture)
        module_name, _, path = (self.factory or "").partition(":")
        if module_name.endswith(".py"):
            _refuse_file(module_name, path)
        try:
            with _current_folder_first():
                found: Any = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:
            raise NasError(f"module {module_name!r} of {self.name!r} does not import: {one_line(error)}") from error
        for attribute in path.split("."):
            try:
                found = getattr(found, attribute)
            except AttributeError:
                raise NasError(
                    f"module {module_name!r} has no {path!r}; allowed: the name of a function or class in "
                    f"{getattr(sys.modules[module_name], '__file__', None) or module_name}"
                ) from None
        if not callable(found):
            raise NasError(f"{self.name!r} is of type {type(found).__name__}; allowed: something that can be called")
        made: Callable[[], object] = found
        return made

    def build(self, device: torch.device | str = "cpu") -> nn.Module:
        """Makes the module on a device, in the train or eval mode that its maker leaves it in.

        A factory makes it on the CPU, from where it is moved: many cannot run on the meta device.

        Raises:
            NasError: The factory cannot be found, fails, or returns no `nn.Module`.
        """
        if self.architecture is not None:
            return build(self.architecture, device=device)
        factory = self.import_code()
        try:
            with _current_folder_first():
                made = factory()
        except (Exception, SystemExit) as error:
            raise NasError(f"factory {self.name!r} failed: {one_line(error)}") from error
        if not isinstance(made, nn.Module):
            raise NasError(f"factory {self.name!r} returned a {type(made).__name__}; allowed: a torch.nn.Module")
        return made.to(device)

    def example(
        self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, batch: int | None = None
    ) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        """Returns (args, kwargs) for the forward.

        Args:
            device: Where the tensors are made.
            dtype: Of the inputs that name no dtype.
            batch: Another batch than that of the inputs.
        """
        device = torch.device(device)
        entries = (self.with_batch(batch) if batch else self).inputs
        args = tuple(entry.tensor(device, dtype) for entry in entries if entry.name is None)
        return args, {entry.name: entry.tensor(device, dtype) for entry in entries if entry.name is not None}

    @contextlib.contextmanager
    def naming_failures(self, doing: str = "forward") -> Iterator[None]:
        """Turns whatever the module raises inside the context into a NasError with its message, and
        with the names of the target and its inputs.

        An error of memory that ran out passes as it is: the caller knows what it asked for.

        Args:
            doing: What the module does inside, as the first words of the message.
        """
        try:
            yield
        except NasError:
            raise
        except (Exception, SystemExit) as error:
            if out_of_memory(error):
                raise
            inputs = " ".join(map(str, self.inputs))
            raise NasError(f"{doing} of {self.name!r} with input {inputs} failed: {one_line(error)}") from error


def load_target(what: str | os.PathLike[str], inputs: Sequence[str] = ()) -> Target:
    """Returns the target that a user names.

    Args:
        what: A reference network's name, an architecture file, or `package.module:factory`, where
            the factory is a function or class that returns an `nn.Module` when called without
            arguments.
        inputs: What a factory's module takes, as `Input.parse` reads it; at least one. An
            architecture has its own.

    Raises:
        NasError: No such file or name, or the inputs do not fit; the factory itself is looked for
            by `Target.build`.
    """
    name = os.fspath(what)
    if (match := _FILE.fullmatch(name)) and not os.path.exists(name):
        _refuse_file(match[1], match[2])
    if not _FACTORY.fullmatch(name) or os.path.exists(name):
        target = Target.of(load(name))
        if inputs:
            raise NasError(
                f"input {inputs[0]!r} is not allowed for architecture {name!r}, which is profiled at its own, "
                f"{target.inputs[0]}; allowed: no --input, or a copy of its file with another input"
            )
        return target
    entries = tuple(Input.parse(text) for text in inputs)
    if not entries:
        raise NasError(f"factory {name!r} has no input; allowed: at least one, such as --input 1x3x16x224x224")
    names = [entry.name for entry in entries if entry.name]
    for repeated in (n for n in names if names.count(n) > 1):
        raise NasError(f"input {repeated!r} is given {names.count(repeated)} times; allowed: once")
    return Target(None, name, entries)


def _refuse_file(file: str, factory: str) -> NoReturn:
    """Refuses a Python file in the place of a module, with the name of the module that it is from
    the current folder.
    """
    path = os.path.relpath(file)
    inside = f"{path[:-3].replace(os.sep, '.')}:{factory}"
    allowed = f"its module, as in {inside!r}" if _FACTORY.fullmatch(inside) else "a module of the current folder"
    raise NasError(f"factory {f'{file}:{factory}'!r} names a file; allowed: {allowed}")


@contextlib.contextmanager
def _current_folder_first() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
