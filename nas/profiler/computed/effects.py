"""What an operator returns, writes and costs, learnt once for arguments of some signatures.

Its own kernel on the meta device tells, or a run over zeros where it has none. What was learnt is
kept for the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from nas.profiler.computed.operations import EMPTY, Work, work_of
from nas.profiler.computed.shape_tensors import (
    CPU,
    Operand,
    Signature,
    Storage,
    make_tensor,
    signature_of,
    value_of,
)

VALUES = 100_000  # numbers of a constant that are kept
FLOAT_VALUES = 16
aten = torch.ops.aten

OperandOf = Callable[[Tensor], Operand]  # what a trace knows of a tensor


@dataclass(slots=True)
class Output:
    """One tensor that an operator returns: new, over the storage of an argument, or that argument
    itself.
    """

    signature: Signature
    alias: int = -1
    same: bool = False


@dataclass(slots=True)
class Effect:
    """What an operator does with arguments of some signatures."""

    outputs: list[Output | None]
    form: Any  # list or tuple, of several outputs; None for one
    work: Work
    mutates: tuple[int, ...]
    constant: bool  # its outputs follow from the numbers of its arguments, and are few


effects: dict[Any, Effect] = {}


def forget() -> None:
    """Drops what was learnt about operators, as in a new process."""
    effects.clear()


def learn(func: Any, args: Any, kwargs: Mapping[str, Any], tensors: Sequence[Operand], operand: OperandOf) -> Effect:
    """Runs an operator on the meta device to see what it returns."""
    metas: dict[int, Tensor] = {}

    def meta(x: Tensor) -> Tensor:
        return of(operand(x))

    def of(x: Operand) -> Tensor:
        if id(x) not in metas:
            s = x.signature
            metas[id(x)] = torch.empty_strided(s.size, s.stride, dtype=s.dtype, device="meta")
        return metas[id(x)]

    if depends_on_values(func, tensors):
        args = _with_values(func, args, operand)
    meta_args = tree_map_only(Tensor, meta, tuple(args))
    meta_kwargs = {k: tree_map_only(Tensor, meta, v) for k, v in kwargs.items()}
    makes = not tensors and any(argument.name == "device" for argument in func._schema.arguments)
    if makes or meta_kwargs.get("device") is not None:
        meta_kwargs["device"] = torch.device("meta")
    inputs = [of(x) for x in tensors]
    if _keeps_signature(func, tensors):
        out = torch.empty_like(inputs[0])
    elif torch.Tag.dynamic_output_shape in func.tags and func.overloadpacket not in _INDEXED:
        out = compute(func, args, kwargs, operand)
    else:
        try:
            out = func(*meta_args, **meta_kwargs)
        except RuntimeError as error:  # custom operators without a kernel have an error of their own
            if func.namespace == "aten" and not isinstance(error, NotImplementedError):
                raise
            out = _over_zeros(func, meta_args, meta_kwargs)
    if func.overloadpacket in _CONVOLUTIONS:
        out = _as_on_cpu(func, args, out, operand)
    places = {x.untyped_storage()._cdata: i for i, x in reversed(list(enumerate(inputs)))}
    found: list[Output | None] = []
    for x in as_list(out):
        if not isinstance(x, Tensor):
            found.append(None)
            continue
        same = next((i for i, y in enumerate(inputs) if y is x), -1)
        alias = places.get(x.untyped_storage()._cdata, -1) if same < 0 else same
        found.append(Output(signature_of(x), alias, same >= 0))
    written = _written(func, args, kwargs)
    mutates = tuple(i for i, x in enumerate(tensors) if any(x is operand(w) for w in written))
    real = [x for x in as_list(out) if isinstance(x, Tensor)]
    view = bool(found) and not mutates and all(o is not None and o.alias >= 0 for o in found)
    work = work_of(func, meta_args, inputs, real, [inputs[i] for i in mutates], view)
    constant = (
        not mutates
        and func.overloadpacket not in EMPTY
        and torch.Tag.nondeterministic_seeded not in func.tags
        and all(o is not None and is_small(o.signature) for o in found)
    )
    form = type(out) if isinstance(out, tuple | list) else None
    return Effect(found, form, work, mutates, constant)


def _as_on_cpu(func: Any, args: Sequence[Any], out: Any, operand: OperandOf) -> Any:
    """What a convolution returns in the layout of the kernel that a CPU would take; the meta
    device has none.
    """
    backward = func.overloadpacket is aten.convolution_backward
    x, weight, *options = args[1:] if backward else args
    if x.ndim != 4 and x.ndim != 5:
        return out
    x, weight = (make_tensor(operand(t).signature, _NOWHERE) for t in (x, weight))
    bias = None if backward or options[0] is None else make_tensor(operand(options[0]).signature, _NOWHERE)
    stride, padding, dilation, transposed, output_padding, groups = options[1:7]
    backend = torch._C._select_conv_backend(
        x,
        weight,
        bias=bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        transposed=transposed,
        output_padding=output_padding,
        groups=groups,
        **({"bias_sizes": options[0]} if bias is None else {}),
    )
    layout = torch._C._conv_determine_backend_memory_format(x, weight, backend)
    return tree_map_only(Tensor, lambda t: t if t.ndim < 4 else t.to(memory_format=layout), out)


def compute(func: Any, args: Any, kwargs: Mapping[str, Any], operand: OperandOf) -> Any:
    """The operator over known numbers."""

    def value(x: Tensor) -> Tensor:
        return value_of(operand(x), str(func))

    real = {k: tree_map_only(Tensor, value, v) for k, v in kwargs.items()}
    if real.get("device") is not None:
        real["device"] = CPU
    return func(*tree_map_only(Tensor, value, tuple(args)), **real)


_CONVOLUTIONS = {aten.convolution, aten.convolution_backward}
_NOWHERE = Storage(0, 0, None)


def as_list(out: Any) -> Sequence[Any]:
    return out if isinstance(out, tuple | list) else [] if out is None else [out]


def is_small(signature: Signature) -> bool:
    return prod(signature.size) <= (FLOAT_VALUES if signature.dtype.is_floating_point else VALUES)


# Their kernels for the meta device are slow, and what they give is plain.
_LIKE_THEIR_INPUT = {
    aten.add, aten.sub, aten.mul, aten.div, aten.relu, aten.gelu, aten.silu, aten.sigmoid, aten.tanh, aten.hardswish,
    aten.gelu_backward, aten.silu_backward, aten.sigmoid_backward, aten.tanh_backward, aten.threshold_backward,
    aten.neg, aten.rsqrt, aten.sqrt, aten.exp,
}  # fmt: skip


def _keeps_signature(func: Any, tensors: Sequence[Operand]) -> bool:
    """Whether an operator gives one new tensor like its arguments: floating, dense, all alike."""
    if func.overloadpacket not in _LIKE_THEIR_INPUT or "out" in func._overloadname or not tensors:
        return False
    first = tensors[0].signature
    return first.dense and first.dtype.is_floating_point and all(x.signature is first for x in tensors)


_INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}


def depends_on_values(func: Any, tensors: Sequence[Operand]) -> bool:
    """Whether the shapes that an operator gives depend on numbers."""
    if func.overloadpacket in _INDEXED:
        return any(x.signature.dtype is torch.bool for x in tensors[1:])
    return torch.Tag.dynamic_output_shape in func.tags


def _with_values(func: Any, args: Sequence[Any], operand: OperandOf) -> Sequence[Any]:
    """Masks of an indexing as the indices that they mean."""
    if func.overloadpacket not in _INDEXED:
        return args
    indices: list[Any] = []
    for index in args[1]:
        if isinstance(index, Tensor) and index.dtype is torch.bool:
            indices += value_of(operand(index), "boolean index").nonzero(as_tuple=True)
        else:
            indices.append(index)
    return (args[0], indices, *args[2:])


def _over_zeros(func: Any, args: Any, kwargs: Any) -> Any:
    """An operator without a kernel for the meta device, over zeros, with its outputs as meta
    tensors.
    """
    zeros: dict[int, tuple[Tensor, Tensor]] = {}

    def zero(x: Tensor) -> Tensor:
        if id(x) not in zeros:
            zeros[id(x)] = (torch.empty_strided(x.shape, x.stride(), dtype=x.dtype).zero_(), x)
        return zeros[id(x)][0]

    def meta(x: Tensor) -> Tensor:
        given = next((m for z, m in zeros.values() if z is x), None)
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta") if given is None else given

    real = tree_map_only(Tensor, zero, (args, {k: CPU if k == "device" else v for k, v in kwargs.items()}))
    return tree_map_only(Tensor, meta, func(*real[0], **real[1]))


def _written(func: Any, args: Any, kwargs: Mapping[str, Any]) -> list[Tensor]:
    if not func._schema.is_mutable:
        return []
    found: list[Tensor] = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            found += [x for x in as_list(value) if isinstance(x, Tensor)]
    return found
