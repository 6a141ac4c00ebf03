"""Tensors inside whatever a module takes, returns and keeps: containers, and objects of any class.

What is walked may be changed while a module is traced; a `Snapshot` puts it back.
"""

from __future__ import annotations

import copy
import ctypes
import io
import itertools
import queue
import random
import sys
import types
import warnings
import weakref
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import _lru_cache_wrapper, cache, partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves

_PLAIN = frozenset(
    {type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, torch.layout}
)
_OPAQUE = (type, types.ModuleType, torch.Generator, torch.jit.ScriptModule, torch.ScriptObject)
# Objects of these packages are walked if they are containers, and otherwise left alone.
_FOREIGN = (sys.stdlib_module_names - {"types", "collections", "__main__"}) | {"torch", "numpy"}
_DICTIONARIES = frozenset({"_parameters", "_buffers", "_modules"})
_STATE = frozenset(vars(nn.Module()))
_HOOKS = tuple(_STATE - _DICTIONARIES - {"training"})  # mostly empty

_BUFFERS = (memoryview, ctypes.Structure, ctypes.Array, type(ctypes.c_int()).__mro__[1])
# That give the next value, and of which a copy does so too.
_ITERATORS: tuple[type, ...] = (
    itertools.count,
    itertools.cycle,
    enumerate,
    type(iter(())),
    type(iter([])),
    type(iter(range(0))),
)

Replacement = Callable[[Tensor], Tensor]


T = TypeVar("T")


def _by_class(function: Callable[[type], T]) -> Callable[[type], T]:
    return cache(function)


def _attributes(value: Any) -> dict[str, Any] | None:
    """The dictionary of an object of somebody's class, or None."""
    if _is_opaque(type(value)):
        return None
    found = getattr(value, "__dict__", None)
    return found if type(found) is dict else None


def _slots(value: Any) -> list[str]:
    return [] if _is_opaque(type(value)) else [name for name in _slot_names(type(value)) if hasattr(value, name)]


@_by_class
def _slot_names(kind: type) -> list[str]:
    found = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    names = [name for slots in found for name in ((slots,) if isinstance(slots, str) else slots)]
    return [name for name in names if name not in ("__dict__", "__weakref__")]


@_by_class
def _is_opaque(kind: type) -> bool:
    """Whether objects of a class are left alone: those of libraries, and frozen ones."""
    frozen = getattr(getattr(kind, "__dataclass_params__", None), "frozen", False)
    model = getattr(kind, "model_config", None)  # of pydantic
    return frozen or (isinstance(model, dict) and model.get("frozen", False)) or _is_foreign(kind)


@_by_class
def _is_foreign(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _FOREIGN


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of an output, in the order in which they are found, each once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if type(item) in _PLAIN or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, dict):
            waiting += reversed(list(item.values()))
        elif isinstance(item, list | tuple | set | frozenset | deque):
            waiting += reversed(list(item))
        elif not isinstance(item, (nn.Module, *_OPAQUE)) and not callable(item):
            own = getattr(item, "__dict__", {}) if not _is_foreign(type(item)) else {}
            waiting += reversed([*own.values(), *(getattr(item, name) for name in _slots(item))])


def leaves_of(value: Any) -> list[Tensor]:
    """The tensors of an output in torch's order, with those inside objects that torch takes for
    leaves.
    """
    found: list[Tensor] = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif type(leaf) not in _PLAIN:
            found += tensors_in(leaf)
    return found


def kept_by_class(kind: type) -> list[tuple[Mapping[str, Any], str, Any]]:
    """(where, name, value) of the plain values and containers of a class, and of those globals that
    its methods name.
    """
    if _is_foreign(kind):
        return []
    own = vars(kind)
    kept: list[tuple[Mapping[str, Any], str, Any]] = [
        (own, name, value) for name, value in own.items() if not name.startswith("__") and not callable(value)
    ]
    return kept + [(home, name, home[name]) for home, name in _globals_of(kind) if name in home]


@_by_class
def _globals_of(kind: type) -> list[tuple[dict[str, Any], str]]:
    """Globals without functions, classes and modules, that the methods of a class name."""
    functions = [value for value in vars(kind).values() if isinstance(value, types.FunctionType)]
    return [
        (function.__globals__, name)
        for function in functions
        for name in function.__code__.co_names
        if type(function.__globals__.get(name, len)) in _PLAIN | {list, dict, set, deque}
    ]


