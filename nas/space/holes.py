"""A hole of a search space, its values, and the error of a wrong space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nas.errors import NasError

Label = bool | int | float | str | None
"""What a value of a hole is called: the value itself, or a text where it is a list or a mapping."""
Params = dict[str, Label]
"""The label chosen for every active hole, by the name of the hole: a point of a space. It is what
Optuna stores, and it has no hole that the other choices leave without meaning."""


class SpaceError(NasError):
    """A wrong search space or wrong parameters; the message names the place, its value and what is
    allowed.
    """


@dataclass(frozen=True)
class Hole:
    """A parameter of a space.

    Attributes:
        name: Its path in the document; below a choice the path carries the label of the chosen
            option, `stages.1.layers.2.t2d.heads`, so that one name always has the same values.
        values: Labels of its values, all different, in the order of the document.
    """

    name: str
    values: tuple[Label, ...]

    @property
    def numeric(self) -> bool:
        """Whether the labels are numbers, and so have an order."""
        return all(is_number(label) for label in self.values)

    @property
    def is_extent(self) -> bool:
        """Whether it is a width or a depth, which decide most of what a network costs."""
        return self.numeric and self.name.rpartition(".")[2] in ("width", "repeat")

    def index(self, label: Any) -> int:
        """Position of a value.

        Raises:
            SpaceError: The hole has no such value.
        """
        try:
            return self.values.index(label)
        except ValueError:
            raise SpaceError(f"parameter {self.name!r} is {label!r}; allowed: {listed(self.values)}") from None


def is_number(value: Any) -> bool:
    """Whether a value is a number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def listed(values: Sequence[Any]) -> str:
    """Values for a message."""
    return ", ".join(map(repr, values))


def join(path: str, key: object) -> str:
    """The path of what stands under a key of a mapping, or at a place of a list."""
    return f"{path}.{key}" if path else str(key)


def error(path: str, problem: str) -> SpaceError:
    """An error of the document at a path."""
    return SpaceError(f"{path or 'search space'}: {problem}")
