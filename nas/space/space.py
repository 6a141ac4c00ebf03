"""Search spaces: an architecture document with holes.

Any value may be `{choice: [a, b, c]}` or `{range: [first, last, step]}`, and a list of layers may
be, or hold, `{repeat: count, layer: layer with holes}`, of which every repetition chooses for
itself. The name of a hole is its path in the document; below a choice the path carries the label of
the chosen option, so that one name always stands for one list of values:

    stages.0.width                      a choice between numbers
    stages.1.layers.repeat              how many layers
    stages.1.layers.2.op                a choice between mappings with an `op`
    stages.1.layers.2.t2d.heads         a hole that exists where that choice says t2d
    stages.1.layers.0.repeat            a repeat that is entry 0 of a list of layers
    stages.1.layers.0.2.op              its third layer

The neighbourhood of an architecture is a document too, `{around: architecture document, edits: 6}`:
the architectures within six edits of it (`nas.architecture.edits`). Its holes are `edits`, how
many, and `edit.0`, `edit.1` and so on, which.

A choice between mappings without distinct ops is labelled by their `name` (hole `PATH.name`) where
those are distinct, else by position.
"""

from __future__ import annotations

import copy
import json
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from nas.architecture import Architecture, ArchitectureError, Config, read_yaml
from nas.architecture.edits import edited, edits_between, single_edits
from nas.errors import NasError
from nas.resources import find_resource

Label = bool | int | float | str | None
Params = dict[str, Label]

MAX_DRAWS = 1000  # combinations tried before a space counts as one that gives nothing
MAX_RANGE = 1000  # values of one range
MAX_REPEAT = 100  # repetitions of one layer
MAX_EDITS = 20  # of a neighbourhood
MAX_DEPTH = 40  # nesting; a YAML file can refer to itself
PLAIN = "mappings, lists, text, finite numbers, true, false, null"


class SpaceError(NasError):
    """A wrong search space or wrong parameters; the message names the place, its value and what is
    allowed.
    """


