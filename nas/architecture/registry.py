"""The operators that a file may name: those of this package, found by their files, and others.

A registry holds the types of one place of the file (stem, layer, downsampling, head). Those of the
package are the types in the files of one folder or module; a new file there is all that it takes.
Others come from outside, by three ways that do the same:

- a call, `nas.register_operator(Config, Module)`, in the file that defines them;
- an entry point of the group `nas.operators` in an installed package, which names a module with
  such calls in it;
- the environment variable `NAS_OPERATORS`: such modules, or paths of Python files, separated as
  `PATH` is. A call adds its own file there, so that measuring processes and trials, which inherit
  it, know the operator as well.

Nothing that a data file names is ever imported: a file may only name what is registered.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from nas.architecture.fields import Operator
from nas.architecture.messages import ArchitectureError, as_sentence, refuse_holes
from nas.errors import NasError, brief, message_of

ENVIRONMENT = "NAS_OPERATORS"
ENTRY_POINTS = "nas.operators"

Kind = TypeVar("Kind", bound=Operator)


class Registry(Generic[Kind]):
    """The types that may stand at one place of the file, by their `op`, in a fixed order.

    As an annotation, `Annotated[LayerConfig, LAYERS]`, it tells pydantic to take a mapping for the
    registered type that its `op` names.
    """

    def __init__(self, base: type[Kind], home: str, first: Sequence[str] = ()) -> None:
        """Declares a registry; its files are imported when it is first asked.

        Args:
            base: Base of its types.
            home: Module that defines types, or package whose modules do.
            first: Names of modules of the package that come before the others, which follow by
                name.
        """
        self.base, self._home, self._first = base, home, first
        self._own: dict[str, type[Kind]] = {}
        self._outside: dict[str, type[Kind]] = {}
        self._modules: dict[type[Operator], Any] = {}
        _REGISTRIES.append(self)

    def types(self) -> tuple[type[Kind], ...]:
        """Every type: those of the package, then others in the order of their registration."""
        load_extensions()
        return (*self._package().values(), *self._outside.values())

    def names(self) -> tuple[str, ...]:
        """The `op` of every type."""
        return tuple(kind.op_name() for kind in self.types())

    def find(self, op: str) -> type[Kind] | None:
        """The type of a name, if there is one."""
        load_extensions()
        return self._package().get(op) or self._outside.get(op)

    def module_of(self, kind: type[Operator]) -> Any:
        """The module class that a type from outside was registered with, or `"package:Class"`; None
        for one of the package.
        """
        return self._modules.get(kind)

    def add(self, kind: type[Kind], module: Any) -> None:
        """Takes a type from outside; see `register_operator`."""
        op = kind.op_name()
        if not op.isidentifier():
            raise NasError(f"op {brief(op)} of {kind.__name__} is no name; allowed: letters, digits and underscores")
        if op in self._package():
            raise NasError(f"op {op!r} of {kind.__name__} is an operator of the package; allowed: another name")
        self._outside[op] = kind
        self._modules[kind] = module

    def parse(self, value: Any) -> Kind:
        """The typed piece that a mapping describes.

        Raises:
            ArchitectureError: With a path that begins at the piece: `op`, `heads`, or empty.
        """
        if isinstance(value, self.base):
            return value
        if not isinstance(value, Mapping):
            raise ArchitectureError("", f"{brief(value)} is not allowed; allowed: a mapping")
        op = value.get("op")
        kind = self.find(op) if isinstance(op, str) else None
        if kind is None:
            if "op" not in value:
                refuse_holes("", value)
            found = f"{brief(op)} is unknown" if "op" in value else "is missing"
            raise ArchitectureError("op", f"{found}; allowed: {', '.join(self.names())}")
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            raise as_sentence(error, kind) from None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def _package(self) -> dict[str, type[Kind]]:
        if not self._own:
            home = import_module(self._home)
            found = sorted(module.name for module in pkgutil.iter_modules(getattr(home, "__path__", ())))
            names = [*self._first, *(name for name in found if name not in self._first)]
            modules = [import_module(f"{self._home}.{name}") for name in names] or [home]
            kinds = (
                kind
                for module in modules
                for kind in vars(module).values()
                if isinstance(kind, type) and issubclass(kind, self.base) and kind.__module__ == module.__name__
            )
            self._own = {kind.op_name(): kind for kind in kinds if isinstance(kind.model_fields["op"].default, str)}
        return self._own


_REGISTRIES: list[Registry[Any]] = []
_loading = False
_loaded: set[str] = set()
_listed: str | None = None  # the variable when all that it named had been imported


def register_operator(config: type[Operator], module: Any) -> None:
    """Makes an operator from outside the package one of the language.

    Files then name it by its `op`, and it is built, priced, profiled, searched and exported as the
    others. The file of `config` is added to the environment variable `NAS_OPERATORS`, so that
    processes which are started from now on import it too; it should therefore define and register,
    and do work only under `if __name__ == "__main__"`. A type that is defined in a console or a
    notebook has no file: other processes, such as those that measure, do not know it. A type that
    is registered again under its name replaces the one before.

    Args:
        config: A subclass of `LayerConfig` (or of `StemConfig`, `DownsampleConfig`, `HeadConfig`)
            with a name, `op: Literal["my_op"] = "my_op"`.
        module: The `torch.nn.Module` class that computes it, called as `Layer(config, shape_in,
            shape_out, stride)` for a layer and as `Module(config, shape_in, shape_out)` for the
            rest; or `"package.module:Class"`, which is imported when the first is built.

    Raises:
        NasError: The types are none of these, or the package has an operator of that name.
    """
    registry = next((r for r in _REGISTRIES if isinstance(config, type) and issubclass(config, r.base)), None)
    if registry is None or not isinstance(config.model_fields["op"].default, str):
        bases = ", ".join(r.base.__name__ for r in _REGISTRIES)
        raise NasError(
            f"operator {brief(config)} cannot be registered; allowed: a subclass of one of {bases} with a default op"
        )
    if not isinstance(module, type) and not (isinstance(module, str) and module.count(":") == 1):
        raise NasError(f"module {brief(module)} of {config.op_name()!r} is none; allowed: a class, or 'package:Class'")
    registry.add(config, module)
    _announce(config.__module__)


def registered_module(kind: type[Operator]) -> Any:
    """What a type from outside was registered with; None for one of the package."""
    return next((module for r in _REGISTRIES if (module := r.module_of(kind)) is not None), None)


def load_extensions() -> None:
    """Imports what `NAS_OPERATORS` and the entry points name, each once.

    Raises:
        NasError: One of them cannot be imported.
    """
    global _loading, _listed
    listed = os.environ.get(ENVIRONMENT, "")
    if _loading or listed == _listed:
        return
    _loading = True
    try:
        for name in filter(None, listed.split(os.pathsep)):
            if name not in _loaded:
                _attempt(f"{ENVIRONMENT} {name!r}", _import, name)
                _loaded.add(name)
        if listed:
            # Trials are processes of another folder, where a file is found by its whole path.
            listed = os.environ[ENVIRONMENT] = os.pathsep.join(map(_whole, listed.split(os.pathsep)))
        if ENTRY_POINTS not in _loaded:
            for entry in entry_points(group=ENTRY_POINTS):
                _attempt(f"entry point {entry.name!r} of {ENTRY_POINTS}", entry.load)
            _loaded.add(ENTRY_POINTS)
        _listed = listed
    finally:
        _loading = False


def _attempt(what: str, action: Any, *args: Any) -> None:
    try:
        action(*args)
    except Exception as error:
        reason = message_of(error) or type(error).__name__
        raise NasError(
            f"{what} cannot be imported ({reason}); allowed: modules, or paths of Python files, that register operators"
        ) from error


def _whole(name: str) -> str:
    return str(Path(name).resolve()) if name.endswith(".py") else name


def _import(name: str) -> None:
    if not name.endswith(".py"):
        import_module(name)
        return
    path = Path(name).resolve()
    if any(getattr(module, "__file__", None) == str(path) for module in list(sys.modules.values())):
        return
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError("no such file")
    module = sys.modules.setdefault(path.stem, module_from_spec(spec))
    spec.loader.exec_module(module)


def _announce(name: str) -> None:
    """Adds a module to `NAS_OPERATORS` for processes that will be started."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if _loading or file is None:
        return
    # A file is found by its path wherever a process starts; a module of a package by its name.
    alone = "." not in name and not hasattr(module, "__path__")
    here = str(Path(file).resolve()) if alone else name
    listed = list(filter(None, os.environ.get(ENVIRONMENT, "").split(os.pathsep)))
    if here not in listed:
        os.environ[ENVIRONMENT] = os.pathsep.join([*listed, here])
    _loaded.add(here)
