"""Writes down what a module does to tensors without numbers, operator by operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from nas.errors import NasError
from nas.profiler.computed.effects import Effect, as_list, compute, depends_on_values, effects, is_small, learn
from nas.profiler.computed.operations import Work
from nas.profiler.computed.repeats import Given, Made, Segment, attributes, call_key, output_of
from nas.profiler.computed.shape_tensors import (
    CPU,
    Operand,
    Outsider,
    ShapeTensor,
    Signature,
    Storage,
    is_dense,
    known,
    layout_of,
    make_tensor,
    restride,
    signature_of,
    value_of,
)
from nas.profiler.computed.structures import tensors_in

aten = torch.ops.aten
_RNN_LAYER = aten.mkldnn_rnn_layer.default
_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


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


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
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
        if storage is None:
            self.numbers += 1
            storage = Storage(signature.nbytes, self.numbers, self.trace.log)
        return make_tensor(signature, storage, requires_grad)

    def operand(self, x: Tensor) -> Operand:
        if type(x) is ShapeTensor:
            return x
        found = self.outsiders.get(id(x))
        if found is None:
            if not is_dense(x):
                raise NasError(f"a tensor of the module or its inputs is {layout_of(x)}; allowed: dense tensors")
            signature = signature_of(x)
            storage, value = self._storage(x, signature), None
            if x.device.type == "cpu" and (type(x) is Tensor or (type(x) is nn.Parameter and is_small(signature))):
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
            made.value, made.epoch = outsider.value, outsider.epoch
            if isinstance(x, nn.Parameter):
                made._is_param = True
            self.stand_ins[id(x)] = made
        return made

    def inside(self, path: str, part: nn.Module) -> Callable[..., Any]:
        """A part's forward that writes down that the part runs, or repeats what another did."""
        forward: Any = getattr(part, "module").__call__ if isinstance(part, _PARALLEL) else part.forward  # noqa: B009
        kind = self.kinds.get(id(part))

        def traced(*args: Any, **kwargs: Any) -> Any:
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

        traced.__wrapped__ = forward  # type: ignore[attr-defined]  # its signature
        return traced

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
        first = out if isinstance(out, Tensor) else next(tensors_in(out), None)
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

    def pack(self, tensor: Tensor) -> tuple[Signature, Storage, Tensor | None] | Tensor:
        x = self.operand(tensor)
        if isinstance(x, Outsider) and not tensor.is_floating_point():
            return tensor  # indices whose memory may be read
        storage = x.storage_
        if storage.log is not None:
            self.trace.saved.setdefault(storage.number, (storage.nbytes, self.path))
        return x.signature, storage, x.value

    def unpack(self, packed: tuple[Signature, Storage, Tensor | None] | Tensor) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
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
        if func is _RNN_LAYER:  # what it keeps is made where gradients are
            keys.append(torch.is_grad_enabled())
        key: Any = tuple(keys)
        try:
            effect = effects.get(key)
        except TypeError:  # an argument without a hash
            effect, key = None, None
        if effect is None:
            if func is torch.ops.prim.device.default:  # asked of fake tensors
                return CPU
            if func is aten._local_scalar_dense.default:
                return value_of(tensors[0], "item").item()
            if func is aten.lift_fresh.default and isinstance(tensors[0], Outsider):
                return self._fresh(tensors[0])  # it is in no cache
            if func.namespace == "profiler":  # marks for a profiler, of no tensors
                return func(*args, **(kwargs or {}))
            if func is aten._pack_padded_sequence.default:
                return self._packed(*args)
            effect = learn(func, args, kwargs or {}, tensors, self.operand)
            if key is not None and not depends_on_values(func, tensors):
                effects[key] = effect
                self.learnt = True
        work = effect.work
        if work.counts:
            self.calls.append((self.path, work))
        if effect.mutates:
            self._write(func, effect, tensors, args, kwargs or {})
        outputs: list[Any] = []
        for output in effect.outputs:
            if output is None:
                outputs.append(None)
            elif output.same:
                operand = tensors[output.alias]
                if output.signature is not operand.signature:
                    self._reshape(func, operand, output.signature)
                outputs.append(operand.real if isinstance(operand, Outsider) else operand)
            else:
                outputs.append(
                    self.make(output.signature, tensors[output.alias].storage_ if output.alias >= 0 else None)
                )
        if effect.constant and not effect.mutates and all(map(known, tensors)):
            for made, value in zip(outputs, as_list(compute(func, args, kwargs or {}, self.operand)), strict=True):
                if isinstance(made, ShapeTensor):
                    made.value, made.epoch, made.storage_.valued = value, made.storage_.epoch, True
        if effect.form is not None:
            return effect.form(outputs)
        return outputs[0] if outputs else None

    def _write(self, func: Any, effect: Effect, tensors: list[Operand], args: Any, kwargs: Any) -> None:
        """Lets the numbers under what an operator writes go, but those of a small tensor itself
        that follow from known ones.
        """
        written = tensors[effect.mutates[0]]
        storage, numbers = written.storage_, None
        follow = effect.constant and len(effect.mutates) == 1 and storage.nbytes == written.signature.nbytes
        if follow and written.value is not None and all(map(known, tensors)):
            numbers = written.value = written.value.clone()
            compute(func, args, kwargs, self.operand)
        for number in effect.mutates:
            tensors[number].storage_.valued = False
        if numbers is not None:  # those of views that were made before are old
            storage.epoch += 1
            storage.valued, written.epoch = True, storage.epoch

    def _reshape(self, func: Any, x: Operand, signature: Signature) -> None:
        """Gives a tensor itself the sizes and strides that an operator in place leaves it with."""
        if isinstance(x, Outsider):
            raise NasError(
                f"{func} changes the shape of a tensor of the module itself; allowed: a view, such as transpose(...)"
            )
        restride(x, signature)
        storage = x.storage_
        if signature.nbytes > storage.nbytes:
            if storage.log is not None:
                storage.log.append((storage.number, signature.nbytes - storage.nbytes))
            storage.nbytes = signature.nbytes

    def _fresh(self, x: Outsider) -> Tensor:
        """A tensor that the module makes of numbers, as `torch.tensor` does."""
        made = self.make(x.signature)
        made.value, made.storage_.valued = x.value, x.value is not None
        return made

    def _packed(self, x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
        """Rows of sequences without padding, and how many rows each step has: a real tensor,
        because torch reads its memory.
        """
        given = value_of(self.operand(lengths), "lengths of sequences")
        steps, sizes = aten._pack_padded_sequence(torch.empty(*x.shape[:2], 1), given, batch_first)
        kept = torch.empty((len(steps), *x.shape[2:]), dtype=x.dtype, device="meta")
        self.calls.append((self.path, Work("_pack_padded_sequence", bytes_moved=2 * kept.nbytes)))
        return self.make(signature_of(kept)), sizes

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
        if isinstance(arg, torch.ScriptObject):
            return []  # it has no hash
        return type(arg), arg  # 1.0 and True equal 1, but give other dtypes


def _place(real: Tensor, signature: Signature) -> tuple[Any, int]:
    """What identifies the memory of a tensor, and its bytes."""
    try:
        storage = real.untyped_storage()
        return storage._cdata, storage.nbytes()
    except (NotImplementedError, RuntimeError):
        return id(real), signature.nbytes
