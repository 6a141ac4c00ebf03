"""The neighbourhood of an architecture as a space: `{around: architecture document, edits: 6}`.

Its holes are `edits`, how many, and `edit.0`, `edit.1` and so on, which (`nas.architecture.edits`).
The document of a run also has `choices`, the names of all single edits as they were when the space
was made: an operator that comes later must not change the values of a hole that trials are stored
with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.architecture import Architecture, ArchitectureError
from nas.architecture.edits import edited, edits_between, single_edits
from nas.errors import brief
from nas.space.holes import Hole, Label, Params, SpaceError, error
from nas.space.nodes import Mismatch, Node

MAX_EDITS = 20


def neighbourhood_document(architecture: Architecture, edits: int) -> dict[str, Any]:
    """The document of the architectures within so many edits of one."""
    return {
        "name": f"around-{architecture.name or architecture.hash}",
        "around": architecture.document(),
        "edits": edits,
        "choices": list(single_edits(architecture)),
    }


@dataclass(frozen=True)
class NeighbourhoodNode(Node):
    """An architecture with up to so many edits; `nas.architecture.edits` says what an edit is."""

    base: Architecture
    most: int
    names: tuple[str, ...]

    @property
    def count(self) -> Hole:
        return Hole("edits", tuple(range(self.most + 1)))

    def size(self) -> int:
        """Sets of edits of different things: their order does not count; some of them cannot be
        built.
        """
        ways = [1]  # of making 0, 1, 2, ... edits of the things so far
        for values in Counter(name.partition("=")[0] for name in self.names).values():
            ways = [a + values * b for a, b in zip([*ways, 0], [0, *ways], strict=True)][: self.most + 1]
        return sum(ways)

    def holes(self) -> Iterator[Hole]:
        yield self.count
        for i in range(self.most):
            yield Hole(f"edit.{i}", self.names)

    def fill(self, choose: Callable[[Hole], int]) -> Any:
        first, *rest = self.holes()
        return edited(self.base, [self.names[choose(hole)] for hole in rest[: choose(first)]])

    def covering(self) -> list[Any]:
        return [self.base.document()]

    def kept(self, values: Mapping[str, Sequence[Label]]) -> Node:
        """Itself: what a neighbourhood leaves out is not in its `choices`."""
        return self

    def match(self, value: Any, path: str) -> Params:
        edits = edits_between(self.base, value)
        if edits is not None and not set(edits) <= set(self.names):
            edits = None
        if edits is None or len(edits) > self.most:
            found = "another network" if edits is None else f"{len(edits)} edits away"
            raise Mismatch(path, found, f"up to {self.most} edits of {self.base.name or 'the given architecture'}")
        return {"edits": len(edits), **{f"edit.{i}": name for i, name in enumerate(edits)}}


def compile_neighbourhood(data: Mapping[str, Any]) -> NeighbourhoodNode:
    """The space of a document with `around`.

    Raises:
        SpaceError: A wrong architecture, number of edits or choice; the message names the place.
    """
    for key in data:
        if key not in ("around", "edits", "choices", "name"):
            raise error(str(key), "stands beside 'around'; allowed there: edits, choices, name")
    most = data.get("edits")
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= MAX_EDITS:
        raise error("edits", f"{most!r} is no number of edits; allowed: 1 to {MAX_EDITS}")
    try:
        base = Architecture.parse(data["around"])
    except ArchitectureError as problem:
        raise SpaceError(f"around.{problem}") from None
    known = single_edits(base)
    names = data.get("choices", known)
    if not isinstance(names, list | tuple) or not names:
        raise error("choices", f"{brief(names)} are no edits; allowed: a list of edits of the architecture")
    for i, name in enumerate(names):
        if name not in known:
            raise error(
                f"choices.{i}",
                f"{brief(name)} is no edit of {base.name or 'the architecture'} in this installation; "
                f"allowed: names such as {known[0]!r}, of operators that are registered",
            )
        if name in names[:i]:
            raise error(f"choices.{i}", f"{brief(name)} stands there twice; allowed: different edits")
    return NeighbourhoodNode(base, most, tuple(names))
