"""The error of this language, and how what pydantic refuses becomes one sentence of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from nas.errors import NasError, brief

HOLES = ("choice", "range", "repeat", "operators")  # keys that search spaces have


class ArchitectureError(NasError):
    """An architecture that cannot be built; the message names the field, its value and what is
    allowed.

    Attributes:
        path: The field, such as `stages.0.layers.1.heads`.
        problem: Its value and what is allowed.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem

    def __reduce__(self) -> tuple[type[ArchitectureError], tuple[str, str]]:
        return ArchitectureError, (self.path, self.problem)


def as_sentence(error: ValidationError, model: type[BaseModel], at: Sequence[str] = ()) -> ArchitectureError:
    """The first problem of a pydantic error, as one sentence with the path of the field.

    Args:
        error: Raised by `model`.
        model: What was validated.
        at: Where the value stands in a larger document: the beginning of the path.
    """
    errors = error.errors()
    # A misspelt key is missing under its right name too: the key that is there tells more.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0]) if _is_key(errors[0]) else errors[0]
    where = first["loc"]
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, ArchitectureError):  # of a piece, whose path begins where the piece stands
        return ArchitectureError(_path((*at, *where, raised.path)), raised.problem)
    path = _path((*at, *where)) or "architecture"
    data: Any = first["input"]
    try:
        refuse_holes(path, data)
    except ArchitectureError as refusal:
        return refusal
    value = "a mapping" if isinstance(data, Mapping) else brief(data)
    match first["type"]:
        case "extra_forbidden":
            return ArchitectureError(
                path, f"unknown key; allowed: {', '.join(_model_at(model, where[:-1]).model_fields)}"
            )
        case "missing" if isinstance(where[-1], int):
            return ArchitectureError(
                _path((*at, *where[:-1])), f"{value} is too short; allowed: one number for each axis"
            )
        case "too_long":
            return ArchitectureError(path, f"{value} is too long; allowed: one number for each axis")
        case "model_type" | "model_attributes_type" | "dict_type":
            return ArchitectureError(path, f"{value} is not allowed; allowed: a mapping")
        case "missing":
            return ArchitectureError(path, "is missing; allowed: a value (the key is required)")
        case "too_short":
            return ArchitectureError(path, "is empty; allowed: at least one entry")
        case "value_error":
            return ArchitectureError(path, str(raised))
        case _:
            expected = first["msg"].removeprefix("Input should be ").removeprefix("a valid ")
            return ArchitectureError(path, f"{value} is not allowed; allowed: {expected}")


def refuse_holes(path: str, value: object) -> None:
    """Refuses what stands in search spaces in the place of a value.

    Raises:
        ArchitectureError: It is such a mapping.
    """
    if isinstance(value, Mapping) and (hole := next((key for key in HOLES if key in value), None)):
        raise ArchitectureError(
            path, f"{hole!r} is of a search space; allowed: one value here, or nas search with the file"
        )


def _is_key(error: Any) -> bool:
    """Whether a key of a mapping is missing, and not an entry of a list."""
    return error["type"] == "missing" and not isinstance(error["loc"][-1], int)


def _path(keys: Sequence[int | str]) -> str:
    return ".".join(str(key) for key in keys if key != "")


def _model_at(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel]:
    """The type of the mapping at a place inside a model."""
    for key in loc:
        if isinstance(key, str):
            model = _model_in(model.model_fields[key].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
