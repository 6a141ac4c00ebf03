"""Tensors without numbers stand for real ones: a real pass multiplies, keeps and holds the same."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from nas.models.network import build
from nas.profiler.computed.cost import cost
from nas.space import SearchSpace


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
        if key not in self.own and (key not in self.live or self.live[key][0].expired()):
            self.live[key] = (StorageWeakRef(storage), storage.nbytes())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self.add(x)
        self.live = {key: entry for key, entry in self.live.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(nbytes for _, nbytes in self.live.values()))
        return out


def real_pass(module: nn.Module, clip: Tensor, training: bool) -> tuple[int, int]:
    """(peak of live bytes, bytes kept for backward) of a pass over real tensors."""
    module.train(training)
    storages = LiveStorages(module)
    storages.add(clip)
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        if x.untyped_storage()._cdata not in storages.own:
            kept[x.untyped_storage()._cdata] = x.untyped_storage().nbytes()
        return x

    gc.collect()
    gc.disable()
    try:
        with torch.set_grad_enabled(training), storages:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
                out = module(clip)
            if training:
                out.backward(torch.ones_like(out))
    finally:
        gc.enable()
    return storages.peak, sum(kept.values())


@pytest.mark.parametrize(
    ("name", "frames", "size"),
    [
        ("hybrid", 6, (72, 56)),
        ("conv", 5, (40, 56)),
        ("vit", 4, (64, 48)),
        ("swin", 4, (64, 48)),
        ("tiny", 5, (40, 36)),
    ],
)
def test_a_pass_on_the_cpu_multiplies_keeps_and_holds_what_the_cost_says(
    name: str, frames: int, size: tuple[int, int]
) -> None:
    """Peaks differ by the few numbers of batch statistics that a real kernel leaves out in
    evaluation.
    """
    space = SearchSpace.load(name)
    for seed in range(3):
        architecture = space.sample(seed).resized(frames, size)
        module, clip = build(architecture), torch.randn(1, 3, frames, *size)
        figures = cost(architecture)
        inference, _ = real_pass(module, clip, training=False)
        step, kept = real_pass(module, clip, training=True)
        assert figures.activation_bytes == kept
        assert figures.inference_bytes == pytest.approx(inference, rel=0.001)
        assert figures.step_bytes == pytest.approx(step, rel=0.001)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            build(architecture, device="meta")(clip.to("meta"))
        assert counter.get_total_flops() == 2 * figures.macs
