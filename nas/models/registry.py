"""Which module class computes a type of the file."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TypeVar

from torch import nn

from nas.architecture import Operator
from nas.architecture.registry import registered_module
from nas.errors import NasError

Class = TypeVar("Class", bound=type[nn.Module])
_CLASSES: dict[type[Operator], type[nn.Module]] = {}


def implements(config: type[Operator]) -> Callable[[Class], Class]:
    """Marks the module class of a type of this package.

    It stands in the file of `nas.models` that mirrors the type's in `nas.architecture`, which is
    how it is found: `architecture/layers/t2d.py`, `models/layers/t2d.py`.
    """

    def mark(module: Class) -> Class:
        _CLASSES[config] = module
        return module

    return mark


def module_class(config: type[Operator]) -> type[nn.Module]:
    """The module class of a type: the one that it was registered with, or the one marked for it.

    Raises:
        NasError: There is none.
    """
    found = registered_module(config)
    if found is None and config not in _CLASSES:
        import_module(config.__module__.replace("nas.architecture", "nas.models", 1))
    found = found or _CLASSES.get(config)
    if isinstance(found, str):
        name, _, attribute = found.partition(":")
        found = getattr(import_module(name), attribute, None)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise NasError(
            f"operator {config.op_name()!r} has no module class ({found!r}); allowed: a torch.nn.Module, given to "
            f"register_operator or marked @implements({config.__name__})"
        )
    return found
