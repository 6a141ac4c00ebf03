"""Definitions cut out of this package's sources, with all that they use and nothing else.

What a definition uses is told by the names in its syntax tree; a method is used where its name is
an attribute in what is used, or where a class outside of the package calls it, as torch calls
`forward`. Nothing is run, and code from outside of the package is not copied.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import ModuleType

from nas.architecture.fields import Config
from nas.errors import NasError

PACKAGE = __name__.split(".")[0]
# Of the language's types a network needs the options alone, and of errors that they are raised.
REPLACED = {
    "nas.architecture.fields.Config": '''class Config:
    """The options of a part of the network."""

    def __init__(self, **options):
        vars(self).update(options)''',
    "nas.architecture.fields.Triple": "Triple = tuple[int, int, int]",
    "nas.errors.NasError": "NasError = ValueError",
}
_MARKS = {"implements"}  # decorators that only say how a class is found


@dataclass
class Source:
    """A module of the package: its lines, what it defines and what its names mean."""

    module: ModuleType
    lines: list[str] = field(init=False)
    definitions: dict[str, ast.stmt] = field(init=False)
    imports: dict[str, tuple[str, str | None]] = field(init=False)

    def __post_init__(self) -> None:
        text = inspect.getsource(self.module)
        tree = ast.parse(text)
        self.lines, self.definitions, self.imports = text.splitlines(), {}, {}
        for node in tree.body:
            for name in _defined(node):
                self.definitions[name] = node
            if isinstance(node, ast.Import):
                self.imports |= {alias.asname or alias.name: (alias.name, None) for alias in node.names}
            if isinstance(node, ast.ImportFrom) and node.module != "__future__":
                self.imports |= {alias.asname or alias.name: (str(node.module), alias.name) for alias in node.names}

    def cut(self, node: ast.AST, without: Sequence[ast.AST] = ()) -> str:
        """The lines of a node with the comments above it, but not those of some nodes inside."""
        dropped = {line for each in without for line in self._range(each)}
        lines = [self.lines[line] for line in self._range(node) if line not in dropped]
        kept: list[str] = []
        for line in lines:
            if line.strip() or (kept and kept[-1].strip()):
                kept.append(line.rstrip())
        return "\n".join(kept).rstrip()

    def _range(self, node: ast.AST) -> range:
        decorators = [each.lineno for each in getattr(node, "decorator_list", ())]
        first = min([node.lineno, *decorators]) - 1  # type: ignore[attr-defined]
        while first and self.lines[first - 1].strip().startswith("#"):
            first -= 1
        return range(first, node.end_lineno)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Place:
    """Where a name is defined."""

    module: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}"


class Assembly:
    """What some definitions need, as the text of one module.

    Attributes:
        places: The definitions, in the order in which they were found to be needed.
    """

    def __init__(self, roots: Iterable[Callable[..., object]]) -> None:
        """Finds what is needed.

        Args:
            roots: Classes and functions of the package; the text defines them.

        Raises:
            NasError: One of them is not of this package.
        """
        self.places: dict[Place, None] = {}
        self._outside: dict[str, tuple[str, str | None]] = {}
        for root in roots:
            if root.__module__.split(".")[0] != PACKAGE:
                raise NasError(
                    f"operator {root.__name__!r} of {root.__module__} is not of this package, whose sources alone are "
                    "copied; allowed: .pt2 or .onnx for networks with operators from outside"
                )
            self.places[Place(root.__module__, root.__name__)] = None
        self._attributes: set[str] = set()
        before = (-1, -1)
        while before != (len(self.places), len(self._attributes)):
            before = len(self.places), len(self._attributes)
            for place in list(self.places):
                self._follow(place)

    def _follow(self, place: Place) -> None:
        """Adds what a definition uses."""
        if place.path in REPLACED:
            return
        for module, node in self._kept(place):
            for each in ast.walk(node):
                if isinstance(each, ast.Attribute):
                    self._attributes.add(each.attr)
                if isinstance(each, ast.Name):
                    self._resolve(module, each.id)
        if self._is_config(place):
            self._resolve("nas.architecture.fields", "Config")

    def _resolve(self, module: str, name: str) -> None:
        """Adds what a name of a module means, unless that is a builtin or a local variable."""
        source = _source(module)
        if name in source.definitions:
            self.places[Place(module, name)] = None
        elif name in source.imports:
            origin, member = source.imports[name]
            if origin.split(".")[0] == PACKAGE and member is not None:
                self._resolve(origin, member)
            else:
                self._outside[name] = origin, member

    def _object(self, place: Place) -> object:
        return getattr(sys.modules[place.module], place.name, None)

    def _is_config(self, place: Place) -> bool:
        found = self._object(place)
        return isinstance(found, type) and issubclass(found, Config) and found is not Config

    def _kept(self, place: Place) -> Iterator[tuple[str, ast.AST]]:
        """What is kept of a definition, each node with the module that its names are of."""
        node = _source(place.module).definitions[place.name]
        if self._is_config(place):
            yield from self._config_methods(place)
        elif isinstance(node, ast.ClassDef):
            marks = [each for each in node.decorator_list if not _is_mark(each)]
            dropped = self._dropped(place, node)
            for each in (*node.bases, *node.keywords, *marks, *(item for item in node.body if item not in dropped)):
                yield place.module, each
        else:
            yield place.module, node

    def _dropped(self, place: Place, node: ast.ClassDef) -> list[ast.AST]:
        """The methods of a class that nothing calls."""
        found = self._object(place)
        assert isinstance(found, type)
        outside = [base for base in found.__mro__ if base.__module__.split(".")[0] != PACKAGE and base is not object]
        return [
            item
            for item in node.body
            if isinstance(item, ast.FunctionDef)
            and not (item.name.startswith("__") or item.name in self._attributes)
            and not any(hasattr(base, item.name) for base in outside)
        ]

    def _config_methods(self, place: Place) -> Iterator[tuple[str, ast.FunctionDef]]:
        """The methods that are used of a type of the language, its bases' included."""
        found, seen = self._object(place), set()
        assert isinstance(found, type)
        for base in found.__mro__:
            if base.__module__.split(".")[0] != PACKAGE or base is Config:
                continue
            node = _source(base.__module__).definitions[base.__name__]
            assert isinstance(node, ast.ClassDef)
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name in self._attributes and item.name not in seen:
                    seen.add(item.name)
                    yield base.__module__, item

    def imports(self) -> str:
        """The imports, of the standard library and of torch."""
        plain = {name: origin for name, (origin, member) in self._outside.items() if member is None}
        members: dict[str, set[str]] = {}
        for name, (origin, member) in self._outside.items():
            if member is not None:
                members.setdefault(origin, set()).add(name if name == member else f"{member} as {name}")
        lines = [f"import {origin}" + (f" as {name}" if name != origin else "") for name, origin in plain.items()]
        lines += [f"from {origin} import {', '.join(sorted(names))}" for origin, names in members.items()]
        of_torch = [line for line in lines if line.split()[1].split(".")[0] == "torch"]
        return "\n".join(sorted(set(lines) - set(of_torch))) + "\n\n" + "\n".join(sorted(of_torch))

    def text(self) -> str:
        """The definitions, each after those that it needs when it is read.

        Raises:
            AssertionError: Two modules define one name.
        """
        names = [place.name for place in self.places]
        assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
        blocks: dict[str, None] = {}
        done: set[Place] = set()

        def add(place: Place) -> None:
            if place in done:
                return
            done.add(place)
            for other in self.places:
                if other != place and other.name in self._needed_when_read(place):
                    add(other)
            blocks[self._block(place)] = None

        for place in sorted(self.places, key=self._order):
            add(place)
        return "\n\n\n".join(blocks)

    @cached_property
    def _modules(self) -> list[str]:
        """The modules, each after those that it imports."""
        order: dict[str, None] = {}
        used = dict.fromkeys(place.module for place in self.places)

        def visit(module: str) -> None:
            for origin, _ in _source(module).imports.values():
                if origin in used and origin not in order and origin != module:
                    visit(origin)
            order[module] = None

        for module in used:
            if module not in order:
                visit(module)
        return list(order)

    def _order(self, place: Place) -> tuple[int, int]:
        return self._modules.index(place.module), _source(place.module).definitions[place.name].lineno

    def _needed_when_read(self, place: Place) -> set[str]:
        """The names that must be there when a definition is read: bases, decorators, values."""
        if place.path in REPLACED:
            return set()
        if self._is_config(place):
            return {"Config"}
        node = _source(place.module).definitions[place.name]
        parts: list[ast.AST] = [node]
        if isinstance(node, ast.ClassDef):
            parts = [*node.bases, *node.decorator_list]
        elif isinstance(node, ast.FunctionDef):
            parts = [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)]
        return {each.id for part in parts for each in ast.walk(part) if isinstance(each, ast.Name)}

    def _block(self, place: Place) -> str:
        if place.path in REPLACED:
            return REPLACED[place.path]
        source = _source(place.module)
        node = source.definitions[place.name]
        if self._is_config(place):
            assert isinstance(node, ast.ClassDef)
            docstring = node.body[0]
            assert isinstance(docstring, ast.Expr)
            methods = [_source(module).cut(item) for module, item in self._config_methods(place)]
            return "\n\n".join([f"class {place.name}(Config):\n{source.cut(docstring)}", *methods])
        if isinstance(node, ast.ClassDef):
            marks = [each for each in node.decorator_list if _is_mark(each)]
            return source.cut(node, [*marks, *self._dropped(place, node)])
        return source.cut(node)


@cache
def _source(module: str) -> Source:
    return Source(sys.modules[module])


def _is_mark(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Name) and called.id in _MARKS


def _defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))
