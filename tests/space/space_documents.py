"""Small documents of spaces, and every assignment of one, for the tests beside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nas.space import Hole, Label, Params, SearchSpace

SHIPPED = ("hybrid", "conv", "swin", "vit", "tiny")


def document(layers: Any, **stage: Any) -> dict[str, Any]:
    """A document with one stage: a 16x16 map of 8 frames and width 24 unless the stage says
    otherwise.
    """
    return {
        "input": {"frames": 8, "size": 64},
        "stem": {"op": "conv", "stride": [1, 4, 4]},
        "stages": [{"width": 24, **stage, "layers": layers}],
    }


def space(layers: Any, **stage: Any) -> SearchSpace:
    return SearchSpace.from_document(document(layers, **stage), "test")


def choice(*options: Any) -> dict[str, Any]:
    return {"choice": list(options)}


T2D = {"op": "t2d", "heads": choice(1, 2, 3), "window": choice(None, [8, 8, 8])}
D2PLUS1D = {"op": "d2plus1d", "modules": {"range": [1, 3, 2]}}
JOINT = {"op": "joint_filter"}
MIXED = {"repeat": choice(1, 2), "layer": choice(T2D, D2PLUS1D, JOINT)}  # (6 + 2 + 1) + (6 + 2 + 1)^2 = 90


def enumerated(space: SearchSpace) -> Iterator[Params]:
    """Every assignment, by walking a counter through the values of the holes that are asked for."""
    path: list[int] = []
    while True:
        asked: list[Hole] = []

        def choose(hole: Hole, asked: list[Hole] = asked) -> Label:
            asked.append(hole)
            if len(path) < len(asked):
                path.append(0)
            return hole.values[path[len(asked) - 1]]

        yield space.complete(choose)[0]
        while path and path[-1] == len(asked[len(path) - 1].values) - 1:
            path.pop()
        if not path:
            return
        path[-1] += 1
