"""One pass of any module over tensors without numbers, written down operator by operator.

Every tensor of the pass is a `ShapeTensor`: sizes, strides, dtype and a counted storage on a
pretended CPU, so that a module goes the way that it would go over real tensors there, fused
attention included. A dispatch mode sees every operator below autograd. What an operator returns is
learnt from its own kernel on the meta device and remembered for the process by the signatures of
its arguments; one without such a kernel runs once over zeros. Small constants keep their numbers,
for the masks and indices that decide what a module does.

Nothing of the module is touched: for the pass its parts get dictionaries of their own.
"""

from __future__ import annotations

import gc
import random
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from nas.errors import NasError
from nas.profiler.computed.operations import EMPTY, Work, work_of
from nas.profiler.computed.repeats import Given, Made, Segment, attributes, call_key, kinds_of, output_of
from nas.profiler.computed.shape_tensors import (
    CPU,
    Operand,
    Outsider,
    ShapeTensor,
    Signature,
    Storage,
    known,
    signature_of,
    value_of,
)

VALUES = 100_000  # numbers of a constant that are kept
FLOAT_VALUES = 16
aten = torch.ops.aten
_wrapper = torch.Tensor._make_wrapper_subclass


@dataclass(slots=True)
class _Output:
    """One tensor that an operator returns: new, over the storage of an argument, or that argument
    itself.
    """

    signature: Signature
    alias: int = -1
    same: bool = False


@dataclass(slots=True)
class _Effect:
    """What an operator does with arguments of some signatures."""

    outputs: list[_Output | None]
    form: Any  # list or tuple, of several outputs; None for one
    work: Work
    mutates: tuple[int, ...]
    constant: bool  # its outputs follow from the numbers of its arguments, and are few


_effects: dict[Any, _Effect] = {}


def forget() -> None:
    """Drops what was learnt about operators, as in a new process."""
    _effects.clear()


