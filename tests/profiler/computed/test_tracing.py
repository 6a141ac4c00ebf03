"""Passes over tensors without numbers: hand counts, awkward modules, and what a trace leaves
behind.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import nas
from nas.profiler.computed.cost import cost
from nas.profiler.computed.tracing import trace
from nas.resources import resource_names


class Attention(nn.Module):
    """Multi-head attention in five ways that compute the same."""

    def __init__(self, how: str, width: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.how, self.heads = how, heads
        self.module = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "module":
            return self.module(x, x, x, need_weights=False)[0]
        if self.how == "module with weights":
            return self.module(x, x, x)[0]
        qkv = F.linear(x, self.module.in_proj_weight, self.module.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.how == "fused":
            y = F.scaled_dot_product_attention(q, k, v)
        elif self.how == "eager":
            y = torch.softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, -1) @ v
        else:
            weights = torch.softmax(torch.einsum("bhld,bhmd->bhlm", q, k), -1)
            y = torch.einsum("bhlm,bhmd->bhld", weights, v)
        return self.module.out_proj(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("how", ["module", "module with weights", "fused", "eager", "einsum"])
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("grad", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("device", ["cpu", "meta", "fake"])
def test_attention_counts_the_same_in_every_way(how: str, mode: str, grad: Callable[[], Any], device: str) -> None:
    """2 clips of 10 tokens: 4 projections of 24 x 24, and 2 products of 10 x 10 x 24."""
    context: Any = FakeTensorMode() if device == "fake" else torch.device(device)
    with context:
        module, x = Attention(how), torch.randn(2, 10, 24)
    module.train(mode == "train")
    with grad():
        assert cost(module, x).macs == 2 * (4 * 10 * 24 * 24 + 2 * 10 * 10 * 24)


class Convolutions(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = F.conv3d(x, torch.zeros(6, 1, 3, 3, 3), padding=1, groups=3)
        return F.conv_transpose3d(y, torch.zeros(6, 2, 2, 2, 2), stride=2, groups=2)


def test_grouped_and_transposed_convolutions() -> None:
    """1 x 3 x 4 x 6 x 5: each of 6 x 120 outputs has 27 terms; each of 6 x 120 inputs goes to 2 x 8
    outputs.
    """
    assert cost(Convolutions(), torch.zeros(1, 3, 4, 6, 5)).macs == 6 * 120 * 27 + 6 * 120 * 2 * 8


def test_elementwise_operations_and_bytes() -> None:
    """relu of 8 numbers reads and writes 32 bytes each; a softmax reads 8; adding a row reads 32 +
    8, writes 32.
    """

    class Plain(nn.Module):
        def forward(self, x: Tensor, row: Tensor) -> Tensor:
            return torch.softmax(F.relu(x), -1) + row.expand(4, 2)

    figures = cost(Plain(), torch.zeros(4, 2), torch.zeros(2))
    assert (figures.macs, figures.elementwise) == (0, 8 + 8 + 8)
    assert figures.bytes_moved == 64 + 64 + 32 + 8 + 32
    assert figures.intensity == 24 / 200


def test_copies_move_bytes_and_compute_nothing() -> None:
    class Shift(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.roll(x, 1, 0).transpose(0, 1).contiguous()

    figures = cost(Shift(), torch.zeros(4, 6))
    assert (figures.macs, figures.elementwise, figures.bytes_moved) == (0, 0, 2 * 2 * 96)


@torch.library.custom_op("nas_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return torch.cat([x, x])


def test_an_operator_that_nobody_knows_is_listed_and_its_shape_is_found_out() -> None:
    class Strange(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return twice(twice(x)) @ x.T

    figures = cost(Strange(), torch.zeros(3, 5))
    assert figures.unknown == {"nas_tests::twice": 2}
    assert figures.macs == 12 * 5 * 3


class Awkward(nn.Module):
    """Counters, caches, random numbers, batch statistics, constants, masks, and state outside of
    the module.
    """

    index: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.lstm = nn.LSTM(4, 4)
        self.steps, self.cache, self.seen = 0, dict[str, Tensor](), list[Tensor]()
        self.register_buffer("index", torch.tensor([2, 0, 1]))
        self.constant = torch.arange(3)

    def forward(self, x: Tensor, mask: Tensor, *, options: dict[str, Tensor]) -> dict[str, Tensor]:
        self.steps += 1
        self.cache["last"] = x
        self.seen.append(x)
        self.flag = True
        if random.random() + np.random.rand() < 0 or not mask.any():
            return {}
        x = F.dropout(self.norm(x), 0.5, training=True) + torch.randn_like(x)
        x = x[:, self.index[: int(self.constant.sum())]] if self.index[0].item() == 2 else x
        kept = x[mask]
        return {"out": self.lstm(F.pad(kept, (0, 1)))[0] * options["scale"], "count": mask.sum()}


def awkward_inputs() -> tuple[Tensor, Tensor, dict[str, Any]]:
    return torch.randn(6, 4), torch.tensor([1, 1, 0, 1, 0, 0], dtype=torch.bool), {"options": {"scale": torch.ones(1)}}


def numpy_state() -> list[int]:
    numbers: list[int] = np.random.get_state(legacy=False)["state"]["key"].tolist()
    return numbers


def test_masks_and_indices_decide_what_is_counted() -> None:
    """Three of six rows are kept; an LSTM of 4 has two products with 4 x 16 weights a row."""
    x, mask, named = awkward_inputs()
    assert cost(Awkward(), x, mask, **named).macs == 3 * 2 * 4 * 16


def test_nothing_is_left_behind() -> None:
    module = Awkward()
    module.register_forward_hook(lambda *_: None)
    x, mask, named = awkward_inputs()
    before = copy.deepcopy(module.state_dict())
    dictionaries = {name: dict(vars(part)) for name, part in module.named_modules()}
    hooks = len(torch.nn.modules.module._global_forward_hooks)
    states = random.getstate(), numpy_state(), torch.get_rng_state()
    figures = cost(module, x, mask, **named)
    assert figures.step_bytes > figures.inference_bytes > 0 and figures.activation_bytes > 0
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert {name: dict(vars(part)) for name, part in module.named_modules()} == dictionaries
    assert (module.steps, module.cache, module.seen, hasattr(module, "flag")) == (0, {}, [], False)
    assert all(p.grad is None for p in module.parameters())
    assert len(torch.nn.modules.module._global_forward_hooks) == hooks
    assert random.getstate() == states[0]
    assert numpy_state() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert module.training
    assert cost(module, x, mask, **named).to_dict() == figures.to_dict()


def test_numbers_of_activations_are_refused_in_a_sentence() -> None:
    class Reads(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    with pytest.raises(nas.NasError, match=r"reads numbers of its activations \(item\).*; allowed") as caught:
        cost(Reads(), torch.zeros(30))
    assert "\n" not in str(caught.value)


def test_inputs_that_do_not_fit_are_refused_with_the_reason() -> None:
    with pytest.raises(nas.NasError, match=r"Linear cannot run on inputs of \[2, 3\] \(RuntimeError: .+\); allowed"):
        cost(nn.Linear(4, 4), torch.zeros(2, 3))
    with pytest.raises(nas.NasError, match=r"^1 inputs stand beside an architecture, which says itself"):
        cost(nas.load("r3d_18"), torch.zeros(1))


@pytest.mark.parametrize("name", resource_names("search_spaces/reference"))
def test_parts_that_repeat_are_written_down_as_if_they_ran(name: str) -> None:
    architecture = nas.load(name)
    model, shape = nas.build(architecture, device="meta"), architecture.input.shape
    clip = torch.empty(1, shape.channels, *shape.extent, device="meta")
    repeated, ran = trace(model, (clip,)), trace(model, (clip,), repeat=False)
    assert repeated.calls == ran.calls and repeated.shapes == ran.shapes and repeated.marks == ran.marks
    assert [nbytes for _, nbytes in repeated.log] == [nbytes for _, nbytes in ran.log]


class Block(nn.Module):
    def __init__(self, store: list[Tensor] | None = None, number: int = 0) -> None:
        super().__init__()
        self.linear, self.act = nn.Linear(4, 4), nn.ReLU()
        self.store = store
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.linear(x))
        if self.store is not None:
            self.store.append(y)
        return y


def test_blocks_that_leave_something_elsewhere_are_not_repeated() -> None:
    class Collects(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[Tensor] = []
            self.blocks = nn.Sequential(*(Block(self.found) for _ in range(3)))

        def forward(self, x: Tensor) -> Tensor:
            self.found.clear()
            self.blocks(x)
            first: Any = self.blocks[0]
            return torch.cat(first.store)

    outside: list[Tensor] = []
    module = nn.Sequential(*(Block(outside) for _ in range(3)))
    assert cost(module, torch.zeros(2, 4)).macs == 3 * 2 * 4 * 4
    assert len(outside) == 0


def test_different_blocks_are_not_taken_for_each_other() -> None:
    class Widening(Block):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(self.number):
                x = super().forward(x)
            return x

    module = nn.Sequential(*(Widening(number=number) for number in (1, 2, 1, 3)))
    assert cost(module, torch.zeros(2, 4)).macs == 7 * 2 * 4 * 4


def test_autocast_is_that_of_the_caller() -> None:
    module = nn.Linear(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = cost(module, torch.zeros(2, 4))
    wide = cost(module, torch.zeros(2, 4))
    assert narrow.macs == wide.macs
    assert {row.op for row in narrow.operators} - {row.op for row in wide.operators} == {"_to_copy"}


def test_an_input_of_any_name_reaches_the_module() -> None:
    class Named(nn.Module):
        def forward(self, what: Tensor) -> Tensor:
            return what @ what.T

    assert cost(Named(), what=torch.zeros(3, 5)).macs == 3 * 3 * 5
