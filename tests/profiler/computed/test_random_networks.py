"""Random networks of torch's layers and functions: a real pass multiplies, keeps and holds what a
cost says.

For an hour: `NAS_FUZZ_EXAMPLES=20000 NAS_FUZZ_SEED=1 pytest -n 0` of this file.
"""

from __future__ import annotations

import collections
import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from real_passes import real_pass
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nas.errors import NasError
from nas.profiler.computed.cost import cost

EXAMPLES, SEED = (int(os.environ.get(f"NAS_FUZZ_{name}", number)) for name, number in (("EXAMPLES", 40), ("SEED", 0)))
BATCH, STEPS, WIDTH = 3, 6, 16


class Gate(nn.Module):
    """Runs its part or not, as a number of its buffer says."""

    gate: Tensor

    def __init__(self, gate: float, as_parameter: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU())
        if as_parameter:
            self.register_parameter("gate", nn.Parameter(torch.tensor(gate), requires_grad=False))
        else:
            self.register_buffer("gate", torch.tensor(gate))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if self.gate > 0.5 else x


class Block(nn.Module):
    """A function of modules of its own and (B, L, C), which returns (B, L, C)."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)
        self.queue: collections.deque[Tensor] = collections.deque()
        self.nested: dict[str, list[Tensor]] = {"kept": []}

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x, *self.parts)


def keep(block: Block, x: Tensor) -> Tensor:
    block.queue.append(x)
    block.nested["kept"].append(x)
    return x * len(block.queue)


def in_place(block: Block, x: Tensor) -> Tensor:
    y = (x + 1).transpose_(0, 1).unsqueeze_(0)
    return y.squeeze_(0).swapaxes_(0, 1)


def attention(block: Block, x: Tensor, projection: nn.Module) -> Tensor:
    q, k, v = projection(x).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def indexed(block: Block, x: Tensor) -> Tensor:
    order = torch.arange(STEPS).flip(0)
    mask = order > 2
    return torch.cat([x[:, mask], x[:, order[:3]]], 1)


def checkpointed(block: Block, x: Tensor, layer: nn.Module) -> Tensor:
    y: Tensor = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)
    return y


class Counted(nn.Module):
    """Multiplies as often as blocks of its class ran, but no more than thrice."""

    runs: ClassVar = [0]

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        self.runs[0] += 1
        for _ in range(self.runs[0] % 3 + 1):
            x = self.body(x)
        return x


class Doubled(torch.autograd.Function):
    """Twice x, which keeps x for its backward pass without need."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * 2 + 0 * x