@dataclass
class Trace:
    """What one pass did.

    Attributes:
        calls: (path of the module that was running, work) of every operator of the forward pass
            that is no view.
        backward_calls: Those of the backward pass; it has no paths.
        saved: Storages that autograd keeps for the backward pass, by number: bytes, and the path of
            the first module that kept them; parameters and buffers are not among them.
        log: (number of the storage, bytes), negative where it ends, in order, of all that the pass
            made.
        turn: Position in the log where the backward pass begins.
        marks: (position in the log, path of the module that runs from there on).
        inputs, outputs: Bytes of the storages that went in and came out, by number.
        shapes: Shape of what each module returned last.
    """

    calls: list[tuple[str, Work]] = field(default_factory=list)
    backward_calls: list[tuple[str, Work]] = field(default_factory=list)
    saved: dict[int, tuple[int, str]] = field(default_factory=dict)
    log: list[tuple[int, int]] = field(default_factory=list)
    turn: int = 0
    marks: list[tuple[int, str]] = field(default_factory=list)
    inputs: dict[int, int] = field(default_factory=dict)
    outputs: dict[int, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


class Uninitialised(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Skips what only writes numbers into tensors of the meta device, which has none: modules are
    built faster.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in _INITIALISATIONS and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


_INITIALISATIONS = {
    aten.normal_,
    aten.uniform_,
    aten.fill_,
    aten.zero_,
    aten.erfinv_,
    aten.mul_,
    aten.add_,
    aten.clamp_,
}


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, trace: Trace) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = trace
        self.calls = trace.calls
        self.path = ""
        self.numbers = 0
        self.learnt = False
        self.outsiders: dict[int, Outsider] = {}  # by identity of the real tensor, which stays alive here
        self.stand_ins: dict[int, ShapeTensor] = {}
        self.places: dict[Any, Storage] = {}
        self.kinds: dict[int, int] = {}
        self.ran: set[int] = set()
        self.segments: dict[Any, Segment] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch wraps every call and imports its compiler

    def make(self, signature: Signature, storage: Storage | None = None, requires_grad: bool = False) -> ShapeTensor:
        made = _wrapper(
            ShapeTensor,
            signature.size,
            strides=signature.stride,
            dtype=signature.dtype,
            device=CPU,
            requires_grad=requires_grad,
        )
        made.signature = signature
        if storage is None:
            self.numbers += 1
            storage = Storage(signature.nbytes, self.numbers, self.trace.log)
        made.storage_ = storage
        return made

    def operand(self, x: Tensor) -> Operand:
        if type(x) is ShapeTensor:
            return x
        found = self.outsiders.get(id(x))
        if found is None:
            if x.layout != torch.strided:
                raise NasError(f"a tensor of the module has the layout {x.layout}; allowed: dense tensors")
            signature = signature_of(x)
            storage, value = self._storage(x, signature), None
            if type(x) is Tensor and x.device.type == "cpu" and _small(signature):
                value, storage.valued = x, True
            found = self.outsiders[id(x)] = Outsider(x, signature, storage, value)
        return found

    def _storage(self, x: Tensor, signature: Signature) -> Storage:
        """That of a tensor from outside, one for all of its views."""
        place, nbytes = _place(x, signature)
        storage = self.places.get(place)
        if storage is None:
            self.numbers += 1
            storage = self.places[place] = Storage(nbytes, self.numbers, None)
        return storage

    def stand_in(self, x: Tensor) -> ShapeTensor:
        """A tensor of the pass in the place of one from outside: an input, or a parameter whose
        gradient is made.
        """
        outsider = self.operand(x)
        if isinstance(outsider, ShapeTensor):
            return outsider
        made = self.stand_ins.get(id(x))
        if made is None:
            made = self.make(outsider.signature, outsider.storage_, x.requires_grad)
            made.value = outsider.value
            if isinstance(x, nn.Parameter):
                made._is_param = True
            self.stand_ins[id(x)] = made
        return made

    def inside(self, path: str, part: nn.Module) -> Callable[..., Any]:
        """The forward of a part, with the recorder told that it runs, or what it would do repeated."""
        forward, kind = part.forward, self.kinds.get(id(part))

        @wraps(forward)
        def told(*args: Any, **kwargs: Any) -> Any:
            if kind is None or id(part) in self.ran:
                return self.run(path, forward, args, kwargs)
            self.ran.add(id(part))
            described = call_key(kind, args, kwargs)
            if described is None:
                return self.run(path, forward, args, kwargs)
            key, inputs = described
            segment = self.segments.get(key)
            if segment is not None:
                return self.repeat(path, segment, inputs)
            return self.keep(path, part, forward, args, kwargs, key, inputs)

        return told

    def run(self, path: str, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Runs a part, with its path on what it does."""
        outer, self.path = self.path, path
        marks, log = self.trace.marks, self.trace.log
        marks.append((len(log), path))
        try:
            out = forward(*args, **kwargs)
        finally:
            self.path = outer
            marks.append((len(log), outer))
        first = out if isinstance(out, Tensor) else next(filter(_is_tensor, tree_leaves(out)), None)
        if first is not None:
            self.trace.shapes[path] = tuple(first.shape)
        return out

    def keep(
        self,
        path: str,
        part: nn.Module,
        forward: Callable[..., Any],
        args: Any,
        kwargs: Any,
        key: Any,
        inputs: list[ShapeTensor],
    ) -> Any:
        """Runs a part and keeps what it did, if that is all that it did."""
        trace, first = self.trace, self.numbers
        calls, log, marks = len(trace.calls), len(trace.log), len(trace.marks)
        before = attributes(part)
        out = self.run(path, forward, args, kwargs)
        leaves, structure = tree_flatten(out)
        try:
            outputs = [output_of(leaf, inputs, first) for leaf in leaves]
        except LookupError:
            return out
        events = trace.log[log:]
        alive = Counter(number for number, _ in events)
        left = {number for number, count in alive.items() if count == 1}
        if left - {x.number for x in outputs if isinstance(x, Made) and x.position < 0} or attributes(part) != before:
            return out
        length = len(path)
        self.segments[key] = Segment(
            first,
            self.numbers - first,
            [(inner[length:], work) for inner, work in trace.calls[calls:]],
            events,
            [(position - log, inner[length:]) for position, inner in trace.marks[marks:-1]],
            {inner[length:]: shape for inner, shape in trace.shapes.items() if f"{inner}.".startswith(f"{path}.")},
            outputs,
            structure,
        )
        return out

    def repeat(self, path: str, segment: Segment, inputs: list[ShapeTensor]) -> Any:
        """Writes down what another part did as this one's."""
        trace, begin = self.trace, len(self.trace.log)
        shift = self.numbers - segment.first
        self.numbers += segment.count
        trace.calls += [(path + inner, work) for inner, work in segment.calls]
        trace.log += [(number + shift, nbytes) for number, nbytes in segment.log]
        trace.marks += [(begin + position, path + inner) for position, inner in segment.marks]
        trace.marks.append((len(trace.log), self.path))
        trace.shapes |= {path + inner: shape for inner, shape in segment.shapes.items()}
        storages: dict[int, Storage] = {}
        leaves: list[Any] = []
        for output in segment.outputs:
            if isinstance(output, Given):
                leaves.append(inputs[output.position])
            elif isinstance(output, Made):
                if output.position >= 0:
                    storage = inputs[output.position].storage_
                else:
                    storage = storages.setdefault(
                        output.number, Storage(output.signature.nbytes, output.number + shift, None)
                    )
                leaves.append(self.make(output.signature, storage))
            else:
                leaves.append(output)
        for storage in storages.values():
            storage.nbytes, storage.log = dict(segment.log)[storage.number - shift], trace.log
        return tree_unflatten(leaves, segment.structure)

    def pack(self, tensor: Tensor) -> tuple[Signature, Storage, Tensor | None]:
        x = self.operand(tensor)
        storage = x.storage_
        if storage.log is not None:
            self.trace.saved.setdefault(storage.number, (storage.nbytes, self.path))
        return x.signature, storage, x.value

    def unpack(self, packed: tuple[Signature, Storage, Tensor | None]) -> ShapeTensor:
        made = self.make(*packed[:2])
        made.value = packed[2]
        return made

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors: list[Operand] = []
        keys: list[Any] = [func]
        for arg in args:
            if type(arg) is ShapeTensor:
                tensors.append(arg)
                keys.append(arg.signature)
            else:
                keys.append(self._key(arg, tensors))
        if kwargs:
            keys += [(name, self._key(arg, tensors)) for name, arg in kwargs.items()]
        key: Any = tuple(keys)
        if func is torch.ops.prim.device.default:  # asked of fake tensors
            return CPU
        if func is aten._local_scalar_dense.default:
            return value_of(tensors[0], "item").item()
        try:
            effect = _effects.get(key)
        except TypeError:  # an argument without a hash
            effect, key = None, None
        if effect is None:
            effect = self._learn(func, args, kwargs or {}, tensors)
            if key is not None and not _by_value(func, tensors):
                _effects[key] = effect
                self.learnt = True
        work = effect.work
        if work.counts:
            self.calls.append((self.path, work))
        for number in effect.mutates:
            tensors[number].storage_.valued = False
        outputs: list[Any] = []
        for output in effect.outputs:
            if output is None:
                outputs.append(None)
            elif output.same:
                operand = tensors[output.alias]
                outputs.append(operand.real if isinstance(operand, Outsider) else operand)
            else:
                outputs.append(
                    self.make(output.signature, tensors[output.alias].storage_ if output.alias >= 0 else None)
                )
        if effect.constant and all(map(known, tensors)):
            for made, value in zip(outputs, _as_list(self._compute(func, args, kwargs or {})), strict=True):
                if isinstance(made, ShapeTensor):
                    made.value, made.storage_.valued = value, True
        if effect.form is not None:
            return effect.form(outputs)
        return outputs[0] if outputs else None

    def _key(self, arg: Any, tensors: list[Operand]) -> Any:
        if arg is None or type(arg) is int:
            return arg
        if type(arg) is list and arg and type(arg[0]) is int:
            return tuple(arg)
        if isinstance(arg, Tensor):
            operand = self.operand(arg)
            tensors.append(operand)
            return operand.signature
        if isinstance(arg, list | tuple):
            return tuple([self._key(item, tensors) for item in arg])
        return type(arg), arg  # 1.0 and True equal 1, but give other dtypes

    def _learn(self, func: Any, args: Any, kwargs: Mapping[str, Any], tensors: Sequence[Operand]) -> _Effect:
        """Runs an operator on the meta device to see what it returns."""
        metas: dict[int, Tensor] = {}

        def meta(x: Tensor) -> Tensor:
            return of(self.operand(x))

        def of(x: Operand) -> Tensor:
            if id(x) not in metas:
                s = x.signature
                metas[id(x)] = torch.empty_strided(s.size, s.stride, dtype=s.dtype, device="meta")
            return metas[id(x)]

        if _by_value(func, tensors):
            args = _with_values(func, args, self)
        meta_args = tree_map_only(Tensor, meta, tuple(args))
        meta_kwargs = {k: tree_map_only(Tensor, meta, v) for k, v in kwargs.items()}
        makes = not tensors and any(argument.name == "device" for argument in func._schema.arguments)
        if makes or meta_kwargs.get("device") is not None:
            meta_kwargs["device"] = torch.device("meta")
        inputs = [of(x) for x in tensors]
        if _keeps_signature(func, tensors):
            out = torch.empty_like(inputs[0])
        elif torch.Tag.dynamic_output_shape in func.tags and func.overloadpacket not in _INDEXED:
            out = self._compute(func, args, kwargs)
        else:
            try:
                out = func(*meta_args, **meta_kwargs)
            except RuntimeError as error:  # custom operators without a kernel have an error of their own
                if func.namespace == "aten" and not isinstance(error, NotImplementedError):
                    raise
                out = _over_zeros(func, meta_args, meta_kwargs)
        if func.overloadpacket in _CONVOLUTIONS:
            out = self._as_on_cpu(func, args, out)
        places = {x.untyped_storage()._cdata: i for i, x in reversed(list(enumerate(inputs)))}
        found: list[_Output | None] = []
        for x in _as_list(out):
            if not isinstance(x, Tensor):
                found.append(None)
                continue
            same = next((i for i, y in enumerate(inputs) if y is x), -1)
            alias = places.get(x.untyped_storage()._cdata, -1) if same < 0 else same
            found.append(_Output(signature_of(x), alias, same >= 0))
        written = _written(func, args, kwargs)
        mutates = tuple(i for i, x in enumerate(tensors) if any(x is self.operand(w) for w in written))
        real = [x for x in _as_list(out) if isinstance(x, Tensor)]
        view = bool(found) and not mutates and all(o is not None and o.alias >= 0 for o in found)
        work = work_of(func, meta_args, inputs, real, [inputs[i] for i in mutates], view)
        constant = (
            not mutates
            and func.overloadpacket not in EMPTY
            and torch.Tag.nondeterministic_seeded not in func.tags
            and all(o is not None and _small(o.signature) for o in found)
        )
        form = type(out) if isinstance(out, tuple | list) else None
        return _Effect(found, form, work, mutates, constant)

    def _as_on_cpu(self, func: Any, args: Sequence[Any], out: Any) -> Any:
        """What a convolution returns in the layout of the kernel that a CPU would take; the meta
        device has none.
        """
        backward = func.overloadpacket is aten.convolution_backward
        x, weight, *options = args[1:] if backward else args
        if x.ndim != 4 and x.ndim != 5:
            return out
        x, weight = (self.make(self.operand(t).signature, _NOWHERE) for t in (x, weight))
        bias = None if backward or options[0] is None else self.make(self.operand(options[0]).signature, _NOWHERE)
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

    def _compute(self, func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """The operator over known numbers."""

        def value(x: Tensor) -> Tensor:
            return value_of(self.operand(x), str(func))

        real = {k: tree_map_only(Tensor, value, v) for k, v in kwargs.items()}
        if real.get("device") is not None:
            real["device"] = CPU
        return func(*tree_map_only(Tensor, value, tuple(args)), **real)


_CONVOLUTIONS = {aten.convolution, aten.convolution_backward}
_NOWHERE = Storage(0, 0, None)


def _is_tensor(x: Any) -> bool:
    return isinstance(x, Tensor)


# ----------------------------------------------------------------------------- operators' arguments


def _as_list(out: Any) -> Sequence[Any]:
    return out if isinstance(out, tuple | list) else [] if out is None else [out]


def _small(signature: Signature) -> bool:
    return prod(signature.size) <= (FLOAT_VALUES if signature.dtype.is_floating_point else VALUES)


# Their kernels for the meta device are slow, and what they give is plain.
_LIKE_THEIR_INPUT = {
    aten.add, aten.sub, aten.mul, aten.div, aten.relu, aten.gelu, aten.silu, aten.sigmoid, aten.tanh, aten.hardswish,
    aten.gelu_backward, aten.silu_backward, aten.sigmoid_backward, aten.tanh_backward, aten.threshold_backward,
    aten.neg, aten.rsqrt, aten.sqrt, aten.exp,
}  # fmt: skip


def _keeps_signature(func: Any, tensors: Sequence[Operand]) -> bool:
    """Whether an operator gives one new tensor of its arguments' signature: floating, dense, alike."""
    if func.overloadpacket not in _LIKE_THEIR_INPUT or "out" in func._overloadname or not tensors:
        return False
    first = tensors[0].signature
    return first.dense and first.dtype.is_floating_point and all(x.signature is first for x in tensors)


_INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}


def _by_value(func: Any, tensors: Sequence[Operand]) -> bool:
    """Whether the shapes that an operator gives depend on numbers."""
    if func.overloadpacket in _INDEXED:
        return any(x.signature.dtype is torch.bool for x in tensors[1:])
    return torch.Tag.dynamic_output_shape in func.tags


def _with_values(func: Any, args: Sequence[Any], recorder: _Recorder) -> Sequence[Any]:
    """Masks of an indexing as the indices that they mean."""
    if func.overloadpacket not in _INDEXED:
        return args
    indices: list[Any] = []
    for index in args[1]:
        if isinstance(index, Tensor) and index.dtype is torch.bool:
            indices += value_of(recorder.operand(index), "boolean index").nonzero(as_tuple=True)
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
            found += [x for x in _as_list(value) if isinstance(x, Tensor)]
    return found


def _place(real: Tensor, signature: Signature) -> tuple[Any, int]:
    """What identifies the memory of a tensor, and its bytes."""
    try:
        storage = real.untyped_storage()
        return storage._cdata, storage.nbytes()
    except (NotImplementedError, RuntimeError):
        return id(real), signature.nbytes


# ----------------------------------------------------------------------------------------- the pass


class _Entrance(torch.autograd.Function):
    """Makes an input of the pass; what its gradient would be for ends here."""

    @staticmethod
    def forward(ctx: Any, root: Tensor, recorder: _Recorder, signature: Signature) -> Tensor:
        return recorder.make(signature)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, None, None


class _Exit(torch.autograd.Function):
    """Takes an output of the pass; its gradient begins to live when the backward pass gets there."""

    @staticmethod
    def forward(ctx: Any, out: ShapeTensor, root: Tensor, recorder: _Recorder) -> Tensor:
        ctx.made = recorder.make, out.signature
        return recorder.make(root.signature, root.storage_)  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        make, signature = ctx.made
        return make(signature), None, None


def trace(
    module: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    training: bool = False,
    backward: bool = False,
    part: bool = False,
    repeat: bool = True,
) -> Trace:
    """Writes down one pass of a module.

    Args:
        module: Any module, on any device.
        args: Positional inputs: real, fake or meta tensors, nested as the module takes them.
        kwargs: Inputs by name.
        training: With gradients, in training mode; otherwise as in inference, in evaluation mode.
        backward: The backward pass of all outputs as well.
        part: As in the middle of a network: inputs that ask for gradients get them, and inputs end
            when nothing keeps them any more.
        repeat: In inference, do not run parts that do what another one did, but repeat what that
            one wrote down.

    Raises:
        NasError: The module refuses the inputs, or what it does depends on numbers that are not
            known.
    """
    repeats = repeat and not training
    result, learnt = _pass(module, args, kwargs or {}, training, backward, part, repeats)
    # Learning an operator may leave cycles of garbage in torch that hold on to tensors, which the
    # log then shows.
    return _pass(module, args, kwargs or {}, training, backward, part, repeats)[0] if learnt else result


def _pass(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    training: bool,
    backward: bool,
    part: bool,
    repeats: bool,
) -> tuple[Trace, bool]:
    """The trace, and whether operators were met that nobody had met before."""
    result = Trace()
    with ExitStack() as stack:
        stack.enter_context(_disable_current_modes())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(training))
        stack.enter_context(_quiet_surroundings())
        recorder = _Recorder(result)
        if repeats:
            recorder.kinds = kinds_of(module)
        stack.enter_context(_own_dictionaries(module, recorder, training, backward))
        root = recorder.make(_ROOT, Storage(0, 0, None), training)

        def enter(x: Tensor) -> ShapeTensor:
            outsider = recorder.operand(x)
            if part and training and x.requires_grad:
                made: ShapeTensor = _Entrance.apply(root, recorder, outsider.signature)  # type: ignore[no-untyped-call]
            else:
                recorder.numbers += 1
                storage = Storage(outsider.storage_.nbytes, recorder.numbers, result.log)
                made = recorder.make(outsider.signature, storage, x.requires_grad and training)
                made.value, storage.valued = outsider.value, outsider.value is not None
            result.inputs[made.storage_.number] = made.storage_.nbytes
            return made

        entered = list(tree_map_only(Tensor, enter, (tuple(args), dict(kwargs))))
        shapes = ", ".join(str(list(x.shape)) for x in tree_leaves(entered) if isinstance(x, Tensor))
        if training:
            stack.enter_context(saved_tensors_hooks(recorder.pack, recorder.unpack))
        stack.enter_context(recorder)
        try:
            out = module(*entered[0], **entered[1])
            if part:
                entered.clear()
            leaves = [x for x in tree_leaves(out) if isinstance(x, ShapeTensor)]
            del out
            result.outputs = {x.storage_.number: x.storage_.nbytes for x in leaves}
            roots = [x for x in leaves if backward and x.requires_grad]
            exits = [_Exit.apply(x, root, recorder) for x in roots]  # type: ignore[no-untyped-call]
            del roots
            if part:
                leaves.clear()
            result.turn = len(result.log)
            if exits:
                recorder.calls, recorder.path = result.backward_calls, ""
                torch.autograd.backward(exits, [root.detach()] * len(exits))
        except NasError:
            raise
        except Exception as error:
            reason = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise NasError(
                f"{type(module).__name__} cannot run on inputs of {shapes or 'nothing'} "
                f"({type(error).__name__}: {reason}); allowed: what its forward takes"
            ) from error
        result.log = list(result.log)  # what follows there is the end of the pass itself
    return result, recorder.learnt


_ROOT = Signature((), (), torch.float32)
_CONTAINERS = {dict, OrderedDict, list, set}
_HOOKS = frozenset(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}


@contextmanager
def _own_dictionaries(module: nn.Module, recorder: _Recorder, training: bool, backward: bool) -> Iterator[None]:
    """Gives every part of a module a dictionary of its own, and its first one back.

    It holds the mode, and a forward that tells the recorder which part runs. For a backward pass it
    holds stand-ins for parameters too, so that gradients go there.
    """
    flags = {} if training and module.training else {"training": training}

    def copy(value: Any) -> Any:
        if not backward or not value:
            return value.copy()
        if isinstance(value, dict):
            return type(value)((k, recorder.stand_in(v) if isinstance(v, Tensor) else v) for k, v in value.items())
        return type(value)(recorder.stand_in(v) if isinstance(v, Tensor) else v for v in value)

    parts = [(n, m, m.__dict__) for n, m in module.named_modules() if not isinstance(m, torch.jit.ScriptModule)]
    try:
        for name, part, own in parts:
            new = own | flags
            for key, value in own.items():
                if type(value) in _CONTAINERS and key not in _HOOKS:
                    new[key] = copy(value)
            new["forward"] = recorder.inside(name, part)
            object.__setattr__(part, "__dict__", new)
        yield
    finally:
        for _, part, own in parts:
            object.__setattr__(part, "__dict__", own)
        for outsider in recorder.outsiders.values():  # parameters that a module holds elsewhere
            if outsider.real.is_leaf and isinstance(outsider.real.grad, ShapeTensor):
                outsider.real.grad = None


@contextmanager
def _quiet_surroundings() -> Iterator[None]:
    """Keeps the state of random generators; collector and libraries' shortcuts stay out of the way.

    A collection would end tensors in reference cycles at any moment, and it takes as long as the
    pass.
    """
    collects = gc.isenabled()
    gc.disable()
    python, numpy = random.getstate(), np.random.get_state()
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is one operator without a meta kernel
    try:
        with ExitStack() as stack:
            if "torch._dynamo" in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield
    finally:
        if collects:
            gc.enable()
        torch.backends.mha.set_fastpath_enabled(fast_path)
        random.setstate(python)
        np.random.set_state(numpy)