@dataclass(frozen=True)
class Hole:
    """A parameter of a space: its name and the labels of its values, all different."""

    name: str
    values: tuple[Label, ...]

    @property
    def numeric(self) -> bool:
        """Whether the labels are numbers, and so have an order."""
        return all(_is_number(label) for label in self.values)

    def index(self, label: Any) -> int:
        """Position of a value.

        Raises:
            SpaceError: The hole has no such value.
        """
        try:
            return self.values.index(label)
        except ValueError:
            raise SpaceError(f"parameter {self.name!r} is {label!r}; allowed: {_shown(self.values)}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, values))


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _error(path: str, problem: str) -> SpaceError:
    return SpaceError(f"{path or 'search space'}: {problem}")


# --------------------------------------------------------------------------- the document as a tree


class _Mismatch(Exception):
    """An architecture differs from the document at `path`."""

    def __init__(self, path: str, value: Any, allowed: str) -> None:
        super().__init__(f"{path or 'architecture'}: {_brief(value)} is not in the space; allowed: {allowed}")
        self.path = path


def _brief(value: Any) -> str:
    """A value of an architecture, as it is written in the file."""
    if isinstance(value, Config):
        return json.dumps(value.model_dump(mode="json"))
    if isinstance(value, tuple):
        return f"[{', '.join(map(_brief, value))}]"
    return repr(value)


class _Node(ABC):
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
    def match(self, value: Any, path: str) -> Params:
        """The parameters that give this typed piece of an architecture; raises _Mismatch when none
        do.
        """


@dataclass(frozen=True)
class _Value(_Node):
    value: Label

    def size(self) -> int:
        return 1

    def holes(self) -> Iterator[Hole]:
        return iter(())

    def fill(self, choose: Callable[[Hole], int]) -> Any:
        return self.value

    def covering(self) -> list[Any]:
        return [self.value]

    def match(self, value: Any, path: str) -> Params:
        # A file may write one number for a pair of equal ones.
        if value != self.value and not (isinstance(value, tuple) and value and all(v == self.value for v in value)):
            raise _Mismatch(path, value, repr(self.value))
        return {}


@dataclass(frozen=True)
class _Mapping(_Node):
    items: Mapping[str, _Node]

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

    def match(self, value: Any, path: str) -> Params:
        if not isinstance(value, Config):
            raise _Mismatch(path, value, f"a mapping with {', '.join(self.items)}")
        params: Params = {}
        for key, field in type(value).model_fields.items():
            if isinstance(value, Architecture) and key == "name":
                continue
            here, found = _join(path, key), getattr(value, key)
            if key in self.items:
                params |= self.items[key].match(found, here)
            elif found != field.get_default(call_default_factory=True):
                raise _Mismatch(here, found, f"{_brief(field.default)} (the default)")
        return params


@dataclass(frozen=True)
class _List(_Node):
    """A list; the layers of a _Repeat among its items become items themselves."""

    items: tuple[_Node, ...]

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

    def _spliced(self, parts: list[Any]) -> list[Any]:
        spliced: list[Any] = []
        for node, part in zip(self.items, parts, strict=True):
            if isinstance(node, _Repeat):
                spliced += part
            else:
                spliced.append(part)
        return spliced

    def match(self, value: Any, path: str) -> Params:
        if not isinstance(value, tuple):
            raise _Mismatch(path, value, f"a list of {len(self.items)}")
        return _match_items(self.items, value, 0, path)


@dataclass(frozen=True)
class _Choice(_Node):
    hole: Hole
    options: tuple[_Node, ...]
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

    def match(self, value: Any, path: str) -> Params:
        reasons = []
        for label, option in zip(self.hole.values, self.options, strict=True):
            if self.by_op and isinstance(value, Config) and label != getattr(value, "op", None):
                continue
            try:
                return {self.hole.name: label, **option.match(value, path)}
            except _Mismatch as error:
                if self.by_op and isinstance(value, Config):
                    raise
                reasons.append(f"{label!r} ({error})")
        if self.by_op and isinstance(value, Config):
            raise _Mismatch(f"{path}.op", getattr(value, "op", None), _shown(self.hole.values))
        plain = all(isinstance(option, _Value) for option in self.options)
        raise _Mismatch(path, value, _shown(self.hole.values) if plain else f"one of {', '.join(reasons)}")


@dataclass(frozen=True)
class _Repeat(_Node):
    """As many of `layers` as `count` says: they are the same layer with the holes named for each
    repetition.
    """

    count: _Choice | _Value
    layers: tuple[_Node, ...]

    @property
    def counts(self) -> list[Any]:
        return self.count.covering()

    def size(self) -> int:
        return sum(math.prod(layer.size() for layer in self.layers[:n]) for n in self.counts)

    def holes(self) -> Iterator[Hole]:
        yield from self.count.holes()
        for layer in self.layers:
            yield from layer.holes()

    def fill(self, choose: Callable[[Hole], int]) -> Any:
        return [layer.fill(choose) for layer in self.layers[: self.count.fill(choose)]]

    def covering(self) -> list[Any]:
        return [[layer] for layer in self.layers[0].covering()] if self.layers else [[]]

    def match(self, value: Any, path: str) -> Params:
        if not isinstance(value, tuple):
            raise _Mismatch(path, value, "a list")
        return _match_items((self,), value, 0, path)


@dataclass(frozen=True)
class _Around(_Node):
    """An architecture with up to so many edits; `nas.architecture.edits` says what an edit is."""

    base: Architecture
    most: int

    @cached_property
    def names(self) -> tuple[str, ...]:
        return single_edits(self.base)

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

    def match(self, value: Any, path: str) -> Params:
        edits = edits_between(self.base, value)
        if edits is None or len(edits) > self.most:
            found = "another network" if edits is None else f"{len(edits)} edits away"
            raise _Mismatch(path, found, f"up to {self.most} edits of {self.base.name or 'the given architecture'}")
        return {"edits": len(edits), **{f"edit.{i}": name for i, name in enumerate(edits)}}


def _around(data: Mapping[str, Any]) -> _Around:
    _only(data, "around", ("edits", "name"), "")
    most = data.get("edits")
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= MAX_EDITS:
        raise _error("edits", f"{most!r} is no number of edits; allowed: 1 to {MAX_EDITS}")
    try:
        base = Architecture.parse(data["around"])
    except ArchitectureError as error:
        raise SpaceError(f"around.{error}") from None
    return _Around(base, most)


def _match_items(items: Sequence[_Node], values: tuple[Any, ...], start: int, path: str) -> Params:
    """Parameters of the items that together make `values[start:]`, where a _Repeat makes as many as
    it may.
    """
    if not items:
        if start < len(values):
            raise _Mismatch(path, len(values), f"{start} entries")
        return {}
    first, rest = items[0], items[1:]
    if not isinstance(first, _Repeat):
        if start == len(values):
            raise _Mismatch(path, len(values), f"more than {start} entries")
        params = first.match(values[start], _join(path, start))
        return params | _match_items(rest, values, start + 1, path)
    mismatches = []
    for n in first.counts:
        try:
            params = first.count.match(n, path)
            for i, layer in enumerate(first.layers[:n], start):
                if i == len(values):
                    raise _Mismatch(path, i, f"more than {i} entries")
                params |= layer.match(values[i], _join(path, i))
            return params | _match_items(rest, values, start + n, path)
        except _Mismatch as mismatch:
            mismatches.append(mismatch)
    # A layer that differs says more than a count that differs.
    inside = [mismatch for mismatch in mismatches if mismatch.path != path]
    raise inside[0] if inside else _Mismatch(path, len(values), f"{', '.join(map(str, first.counts))} repeated entries")


# ---------------------------------------------------------------------------- from YAML to the tree


def _compiled(data: Any, path: str, depth: int = 0) -> _Node:
    """The tree of a document.

    Args:
        data: Plain document.
        path: Where it stands, with the labels of the options that lead there.
        depth: How deep it stands.

    Raises:
        SpaceError: Something that is neither data nor one of the three kinds of hole.
    """
    if depth > MAX_DEPTH:
        raise _error(path, f"nests more than {MAX_DEPTH} levels; allowed: a document that does not contain itself")
    match data:
        case {"choice": options}:
            _only(data, "choice", (), path)
            return _choice(options, path, depth)
        case {"range": bounds}:
            _only(data, "range", (), path)
            values = _range(bounds, path)
            return _Choice(Hole(path, values), tuple(map(_Value, values)))
        case {"repeat": count}:
            _only(data, "repeat", ("layer",), path)
            return _repeat(count, data, path, depth)
        case Mapping():
            for key in data:
                if not isinstance(key, str):
                    raise _error(_join(path, key), "is no key; allowed: words")
            return _Mapping({key: _compiled(value, _join(path, key), depth + 1) for key, value in data.items()})
        case list() | tuple():
            return _List(tuple(_compiled(value, _join(path, i), depth + 1) for i, value in enumerate(data)))
        case None | bool() | int() | str():
            return _Value(data)
        case float() if math.isfinite(data):
            return _Value(data)
    raise _error(path, f"{data!r} is no value; allowed: {PLAIN}")


def _only(data: Mapping[Any, Any], kind: str, others: tuple[str, ...], path: str) -> None:
    unknown = [key for key in data if key != kind and key not in others]
    if unknown:
        allowed = ", ".join(others) or "nothing"
        raise _error(_join(path, unknown[0]), f"stands beside {kind!r}; allowed there: {allowed}")


def _choice(options: Any, path: str, depth: int) -> _Choice:
    if not isinstance(options, list | tuple) or not options:
        raise _error(path, f"choice {options!r} has no options; allowed: a list of at least one")
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
        _compiled(option, _join(path, label), depth + 1) for label, option in zip(labels, options, strict=True)
    )
    for i, label in enumerate(labels):
        if label in labels[:i]:
            raise _error(path, f"choice has two options {label!r}; allowed: options with different labels")
    return _Choice(Hole(_join(path, key) if key else path or "root", tuple(labels)), nodes, by_op=key == "op")


