"""From the document of a space to the tree of its nodes, and what is wrong with a document."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from nas.architecture.messages import HOLES
from nas.documents import MAX_NODES
from nas.errors import brief
from nas.space.holes import Hole, Label, error, is_number, join, listed
from nas.space.neighbourhood import compile_neighbourhood
from nas.space.nodes import ChoiceNode, ListNode, MappingNode, Node, RepeatNode, ValueNode
from nas.space.operators import Operators, layers_at, operators_of

MAX_RANGE = 1000  # values of one range
MAX_NUMBER = 10**15  # of a range
MAX_REPEAT = 100  # repetitions of one layer
MAX_DEPTH = 40  # nesting; a YAML file can refer to itself
# Nodes of the tree, repetitions written out: as many as a document without any may have.
MAX_TREE = MAX_NODES
PLAIN = "mappings, lists, text, finite numbers, true, false, null"


@dataclass
class _Work:
    """One document on its way to a tree: its operators, and the nodes made so far."""

    operators: Operators
    nodes: int = 0


def compile_document(document: Any) -> Node:
    """The tree of a whole document.

    Raises:
        SpaceError: The document is no space; the message names the place.
    """
    if not isinstance(document, Mapping):
        return _compiled(document, "", _Work({}))
    if "around" in document:
        return compile_neighbourhood(document)
    root = {key: value for key, value in document.items() if key not in ("operators", "only")}
    node = _compiled(root, "", _Work(operators_of(document)))
    return _kept(node, document["only"]) if "only" in document else node


def _kept(node: Node, only: Any) -> Node:
    """The tree with those values alone that `only` lists, by the names of holes."""
    if not isinstance(only, Mapping):
        raise error("only", f"{brief(only)} keeps nothing; allowed: a mapping from holes to lists of their values")
    holes = {hole.name: hole for hole in node.holes()}
    for name, values in only.items():
        path = join("only", name)
        if name not in holes:
            meant = get_close_matches(str(name), holes, 1, 0.5)
            raise error(path, f"is no hole of the space; allowed: names such as {(meant or list(holes))[0]!r}")
        if not isinstance(values, list | tuple) or not values:
            raise error(path, f"{brief(values)} leaves no value; allowed: a list of {listed(holes[name].values)}")
        for value in values:
            if value not in holes[name].values:
                raise error(path, f"{brief(value)} is no value of the hole; allowed: {listed(holes[name].values)}")
    return node.kept(only)


def _compiled(data: Any, path: str, work: _Work, depth: int = 0) -> Node:
    """The tree of a document.

    Args:
        data: Plain document.
        path: Where it stands, with the labels of the options that lead there.
        work: What the document has made so far.
        depth: How deep it stands.

    Raises:
        SpaceError: Something that is neither data nor a hole, or too much of it.
    """
    work.nodes += 1
    if work.nodes > MAX_TREE:
        raise error(
            path, f"comes after {MAX_TREE:,} values, what repeats stand for included; allowed: up to {MAX_TREE:,}"
        )
    if depth > MAX_DEPTH:
        raise error(path, f"nests more than {MAX_DEPTH} levels; allowed: a document that does not contain itself")
    match data:
        case {"choice": options}:
            _only(data, "choice", (), path)
            return _choice(options, path, work, depth)
        case {"operators": names}:
            _only(data, "operators", ("set",), path)
            return _choice(layers_at(names, data.get("set", {}), path, work.operators), path, work, depth)
        case {"range": bounds}:
            _only(data, "range", (), path)
            values = _range(bounds, path)
            return ChoiceNode(Hole(path, values), tuple(map(ValueNode, values)))
        case {"repeat": count}:
            _only(data, "repeat", ("layer",), path)
            return _repeat(count, data, path, work, depth)
        case Mapping():
            for key in data:
                if not isinstance(key, str):
                    raise error(join(path, key), "is no key; allowed: words")
                if len(data) == 1 and key not in HOLES and (meant := get_close_matches(key, HOLES, 1, 0.75)):
                    raise error(join(path, key), f"is no key; allowed: {meant[0]!r} for a hole")
            return MappingNode({key: _compiled(value, join(path, key), work, depth + 1) for key, value in data.items()})
        case list() | tuple():
            return ListNode(tuple(_compiled(value, join(path, i), work, depth + 1) for i, value in enumerate(data)))
        case None | bool() | int() | str():
            return ValueNode(data)
        case float() if math.isfinite(data):
            return ValueNode(data)
    raise error(path, f"{data!r} is no value; allowed: {PLAIN}")


def _only(data: Mapping[Any, Any], kind: str, others: tuple[str, ...], path: str) -> None:
    unknown = [key for key in data if key != kind and key not in others]
    if unknown:
        allowed = f"with {', '.join(others)}" if others else "alone"
        raise error(join(path, unknown[0]), f"stands beside {kind!r}; allowed: {kind!r} {allowed}")


def _choice(options: Any, path: str, work: _Work, depth: int) -> ChoiceNode:
    if not isinstance(options, list | tuple) or not options:
        raise error(path, f"choice {options!r} has no options; allowed: a list of at least one")
    maps = [option for option in options if isinstance(option, Mapping)]
    key = next((key for key in ("op", "name") if maps and _distinct([m.get(key) for m in maps])), None)
    labels: list[Label] = []
    for i, option in enumerate(options):
        if isinstance(option, Mapping):
            labels.append(option[key] if key else str(i))
        elif isinstance(option, list | tuple):
            labels.append(_list_label(option, path) if not _has_holes(option) else str(i))
        else:
            labels.append(option)
    nodes = tuple(
        _compiled(option, join(path, label), work, depth + 1) for label, option in zip(labels, options, strict=True)
    )
    for i, label in enumerate(labels):
        if label in labels[:i]:
            raise error(path, f"choice has two options {label!r}; allowed: options with different labels")
    return ChoiceNode(Hole(join(path, key) if key else path or "root", tuple(labels)), nodes, by_op=key == "op")


def _distinct(labels: list[Any]) -> bool:
    return all(isinstance(label, str) for label in labels) and len(set(labels)) == len(labels)


def _has_holes(data: Any, depth: int = 0) -> bool:
    if depth > MAX_DEPTH:
        return True
    if isinstance(data, Mapping):
        is_hole = any(kind in data for kind in HOLES)
        return is_hole or any(_has_holes(value, depth + 1) for value in data.values())
    return isinstance(data, list | tuple) and any(_has_holes(value, depth + 1) for value in data)


def _list_label(data: Sequence[Any], path: str) -> str:
    if data and all(is_number(value) for value in data):
        return "x".join(map(str, data))
    try:
        return json.dumps(data, separators=(",", ":"))
    except (TypeError, ValueError):
        raise error(path, f"{data!r} is no value; allowed: {PLAIN}") from None


def _range(bounds: Any, path: str) -> tuple[Label, ...]:
    """The values first, first + step, ..., last; decimal arithmetic keeps 0.3 from becoming
    0.30000000000000004.
    """
    known = isinstance(bounds, list | tuple) and all(is_number(value) and abs(value) <= MAX_NUMBER for value in bounds)
    if not known or len(bounds) != 3:
        raise error(path, f"range {brief(bounds)} is not understood; allowed: three numbers [first, last, step]")
    first, last, step = (Decimal(str(value)) for value in bounds)
    if step <= 0 or last < first:
        raise error(path, f"range {bounds!r} is empty; allowed: first up to last and a step above 0")
    steps = (last - first) / step
    if steps >= MAX_RANGE:
        raise error(path, f"range {bounds!r} has {int(steps) + 1} values; allowed: at most {MAX_RANGE}")
    if (last - first) % step:
        raise error(path, f"range {bounds!r} misses its last value; allowed: first plus a multiple of the step")
    count = int(steps) + 1
    kind = int if all(isinstance(value, int) for value in bounds) else float
    return tuple(kind(first + i * step) for i in range(count))


def _repeat(count: Any, data: Mapping[str, Any], path: str, work: _Work, depth: int) -> RepeatNode:
    if "layer" not in data:
        raise error(join(path, "layer"), "is missing beside 'repeat'; allowed: the layer that is repeated")
    where = join(path, "repeat")
    node = _compiled(count, where, work, depth + 1)
    counts = node.covering() if isinstance(node, ChoiceNode | ValueNode) else []
    if not isinstance(node, ChoiceNode | ValueNode) or not all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= MAX_REPEAT for n in counts
    ):
        raise error(where, f"{count!r} is no count; allowed: 0 to {MAX_REPEAT}, or a choice or range of such numbers")
    layers = tuple(_compiled(data["layer"], join(path, i), work, depth + 1) for i in range(max(counts)))
    return RepeatNode(node, layers)
