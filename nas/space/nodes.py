"""The document of a space as a tree: one kind of node for each thing that may stand in it."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Any

from nas.architecture import Architecture, Config
from nas.space.holes import Hole, Label, Params, join, listed


class Mismatch(Exception):
    """An architecture differs from the document at `path`."""

    def __init__(self, path: str, value: Any, allowed: str) -> None:
        super().__init__(f"{path or 'architecture'}: {as_written(value)} is not in the space; allowed: {allowed}")
        self.path = path


def as_written(value: Any) -> str:
    """A value of an architecture, as it is written in the file."""
    if isinstance(value, Config):
        return json.dumps(value.model_dump(mode="json"))
    if isinstance(value, tuple):
        return f"[{', '.join(map(as_written, value))}]"
    return repr(value)


class Node(ABC):
    """A piece of the document."""

    @abstractmethod
    def size(self) -> int:
        """Number of assignments to the holes below."""

    @abstractmethod
    def holes(self) -> Iterator[Hole]:
        """All holes below, in document order."""

    @abstractmethod
    def fill(self, choose: Callable[[Hole], int]) -> Any:
        """The plain document with every hole replaced; `choose` gives the position of a value."""

    @abstractmethod
    def covering(self) -> list[Any]:
        """Plain documents in which together every option occurs; few, because holes change side by
        side.
        """

    @abstractmethod
    def kept(self, values: Mapping[str, Sequence[Label]]) -> Node:
        """The piece with those values alone that are listed for a hole; holes that are not named
        stay as they are.
        """

    @abstractmethod
    def match(self, value: Any, path: str) -> Params:
        """The parameters that give this typed piece of an architecture; raises Mismatch when none
        do.
        """


@dataclass(frozen=True)
class ValueNode(Node):
    value: Label

    def size(self) -> int:
        return 1

    def holes(self) -> Iterator[Hole]:
        return iter(())

    def fill(self, choose: Callable[[Hole], int]) -> Any:
        return self.value

    def covering(self) -> list[Any]:
        return [self.value]

    def kept(self, values: Mapping[str, Sequence[Label]]) -> Node:
        return self

    def match(self, value: Any, path: str) -> Params:
        # A file may write one number for a pair of equal ones.
        if value != self.value and not (isinstance(value, tuple) and value and all(v == self.value for v in value)):
            raise Mismatch(path, value, repr(self.value))
        return {}


@dataclass(frozen=True)
class MappingNode(Node):
    items: Mapping[str, Node]

    def size(self) -> int:
        return math.prod(node.size() for node in self.items.values())

    def holes(self) -> Iterator[Hole]:
        for node in self.items.values():
            yield from node.holes()

    def fill(self, choose: Callable[[Hole], int]) -> Any:
        return {key: node.fill(choose) for key, node in self.items.items()}

    def covering(self) -> list[Any]:
        parts = {key: node.covering() for key, node in self.items.items()}
        count = max(map(len, parts.values()), default=1)
        return [{key: part[i % len(part)] for key, part in parts.items()} for i in range(count)]

    def kept(self, values: Mapping[str, Sequence[Label]]) -> Node:
        return MappingNode({key: node.kept(values) for key, node in self.items.items()})

    def match(self, value: Any, path: str) -> Params:
        if not isinstance(value, Config):
            raise Mismatch(path, value, f"a mapping with {', '.join(self.items)}")
        params: Params = {}
        for key, field in type(value).model_fields.items():
            if isinstance(value, Architecture) and key == "name":
                continue
            here, found = join(path, key), getattr(value, key)
            if key in self.items:
                params |= self.items[key].match(found, here)
            elif found != field.get_default(call_default_factory=True):
                raise Mismatch(here, found, f"{as_written(field.default)} (the default)")
        return params


@dataclass(frozen=True)
class ListNode(Node):
    """A list; the layers of a RepeatNode among its items become items themselves."""

    items: tuple[Node, ...]

    def size(self) -> int:
        return math.prod(node.size() for node in self.items)

    def holes(self) -> Iterator[Hole]:
        for node in self.items:
            yield from node.holes()

    def fill(self, choose: Callable[[Hole], int]) -> Any:
        return self._spliced([node.fill(choose) for node in self.items])

    def covering(self) -> list[Any]:
        parts = [node.covering() for node in self.items]
        count = max(map(len, parts), default=1)
        return [self._spliced([part[i % len(part)] for part in parts]) for i in range(count)]

    def kept(self, values: Mapping[str, Sequence[Label]]) -> Node:
        return ListNode(tuple(node.kept(values) for node in self.items))

    def _spliced(self, parts: list[Any]) -> list[Any]:
        spliced: list[Any] = []
        for node, part in zip(self.items, parts, strict=True):
            if isinstance(node, RepeatNode):
                spliced += part
            else:
                spliced.append(part)
        return spliced

    def match(self, value: Any, path: str) -> Params:
        if not isinstance(value, tuple):
            raise Mismatch(path, value, f"a list of {len(self.items)}")
        return _match_items(self.items, value, 0, path)


@dataclass(frozen=True)
class ChoiceNode(Node):
    hole: Hole
    options: tuple[Node, ...]
    by_op: bool = False

    def size(self) -> int:
        return sum(option.size() for option in self.options)

    def holes(self) -> Iterator[Hole]:
        yield self.hole
        for option in self.options:
            yield from option.holes()

    def fill(self, choose: Callable[[Hole], int]) -> Any:
        return self.options[choose(self.hole)].fill(choose)

    def covering(self) -> list[Any]:
        return [document for option in self.options for document in option.covering()]

    def kept(self, values: Mapping[str, Sequence[Label]]) -> ChoiceNode:
        asked = values.get(self.hole.name, self.hole.values)
        pairs = zip(self.hole.values, self.options, strict=True)
        left = [(label, option.kept(values)) for label, option in pairs if label in asked]
        hole = Hole(self.hole.name, tuple(label for label, _ in left))
        return ChoiceNode(hole, tuple(option for _, option in left), self.by_op)

    def match(self, value: Any, path: str) -> Params:
        reasons = []
        for label, option in zip(self.hole.values, self.options, strict=True):
            if self.by_op and isinstance(value, Config) and label != getattr(value, "op", None):
                continue
            try:
                return {self.hole.name: label, **option.match(value, path)}
            except Mismatch as error:
                if self.by_op and isinstance(value, Config):
                    raise
                reasons.append(f"{label!r} ({error})")
        if self.by_op and isinstance(value, Config):
            raise Mismatch(f"{path}.op", getattr(value, "op", None), listed(self.hole.values))
        plain = all(isinstance(option, ValueNode) for option in self.options)
        raise Mismatch(path, value, listed(self.hole.values) if plain else f"one of {', '.join(reasons)}")


@dataclass(frozen=True)
class RepeatNode(Node):
    """As many of `layers` as `count` says: they are the same layer with the holes named for each
    repetition.
    """

    count: ChoiceNode | ValueNode
    layers: tuple[Node, ...]

    @property
    def counts(self) -> list[Any]:
        return self.count.covering()

    def size(self) -> int:
        up_to = list(accumulate((layer.size() for layer in self.layers), mul, initial=1))
        return sum(up_to[n] for n in self.counts)

    def holes(self) -> Iterator[Hole]:
        yield from self.count.holes()
        for layer in self.layers:
            yield from layer.holes()

    def fill(self, choose: Callable[[Hole], int]) -> Any:
        return [layer.fill(choose) for layer in self.layers[: self.count.fill(choose)]]

    def covering(self) -> list[Any]:
        return [[layer] for layer in self.layers[0].covering()] if self.layers else [[]]

    def kept(self, values: Mapping[str, Sequence[Label]]) -> Node:
        count = self.count.kept(values) if isinstance(self.count, ChoiceNode) else self.count
        layers = tuple(layer.kept(values) for layer in self.layers[: max(count.covering())])
        return RepeatNode(count, layers)

    def match(self, value: Any, path: str) -> Params:
        if not isinstance(value, tuple):
            raise Mismatch(path, value, "a list")
        return _match_items((self,), value, 0, path)


def _match_items(items: Sequence[Node], values: tuple[Any, ...], start: int, path: str) -> Params:
    """Parameters of the items that together make `values[start:]`, where a RepeatNode makes as many
    as it may.
    """
    if not items:
        if start < len(values):
            raise Mismatch(path, len(values), f"{start} entries")
        return {}
    first, rest = items[0], items[1:]
    if not isinstance(first, RepeatNode):
        if start == len(values):
            raise Mismatch(path, len(values), f"more than {start} entries")
        params = first.match(values[start], join(path, start))
        return params | _match_items(rest, values, start + 1, path)
    mismatches = []
    for n in first.counts:
        try:
            params = first.count.match(n, path)
            for i, layer in enumerate(first.layers[:n], start):
                if i == len(values):
                    raise Mismatch(path, i, f"more than {i} entries")
                params |= layer.match(values[i], join(path, i))
            return params | _match_items(rest, values, start + n, path)
        except Mismatch as mismatch:
            mismatches.append(mismatch)
    # A layer that differs says more than a count that differs.
    inside = [mismatch for mismatch in mismatches if mismatch.path != path]
    raise inside[0] if inside else Mismatch(path, len(values), f"{', '.join(map(str, first.counts))} repeated entries")