def _distinct(labels: list[Any]) -> bool:
    return all(isinstance(label, str) for label in labels) and len(set(labels)) == len(labels)


def _has_holes(data: Any, depth: int = 0) -> bool:
    if depth > MAX_DEPTH:
        return True
    if isinstance(data, Mapping):
        is_hole = any(kind in data for kind in ("choice", "range", "repeat"))
        return is_hole or any(_has_holes(value, depth + 1) for value in data.values())
    return isinstance(data, list | tuple) and any(_has_holes(value, depth + 1) for value in data)


def _list_label(data: Sequence[Any], path: str) -> str:
    if data and all(_is_number(value) for value in data):
        return "x".join(map(str, data))
    try:
        return json.dumps(data, separators=(",", ":"))
    except (TypeError, ValueError):
        raise _error(path, f"{data!r} is no value; allowed: {PLAIN}") from None


def _range(bounds: Any, path: str) -> tuple[Label, ...]:
    """The values first, first + step, ..., last; decimal arithmetic keeps 0.3 from becoming
    0.30000000000000004.
    """
    finite = isinstance(bounds, list | tuple) and all(_is_number(value) and math.isfinite(value) for value in bounds)
    if not finite or len(bounds) != 3:
        raise _error(path, f"range {bounds!r} is not understood; allowed: three numbers [first, last, step]")
    first, last, step = (Decimal(str(value)) for value in bounds)
    if step <= 0 or last < first:
        raise _error(path, f"range {bounds!r} is empty; allowed: first up to last and a step above 0")
    if (last - first) % step:
        raise _error(path, f"range {bounds!r} misses its last value; allowed: first plus a multiple of the step")
    count = int((last - first) / step) + 1
    if count > MAX_RANGE:
        raise _error(path, f"range {bounds!r} has {count} values; allowed: at most {MAX_RANGE}")
    kind = int if all(isinstance(value, int) for value in bounds) else float
    return tuple(kind(first + i * step) for i in range(count))


