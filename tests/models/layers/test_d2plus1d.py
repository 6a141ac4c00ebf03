"""D(2+1)D modules in a T-OSA block (VoV3D), against nn.Conv3d on (B, C, T, H, W)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import N2, SHORT, STRIDED, Case, D, E, N
from torch import Tensor, nn

from nas.architecture import D2Plus1D
from nas.models.convolution import round8

Make = Callable[..., Any]
Triple = tuple[int, int, int]
CASES = (Case(D2Plus1D(modules=3, kernel=5)), Case(D2Plus1D(modules=2), **STRIDED))
CLOSED_FORMS = (
    (
        # One module of E = 64: 1x1x1, 1x3x3, 3x1x1, SE of 8, 1x1x1; then 32 + 32 channels
        # aggregated.
        D2Plus1D(modules=1),
        N * (D * 64 + 64 * 12 + 64 * 32 + 64 * D) + 2 * 64 * 8,
        3 * 64 * 32 + 64 * 12 + (2 * 64 * 8 + 64 + 8) + 2 * (64 + 64 + 32 + 32),
    ),
)
STRIDED_MACS = (
    (
        # Inner width 96: expansion at 5x5x7, space at 5x3x4, time at 3x3x4, SE of 8; the input is
        # not aggregated.
        D2Plus1D(modules=1),
        96 * (D * N + 9 * 5 * 3 * 4 + 3 * N2 + 2 * 8 + E * N2) + E * E * N2 + SHORT,
    ),
)
COPIES = ((D2Plus1D(modules=2), [3]),)  # the concatenation of input and two modules, which the block is named for


class Excite(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv3d(width, hidden, 1), nn.Conv3d(hidden, width, 1)

    def forward(self, y: Tensor) -> Tensor:
        gate: Tensor = self.expand(self.reduce(y.mean((2, 3, 4), keepdim=True)).relu()).sigmoid()
        return y * gate


class Module(nn.Module):
    """D(2+1)D(Cin, E, s, idx) of the paper, output width E / 2; SE where idx is even."""

    def __init__(self, width: int, e: int, stride: Triple, index: int, k: int, kt: int) -> None:
        super().__init__()
        self.expand, self.norm1 = nn.Conv3d(width, e, 1, bias=False), nn.BatchNorm3d(e)
        self.space = nn.Conv3d(e, e, (1, k, k), (1, *stride[1:]), (0, k // 2, k // 2), groups=e, bias=False)
        self.time = nn.Conv3d(e, e, (kt, 1, 1), (stride[0], 1, 1), (kt // 2, 0, 0), groups=e, bias=False)
        self.norm2 = nn.BatchNorm3d(e)
        self.excite = Excite(e, hidden=8) if index % 2 == 0 else nn.Identity()
        self.project, self.norm3 = nn.Conv3d(e, e // 2, 1, bias=False), nn.BatchNorm3d(e // 2)
        self.residual = width == e // 2 and stride == (1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.expand(x)).relu()
        y = self.norm2(self.time(self.space(y)))
        y = self.excite(y)
        y = self.norm3(self.project(y * y.sigmoid()))
        return F.relu(x + y) if self.residual else F.relu(y)


class Block(nn.Module):
    """ReLU(shortcut(x) + T-OSA(x)); the input joins the concatenated outputs at stride 1 only."""

    def __init__(self, width: int, e: int, out: int, stride: Triple, config: D2Plus1D) -> None:
        super().__init__()
        k, kt, n = config.kernel, config.temporal_kernel, config.modules
        self.tosa = nn.ModuleList(
            Module(e // 2 if i else width, e, (1, 1, 1) if i else stride, i, k, kt) for i in range(n)
        )
        self.joins = stride == (1, 1, 1)
        self.aggregate = nn.Conv3d(n * e // 2 + self.joins * width, out, 1, bias=False)
        self.norm = nn.BatchNorm3d(out)
        self.shortcut: nn.Module = nn.Identity()
        if width != out or not self.joins:
            self.shortcut = nn.Sequential(nn.Conv3d(width, out, 1, stride, bias=False), nn.BatchNorm3d(out))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for module in self.tosa:
            features.append(module(features[-1]))
        y = torch.cat(features if self.joins else features[1:], 1)
        return F.relu(self.shortcut(x) + self.norm(self.aggregate(y)))


@pytest.mark.parametrize(
    ("config", "inner", "width", "stride"),
    [
        (D2Plus1D(modules=3), 64, 32, (1, 1, 1)),  # residual modules, identity shortcut
        (D2Plus1D(modules=2, kernel=5, temporal_kernel=5), 64, 32, (1, 2, 2)),
        (D2Plus1D(modules=2), 96, 48, (1, 1, 1)),  # a new width: the first module has no residual, but the input joins
        (D2Plus1D(modules=2, expansion=1.0), 48, 48, (2, 2, 2)),
        (D2Plus1D(modules=1, temporal_kernel=1), 64, 32, (1, 1, 1)),
    ],
)
def test_the_t_osa_block(make_layer: Make, x: Tensor, config: D2Plus1D, inner: int, width: int, stride: Triple) -> None:
    block = make_layer(config, width=width, stride=stride)
    torch.nn.init.normal_(block.norm.weight)  # starts at zero
    plain = Block(32, inner, width, stride, config).double()
    plain.load_state_dict(block.state_dict())
    y = plain(x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
    assert torch.allclose(block(x), y, atol=1e-12)
    trained = [torch.allclose(a, b) for a, b in zip(block.buffers(), plain.buffers(), strict=True)]
    assert all(trained)  # the running statistics too: momentum 0.1


def test_it_starts_as_its_shortcut(make_layer: Make, x: Tensor) -> None:
    """The last normalisation starts at zero."""
    assert torch.equal(make_layer(D2Plus1D())(x), F.relu(x))


def test_convolutions_start_kaiming_normal_of_fan_out(make_layer: Make) -> None:
    """Fan out of a depthwise 1x3x3 of 512 channels as torch counts it: 512 x 9."""
    layer = make_layer(D2Plus1D(modules=1, expansion=2.0), width=256)
    assert float(layer.tosa[0].space.weight.detach().std()) == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.1)
    assert float(layer.aggregate.weight.detach().std()) == pytest.approx((2 / 256) ** 0.5, rel=0.1)


def test_se_widths_are_multiples_of_eight() -> None:
    """round8 never goes below 90 %: 12 would become 8 at 0.67, so it is 16."""
    assert [round8(v) for v in (1, 2.5, 11.9, 12, 13, 20, 24)] == [8, 8, 16, 16, 16, 24, 24]
