"""One pass of any module over tensors without numbers, written down operator by operator.

Every tensor of the pass is a `ShapeTensor`: sizes, strides, dtype and a counted storage on a
pretended CPU, so that a module goes the way that it would go over real tensors there, fused
attention included. A dispatch mode sees every operator below autograd. What an operator returns is
learnt from its own kernel on the meta device and remembered for the process by the signatures of
its arguments; one without such a kernel runs once over zeros. Small constants keep their numbers,
for the masks and indices that decide what a module does.

The module, its inputs and what they hold are put back as they were.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import _disable_current_modes

from nas.errors import NasError
from nas.profiler.computed.effects import is_small
from nas.profiler.computed.higher_order import replaced_calls
from nas.profiler.computed.module_state import left_as_it_was, refuse_lazy
from nas.profiler.computed.recorder import Recorder, Trace
from nas.profiler.computed.repeats import kinds_of
from nas.profiler.computed.shape_tensors import ShapeTensor, Signature, Storage
from nas.profiler.computed.structures import Snapshot, leaves_of


class _Entrance(torch.autograd.Function):
    """Makes an input of the pass; what its gradient would be for ends here."""

    @staticmethod
    def forward(ctx: Any, root: Tensor, recorder: Recorder, signature: Signature) -> Tensor:
        return recorder.make(signature)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, None, None


class _Exit(torch.autograd.Function):
    """Takes an output; its gradient begins to live when the backward pass gets there."""

    @staticmethod
    def forward(ctx: Any, out: ShapeTensor, root: Tensor, recorder: Recorder) -> Tensor:
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
    parts = list(module.named_modules())
    refuse_lazy(parts)
    repeats = repeat and not training
    result, learnt = _pass(parts, args, kwargs or {}, training, backward, part, repeats)
    # Learning an operator may leave cycles of garbage in torch that hold on to tensors, which the
    # log then shows.
    return _pass(parts, args, kwargs or {}, training, backward, part, repeats)[0] if learnt else result


def _pass(
    parts: Sequence[tuple[str, nn.Module]],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    training: bool,
    backward: bool,
    part: bool,
    repeats: bool,
) -> tuple[Trace, bool]:
    """The trace, and whether operators were met that nobody had met before."""
    module, result = parts[0][1], Trace()
    with ExitStack() as stack:
        stack.enter_context(_disable_current_modes())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(training))
        stack.enter_context(_quiet_surroundings())
        recorder = Recorder(result)
        if repeats:
            recorder.kinds = kinds_of([each for _, each in parts])
        stack.enter_context(left_as_it_was(parts, recorder, training, backward))
        stack.enter_context(replaced_calls(recorder))
        root = recorder.make(_ROOT, Storage(0, 0, None), training)

        def enter(x: Tensor) -> ShapeTensor:
            outsider = recorder.operand(x)
            if part and training and x.requires_grad:
                made: ShapeTensor = _Entrance.apply(root, recorder, outsider.signature)  # type: ignore[no-untyped-call]
            else:
                recorder.numbers += 1
                storage = Storage(outsider.storage_.nbytes, recorder.numbers, result.log)
                made = recorder.make(outsider.signature, storage, x.requires_grad and training)
                if is_small(outsider.signature):
                    made.value, storage.valued = outsider.value, outsider.value is not None
            result.inputs[made.storage_.number] = made.storage_.nbytes
            return made

        inputs = Snapshot(enter)
        stack.callback(inputs.restore)
        entered = [inputs.add(tuple(args)), {name: inputs.add(x) for name, x in kwargs.items()}]
        shapes = ", ".join(str(list(x.shape)) for x in leaves_of(entered))
        if training:
            stack.enter_context(saved_tensors_hooks(recorder.pack, recorder.unpack))
        stack.enter_context(recorder)
        try:
            out = module(*entered[0], **entered[1])
            if part:
                entered.clear()
            leaves = [x for x in leaves_of(out) if isinstance(x, ShapeTensor)]
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
            if "uninitialized parameter" in reason:
                reason = "it holds a lazy module that has not run yet"
            if "forward gradient" in reason:
                reason = "derivatives that are carried forward, as of torch.func.jvp, need numbers"
            raise NasError(
                f"{type(module).__name__} cannot run on inputs of {shapes or 'nothing'} "
                f"({type(error).__name__}: {reason}); allowed: what its forward takes"
            ) from error
        result.log = list(result.log)  # what follows there is the end of the pass itself
    return result, recorder.learnt


_ROOT = Signature((), (), torch.float32)


@contextmanager
def _quiet_surroundings() -> Iterator[None]:
    """Keeps the state of random generators; collector and libraries' shortcuts stay out of the way.

    A collection would end tensors in reference cycles at any moment, and it takes as long as the
    pass.
    """
    collects = gc.isenabled()
    gc.disable()
    python, numpy, generator = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
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
        torch.default_generator.set_state(generator)  # a forward may seed it