def _repeat(count: Any, data: Mapping[str, Any], path: str, depth: int) -> _Repeat:
    if "layer" not in data:
        raise _error(_join(path, "layer"), "is missing beside 'repeat'; allowed: the layer that is repeated")
    where = _join(path, "repeat")
    node = _compiled(count, where, depth + 1)
    counts = node.covering() if isinstance(node, _Choice | _Value) else []
    if not isinstance(node, _Choice | _Value) or not all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= MAX_REPEAT for n in counts
    ):
        raise _error(where, f"{count!r} is no count; allowed: 0 to {MAX_REPEAT}, or a choice or range of such numbers")
    layers = tuple(_compiled(data["layer"], _join(path, i), depth + 1) for i in range(max(counts)))
    return _Repeat(node, layers)


# ---------------------------------------------------------------------------------------- the space


class SearchSpace:
    """A set of architectures: a document with holes, and the ways to fill them.

    Params are a plain mapping from hole name to label, with exactly the holes that are active:
    those inside an option exist only where that option is chosen. A combination that the
    architecture refuses (say, heads that do not divide a width) is allowed in a space: `decode`
    raises ArchitectureError for it, and whatever draws at random draws again.

    Attributes:
        name: What the space is called in reports.
        document: The document as it was read.
        holes: Every hole that any assignment can have, in document order, with repeats at their
            longest.
        size: Exact number of assignments, refused combinations included.
    """

    def __init__(self, document: Any, name: str) -> None:
        self.name = name
        self.document: Any = copy.deepcopy(document)
        around = isinstance(self.document, Mapping) and "around" in self.document
        self._root = _around(self.document) if around else _compiled(self.document, "")
        self.holes: tuple[Hole, ...] = tuple(self._root.holes())
        self.size: int = self._root.size()
        self._hole_of = {hole.name: hole for hole in self.holes}
        if len(self._hole_of) < len(self.holes):
            twice = next(hole.name for hole in self.holes if self._hole_of[hole.name] is not hole)
            raise _error(twice, "is the name of two holes; allowed: keys and labels that tell them apart")
        self._check_options()
        self.sample(seed=0)

    @classmethod
    def load(cls, name_or_path: str | Path) -> SearchSpace:
        """Returns a space by the name of one that ships with the package, or by path.

        Raises:
            NasError: No such file or name.
            SpaceError: The file is no space; the message names the place.
        """
        path = find_resource("search space", name_or_path, "search_spaces")
        return cls(read_yaml("search space", path), path.stem)

    @classmethod
    def from_document(cls, data: Any, name: str) -> SearchSpace:
        """Returns the space that a plain document describes.

        Raises:
            SpaceError: The document is no space; the message names the place.
        """
        return cls(data, name)

    @classmethod
    def around(cls, architecture: Architecture, edits: int) -> SearchSpace:
        """Returns the space of all architectures within so many edits of one.

        Raises:
            SpaceError: The number of edits is not 1 to 20.
        """
        name = f"around-{architecture.name or architecture.hash}"
        return cls({"name": name, "around": architecture.document(), "edits": edits}, name)

    def with_classes(self, num_classes: int) -> SearchSpace:
        """Returns the same space for another number of classes."""
        document = copy.deepcopy(self.document)
        roots = [document]
        while roots:
            root = roots.pop()
            if "choice" in root:
                roots += root["choice"]
            elif "around" in root:
                roots.append(root["around"])
            else:
                root["num_classes"] = num_classes
        return SearchSpace(document, self.name)

    def save(self, path: str | Path) -> None:
        """Writes the document as YAML."""
        Path(path).write_text(yaml.safe_dump(self.document, sort_keys=False, default_flow_style=None, width=120))

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}, size={self.size:.3g})"

    def _check_options(self) -> None:
        """Refuses an option that is wrong in itself, such as a misspelt key: drawing again would
        hide it for ever.
        """
        for document in self._root.covering():
            try:
                Architecture.model_validate(document)
            except ValidationError as error:
                first = error.errors()[0]
                if first["type"] == "value_error" and not first["loc"]:
                    continue  # the parts do not fit each other: other combinations may
                try:
                    Architecture.parse(document)
                except ArchitectureError as readable:
                    raise SpaceError(str(readable)) from None

    def _filled(self, choose: Callable[[Hole], Label]) -> tuple[Params, Any]:
        params: Params = {}

        def position(hole: Hole) -> int:
            index = hole.index(choose(hole))
            params[hole.name] = hole.values[index]
            return index

        return params, self._root.fill(position)

    def complete(self, choose: Callable[[Hole], Label]) -> tuple[Params, Architecture]:
        """Fills the holes in document order, asking `choose` for the value of each one that is
        active.

        With Optuna: `space.complete(lambda hole: trial.suggest_categorical(hole.name,
        hole.values))`.

        Raises:
            SpaceError: `choose` returned something that is no value of the hole.
            ArchitectureError: The combination cannot be built.
        """
        params, document = self._filled(choose)
        return params, Architecture.parse(document)

    def depths(self, choose: Callable[[Hole], Label]) -> list[int]:
        """Number of layers of each stage, of a candidate that may be one that cannot be built."""
        return [len(stage["layers"]) for stage in self._filled(choose)[1]["stages"]]

    def decode(self, params: Mapping[str, Label]) -> Architecture:
        """Returns the architecture that the parameters stand for.

        Raises:
            SpaceError: A parameter is missing, unknown, not active here, or has a value that its
                hole does not.
            ArchitectureError: The combination cannot be built.
        """
        return Architecture.parse(self._checked(params)[1])

    def _checked(self, params: Mapping[str, Label]) -> tuple[Params, Any]:
        def given(hole: Hole) -> Label:
            if hole.name not in params:
                raise SpaceError(f"parameter {hole.name!r} is missing; allowed: {_shown(hole.values)}")
            return params[hole.name]

        used, document = self._filled(given)
        for name, value in params.items():
            if name not in used:
                why = "has no meaning beside the others" if name in self._hole_of else "is unknown"
                raise SpaceError(f"parameter {name!r} (value {value!r}) {why}; allowed: {', '.join(used) or 'none'}")
        return used, document

    def _drawn(self, chooser: Callable[[], Callable[[Hole], Label]]) -> tuple[Params, Architecture]:
        """Completes with a fresh `choose` until the architecture accepts the combination."""
        reason: ArchitectureError | None = None
        for _ in range(MAX_DRAWS):
            try:
                return self.complete(chooser())
            except ArchitectureError as error:
                reason = error
        raise SpaceError(
            f"search space {self.name!r}: {MAX_DRAWS} combinations were tried and none can be built, the last one "
            f"because of {reason}; allowed: choices of which some fit each other"
        )

    def sample_params(self, rng: np.random.Generator) -> Params:
        """Draws a value for every hole, all equally likely; a refused combination is drawn again.

        Raises:
            SpaceError: None of 1000 combinations can be built.
        """
        return self._drawn(lambda: lambda hole: _drawn_from(hole.values, rng))[0]

    def sample(self, seed: int) -> Architecture:
        """Returns the architecture of `sample_params` for a seed: the same one in every process.

        Raises:
            SpaceError: None of 1000 combinations can be built.
        """
        rng = np.random.default_rng(seed)
        return self._drawn(lambda: lambda hole: _drawn_from(hole.values, rng))[1]

    def mutate(self, params: Mapping[str, Label], rng: np.random.Generator) -> Params:
        """Returns the parameters with one hole changed to another value.

        Holes that become active are drawn, holes that vanish are dropped; a refused result is drawn
        again.

        Raises:
            SpaceError: The parameters are none of this space, nothing in them can change, or none
                of 1000 changes can be built.
        """
        before, _ = self._checked(params)
        changeable = [name for name in before if len(self._hole_of[name].values) > 1]
        if not changeable:
            raise SpaceError(f"search space {self.name!r} has nothing to change; allowed: a hole with two values")

        def chooser() -> Callable[[Hole], Label]:
            target = changeable[int(rng.integers(len(changeable)))]

            def choose(hole: Hole) -> Label:
                if hole.name == target:
                    return _drawn_from([value for value in hole.values if value != before[target]], rng)
                return before[hole.name] if hole.name in before else _drawn_from(hole.values, rng)

            return choose

        return self._drawn(chooser)[0]

    def crossover(self, a: Mapping[str, Label], b: Mapping[str, Label], rng: np.random.Generator) -> Params:
        """Returns parameters of which each is that of either parent; a refused result is drawn
        again.

        An option's holes come from a parent that chose it, so none is ever without a value.

        Raises:
            SpaceError: A parent is none of this space, or none of 1000 children can be built.
        """
        parents = self._checked(a)[0], self._checked(b)[0]

        def choose(hole: Hole) -> Label:
            return _drawn_from([parent[hole.name] for parent in parents if hole.name in parent], rng)

        return self._drawn(lambda: choose)[0]

    def encode(self, params: Mapping[str, Label]) -> NDArray[np.float32]:
        """Returns a vector of the same length for all parameters, for surrogate models.

        In the order of `holes`, a hole of numbers takes two places: 1, and the rank of its value
        from 0 (smallest) to 1 (largest). Any other hole takes one place per value: 1 where chosen,
        else 0. A hole that is not active is all zeros. Different parameters have different vectors.

        Raises:
            SpaceError: The parameters are none of this space.
        """
        used, _ = self._checked(params)
        encoded: list[float] = []
        for hole in self.holes:
            places = [0.0] * (2 if hole.numeric else len(hole.values))
            if hole.name in used:
                label = used[hole.name]
                if hole.numeric:
                    below = sum(value < label for value in hole.values)  # type: ignore[operator]
                    places = [1.0, below / max(1, len(hole.values) - 1)]
                else:
                    places[hole.index(label)] = 1.0
            encoded += places
        return np.array(encoded, dtype=np.float32)

    def params_of(self, architecture: Architecture) -> Params:
        """Returns parameters that decode to this architecture (its name does not count).

        Input and number of classes count: bring them to those of the space with
        `Architecture.resized` first.

        Raises:
            SpaceError: The architecture is no point of the space; the message names the first place
                that differs.
        """
        try:
            return self._root.match(architecture, "")
        except _Mismatch as error:
            raise SpaceError(str(error)) from None


def _drawn_from(values: Sequence[Label], rng: np.random.Generator) -> Label:
    return values[int(rng.integers(len(values)))]