def without_gradients(block: Block, x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    with torch.no_grad():
        y = first(x)
    z: Tensor = second(y)
    return z + x


def with_other_data(block: Block, x: Tensor, layer: nn.Module) -> Tensor:
    y = torch.empty(0)
    y.data = x.detach().transpose(0, 1).contiguous()
    z: Tensor = layer(y).transpose(0, 1)
    return z


def cells(block: Block, x: Tensor, long: nn.Module, short: nn.Module) -> Tensor:
    h = long(x[:, 0])[0]
    rows = []
    for row in x.unbind(1):
        h = short(row, h)
        rows.append(h)
    return torch.stack(rows, 1)


def normed(normalise: Any) -> nn.Module:
    module: nn.Module = normalise(nn.Linear(WIDTH, WIDTH))
    return module


def layer(bias: bool = True) -> nn.Module:
    return nn.Linear(WIDTH, WIDTH, bias=bias)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "linear": layer,
    "without bias": lambda: layer(False),
    "gelu": nn.GELU,
    "relu in place": lambda: Block(lambda b, x: F.relu_(x * 2)),
    "norm": lambda: nn.LayerNorm(WIDTH),
    "batch norm": lambda: Block(lambda b, x, n: n(x.transpose(1, 2)).transpose(1, 2), nn.BatchNorm1d(WIDTH)),
    "group norm": lambda: Block(lambda b, x, n: n(x.transpose(1, 2)).transpose(1, 2), nn.GroupNorm(4, WIDTH)),
    "shared": lambda: Block(lambda b, x, m: m(m(x)) + x, layer()),
    "branches": lambda: Block(lambda b, x, m, n: m(x) * torch.sigmoid(n(x)), layer(), layer()),
    "repeated": lambda: nn.Sequential(*(nn.Sequential(layer(), nn.ReLU()) for _ in range(3))),
    "gates": lambda: nn.Sequential(Gate(1.0), Gate(0.0), Gate(1.0)),
    "conv1d": lambda: Block(lambda b, x, c: c(x.transpose(1, 2)).mT, nn.Conv1d(WIDTH, WIDTH, 3, padding=1)),
    "conv2d": lambda: Block(lambda b, x, c: c(x[:, None]).sum(1), nn.Conv2d(1, 2, 3, padding=1)),
    "transposed": lambda: Block(lambda b, x, c: c(x.mT).mT, nn.ConvTranspose1d(WIDTH, WIDTH, 3, padding=1, groups=2)),
    "rnn": lambda: Block(lambda b, x, r: r(x)[0], nn.RNN(WIDTH, WIDTH, batch_first=True)),
    "gru": lambda: Block(lambda b, x, r: r(x)[0], nn.GRU(WIDTH, WIDTH, batch_first=True)),
    "lstm": lambda: Block(lambda b, x, r: r(x)[0], nn.LSTM(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)),
    "attention": lambda: Block(attention, nn.Linear(WIDTH, 3 * WIDTH)),
    "multi-head": lambda: Block(lambda b, x, m: m(x, x, x)[0], nn.MultiheadAttention(WIDTH, 2, batch_first=True)),
    "encoder": lambda: nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.0, batch_first=True),
    "products": lambda: Block(lambda b, x: torch.softmax(x @ x.mT, -1) @ x),
    "einsum": lambda: Block(lambda b, x: torch.einsum("blc,bmc,bmd->bld", x, x, x)),
    "baddbmm": lambda: Block(lambda b, x: torch.baddbmm(x, x @ x.mT, x)),
    "views in place": lambda: Block(in_place),
    "state": lambda: Block(keep),
    "indices": lambda: Block(indexed),
    "narrow": lambda: Block(lambda b, x, m: m.to(torch.bfloat16)(x.bfloat16()).float(), nn.Identity()),
    "wide": lambda: Block(lambda b, x, m: m(x.double()).float(), nn.Linear(WIDTH, WIDTH, dtype=torch.float64)),
    "refused": lambda: Block(lambda b, x, m: m(x.double()).float(), layer()),
    "chunks": lambda: Block(lambda b, x: torch.cat(x.chunk(2, -1)[::-1], -1) + torch.stack(x.unbind(1), 1)),
    "sorted": lambda: Block(lambda b, x: x.sort(1).values + x.cumsum(1) - x.amax(1, keepdim=True)),
    "filled": lambda: Block(lambda b, x: x.masked_fill(torch.ones(STEPS, 1).tril() > 2, 0.0)),
    "padded": lambda: Block(lambda b, x: F.pad(x, (0, 0, 1, 0))[:, :-1].roll(1, 1)),
    "pooled": lambda: Block(lambda b, x: x + F.adaptive_avg_pool1d(x, 1)),
    "checkpoint": lambda: Block(checkpointed, layer()),
    "weight norm": lambda: normed(nn.utils.parametrizations.weight_norm),
    "embedding": lambda: Block(lambda b, x, e: x + e(torch.arange(STEPS)), nn.Embedding(STEPS, WIDTH)),
    "cumulative norm": lambda: Block(
        lambda b, x, n: n(x.transpose(1, 2)).transpose(1, 2), nn.BatchNorm1d(WIDTH, momentum=None)
    ),
    "frozen": lambda: nn.Sequential(layer(), nn.ReLU()).requires_grad_(False),
    "no gradients": lambda: Block(without_gradients, layer(), layer()),
    "out": lambda: Block(lambda b, x: torch.add(x.detach(), 1, out=torch.empty(0)) + x),
    "data": lambda: Block(with_other_data, layer()),
    "parameter gates": lambda: nn.Sequential(*(Gate(gate, as_parameter=True) for gate in (0.0, 1.0, 0.0))),
    "counted": lambda: nn.Sequential(*(Counted() for _ in range(3))),
    "one hot": lambda: Block(lambda b, x: x + F.one_hot(torch.arange(STEPS) % 4, WIDTH).to(x.dtype)),
    "bilinear": lambda: Block(lambda b, x, m: m(x, x), nn.Bilinear(WIDTH, WIDTH, WIDTH)),
    "rms": lambda: nn.RMSNorm(WIDTH),
    "instance norm": lambda: Block(lambda b, x, n: n(x.mT).mT, nn.InstanceNorm1d(WIDTH, affine=True)),
    "softmaxes": lambda: Block(lambda b, x: x.softmax(-1) + F.log_softmax(x, 1) - x.logsumexp(-1, keepdim=True)),
    "activations": lambda: Block(lambda b, x: F.silu(x) + F.mish(x) + F.elu(x) + F.hardswish(x) + F.softplus(x)),
    "gated": lambda: Block(lambda b, x, m: F.glu(m(x)), nn.Linear(WIDTH, 2 * WIDTH)),
    "prelu": lambda: nn.PReLU(),
    "pooling": lambda: Block(lambda b, x: F.max_pool1d(x.mT, 3, 1, 1).mT + F.avg_pool1d(x.mT, 3, 1, 1).mT),
    "upsampled": lambda: Block(lambda b, x: F.interpolate(x.mT, scale_factor=2, mode="linear").mT[:, ::2]),
    "conv3d": lambda: Block(lambda b, x, c: c(x.view(1, 1, *x.shape)).mean(1)[0], nn.Conv3d(1, 2, 3, padding=1)),
    "dilated": lambda: Block(lambda b, x, c: c(x.mT).mT, nn.Conv1d(WIDTH, WIDTH, 3, padding=2, dilation=2, groups=4)),
    "cross attention": lambda: Block(
        lambda b, x, m: m(x[:, :2], x, x, need_weights=False)[0].repeat(1, 3, 1),
        nn.MultiheadAttention(WIDTH, 4, batch_first=True, bias=False),
    ),
    "causal": lambda: Block(lambda b, x: F.scaled_dot_product_attention(x, x, x, is_causal=True)),
    "complex": lambda: Block(lambda b, x: (torch.complex(x, x) * torch.complex(x, -x)).real),
    "gathered": lambda: Block(lambda b, x: x.gather(1, torch.zeros(BATCH, STEPS, WIDTH, dtype=torch.int64)) + x),
    "scattered": lambda: Block(lambda b, x: x.index_add(1, torch.tensor([0, 2]), x[:, :2]) + x.clamp(-1, 1)),
    "where": lambda: Block(lambda b, x: torch.where(torch.arange(WIDTH) > 3, x, x.detach() * 2)),
    "cells": lambda: Block(cells, nn.LSTMCell(WIDTH, WIDTH), nn.GRUCell(WIDTH, WIDTH)),
    "own function": lambda: Block(lambda b, x, m: Doubled.apply(m(x)), layer()),
    "compiled": lambda: Block(lambda b, x: torch.vmap(lambda row: row @ row.mT @ row)(x)),
}


