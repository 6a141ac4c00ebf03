"""What a module keeps while it is traced, and how it is left as it was."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nas.profiler.computed.recorder import Recorder
from nas.profiler.computed.shape_tensors import ShapeTensor

_CONTAINERS = {dict, OrderedDict, list, set}
_HOOKS = frozenset(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}


@contextmanager
def own_dictionaries(module: nn.Module, recorder: Recorder, training: bool, backward: bool) -> Iterator[None]:
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
