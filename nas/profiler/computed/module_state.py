"""What a module keeps while it is traced, and how it is left as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from nas.errors import NasError
from nas.profiler.computed.recorder import Recorder
from nas.profiler.computed.shape_tensors import ShapeTensor
from nas.profiler.computed.structures import Snapshot


def refuse_lazy(parts: Sequence[tuple[str, nn.Module]]) -> None:
    """Raises NasError for parameters that have no sizes before a first forward."""
    for name, part in parts:
        if isinstance(part, LazyModuleMixin) and part.has_uninitialized_params():
            raise NasError(
                f"{type(part).__name__} {name!r} has parameters without sizes before its first forward; "
                "allowed: lazy modules that ran once on real inputs"
            )


def _has_subclasses(parts: Sequence[tuple[str, nn.Module]]) -> bool:
    """Whether parameters are of classes that wrap what is made of them, which a pass cannot be."""
    plain = (Tensor, nn.Parameter, nn.Buffer)
    kinds = {type(x) for _, part in parts for x in getattr(part, "_parameters", {}).values()} - {type(None), *plain}
    return any(kind.__torch_dispatch__ is Tensor.__torch_dispatch__ for kind in kinds)


@contextmanager
def left_as_it_was(
    parts: Sequence[tuple[str, nn.Module]], recorder: Recorder, training: bool, backward: bool
) -> Iterator[None]:
    """Puts back what a pass changes in a module and in what it holds.

    For the pass every part has the mode, and a forward that tells the recorder which part runs. For
    a backward pass stand-ins take the place of parameters, so that gradients go there.

    Args:
        parts: The module itself first, and all of its parts, with their paths.
        recorder: Writes down what runs.
        training: In training mode, but that parts stay in evaluation if the whole is trained.
        backward: Whether a backward pass follows.
    """
    own_mode = training and getattr(parts[0][1], "training", False)
    state = Snapshot(recorder.stand_in if backward or _has_subclasses(parts) else None)
    scripted: list[tuple[torch.jit.ScriptModule, bool]] = []
    try:
        for name, part in parts:
            if isinstance(part, torch.jit.ScriptModule):
                if not own_mode and hasattr(part, "training"):
                    scripted.append((part, part.training))
                    part.training = training
                continue
            forward = recorder.inside(name, part)
            state.module(part)
            state.classes(part)
            if not own_mode:
                part.__dict__["training"] = training
            part.__dict__["forward"] = forward
        yield
    finally:
        state.restore()
        for script, mode in scripted:
            script.training = mode
        for outsider in recorder.outsiders.values():  # parameters that a module holds elsewhere
            if outsider.real.is_leaf and isinstance(outsider.real.grad, ShapeTensor):
                outsider.real.grad = None
