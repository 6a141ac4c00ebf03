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

A choice among operators has a short form, which also lets in those of a third party
(`nas.space.operators`), and the neighbourhood of an architecture is a document too
(`nas.space.neighbourhood`).

`only` beside them lists the values that are left of a hole, by its name: `only: {stages.0.width:
[192]}`.

A choice between mappings without distinct ops is labelled by their `name` (hole `PATH.name`) where
those are distinct, else by position.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from nas.architecture import Architecture, ArchitectureError
from nas.architecture.document import SCHEMA
from nas.documents import of_schema, read_yaml
from nas.resources import find_resource
from nas.space.compile import compile_document
from nas.space.holes import Hole, Label, Params, SpaceError, error, listed
from nas.space.neighbourhood import neighbourhood_document
from nas.space.nodes import Mismatch
from nas.space.operators import extended
from nas.units import magnitude

# Combinations tried before a space counts as one that gives nothing, and layers of all of them.
MAX_DRAWS, MAX_DRAWN_LAYERS = 1000, 100_000


class SearchSpace:
    """A set of architectures: a document with holes, and the ways to fill them.

    Params are a plain mapping from hole name to label, with exactly the holes that are active:
    those inside an option exist only where that option is chosen. A combination that the
    architecture refuses (say, heads that do not divide a width) is allowed in a space: `decode`
    raises ArchitectureError for it, and whatever draws at random draws again.

    Everything that fills holes goes through `complete(choose)`, which asks `choose(hole)` for one
    label after the other and only for holes that are active: an optimizer of your own needs no more
    than that, with `encode` for a vector of fixed length where it wants one.

    Attributes:
        name: What the space is called in reports.
        document: The plain document, with what it extends written out and without the number of
            its form: all that `save` and a run need to make the same space again.
        holes: Every hole that any assignment can have, in document order, with repeats at their
            longest.
        size: Exact number of assignments, refused combinations included.
    """

    def __init__(self, document: Any, name: str) -> None:
        self.name = name
        self.document: Any = extended(of_schema(copy.deepcopy(document), SCHEMA, f"search space {name!r}"))
        self._root = compile_document(self.document)
        self.holes: tuple[Hole, ...] = tuple(self._root.holes())
        self.size: int = self._root.size()
        self._hole_of = {hole.name: hole for hole in self.holes}
        if len(self._hole_of) < len(self.holes):
            twice = next(hole.name for hole in self.holes if self._hole_of[hole.name] is not hole)
            raise error(twice, "is the name of two holes; allowed: keys and labels that tell them apart")
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
        document = neighbourhood_document(architecture, edits)
        return cls(document, document["name"])

    def narrowed(self, only: Mapping[str, Sequence[Label]]) -> SearchSpace:
        """Returns the space with those values alone that are listed for a hole, by its name.

        Of a neighbourhood, whose holes all have the same values, `edit` names those.

        Raises:
            SpaceError: No such hole or value, or none is left of a hole.
        """
        document = copy.deepcopy(self.document)
        if "around" in document:
            document["choices"] = list(only["edit"])
        else:
            document["only"] = {**document.get("only", {}), **{name: list(values) for name, values in only.items()}}
        return SearchSpace(document, self.name)

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
        Path(path).write_text(
            yaml.safe_dump({"schema": SCHEMA, **self.document}, sort_keys=False, default_flow_style=None, width=120),
            encoding="utf-8",
        )

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}, size={magnitude(self.size)})"

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
        return _depths(self._filled(choose)[1])

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
                raise SpaceError(f"parameter {hole.name!r} is missing; allowed: {listed(hole.values)}")
            return params[hole.name]

        used, document = self._filled(given)
        for name, value in params.items():
            if name not in used:
                why = "has no meaning beside the others" if name in self._hole_of else "is unknown"
                raise SpaceError(f"parameter {name!r} (value {value!r}) {why}; allowed: {', '.join(used) or 'none'}")
        return used, document

    def _drawn(self, chooser: Callable[[], Callable[[Hole], Label]]) -> tuple[Params, Architecture]:
        """Completes with a fresh `choose` until the architecture accepts the combination."""
        tried = layers = 0
        while True:
            document: Any = {"stages": []}  # where two edits of a neighbourhood exclude each other
            try:
                params, document = self._filled(chooser())
                return params, Architecture.parse(document)
            except ArchitectureError as error:
                tried, layers = tried + 1, layers + sum(_depths(document))
                if tried < MAX_DRAWS and layers < MAX_DRAWN_LAYERS:
                    continue
                raise SpaceError(
                    f"search space {self.name!r}: {tried} combinations were tried and none can be built, the "
                    f"last one because of {error}; allowed: choices of which some fit each other"
                ) from None

    def sample_params(self, rng: np.random.Generator, size: float = 0.0) -> Params:
        """Draws a value for every hole; a refused combination is drawn again.

        Args:
            rng: Of all random numbers.
            size: At 0 all values are equally likely. Above it larger widths and depths are, the
                largest exp(size) times as likely as the smallest; below it smaller ones.

        Raises:
            SpaceError: None of up to 1000 combinations can be built.
        """

        def choose(hole: Hole) -> Label:
            if not size or not hole.is_extent:
                return _drawn_from(hole.values, rng)
            ranks = np.argsort(np.argsort(np.array(hole.values, float))) / max(1, len(hole.values) - 1)
            likely = np.exp(size * (ranks - (size > 0)))
            return hole.values[int(rng.choice(len(ranks), p=likely / likely.sum()))]

        return self._drawn(lambda: choose)[0]

    def sample(self, seed: int) -> Architecture:
        """Returns the architecture of `sample_params` for a seed: the same one in every process.

        Raises:
            SpaceError: None of up to 1000 combinations can be built.
        """
        rng = np.random.default_rng(seed)
        return self._drawn(lambda: lambda hole: _drawn_from(hole.values, rng))[1]

    def mutate(self, params: Mapping[str, Label], rng: np.random.Generator) -> Params:
        """Returns the parameters with one hole changed to another value.

        Holes that become active are drawn, holes that vanish are dropped; a refused result is drawn
        again.

        Raises:
            SpaceError: The parameters are none of this space, nothing in them can change, or none
                of up to 1000 changes can be built.
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
            SpaceError: A parent is none of this space, or none of up to 1000 children can be built.
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
        except Mismatch as error:
            raise SpaceError(str(error)) from None


def _depths(document: Any) -> list[int]:
    """Number of layers of each stage of a document without holes."""
    return [len(stage["layers"]) for stage in document["stages"]]


def _drawn_from(values: Sequence[Label], rng: np.random.Generator) -> Label:
    return values[int(rng.integers(len(values)))]
