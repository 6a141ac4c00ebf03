"""Random networks of torch's layers and functions: a real pass multiplies and keeps what cost says.

`NAS_FUZZ_EXAMPLES=20000 pytest tests/profiler/computed/test_random_networks.py` runs for an hour.
"""

from __future__ import annotations

import collections
import copy
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nas.errors import NasError
from nas.profiler.computed.cost import cost

EXAMPLES = int(os.environ.get("NAS_FUZZ_EXAMPLES", "60"))
BATCH, STEPS, WIDTH = 3, 6, 16


class Gate(nn.Module):
    """Runs its part or not, as a number of its buffer says."""

    gate: Tensor

    def __init__(self, gate: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU())
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
    "compiled": lambda: Block(lambda b, x: torch.vmap(lambda row: row @ row.mT @ row)(x)),
}


def description(module: nn.Module) -> list[Any]:
    """Everything in a module that a trace could leave changed."""
    found: list[Any] = [(name, id(x), x._version, x.grad) for name, x in module.state_dict(keep_vars=True).items()]
    for part in module.modules():
        found.append((sorted(vars(part)), part.training))
        if isinstance(part, Block):
            found.append((len(part.queue), {name: len(kept) for name, kept in part.nested.items()}))
    return found


def kept_bytes(module: nn.Module, x: Tensor) -> int:
    """What autograd keeps of a real pass, each storage once, without parameters and buffers."""
    own = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in own:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = module(x)
    found = sum(t.untyped_storage().nbytes() for t in kept.values())
    if out.requires_grad:
        out.sum().backward()
    return found


@seed(0)
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=5), st.booleans())
def test_random_networks_cost_what_a_real_pass_does(names: list[str], residual: bool) -> None:
    torch.manual_seed(0)
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
    real = copy.deepcopy(net).eval()
    backends = [SDPBackend.MATH]
    with torch.no_grad(), sdpa_kernel(backends), torch.backends.mkldnn.flags(enabled=False):
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with FlopCounterMode(display=False) as counter:
                real(x)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    assert 2 * figures.macs == counter.get_total_flops(), names
    assert figures.activation_bytes == kept_bytes(copy.deepcopy(net).train(), x), names
