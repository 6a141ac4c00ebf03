"""What an operator returns, writes and costs, learnt once for arguments of some signatures.

Its own kernel on the meta device tells, or a run over zeros where it has none. What was learnt is
kept for the process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format
from torch.utils._pytree import tree_map_only

from nas.errors import NasError, brief
from nas.profiler.computed.operations import EMPTY, NORMS, PRODUCTS, Work, stated, work_of
from nas.profiler.computed.shape_tensors import (
    CPU,
    Operand,
    Signature,
    Storage,
    is_dense,
    layout_of,
    make_tensor,
    mark_lazy,
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
    constant: bool  # what it returns or writes follows from the numbers of its arguments, and is little


effects: dict[Any, Effect] = {}


_derived: list[Callable[[], None]] = [effects.clear]  # empties what was made of effects


def when_forgotten(clear: Callable[[], None]) -> None:
    """Has something that follows from effects emptied with them."""
    _derived.append(clear)


def forget() -> None:
    """Drops what was learnt about operators, as in a new process."""
    for clear in _derived:
        clear()


def register_operator_cost(operator: str, function: Callable[..., int | tuple[int, int]]) -> None:
    """States what an operator computes, where `Cost.unknown` lists it; a later call replaces it.

    Args:
        operator: "namespace::name", as in "mylib::norm", for all its overloads.
        function: Called with the arguments of each call, tensors with sizes and dtypes and without
            numbers, and `out`, the tensor that the operator returns or a tuple of them. Returns the
            multiply-adds, or a pair: multiply-adds, and operations of everything else.

    Raises:
        NasError: The operator's name has another form, or the function cannot be called.

    Example:
        >>> nas.register_operator_cost("mylib::mm", lambda a, b, out: out.numel() * a.shape[-1])
    """
    if not isinstance(operator, str) or not re.fullmatch(r"\w+::\w+", operator):
        raise NasError(f"operator {brief(operator)} is not allowed; allowed: namespace::name, such as mylib::norm")
    if not callable(function):
        raise NasError(f"the cost of operator {operator} is {brief(function)}; allowed: a function")
    stated[operator] = function
    forget()


def learn(func: Any, args: Any, kwargs: Mapping[str, Any], tensors: Sequence[Operand], operand: OperandOf) -> Effect:
    """Runs an operator on the meta device to see what it returns."""
    metas: dict[int, Tensor] = {}
    # The meta device has no quantized tensors.
    quantized = func.overloadpacket in _QUANTIZE or any(x.signature.dtype in _QUANTIZED_DTYPES for x in tensors)

    def meta(x: Tensor) -> Tensor:
        return of(operand(x))

    def of(x: Operand) -> Tensor:
        if id(x) not in metas:
            s = x.signature
            made = _zeros(s) if quantized else torch.empty_strided(s.size, s.stride, dtype=s.dtype, device="meta")
            metas[id(x)] = mark_lazy(made, s)
        return metas[id(x)]

    _refuse_dtypes(func, args)
    if depends_on_values(func, tensors):
        args = _with_values(func, args, operand)
    meta_args = tree_map_only(Tensor, meta, tuple(args))
    meta_kwargs = {k: tree_map_only(Tensor, meta, v) for k, v in kwargs.items()}
    makes = not tensors and any(argument.name == "device" for argument in func._schema.arguments)
    if makes or meta_kwargs.get("device") is not None:
        meta_kwargs["device"] = torch.device("meta")
    inputs = [of(x) for x in tensors]
    sizes = [x.shape for x in inputs]
    out: Any
    if _keeps_signature(func, tensors):
        out = torch.empty_like(inputs[0])
    elif torch.Tag.dynamic_output_shape in func.tags and func.overloadpacket not in _INDEXED:
        out = compute(func, args, kwargs, operand)
    elif func.overloadpacket in _WORKSPACES:
        out = _over_zeros(func, meta_args, meta_kwargs)
    else:
        try:
            out = func(*meta_args, **meta_kwargs)
        except RuntimeError as error:  # custom operators without a kernel have an error of their own
            if func.namespace == "aten" and not isinstance(error, NotImplementedError):
                raise
            out = _over_zeros(func, meta_args, meta_kwargs)
    if _is_pointwise_into(func) and any(x.shape != size for x, size in zip(inputs, sizes, strict=True)):
        out = _laid_out_as_on_cpu(func, meta_args, meta_kwargs, out)
    if func.overloadpacket in _CONVOLUTIONS:
        out = _as_on_cpu(func, args, out, operand)
    if func.overloadpacket in _BATCH_NORMS:
        out = _batch_norm_on_cpu(func, args, as_list(out))
    places = {x.untyped_storage()._cdata: i for i, x in reversed(list(enumerate(inputs)))}
    found: list[Output | None] = []
    for x in as_list(out):
        if not isinstance(x, Tensor):
            found.append(None)
            continue
        _refuse_layout(func, x)
        same = next((i for i, y in enumerate(inputs) if y is x), -1)
        alias = places.get(x.untyped_storage()._cdata, -1) if same < 0 else same
        found.append(Output(signature_of(x), alias, same >= 0))
    written = _written(func, args, kwargs)
    mutates = tuple(i for i, x in enumerate(tensors) if any(x is operand(w) for w in written))
    real = [x for x in as_list(out) if isinstance(x, Tensor)]
    view = bool(found) and not mutates and all(o is not None and o.alias >= 0 for o in found)
    reshapes = torch.Tag.inplace_view in func.tags
    if reshapes:  # no number is written
        mutates, view = (), True
    work = work_of(func, meta_args, meta_kwargs, inputs, real, [inputs[i] for i in mutates], view)
    constant = (
        not reshapes
        and func.overloadpacket not in EMPTY
        and torch.Tag.nondeterministic_seeded not in func.tags
        and all(o is not None and is_small(o.signature) for o in found)
    )
    form = type(out) if isinstance(out, tuple | list) else None
    return Effect(found, form, work, mutates, constant)


def _refuse_layout(func: Any, x: Tensor) -> None:
    if not is_dense(x):
        raise NasError(f"{func} makes a tensor that is {layout_of(x)}; allowed: dense tensors")


def _refuse_dtypes(func: Any, args: Sequence[Any]) -> None:
    """Raises RuntimeError for dtypes that torch refuses; kernels of the meta device take them."""
    if func.overloadpacket in NORMS:
        if args[0].dtype is torch.float64 and any(isinstance(x, Tensor) and x.dtype is torch.float32 for x in args):
            raise RuntimeError(f"torch does not take float64 with parameters of float32 in {func.overloadpacket}")
        return
    if func.overloadpacket not in PRODUCTS:
        return
    factors = args[: PRODUCTS[func.overloadpacket]]
    dtypes = list(dict.fromkeys(str(x.dtype).removeprefix("torch.") for x in factors if isinstance(x, Tensor)))
    if len(dtypes) > 1 or dtypes == ["bool"]:
        raise RuntimeError(f"torch does not multiply {' by '.join(dtypes)} in {func.overloadpacket}")


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


def _batch_norm_on_cpu(func: Any, args: Sequence[Any], out: Sequence[Any]) -> Sequence[Any]:
    """What the kernel of a CPU gives: in a layout of its own whatever the input's, and without
    batch statistics in evaluation and gradients that nobody asks for.
    """
    first = out[0]
    if first is not None:
        out = (first.contiguous(memory_format=suggest_memory_format(first)), *out[1:])
    if func.overloadpacket is aten.native_batch_norm_backward:
        return tuple(x if wanted else None for x, wanted in zip(out, args[-1], strict=True))
    trained = func.overloadpacket is aten.native_batch_norm and args[5]
    return out if trained else (out[0], *(x.new_empty(0) for x in out[1:]))


def _is_pointwise_into(func: Any) -> bool:
    """Whether an operator writes what it makes element by element into tensors given as `out=`."""
    if not any(argument.is_out for argument in func._schema.arguments):
        return False
    packet = func.overloadpacket
    return any(torch.Tag.pointwise in getattr(packet, name).tags for name in packet.overloads())


def _laid_out_as_on_cpu(func: Any, args: Any, kwargs: Mapping[str, Any], out: Any) -> Any:
    """Outputs that were given as `out=` and made larger, as the CPU lays them out: as the operator
    without `out=`, where the meta device gives rows.
    """
    given = {argument.name for argument in func._schema.arguments if argument.is_out}
    own = func.overloadpacket(*args, **{name: value for name, value in kwargs.items() if name not in given})
    for made, wanted in zip(as_list(out), as_list(own), strict=True):
        made.as_strided_(wanted.shape, wanted.stride())
    return out


def compute(func: Any, args: Any, kwargs: Mapping[str, Any], operand: OperandOf) -> Any:
    """The operator over known numbers."""

    def value(x: Tensor) -> Tensor:
        return value_of(operand(x), str(func))

    real = {k: tree_map_only(Tensor, value, v) for k, v in kwargs.items()}
    if real.get("device") is not None:
        real["device"] = CPU
    return func(*tree_map_only(Tensor, value, tuple(args)), **real)


_WORKSPACES = {aten.mkldnn_rnn_layer}  # the meta device leaves out what the kernel keeps for the backward pass
_CONVOLUTIONS = {aten.convolution, aten.convolution_backward}
_BATCH_NORMS = {
    aten.native_batch_norm,
    aten._native_batch_norm_legit_no_training,
    aten.native_batch_norm_backward,
}
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


_QUANTIZED_DTYPES = {torch.qint8, torch.quint8, torch.qint32}
_QUANTIZE = {aten.quantize_per_tensor, aten.quantize_per_tensor_dynamic, aten.quantize_per_channel}


def _zeros(signature: Signature) -> Tensor:
    if signature.dtype in _QUANTIZED_DTYPES:
        empty = torch._empty_affine_quantized(signature.size, scale=1.0, zero_point=0, dtype=signature.dtype)
        return empty.as_strided(signature.size, signature.stride)
    return torch.empty_strided(signature.size, signature.stride, dtype=signature.dtype).zero_()


def _over_zeros(func: Any, args: Any, kwargs: Any) -> Any:
    """An operator without a kernel for the meta device, over zeros, with its outputs as meta
    tensors.
    """
    zeros: dict[int, tuple[Tensor, Tensor]] = {}

    def zero(x: Tensor) -> Tensor:
        if id(x) not in zeros:
            zeros[id(x)] = (_zeros(signature_of(x)), x)
        return zeros[id(x)][0]

    def meta(x: Tensor) -> Tensor:
        _refuse_layout(func, x)
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
