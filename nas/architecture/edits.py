"""The neighbourhood of an architecture: every file within a number of edits of it.

An edit changes one thing of the file: the operator of a layer, its ratio (`mlp_ratio` or
`expansion`), the width of a stage, or its depth. An edit is named by what it sets:
`stages.1.layers.2.op=tps`, `stages.1.layers.2.ratio=x0.5`, `stages.1.width=96`, `stages.2.depth=5`.
The ratio of a layer is multiplied, whichever operator the layer gets.

A new operator keeps what it shares with the old one (heads, ratio, activation, kernel); the rest is
its default. The ratio of a layer whose own operator has none is no edit, and neither is anything of
the layers that a depth adds: they repeat the last ones as edited.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from nas.architecture.document import Architecture, Part, check_layer
from nas.architecture.downsamples import DownsampleConfig
from nas.architecture.layers import LAYERS, LayerConfig
from nas.architecture.messages import ArchitectureError
from nas.architecture.shape import UNIT_STRIDE, Shape

FACTORS = (0.5, 0.75, 1.25, 1.5, 2.0)
KEPT = ("heads", "mlp_ratio", "activation", "kernel", "temporal_kernel")  # where both layers have it alike


def single_edits(base: Architecture) -> tuple[str, ...]:
    """Every single edit of an architecture that can be built alone, in the order of the file."""
    parts = {part.path: part for part in base.parts()}
    names: list[str] = []
    for s, stage in enumerate(base.stages):
        path = f"stages.{s}"
        names += [f"{path}.depth={depth}" for depth in _depths(len(stage.layers))]
        if width_group(base, s)[0] == s:
            candidates = [f"{path}.width={width}" for width in _widths(base, s)]
            names += [name for name in candidates if _builds(base, name)]
        for i, layer in enumerate(stage.layers):
            where = f"{path}.layers.{i}"
            part = parts[where]
            others = (kind for kind in LAYERS.types() if kind is not type(layer))
            names += [f"{where}.op={kind.op_name()}" for kind in others if _fits(kind, layer, part)]
            names += [f"{where}.ratio=x{factor}" for factor in FACTORS if _ratio_of(layer)]
    return tuple(names)


def edited(base: Architecture, edits: Sequence[str]) -> dict[str, Any]:
    """The document with the edits made; their order does not count.

    Raises:
        ArchitectureError: Two edits of one thing, or an edit of a layer that another one removes.
    """
    targets = [name.partition("=")[0] for name in edits]
    for target in targets:
        if targets.count(target) > 1:
            raise ArchitectureError(target, "is edited twice; allowed: one edit of each thing")
    document = copy.deepcopy(base.document())
    shapes = {part.path: part.output for part in base.parts()}
    values = dict(name.split("=", 1) for name in edits)
    # A new operator comes before its ratio, and a depth last: what it adds repeats what was edited.
    for target, value in sorted(values.items(), key=lambda item: not item[0].endswith(".op")):
        place = target.split(".")
        stage = document["stages"][int(place[1])]
        if place[2] == "width":
            for member in width_group(base, int(place[1])):
                document["stages"][member]["width"] = int(value)
        elif place[2] == "layers":
            i, field = int(place[3]), place[4]
            depth = values.get(f"stages.{place[1]}.depth")
            if depth is not None and i >= int(depth):
                raise ArchitectureError(target, f"is of a layer that depth {depth} removes; allowed: layers that stay")
            if field == "op":
                layer = base.stages[int(place[1])].layers[i]
                new = replacement(_type_of(value), layer, shapes[f"stages.{place[1]}.layers.{i}"])
                stage["layers"][i] = new.model_dump(mode="json")
            else:
                made = stage["layers"][i]
                ratio = _type_of(made["op"]).ratio
                if ratio is None:
                    raise ArchitectureError(
                        target, f"has no meaning for the new operator {made['op']!r}; allowed: layers with a ratio"
                    )
                made[ratio] = _scaled(made[ratio], value)
    for target, value in values.items():
        if target.endswith(".depth"):
            layers = document["stages"][int(target.split(".")[1])]["layers"]
            layers[:] = _with_depth(layers, int(value))
    return document


def edits_between(base: Architecture, other: Architecture) -> tuple[str, ...] | None:
    """The edits that make `other` of `base`, whatever its name; None when no edits do."""
    if len(base.stages) != len(other.stages):
        return None
    depths, rest = [], []
    shapes = {part.path: part.output for part in base.parts()}
    for s, (old, new) in enumerate(zip(base.stages, other.stages, strict=True)):
        if len(old.layers) != len(new.layers):
            depths.append(f"stages.{s}.depth={len(new.layers)}")
        if old.width != new.width and width_group(base, s)[0] == s:
            rest.append(f"stages.{s}.width={new.width}")
        for i, (before, after) in enumerate(zip(old.layers, new.layers, strict=False)):
            where = f"stages.{s}.layers.{i}"
            if before.op != after.op:
                rest.append(f"{where}.op={after.op}")
            start = before if before.op == after.op else replacement(_type_of(after.op), before, shapes[where])
            old_ratio, new_ratio = _ratio_of(start), _ratio_of(after)
            if old_ratio and old_ratio != new_ratio:
                scales = [f"x{factor}" for factor in FACTORS if _scaled(old_ratio, f"x{factor}") == new_ratio]
                rest += [f"{where}.ratio={scale}" for scale in scales[:1]]
    names = (*depths, *rest)
    known = set(single_edits(base))
    if not all(name in known for name in names):
        return None
    try:
        same = Architecture.parse(edited(base, names)).canonical() == other.canonical()
    except ArchitectureError:
        return None
    return names if same else None


def replacement(kind: type[LayerConfig], layer: LayerConfig, shape: Shape) -> LayerConfig:
    """A layer of another type in the place of one: of the fields in `KEPT` what both have is kept,
    the rest is as `suited` has it.

    Args:
        kind: The new type.
        layer: The layer that it replaces.
        shape: The map that the layer gives.
    """
    theirs, ours = type(layer).model_fields, kind.model_fields
    kept = [name for name in KEPT if name in ours and name in theirs]
    kept = [name for name in kept if ours[name].annotation == theirs[name].annotation]
    return kind.suited(shape, **{name: getattr(layer, name) for name in kept})


def _type_of(op: str) -> type[LayerConfig]:
    kind = LAYERS.find(op)
    if kind is None:
        raise ArchitectureError("op", f"{op!r} is unknown; allowed: {', '.join(LAYERS.names())}")
    return kind


def _fits(kind: type[LayerConfig], layer: LayerConfig, part: Part) -> bool:
    if (part.stride != UNIT_STRIDE or part.input != part.output) and not kind.strides_allowed:
        return False
    try:
        check_layer(replacement(kind, layer, part.output), part.output, part.path)
    except (ArchitectureError, ValidationError):
        return False
    return True


def _builds(base: Architecture, name: str) -> bool:
    try:
        Architecture.parse(edited(base, [name]))
    except ArchitectureError:
        return False
    return True


def _ratio_of(layer: LayerConfig) -> float | None:
    return None if layer.ratio is None else float(getattr(layer, layer.ratio))


def _scaled(ratio: float, scale: str) -> float:
    return round(ratio * float(scale.removeprefix("x")), 4)


def _depths(depth: int) -> list[int]:
    depths: Iterable[int] = (depth - 1, depth + 1, *(round(depth * factor) for factor in FACTORS[:-1]))
    return sorted({n for n in depths if n >= 1 and n != depth})


def _with_depth(layers: list[dict[str, Any]], depth: int) -> list[dict[str, Any]]:
    """The first layers, or all and more in the alternation of the last two."""
    period = 2 if len(layers) > 1 and layers[-1] != layers[-2] else 1
    grown = list(layers[:depth])
    while len(grown) < depth:
        grown.append(copy.deepcopy(grown[-period]))
    return grown


def width_group(base: Architecture, stage: int) -> list[int]:
    """Returns the stages whose width is the same because nothing between them could change it."""
    first = stage
    while first > 0 and not _changes_width(base.stages[first].downsample):
        first -= 1
    members = [first]
    while members[-1] + 1 < len(base.stages) and not _changes_width(base.stages[members[-1] + 1].downsample):
        members.append(members[-1] + 1)
    return members


def _changes_width(downsample: DownsampleConfig | None) -> bool:
    return downsample is not None and downsample.changes_width


def _widths(base: Architecture, stage: int) -> list[int]:
    """Other widths, rounded to what the heads of the group divide, or to multiples of 4."""
    layers = [layer for member in width_group(base, stage) for layer in base.stages[member].layers]
    unit = math.lcm(4, *(layer.width_divisor for layer in layers))
    width = base.stages[stage].width
    widths = {max(unit, round(width * factor / unit) * unit) for factor in FACTORS[:-1]}
    return sorted(widths - {width})
