"""The operators and their options in words, as the registries have them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from nas.architecture.downsamples import DOWNSAMPLES
from nas.architecture.fields import Config, Operator
from nas.architecture.heads import HEADS
from nas.architecture.layers import LAYERS
from nas.architecture.registry import Registry
from nas.architecture.stems import STEMS

_PLACES: dict[str, Registry[Any]] = {
    "Layers": LAYERS,
    "Stems": STEMS,
    "Downsamplings": DOWNSAMPLES,
    "Heads": HEADS,
}


def operators_page() -> str:
    """Every operator that a file may name, with its options, as a Markdown page."""
    lines = ["# Operators", "", "What a file may name by `op`, with the options of each and their defaults.", ""]
    lines += ["This page is printed by `nas list --operators`."]
    for place, registry in _PLACES.items():
        lines += [
            "",
            f"## {place}",
            "",
            "| `op` | what it is | options |",
            "|---|---|---|",
            *map(_row, registry.types()),
        ]
    return "\n".join(lines) + "\n"


def _row(kind: type[Operator]) -> str:
    options = "; ".join(_options(kind)).replace("|", "\\|")
    summary = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    return f"| `{kind.op_name()}` | {summary} | {options} |"


def _options(kind: type[Operator]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        if name == "op":
            continue
        about = f" ({field.description})" if field.description else ""
        yield f"`{name}` {_allowed(field)}{about}"


def _allowed(field: FieldInfo) -> str:
    """The default, and the other choices where there are few."""
    if field.default is PydanticUndefined:
        return "(required)"
    default = _text(field.default)
    if get_origin(field.annotation) is Literal:
        return " or ".join([f"**{default}**", *(f"{c}" for c in get_args(field.annotation) if c != field.default)])
    return f"**{default}**"


def _text(value: Any) -> str:
    """A default as YAML has it, or how many mappings it holds."""
    if isinstance(value, tuple) and value and isinstance(value[0], Config):
        return f"{len(value)} of them"
    return json.dumps(to_jsonable_python(value)).strip('"')
