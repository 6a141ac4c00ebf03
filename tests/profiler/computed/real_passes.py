"""What a pass over real tensors holds and keeps, to stand beside what a cost says."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveStorages(TorchDispatchMode):
    """The most bytes of real storages that live at one time, those of a module not included."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.own = {x.untyped_storage()._cdata for x in (*module.parameters(), *module.buffers())}
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def add(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        key = storage._cdata
        if key not in self.own:  # what is known may have grown
            self.live[key] = (StorageWeakRef(storage), storage.nbytes())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self.add(x)
        self.live = {key: entry for key, entry in self.live.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(nbytes for _, nbytes in self.live.values()))
        return out


class _Exit(torch.autograd.Function):
    """Has the gradient of an output begin to live when the backward pass gets there."""

    @staticmethod
    def forward(ctx: Any, out: Tensor) -> Tensor:
        ctx.layout = out.shape, out.stride(), out.dtype
        return out.new_empty(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        shape, stride, dtype = ctx.layout
        return torch.empty_strided(shape, stride, dtype=dtype).fill_(1)


def real_pass(module: nn.Module, clip: Tensor, training: bool) -> tuple[int, int]:
    """(peak of live bytes, bytes kept for backward) of a pass over real tensors."""
    module.train(training)
    storages = LiveStorages(module)
    storages.add(clip)
    kept: dict[int, tuple[StorageWeakRef, int]] = {}  # weak, as a graph may end before the pass does

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in storages.own:
            kept[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return x.detach()  # an output that its own operation saves would keep itself alive

    gc.collect()
    gc.disable()
    try:
        with torch.set_grad_enabled(training), storages:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
                out = module(clip)
            found = sum(nbytes for _, nbytes in kept.values())
            if training and out.requires_grad:
                _Exit.apply(out).backward(torch.ones(0))  # type: ignore[no-untyped-call]
    finally:
        gc.enable()
    return storages.peak, found
