"""Parts of a module that do what another one did: they are written down once and repeated.

Two parts are of one kind if they have the same type, the same plain attributes and tensors of the
same signatures, and their own parts are of one kind each. Called with inputs of the same
signatures, the second does what the first did, to other tensors. What cannot be told apart by that
is never repeated: parts with hooks, calls with anything but tensors and plain values, calls that
leave something behind in attributes or elsewhere, and a part that has run before.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec

from nas.profiler.computed.effects import is_small
from nas.profiler.computed.operations import Work
from nas.profiler.computed.shape_tensors import ShapeTensor, Signature, known, signature_of
from nas.profiler.computed.structures import kept_by_class

_PLAIN = (int, float, str, bool, bytes, type(None), torch.dtype, torch.device, torch.Size)
_OWN = {Tensor, nn.Parameter}
_PLAIN_TYPES = frozenset(_PLAIN)
_SIZED = {list, dict, set}
_STATE = frozenset(vars(nn.Module()))
_HOOKS = tuple(
    _STATE
    - {"_modules", "_parameters", "_buffers", "training", "_is_full_backward_hook", "_non_persistent_buffers_set"}
)


def kinds_of(parts: Sequence[nn.Module]) -> dict[int, int]:
    """A number for each part, by identity, that has parts itself and is not the only one of its
    kind.
    """
    numbers: dict[Any, int] = {}
    kinds: dict[int, int] = {}
    for part in reversed(parts):
        description = _description(part, kinds)
        kinds[id(part)] = numbers.setdefault(description, len(numbers))
    count = Counter(kinds.values())
    return {id(part): kinds[id(part)] for part in parts if part._modules and count[kinds[id(part)]] > 1}


def _description(part: nn.Module, kinds: Mapping[int, int]) -> Any:
    if isinstance(part, torch.jit.ScriptModule):
        return id(part)
    own = vars(part)
    if any(map(own.get, _HOOKS)):
        return id(part)
    return (
        type(part),
        tuple([(key, kinds.get(id(child), id(child))) for key, child in own["_modules"].items()]),
        tuple([(key, _tensor(x, False)) for key, x in own["_parameters"].items()]),
        tuple([(key, _tensor(x, True)) for key, x in own["_buffers"].items()]),
        tuple([(name, _attribute(value)) for name, value in own.items() if name not in _STATE]),
    )


def _tensor(x: Tensor | None, is_buffer: bool) -> Any:
    if x is None:
        return None
    try:
        signature = signature_of(x)
    except RuntimeError:  # sparse, nested or lazy
        return id(x)
    if type(x) in _OWN and x.device.type == "cpu" and (is_buffer or is_small(signature)) and not x.is_quantized:
        # Masks, indices and gates decide what a module does.
        numbers = x.detach().contiguous().view(-1).view(torch.uint8).numpy()
        return signature, x.requires_grad, sha256(numbers.tobytes()).digest()
    return signature, x.requires_grad


def _attribute(value: Any) -> Any:
    if type(value) in _PLAIN_TYPES or isinstance(value, _PLAIN):
        return type(value), value
    if type(value) in (list, tuple):
        return type(value), tuple(_attribute(item) for item in value)
    return "is", id(value)


@dataclass
class Segment:
    """What one part wrote down while it ran.

    Attributes:
        first: Number of storages before it.
        count: Storages that it made.
        calls, log, marks, shapes: As in `Trace`, with paths and positions from the part's own.
        outputs: Where the leaves of its output come from: an input itself, or a signature over the
            storage of an input or of one that it made; or a plain value.
        structure: Of the output.
    """

    first: int
    count: int
    calls: list[tuple[str, Work]]
    log: list[tuple[int, int]]
    marks: list[tuple[int, str]]
    shapes: dict[str, tuple[int, ...]]
    outputs: list[Any]
    structure: TreeSpec


@dataclass(frozen=True)
class Given:
    """An output that is the input of this number itself."""

    position: int


@dataclass(frozen=True)
class Made:
    """An output over the storage of an input (`position`) or over one that the part made."""

    signature: Signature
    position: int
    number: int


def call_key(kind: int, args: Any, kwargs: Any) -> tuple[Any, list[ShapeTensor]] | None:
    """What decides what a part of a kind does with some inputs, and the tensors among them; None if
    that is unclear.
    """
    tensors: list[ShapeTensor] = []
    storages: dict[int, int] = {}
    try:
        cast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
        return (kind, cast, _given(args, tensors, storages), _given(kwargs, tensors, storages)), tensors
    except _Unclear:
        return None


def _given(value: Any, tensors: list[ShapeTensor], storages: dict[int, int]) -> Any:
    if type(value) is ShapeTensor:
        if known(value):
            raise _Unclear
        tensors.append(value)
        return value.signature, storages.setdefault(value.storage_.number, len(storages))
    if isinstance(value, _PLAIN):
        return type(value), value
    if type(value) in (list, tuple):
        return type(value), tuple([_given(item, tensors, storages) for item in value])
    if type(value) is dict:
        return dict, tuple([(key, _given(item, tensors, storages)) for key, item in value.items()])
    raise _Unclear


class _Unclear(Exception):
    """An input that may be anything."""


def output_of(leaf: Any, inputs: list[ShapeTensor], first: int) -> Any:
    """Where a leaf of an output comes from.

    Raises:
        LookupError: From outside, or it carries numbers.
    """
    if isinstance(leaf, _PLAIN):
        return leaf
    if type(leaf) is not ShapeTensor or known(leaf):
        raise LookupError
    for position, given in enumerate(inputs):
        if given is leaf:
            return Given(position)
    for position, given in enumerate(inputs):
        if given.storage_ is leaf.storage_:
            return Made(leaf.signature, position, 0)
    if leaf.storage_.log is None or leaf.storage_.number <= first:
        raise LookupError
    return Made(leaf.signature, -1, leaf.storage_.number)


def attributes(part: nn.Module) -> list[Any]:
    """What a part and its parts keep, in themselves, in their classes and in the globals of their
    methods, to see whether a call left something there.
    """
    found: list[Any] = []
    waiting, seen, kinds = [part], {part}, set[type]()
    while waiting:
        child = waiting.pop()
        own = vars(child)
        found += [
            (name, id(value), len(value) if type(value) in _SIZED else 0)
            if name in _STATE
            else (name, value if type(value) in _PLAIN_TYPES else _contents(value))
            for name, value in own.items()
        ]
        kinds.update(type(child).__mro__)
        children = [each for each in own["_modules"].values() if each is not None and each not in seen]
        seen.update(children)
        waiting += children
    for kind in kinds:
        found += [(name, _contents(value)) for _, name, value in kept_by_class(kind)]
    return found


def _contents(value: Any, depth: int = 3) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if depth and isinstance(value, dict):
        return id(value), [(key, _contents(item, depth - 1)) for key, item in value.items()]
    if depth and isinstance(value, list | tuple | set | deque):
        return id(value), [_contents(item, depth - 1) for item in value]
    if isinstance(value, nn.Module | Tensor) or callable(value) or not depth:
        return id(value)
    return id(value), [(name, _contents(item, depth - 1)) for name, item in getattr(value, "__dict__", {}).items()]
