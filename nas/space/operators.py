"""The short form of a choice of operators, and spaces that extend others.

A document may name the layer of each operator once, with its holes, and its stages then say which
of them a layer chooses among:

    operators:
      t2d: {heads: 2, variant: {choice: [shared, fused]}, window: [8, 7, 7]}
      d2plus1d: {modules: {choice: [1, 3, 5]}}
    stages:
      - width: 32
        layers:
          repeat: {choice: [1, 2]}
          layer:
            operators: all # or a list of names
            set: {heads: {choice: [2, 4]}, t2d.window: null}

`set` says what differs at that place: `FIELD` for all operators that have such a field, those of a
third party included, and `OPERATOR.FIELD` for one. `{extends: hybrid, operators: {my_op: {}}}` is
the space `hybrid` with one more operator wherever a layer chooses among all.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from nas.architecture import LAYERS
from nas.architecture.document import SCHEMA
from nas.documents import of_schema, read_yaml
from nas.errors import brief
from nas.resources import find_resource
from nas.space.holes import error, join

MAX_EXTENSIONS = 10  # spaces that extend each other
Operators = Mapping[str, Mapping[str, Any]]


def operators_of(document: Mapping[str, Any]) -> Operators:
    """The layers of `operators` in a document, each with its `op`.

    Raises:
        SpaceError: They are no mapping from operators to fields.
    """
    given = document.get("operators", {})
    if not isinstance(given, Mapping):
        raise error("operators", f"{brief(given)} names no layers; allowed: a mapping from operators to their fields")
    layers = {}
    for op, fields in given.items():
        path = join("operators", op)
        if not isinstance(fields, Mapping):
            raise error(path, f"{brief(fields)} is no layer; allowed: a mapping of its fields, {{}} for its defaults")
        if LAYERS.find(op) is None:
            raise error(path, f"is unknown; allowed: {', '.join(LAYERS.names())}, or an operator that is registered")
        if fields.get("op", op) != op:
            raise error(join(path, "op"), f"{brief(fields['op'])} stands under another name; allowed: {op!r}, or no op")
        layers[op] = {"op": op, **fields}
    return layers


def layers_at(names: Any, changes: Any, path: str, operators: Operators) -> list[dict[str, Any]]:
    """The layers that a place chooses among.

    Args:
        names: `all`, or a list of operators.
        changes: What `set` says.
        path: Where the choice stands.
        operators: The layers of the document.

    Raises:
        SpaceError: An operator that the document does not have, or a change of nothing.
    """
    allowed = f"all, or a list of {', '.join(operators) or 'what the document lists under operators'}"
    chosen = list(operators) if names == "all" else names
    if not isinstance(chosen, list) or not chosen or not all(isinstance(op, str) and op in operators for op in chosen):
        raise error(join(path, "operators"), f"{brief(names)} is not in the document's operators; allowed: {allowed}")
    if not isinstance(changes, Mapping):
        raise error(join(path, "set"), f"{brief(changes)} changes nothing; allowed: a mapping from fields to values")
    fields = {op: LAYERS.find(op).model_fields.keys() - {"op"} for op in chosen}  # type: ignore[union-attr]
    changed: dict[str, dict[str, Any]] = {op: {} for op in chosen}
    # Of one operator stands before of all: what is special wins.
    for target, value in sorted(changes.items(), key=lambda item: "." in str(item[0])):
        op, _, field = str(target).rpartition(".")
        places = [name for name in chosen if (name == op if op else True) and field in fields[name]]
        if not places:
            raise error(
                join(path, f"set.{target}"),
                f"is a field of no operator here; allowed: FIELD or OPERATOR.FIELD of {', '.join(chosen)}",
            )
        for name in places:
            changed[name][field] = value
    return [_with(operators[op], changed[op]) for op in chosen]


def _with(layer: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A layer with other fields: those that it has keep their place, others come first."""
    new = {field: value for field, value in changes.items() if field not in layer}
    return {"op": layer["op"], **new, **{field: changes.get(field, value) for field, value in layer.items()}}


def extended(document: Any, depth: int = 0) -> Any:
    """A document without `extends`: the one that it extends, with what it says itself.

    Its operators come behind those of the other, or take their place under the same name; every
    other key takes the place of the other's.

    Raises:
        NasError: There is no such space.
        SpaceError: It lists no operators, or extends itself.
    """
    if not isinstance(document, Mapping) or "extends" not in document:
        return document
    source = document["extends"]
    if depth == MAX_EXTENSIONS:
        raise error("extends", f"{brief(source)} is the {MAX_EXTENSIONS + 1}th space; allowed: no circle of spaces")
    found = read_yaml("search space", find_resource("search space", source, "search_spaces"))
    base = extended(of_schema(found, SCHEMA, f"search space {brief(source)}"), depth + 1)
    own = {key: value for key, value in document.items() if key != "extends"}
    if not isinstance(base, Mapping) or ("operators" in own and "operators" not in base):
        raise error("extends", f"{brief(source)} names no operators; allowed: a space with a mapping 'operators'")
    if "operators" in own:
        operators_of(own)
        own["operators"] = {**base["operators"], **own["operators"]}
    return {**copy.deepcopy(dict(base)), **own}