@_by_class
def _caches_of(kind: type) -> list[_lru_cache_wrapper[Any]]:
    """The caches of `functools` among the methods of a class and the functions that these name, and
    so on.
    """
    if _is_foreign(kind):
        return []
    waiting = [getattr(value, "__func__", value) for value in vars(kind).values()]
    found, seen = [], set[int]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, _lru_cache_wrapper):
            found.append(value)
            value = value.__wrapped__
        if isinstance(value, types.FunctionType) and id(value) not in seen:
            seen.add(id(value))
            home = value.__module__ or ""
            if home.partition(".")[0] not in _FOREIGN:
                waiting += [value.__globals__[name] for name in value.__code__.co_names if name in value.__globals__]
    return found


class Snapshot:
    """Containers and objects as they are, with their tensors replaced meanwhile.

    `add` takes what is to be put back, `restore` puts it back: contents, not copies, so that
    whoever else holds a container sees it as it was. Objects of libraries and frozen ones are left
    alone. Of an iterator a copy is used up; a cache of `functools` that was added to is emptied.
    """

    def __init__(self, replace: Replacement | None = None) -> None:
        self.replace = replace
        self._dictionaries: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self._restores: list[Callable[[], object]] = []
        self._unhooked: list[tuple[dict[str, Any], Sequence[str]]] = []  # modules, what of their hooks is empty
        self._seen: dict[int, Any] = {}  # by identity what stands for it; containers keep it alive

    def restore(self) -> None:
        for value, saved in self._dictionaries:
            if type(value) is dict:
                if value:
                    value.clear()
                if saved:
                    value.update(saved)
            else:
                _refill(value, saved)
        for own, names in self._unhooked:
            if any(map(own.get, names)):
                for name in names:
                    if isinstance(own[name], dict):
                        own[name].clear()
        for restore in self._restores:
            restore()

    def add(self, value: Any) -> Any:
        """Takes a value, and returns what stands for it: itself, or a tensor in its place."""
        kind = type(value)
        if kind in _PLAIN or isinstance(value, _OPAQUE):
            return value
        if isinstance(value, Tensor):
            return self.replace(value) if self.replace else value
        if isinstance(value, tuple):
            items = [self.add(item) for item in value]
            if isinstance(value, PackedSequence):
                items[1] = value.batch_sizes  # torch reads its memory
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            return kind(*items) if hasattr(kind, "_fields") else kind(items)
        if id(value) in self._seen:
            return self._seen[id(value)]
        if isinstance(value, nn.Module):
            for part in value.modules():
                if not isinstance(part, torch.jit.ScriptModule):
                    self.module(part)
            return value
        self._seen[id(value)] = value
        if isinstance(value, dict):
            self._dictionary(value)
        elif isinstance(value, list):
            saved = list(value)
            self._restores.append(lambda: list.__setitem__(value, slice(None), saved))
            list.__setitem__(value, slice(None), [self.add(item) for item in saved])
        elif isinstance(value, deque | set):
            self._refilled(value)
        elif isinstance(value, _ITERATORS):
            self._seen[id(value)] = _copied(value)
            return self._seen[id(value)]
        elif isinstance(value, queue.Queue):
            self._walked(vars(value))
        elif isinstance(value, weakref.WeakValueDictionary | weakref.WeakKeyDictionary):
            data = vars(value)["data"]
            self._dictionaries.append((data, dict(data)))
        elif (restore := _restored(value)) is not None:
            self._restores.append(restore)
        elif isinstance(value, types.MethodType):
            self.add(value.__self__)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, partial):
            self.add(value.func), self.add(value.args), self.add(value.keywords)
        else:
            self._object(value)
        return value

    def module(self, part: nn.Module) -> None:
        """Takes the attributes of a module, not those of its parts."""
        if id(part) in self._seen:
            return
        self._seen[id(part)] = part
        own = part.__dict__
        saved = dict(own)
        self._dictionaries.append((own, saved))
        modules = own["_modules"]
        self._dictionaries.append((modules, dict(modules)))
        for tensors in (own["_parameters"], own["_buffers"]):
            original = dict(tensors)
            self._dictionaries.append((tensors, original))
            if self.replace:
                tensors.update({name: self.replace(x) for name, x in original.items() if x is not None})
        kept = [item for item in saved.items() if item[0] not in _STATE and type(item[1]) not in _PLAIN]
        if any(map(own.get, _HOOKS)):
            kept += [(name, own[name]) for name in _HOOKS if own.get(name)]
            self._unhooked.append((own, [name for name in _HOOKS if not own.get(name)]))
        else:
            self._unhooked.append((own, _HOOKS))
        for name, value in kept:
            new = self.add(value)
            if new is not value:
                own[name] = new

    def classes(self, part: nn.Module) -> None:
        """Takes what the classes of a module hold for all their instances."""
        if id(type(part)) in self._seen:
            return
        for kind in type(part).__mro__:
            if id(kind) in self._seen:
                continue
            self._seen[id(kind)] = kind
            if _is_foreign(kind):
                continue
            self._restores.append(partial(_restore_class, kind, dict(vars(kind))))
            for found in _caches_of(kind):
                self.add(found)
            for home, name, value in kept_by_class(kind):
                if isinstance(home, dict):
                    self._restores.append(partial(home.__setitem__, name, value))
                self.add(value)

    def _dictionary(self, value: dict[Any, Any]) -> None:
        self._walked(value)
        self._object(value)

    def _refilled(self, value: deque[Any] | set[Any]) -> None:
        saved = list(value)
        fill: Callable[[list[Any]], object] = value.extend if isinstance(value, deque) else value.update

        def refill(items: list[Any]) -> None:
            value.clear()
            fill(items)

        self._restores.append(lambda: refill(saved))
        items = [self.add(item) for item in saved]
        if any(new is not old for new, old in zip(items, saved, strict=True)):
            refill(items)

    def _function(self, value: types.FunctionType) -> None:
        """What a hook or a callback closes over."""
        for cell in value.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            self._restores.append(partial(setattr, cell, "cell_contents", content))
            self.add(content)
        for name in value.__code__.co_names:
            item = value.__globals__.get(name)
            if type(item) in (list, dict, set, deque):
                self.add(item)

    def _walked(self, own: dict[Any, Any]) -> None:
        """Takes what a dictionary holds, such as the attributes of an object."""
        saved = dict(own)
        self._dictionaries.append((own, saved))
        for name, item in saved.items():
            new = self.add(item)
            if new is not item:
                own[name] = new

    def _object(self, value: Any) -> None:
        own = _attributes(value)
        if own is not None:
            self._walked(own)
        for name in _slots(value):
            item = getattr(value, name)
            self._restores.append(partial(object.__setattr__, value, name, item))
            new = self.add(item)
            if new is not item:
                object.__setattr__(value, name, new)