def bilinear_flops(*shapes: Any, out_shape: Any, **options: Any) -> int:
    """Two operations a product of `nn.Bilinear`, of which torch's counter knows nothing: the
    weight (O, I, J) with one input, and what comes of it, (O, I), with the other.
    """
    rows = shapes[0][0]
    return 2 * rows * (WIDTH * WIDTH * WIDTH + WIDTH * WIDTH)


BILINEAR = {torch.ops.aten._trilinear: bilinear_flops}


def description(module: nn.Module) -> list[Any]:
    """Everything in a module that a trace could leave changed."""
    found: list[Any] = [(name, id(x), x._version, x.grad) for name, x in module.state_dict(keep_vars=True).items()]
    for part in module.modules():
        found.append((sorted(vars(part)), part.training))
        if isinstance(part, Block):
            found.append((len(part.queue), {name: len(kept) for name, kept in part.nested.items()}))
    return found


@contextmanager
def without_fast_path() -> Iterator[None]:
    """A trace takes attention apart, as training does."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


@seed(SEED)
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=5), st.booleans())
@example(["attention", "data"], False)  # a graph that ends before the last layer
@example(["linear", "complex"], False)  # gradients times conjugates, of which torch makes copies
@example(["group norm", "out", "attention"], False)  # an out= made larger has the layout of what is read
def test_random_networks_cost_what_a_real_pass_does(names: list[str], residual: bool) -> None:
    torch.manual_seed(0)
    Counted.runs[0] = 0
    net: nn.Module = nn.Sequential(*(BLOCKS[name]() for name in names))
    if residual:
        net = Block(lambda b, x, body: x + body(x), net)
    x = torch.randn(BATCH, STEPS, WIDTH)
    before = description(net)
    try:
        figures = cost(net, x)
        step = figures.step_bytes
    except NasError as error:
        assert "refused" in names, f"{names}: {error}"
        assert description(net) == before
        return
    assert "refused" not in names
    assert description(net) == before
    assert step >= figures.inference_bytes > 0 and figures.unknown == {}
    with without_fast_path():
        held, _ = real_pass(copy.deepcopy(net), x, training=False)
        backend = sdpa_kernel([SDPBackend.MATH])
        with (
            torch.no_grad(),
            backend,
            torch.backends.mkldnn.flags(enabled=False),
            FlopCounterMode(display=False, custom_mapping=BILINEAR) as c,
        ):
            Counted.runs[0] = 0
            copy.deepcopy(net).eval()(x)
    assert (2 * figures.macs, figures.inference_bytes, names) == (c.get_total_flops(), held, names)
    Counted.runs[0] = 0
    held, kept = real_pass(copy.deepcopy(net), x, training=True)
    assert (figures.activation_bytes, figures.step_bytes, names) == (kept, held, names)
