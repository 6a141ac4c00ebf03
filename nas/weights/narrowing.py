"""What of a space image weights can fill: values of holes with which no candidate can begin with
them are taken out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nas.architecture import Architecture, ArchitectureError
from nas.architecture.edits import edited
from nas.errors import NasError
from nas.space import Hole, Label, Params, SearchSpace
from nas.weights.image_start import ImageStart


@dataclass(frozen=True)
class Narrowed:
    """A space that image weights fill.

    Attributes:
        space: The space; two choices that fit alone may still not fit together.
        left_out: Why a value of a hole was taken out, by the names of holes and by value.
    """

    space: SearchSpace
    left_out: Mapping[str, Mapping[Label, str]]


def narrowed(space: SearchSpace, start: ImageStart) -> Narrowed:
    """Leaves of every hole the values with which some candidate can be filled.

    One such candidate is looked for by changing a hole at a time while that makes the parts fewer
    that the weights do not fit. From it every other value of every hole is tried alone, with the
    best values of the holes that it opens: weights fit part by part.

    Raises:
        NasError: No candidate was found that can be filled.
    """
    if "around" in space.document:
        return _narrowed_neighbourhood(space, start)
    points = _Points(space, start)
    first = points.descended(points.at({}), None)
    for value in space.holes[0].values if space.holes else ():
        if first.misfits:
            first = min(first, points.descended(points.at({space.holes[0].name: value}), None), key=_misfits)
    if first.misfits:
        raise NasError(
            f"init {start.source!r} fills no candidate of space {space.name!r}: the nearest differs in "
            f"{first.misfits} parts, first because {first.reason}"
        )
    known: dict[str, dict[Label, Params]] = {}
    left_out: dict[str, dict[Label, str]] = {}

    def mark(params: Params) -> None:
        for name, value in params.items():
            known.setdefault(name, {}).setdefault(value, params)

    mark(first.params)
    for hole in space.holes:
        for value in hole.values if hole.name in known else ():
            if value in known[hole.name]:
                continue
            there = next(iter(known[hole.name].values()))
            found = points.at({**there, hole.name: value})
            found = points.descended(found, found.params.keys() - there.keys())
            if found.misfits:
                left_out.setdefault(hole.name, {})[value] = found.reason
            else:
                mark(found.params)
    only = {
        hole.name: [value for value in hole.values if value in known[hole.name]]
        for hole in space.holes
        if hole.name in left_out
    }
    return Narrowed(space.narrowed(only) if only else space, left_out)


def _narrowed_neighbourhood(space: SearchSpace, start: ImageStart) -> Narrowed:
    base = Architecture.parse(space.document["around"])
    if reason := start.misfit(base):
        raise NasError(f"init {start.source!r} does not fill the network that is searched around: {reason}")
    left_out: dict[Label, str] = {}
    names = space.document["choices"]
    for name in names:
        if reason := start.misfit(Architecture.parse(edited(base, [name]))):
            left_out[name] = reason
    if len(left_out) == len(names):
        raise NasError(
            f"init {start.source!r} fills the network that is searched around, and none of its edits: "
            f"{left_out[names[0]]}"
        )
    kept = [name for name in names if name not in left_out]
    return Narrowed(space.narrowed({"edit": kept}) if left_out else space, {"edit": left_out} if left_out else {})


@dataclass(frozen=True)
class _Point:
    """A candidate, or an assignment that gives none, and how far weights are from filling it."""

    misfits: float
    params: Params
    reason: str


def _misfits(point: _Point) -> float:
    return point.misfits


class _Points:
    """Candidates of a space by their holes; one that is not given takes its first value."""

    def __init__(self, space: SearchSpace, start: ImageStart) -> None:
        self._space, self._start = space, start
        self._holes = {hole.name: hole for hole in space.holes}

    def at(self, wanted: Params) -> _Point:
        used: Params = {}

        def choose(hole: Hole) -> Label:
            used[hole.name] = wanted.get(hole.name, hole.values[0])
            return used[hole.name]

        try:
            _, architecture = self._space.complete(choose)
        except ArchitectureError as error:
            return _Point(math.inf, used, str(error))
        found = self._start.misfits(architecture)
        return _Point(len(found), used, found[0] if found else "")

    def descended(self, point: _Point, free: Iterable[str] | None) -> _Point:
        """The best value of each hole in turn, until none is better; of the holes that are free,
        or of all where that is None.
        """
        names = None if free is None else set(free)
        improved = True
        while improved and point.misfits:
            improved = False
            for name in list(point.params):
                if name not in point.params or (names is not None and name not in names):
                    continue
                for value in self._holes[name].values:
                    if value == point.params[name]:
                        continue
                    other = self.at({**point.params, name: value})
                    if other.misfits < point.misfits:
                        if names is not None:
                            names |= other.params.keys() - point.params.keys()
                        point, improved = other, True
                if not point.misfits:
                    break
        return point