def _restored(value: Any) -> Callable[[], object] | None:
    """What puts an object of a library back that holds no tensors; None of any other object."""
    match value:
        case np.ndarray():
            return partial(np.copyto, value, value.copy()) if value.flags.writeable else lambda: None
        case random.Random():
            return partial(value.setstate, value.getstate())
        case np.random.Generator():
            return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
        case np.random.RandomState():
            return partial(value.set_state, value.get_state())
        case bytearray() | array():
            return partial(value.__setitem__, slice(None), copy.copy(value))
        case io.StringIO() | io.BytesIO():
            return partial(_rewrite, value, value.getvalue(), value.tell())
        case _lru_cache_wrapper():
            return partial(_emptied, value, value.cache_info().misses)
    # What points to other objects (`_objects`) is left: the old ones may be gone by then.
    if isinstance(value, _BUFFERS) and getattr(value, "_objects", None) is None:
        view = memoryview(value)  # type: ignore[arg-type]
        if view.nbytes and not view.readonly and view.contiguous:
            flat = view.cast("B")
            return partial(flat.__setitem__, slice(None), flat.tobytes())
    return None


def _copied(value: Any) -> Any:
    """A copy of an iterator; itself where Python makes none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return copy.copy(value)
        except TypeError:
            return value


def _rewrite(stream: io.StringIO | io.BytesIO, content: Any, place: int) -> None:
    stream.seek(0)
    stream.truncate()
    stream.write(content)
    stream.seek(place)


def _emptied(found: _lru_cache_wrapper[Any], misses: int) -> None:
    """Empties a cache that was added to: what a pass made is of no use outside of it."""
    if found.cache_info().misses != misses:
        found.cache_clear()


def _refill(value: dict[Any, Any], saved: dict[Any, Any]) -> None:
    kind: Any = OrderedDict if isinstance(value, OrderedDict) else dict  # whatever a subclass refuses
    kind.clear(value)
    for key, item in saved.items():
        kind.__setitem__(value, key, item)


def _restore_class(kind: type, saved: dict[str, Any]) -> None:
    for name in set(vars(kind)) - set(saved):
        delattr(kind, name)
    for name, value in saved.items():
        if vars(kind).get(name) is not value:
            setattr(kind, name, value)
