"""Exact cost of an architecture, computed on the meta device before anything is trained.

Multiply-adds are those of convolutions, linear layers and attention products, as the video papers count: no norms,
activations, softmax or additions. Activation memory is what autograd keeps for the backward pass of one float32 clip,
each storage once, parameters and buffers not included, attention taken as fused (it keeps queries, keys, values, the
output and one number per query).

A network's cost is the sum over its parts of what the part's own code does; parts that compute the same are traced
once per process. All that two neighbours share is the map between them, which is kept once if either wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from nas.architecture import Architecture, Config, LayerConfig, Part, Shape
from nas.models.network import adds_stem_tokens, build_part

aten = torch.ops.aten

# Operator -> multiply-adds from its arguments and its output: one per output number and term of its sum.
_MACS: dict[Any, Callable[[Sequence[Any], Tensor], int]] = {
    aten.mm.default: lambda args, out: out.numel() * args[0].shape[-1],
    aten.bmm.default: lambda args, out: out.numel() * args[0].shape[-1],
    aten.addmm.default: lambda args, out: out.numel() * args[1].shape[-1],
    aten.baddbmm.default: lambda args, out: out.numel() * args[1].shape[-1],
    aten.convolution.default: lambda args, out: out.numel() * args[1][0].numel(),
}


class _FusedAttention(torch.autograd.Function):
    """Stands for a fused attention kernel: computes nothing, keeps what such a kernel keeps for its backward."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        log_sum_exp = q.new_empty(q.shape[:-1])
        ctx.save_for_backward(q, k, v, out, log_sum_exp, mask)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError("the cost model runs forward only")


class _Attention(TorchFunctionMode):
    """Counts fused attention by its products and replaces it by a stand-in that keeps what the kernel keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, k, v, mask = _attention_arguments(*args, **(kwargs or {}))
        self.macs += q[..., 0].numel() * k.shape[-2] * (q.shape[-1] + v.shape[-1])
        return _FusedAttention.apply(q, k, v, mask)  # type: ignore[no-untyped-call]


def _attention_arguments(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    return query, key, value, attn_mask


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the multiply-adds of the operators in the table."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in _MACS:
            self.macs += _MACS[func](args, out)
        return out


@dataclass(frozen=True)
class Trace:
    """What one forward pass of a module costs.

    Attributes:
        macs: Multiply-adds.
        params: Trainable numbers.
        inner_bytes: Kept for backward, apart from the module's input and output.
        input_bytes, output_bytes: Sizes of the storages that go in and out.
        keeps_input, keeps_output: Whether backward needs them.
        keeps_stem: Whether backward needs the map of the stem, where the module takes it.
    """

    macs: int
    params: int
    inner_bytes: int
    input_bytes: int
    output_bytes: int
    keeps_input: bool
    keeps_output: bool
    keeps_stem: bool

    @property
    def activation_bytes(self) -> int:
        return self.inner_bytes + self.keeps_input * self.input_bytes + self.keeps_output * self.output_bytes


def trace(module: nn.Module, x: Tensor, stem: Tensor | None = None) -> Trace:
    """Traces one training-mode forward pass of a module on the meta device.

    Args:
        module: A module whose parameters are on the meta device.
        x: Its input, on the meta device too.
        stem: The map of the stem, for a layer that takes that too.
    """
    own = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    products, attention = _Products(), _Attention()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), products, attention:
        out = module(x) if stem is None else module(x, stem)
    source, sink = x.untyped_storage(), out.untyped_storage()
    beside = None if stem is None else stem.untyped_storage()._cdata
    return Trace(
        macs=products.macs + attention.macs,
        params=sum(p.numel() for p in module.parameters()),
        inner_bytes=sum(s.nbytes() for key, s in kept.items() if key not in own | {source._cdata, sink._cdata, beside}),
        input_bytes=source.nbytes(),
        output_bytes=sink.nbytes(),
        keeps_input=source._cdata in kept,
        keeps_output=sink._cdata in kept,
        keeps_stem=beside in kept,
    )


@cache
def _part_trace(config: Config, shape_in: Shape, shape_out: Shape, stride: tuple[int, int, int], entry: bool) -> Trace:
    with torch.device("meta"):
        part = Part("part", config, shape_in, shape_out, stride)
        module = build_part(part)
        if entry:
            return trace(module, torch.empty(1, shape_in.channels, *shape_in.extent).permute(0, 2, 3, 4, 1))
        x = torch.empty(1, *shape_in.stored, shape_in.channels, requires_grad=True)
        stem = torch.empty(1, *shape_out.stored, shape_out.channels, requires_grad=True)
    return trace(module, x, stem if adds_stem_tokens(part) else None)


@dataclass(frozen=True)
class LayerCost:
    """A row of the cost table: one part of the network.

    Attributes:
        path: Where the part stands in the file.
        op: Its operator.
        shape: Shape that comes out, frames x height x width x channels.
        activation_bytes: Kept for backward inside the part, plus its output if it or its successor keeps that.
    """

    path: str
    op: str
    shape: str
    macs: int
    params: int
    activation_bytes: int


@dataclass(frozen=True)
class Cost:
    """Cost of an architecture at batch 1: multiply-adds, parameters, bytes kept for backward, and a row per part."""

    macs: int
    params: int
    activation_bytes: int
    layers: tuple[LayerCost, ...]


def cost(architecture: Architecture) -> Cost:
    """Prices an architecture at its own input, one clip in float32.

    Returns:
        The cost, equal to tracing the whole network.
    """
    parts = architecture.parts()
    traces = [_part_trace(p.config, p.input, p.output, p.stride, p.path == "stem") for p in parts]
    wanted = [before.keeps_output or after.keeps_input for before, after in pairwise(traces)]
    wanted.append(traces[-1].keeps_output)
    wanted[0] |= any(record.keeps_stem for record in traces)
    rows = []
    for part, record, keeps_output in zip(parts, traces, wanted, strict=True):
        kept = record.inner_bytes + keeps_output * record.output_bytes
        if part.path == "stem":
            kept += record.keeps_input * record.input_bytes
        op = getattr(part.config, "op", "")
        name = op if isinstance(part.config, LayerConfig) else f"{part.path.split('.')[-1]}:{op}"
        rows.append(LayerCost(part.path, name, str(part.output), record.macs, record.params, kept))
    return Cost(
        macs=sum(row.macs for row in rows),
        params=sum(row.params for row in rows),
        activation_bytes=sum(row.activation_bytes for row in rows),
        layers=tuple(rows),
    )
