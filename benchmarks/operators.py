"""Speed of every operator against the plainest correct PyTorch of the same maths, side by side in
one process.

The plain layers are what one writes from the papers: windows by reshape and permute, softmax(q k^T)
v written out, `torch.roll` for every position of a shift, `nn.Conv3d` and `nn.BatchNorm3d` on (B,
C, T, H, W). They take the weights of ours, and outputs and gradients must agree. Ours and plain run
in turn; a ratio is the median over the turns of our time divided by the plain one, so below 1 ours
is the faster.

    python benchmarks/operators.py [--only tps] [--seconds 6] [--threads 2] [--device cuda]
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture import (
    LAYERS,
    T2D,
    TPS,
    X3D,
    ChannelAttention,
    D2Plus1D,
    Factorized,
    Full3D,
    JointFilter,
    LayerConfig,
    Part,
    R2Plus1D,
    Shape,
    SparseTube,
    Tube,
)
from nas.architecture.fields import Triple
from nas.models.layers.channel_attention import ChannelAttentionBlock
from nas.models.layers.factorized import Attention, FactorizedBlock
from nas.models.layers.sparse_tube import SparseTubeBlock
from nas.models.layers.t2d import T2DBlock
from nas.models.layers.tps import PATTERNS, TPSBlock
from nas.models.network import build_part

BATCH = 2
TOLERANCE = 1e-4  # float32, relative to the largest number where that is above 1

# ---------------------------------------------------------------------------------------- attention


def windows(x: Tensor, size: Triple) -> Tensor:
    """(B, T, H, W, C) to (B, nT, nH, nW, L, C), padded with zeros to whole windows."""
    t, h, w = (-n % s for n, s in zip(x.shape[1:4], size, strict=True))
    x = F.pad(x, (0, 0, 0, w, 0, h, 0, t))
    b, t, h, w, c = x.shape
    wt, wh, ww = size
    x = x.view(b, t // wt, wt, h // wh, wh, w // ww, ww, c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, t // wt, h // wh, w // ww, wt * wh * ww, c)


def unwindows(x: Tensor, size: Triple, extent: Sequence[int]) -> Tensor:
    """The inverse of `windows`, cropped to `extent`."""
    b, nt, nh, nw, _, c = x.shape
    wt, wh, ww = size
    x = x.view(b, nt, nh, nw, wt, wh, ww, c).permute(0, 1, 4, 2, 5, 3, 6, 7)
    x = x.reshape(b, nt * wt, nh * wh, nw * ww, c)
    return x[:, : extent[0], : extent[1], : extent[2]]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(..., L, C) to (..., heads, L, D)."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(-2, -3)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v of (..., L, C) sequences."""
    q, k, v = split_heads(q, heads), split_heads(k, heads), split_heads(v, heads)
    logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if isinstance(bias, Tensor):
        logits = logits + bias
    y = torch.softmax(logits, dim=-1) @ v
    return y.transpose(-2, -3).flatten(-2)


def self_attention(qkv: Tensor, heads: int, size: Triple) -> Tensor:
    """Self-attention inside the windows of a (B, T, H, W, 3C) map."""
    q, k, v = windows(qkv, size).chunk(3, dim=-1)
    return unwindows(attention(q, k, v, heads), size, tuple(qkv.shape[1:4]))


def window_self_attention(x: Tensor, block: Any, size: Triple) -> Tensor:
    """qkv, self-attention and output projection on the windows of a map."""
    q, k, v = block.qkv(windows(x, size)).chunk(3, dim=-1)
    return unwindows(block.proj(attention(q, k, v, block.heads)), size, tuple(x.shape[1:4]))


class PlainT2D(T2DBlock):
    def forward(self, x: Tensor) -> Tensor:
        y = window_self_attention(self.norm1(x), self, self.space)
        z = self.qkv_t[0](y)
        temporal = sum(self_attention(z, self.heads, plane) for plane in self.planes)
        x = x + y + self.alpha * self.proj_t[0](temporal)
        return x + self.mlp(self.norm2(x))


class PlainTPS(TPSBlock):
    def patch_shift(self, x: Tensor, sign: int) -> Tensor:
        """Rolls every position of the pattern in time; x is (B, T, nH, nW, wh, ww, C)."""
        pattern = PATTERNS["3x3"]
        y = torch.empty_like(x)
        for i, row in enumerate(pattern):
            for j, frames in enumerate(row):
                y[..., i::3, j::3, :] = x[..., i::3, j::3, :].roll(sign * frames, dims=1)
        return y

    def channel_shift(self, x: Tensor) -> Tensor:
        """The first eighth of each head's channels takes frame t-1, the second t+1; edge frames
        keep their own.
        """
        x = x.unflatten(-1, (self.heads, -1))
        fold = x.shape[-1] // 8
        y = x.clone()
        y[:, 1:, ..., :fold] = x[:, :-1, ..., :fold]
        y[:, :-1, ..., fold : 2 * fold] = x[:, 1:, ..., fold : 2 * fold]
        return y.flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        _, t, h, w, _ = x.shape
        _, wh, ww = self.window
        y = self.norm1(x)
        y = F.pad(y, (0, 0, 0, -w % ww, 0, -h % wh))
        if any(self.roll):
            y = y.roll((-self.roll[0], -self.roll[1]), dims=(2, 3))
        y = windows(y, self.window).unflatten(4, (wh, ww))
        y = self.patch_shift(y, 1) if self.shift == "patch" else self.channel_shift(y)
        q, k, v = self.qkv(y.flatten(4, 5)).chunk(3, dim=-1)
        bias = self.bias_table[self.bias_rows.flatten()].view(*self.bias_rows.shape, -1).permute(0, 3, 1, 2)
        bias = bias[:, None, None]  # (T or 1, 1, 1, heads, L, L) against logits (B, T, nH, nW, heads, L, L)
        if self.mask is not None:
            bias = bias + self.mask.view(*q.shape[2:4], *self.mask.shape[1:])
        y = attention(q, k, v, self.heads, bias)
        if self.shift == "patch":
            y = self.patch_shift(y.unflatten(4, (wh, ww)), -1).flatten(4, 5)
        y = unwindows(y, self.window, (t, math.ceil(h / wh) * wh, math.ceil(w / ww) * ww))
        if any(self.roll):
            y = y.roll(self.roll, dims=(2, 3))
        x = x + self.proj(y[:, :, :h, :w])
        return x + self.mlp(self.norm2(x))


class PlainFactorized(FactorizedBlock):
    def branch(self, x: Tensor, block: Any) -> Tensor:
        if isinstance(block, nn.Sequential):
            return block[1](self.branch(x, block[0]))
        if type(block) is Attention:
            return window_self_attention(block.norm(x), block, block.window or (x.shape[1], x.shape[2], x.shape[3]))
        # Dot product: half of the heads over time, half over space.
        q, k, v = (y.chunk(2, dim=-1) for y in block.qkv(block.norm(x)).chunk(3, dim=-1))
        halves = [
            self_attention(torch.cat(qkv, dim=-1), block.heads // 2, size)
            for qkv, size in zip(zip(q, k, v, strict=True), block.windows, strict=True)
        ]
        return block.proj(torch.cat(halves, dim=-1))

    def forward(self, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        for block in self.attention:
            x = x + self.branch(x, block)
        return x + self.mlp(self.norm(x))


class PlainChannelAttention(ChannelAttentionBlock):
    def forward(self, x: Tensor) -> Tensor:
        b, t, h, w, c = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, t * h * w, 3, self.groups, c // self.groups)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, groups, N, D)
        weights = torch.softmax((q * (t * h * w) ** -0.5).transpose(-2, -1) @ k, dim=-1)
        y = (weights @ v.transpose(-2, -1)).transpose(-2, -1)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, h, w, c))
        return x + self.mlp(self.norm2(x))


class PlainSparseTube(SparseTubeBlock):
    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        video = y.permute(0, 4, 1, 2, 3).contiguous()
        tokens = []
        tube: Any
        for tube, (t, h, w) in zip(self.tubes, self.offsets, strict=True):
            tokens.append(F.conv3d(video[:, :, t:, h:, w:], tube.weight, tube.bias, tube.stride).flatten(2))
        z = torch.cat(tokens, dim=2).transpose(1, 2)
        y = attention(self.q(y.flatten(1, 3)), self.k(z + self.embedding), self.v(z), self.heads)
        x = x + self.proj(y).view_as(x)
        return x + self.mlp(self.norm2(x))


# --------------------------------------------------------------------- convolution, (B, C, T, H, W)


def conv(c_in: int, c_out: int, kernel: Triple = (1, 1, 1), stride: Triple = (1, 1, 1), **options: Any) -> nn.Conv3d:
    options = {"bias": False, **options}
    return nn.Conv3d(c_in, c_out, kernel, stride, padding=(kernel[0] // 2, kernel[1] // 2, kernel[2] // 2), **options)


def shortcut(c_in: int, c_out: int, stride: Triple) -> nn.Module:
    if c_in == c_out and stride == (1, 1, 1):
        return nn.Identity()
    return nn.Sequential(conv(c_in, c_out, stride=stride), nn.BatchNorm3d(c_out))


class PlainResidual(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module, c_in: int, c_out: int, stride: Triple) -> None:
        super().__init__()
        self.conv1, self.norm1 = first, nn.BatchNorm3d(c_out)
        self.conv2, self.norm2 = second, nn.BatchNorm3d(c_out)
        self.shortcut = shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class PlainFull3D(PlainResidual):
    def __init__(self, config: Full3D, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        c_in, c_out = shape_in.channels, shape_out.channels
        kernel = (config.temporal_kernel, config.kernel, config.kernel)
        super().__init__(conv(c_in, c_out, kernel, stride), conv(c_out, c_out, kernel), c_in, c_out, stride)


class PlainJointConv(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: Triple, config: JointFilter) -> None:
        super().__init__()
        kt, ks = config.temporal_atoms, config.spatial_atoms
        self.stride, self.factored = stride, config.execution == "factored"
        self.temporal_atoms = nn.Parameter(torch.empty(kt, config.temporal_kernel))
        self.spatial_atoms = nn.Parameter(torch.empty(ks, config.kernel, config.kernel))
        self.coefficients = nn.Parameter(torch.empty(c_out, c_in, kt, ks))

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        (kt, lt), (ks, k, _) = self.temporal_atoms.shape, self.spatial_atoms.shape
        padding = (lt // 2, k // 2, k // 2)
        if not self.factored:
            weight = torch.einsum("oiab,at,bhw->oithw", self.coefficients, self.temporal_atoms, self.spatial_atoms)
            return F.conv3d(x, weight, stride=self.stride, padding=padding)
        over_time = self.temporal_atoms.view(kt, 1, lt, 1, 1).repeat(c, 1, 1, 1, 1)
        over_space = self.spatial_atoms.view(ks, 1, 1, k, k).repeat(c * kt, 1, 1, 1, 1)
        x = F.conv3d(x, over_time, stride=(self.stride[0], 1, 1), padding=(padding[0], 0, 0), groups=c)
        x = F.conv3d(x, over_space, stride=(1, *self.stride[1:]), padding=(0, *padding[1:]), groups=c * kt)
        return F.conv3d(x, self.coefficients.flatten(1)[..., None, None, None])


class PlainJointFilter(PlainResidual):
    def __init__(self, config: JointFilter, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        c_in, c_out = shape_in.channels, shape_out.channels
        first = PlainJointConv(c_in, c_out, stride, config)
        super().__init__(first, PlainJointConv(c_out, c_out, (1, 1, 1), config), c_in, c_out, stride)


class PlainSqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(8, int(width / 16 + 4) // 8 * 8)
        self.reduce, self.expand = conv(width, hidden, bias=True), conv(hidden, width, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.expand(torch.relu(self.reduce(x.mean((2, 3, 4), keepdim=True)))))


class PlainD2Plus1DModule(nn.Module):
    def __init__(self, c_in: int, inner: int, stride: Triple, excite: bool, config: D2Plus1D) -> None:
        super().__init__()
        k, kt = config.kernel, config.temporal_kernel
        self.expand, self.norm1 = conv(c_in, inner), nn.BatchNorm3d(inner)
        self.space = conv(inner, inner, (1, k, k), (1, *stride[1:]), groups=inner)
        self.time = conv(inner, inner, (kt, 1, 1), (stride[0], 1, 1), groups=inner)
        self.norm2 = nn.BatchNorm3d(inner)
        self.excite = PlainSqueezeExcite(inner) if excite else nn.Identity()
        self.project, self.norm3 = conv(inner, inner // 2), nn.BatchNorm3d(inner // 2)
        self.residual = c_in == inner // 2 and stride == (1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.expand(x)))
        y = self.excite(self.norm2(self.time(self.space(y))))
        y = self.norm3(self.project(y * torch.sigmoid(y)))
        return torch.relu(x + y if self.residual else y)


class PlainD2Plus1D(nn.Module):
    def __init__(self, config: D2Plus1D, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        super().__init__()
        c_in, c_out = shape_in.channels, shape_out.channels
        inner = config.inner_width(c_out)
        self.tosa = nn.ModuleList([PlainD2Plus1DModule(c_in, inner, stride, True, config)])
        for i in range(1, config.modules):
            self.tosa.append(PlainD2Plus1DModule(inner // 2, inner, (1, 1, 1), i % 2 == 0, config))
        self.join_input = stride == (1, 1, 1)
        self.aggregate = conv(config.modules * inner // 2 + (c_in if self.join_input else 0), c_out)
        self.norm = nn.BatchNorm3d(c_out)
        self.shortcut = shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        features, y = [x] if self.join_input else [], x
        for module in self.tosa:
            y = module(y)
            features.append(y)
        return torch.relu(self.shortcut(x) + self.norm(self.aggregate(torch.cat(features, dim=1))))


class PlainX3D(nn.Module):
    def __init__(self, config: X3D, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        super().__init__()
        c_in, c_out = shape_in.channels, shape_out.channels
        inner, kernel = int(config.expansion * c_out), (config.temporal_kernel, config.kernel, config.kernel)
        self.expand, self.norm1 = conv(c_in, inner), nn.BatchNorm3d(inner)
        self.depthwise, self.norm2 = conv(inner, inner, kernel, stride, groups=inner), nn.BatchNorm3d(inner)
        self.excite = PlainSqueezeExcite(inner)
        self.project, self.norm3 = conv(inner, c_out), nn.BatchNorm3d(c_out)
        self.shortcut = shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.expand(x)))
        y = self.excite(self.norm2(self.depthwise(y)))
        return torch.relu(self.shortcut(x) + self.norm3(self.project(y * torch.sigmoid(y))))


class PlainR2Plus1DConv(nn.Module):
    def __init__(self, c_in: int, inner: int, c_out: int, stride: Triple) -> None:
        super().__init__()
        self.space, self.norm = conv(c_in, inner, (1, 3, 3), (1, *stride[1:])), nn.BatchNorm3d(inner)
        self.time = conv(inner, c_out, (3, 1, 1), (stride[0], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.time(torch.relu(self.norm(self.space(x))))


class PlainR2Plus1D(PlainResidual):
    def __init__(self, config: R2Plus1D, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        c_in, c_out = shape_in.channels, shape_out.channels
        inner = 27 * c_in * c_out // (9 * c_in + 3 * c_out)
        first = PlainR2Plus1DConv(c_in, inner, c_out, stride)
        super().__init__(first, PlainR2Plus1DConv(c_out, inner, c_out, (1, 1, 1)), c_in, c_out, stride)


# ----------------------------------------------------------------------------------------- the runs


@dataclass(frozen=True)
class Case:
    """A row of the table: a layer, its plain form and the map that goes in.

    Attributes:
        plain: Called as a layer of ours; its state dict is ours.
        video: Whether the plain form works on (B, C, T, H, W).
    """

    name: str
    config: LayerConfig
    shape: Shape
    plain: Callable[..., nn.Module]
    video: bool = False
    stride: Triple = (1, 1, 1)
    width: int | None = None


VIT = Shape(8, 14, 14, 384)
SWIN = Shape(8, 28, 28, 192)
CNN = Shape(8, 28, 28, 48)
R3D = Shape(8, 28, 28, 64)
TUBES = (Tube(kernel=(4, 2, 2), stride=(4, 4, 4)), Tube(kernel=(1, 3, 3), stride=(4, 2, 2), offset=(2, 1, 1)))

CASES = (
    Case("t2d", T2D(heads=6), VIT, PlainT2D),
    Case("t2d windows", T2D(heads=6, window=(8, 7, 7)), Shape(8, 28, 28, 192), PlainT2D),
    Case("tps patch", TPS(heads=6), SWIN, PlainTPS),
    Case("tps patch cyclic", TPS(heads=6, cyclic=True), SWIN, PlainTPS),
    Case("tps channel", TPS(heads=6, shift="channel"), SWIN, PlainTPS),
    Case("tps channel cyclic", TPS(heads=6, shift="channel", cyclic=True), SWIN, PlainTPS),
    Case("tps padded", TPS(heads=6, cyclic=True), Shape(8, 24, 24, 192), PlainTPS),
    Case("factorized divided", Factorized(heads=6), VIT, PlainFactorized),
    Case("factorized self_attention", Factorized(heads=6, variant="self_attention"), VIT, PlainFactorized),
    Case("factorized dot_product", Factorized(heads=6, variant="dot_product"), VIT, PlainFactorized),
    Case("factorized joint", Factorized(heads=6, variant="joint"), VIT, PlainFactorized),
    Case("factorized divided windows", Factorized(heads=6, window=(7, 7)), SWIN, PlainFactorized),
    Case(
        "factorized dot_product windows",
        Factorized(heads=6, variant="dot_product", window=(7, 7)),
        SWIN,
        PlainFactorized,
    ),
    Case("channel_attention", ChannelAttention(heads=6), SWIN, PlainChannelAttention),
    Case("sparse_tube", SparseTube(heads=6, tubes=TUBES), VIT, PlainSparseTube),
    Case("d2plus1d", D2Plus1D(), CNN, PlainD2Plus1D, video=True),
    Case("d2plus1d stride 2", D2Plus1D(), CNN, PlainD2Plus1D, video=True, stride=(1, 2, 2), width=96),
    Case("joint_filter composed", JointFilter(), R3D, PlainJointFilter, video=True),
    Case("joint_filter composed small", JointFilter(), Shape(2, 4, 4, 256), PlainJointFilter, video=True),
    Case("joint_filter factored", JointFilter(execution="factored"), R3D, PlainJointFilter, video=True),
    Case("full3d", Full3D(), R3D, PlainFull3D, video=True),
    Case("r2plus1d", R2Plus1D(), R3D, PlainR2Plus1D, video=True),
    Case("x3d", X3D(), CNN, PlainX3D, video=True),
    Case("x3d stride 2", X3D(), CNN, PlainX3D, video=True, stride=(1, 2, 2), width=96),
    Case("full3d stride 2", Full3D(), R3D, PlainFull3D, video=True, stride=(2, 2, 2), width=128),
)


def layers(case: Case, device: str) -> tuple[list[nn.Module], list[Tensor], list[Tensor]]:
    """Our layer and the plain one with the same random weights, and the same input and output
    gradient for each.
    """
    torch.manual_seed(0)
    shape_out = case.shape.strided(case.stride, case.width or case.shape.channels)
    case.config.check(shape_out, case.name)
    ours = build_part(Part(case.name, case.config, case.shape, shape_out, case.stride))
    with torch.no_grad():
        for parameter in ours.parameters():  # weights that start at zero would hide a difference
            parameter.add_(0.02 * torch.randn_like(parameter))
    plain = case.plain(case.config, case.shape, shape_out, case.stride)
    plain.load_state_dict(ours.state_dict())
    x, grad = (torch.randn(BATCH, *shape.extent, shape.channels, device=device) for shape in (case.shape, shape_out))
    other_x, other_grad = (y.permute(0, 4, 1, 2, 3).contiguous() if case.video else y.clone() for y in (x, grad))
    return [ours.to(device), plain.to(device)], [x.requires_grad_(), other_x.requires_grad_()], [grad, other_grad]


def forward_backward(layer: nn.Module, x: Tensor, grad: Tensor) -> list[Tensor]:
    y = layer(x)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], grad)]


def outputs_and_gradients(case: Case, layer: nn.Module, x: Tensor, grad: Tensor) -> dict[str, Tensor]:
    y, dx, *rest = forward_backward(layer, x, grad)
    if case.video and x.shape[1] == case.shape.channels != case.shape.frames:
        y, dx = (z.permute(0, 2, 3, 4, 1) for z in (y, dx))
    names = [name for name, _ in layer.named_parameters()]
    return {"output": y.detach(), "input gradient": dx, **dict(zip(names, rest, strict=True))}


def keep_freed_memory() -> None:
    """Makes glibc reuse freed memory, where it otherwise asks the system for large blocks again on
    every call.

    The page faults of that take as long as some operators and differ from run to run.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-4, 0)  # M_MMAP_MAX


def ratio(runs: Sequence[Callable[[], object]], seconds: float, device: str) -> float:
    """Median over the turns of the first run's time divided by the second's, the order changing
    every turn.
    """

    def timed(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for run in (*runs, *runs):
        timed(run)
    ratios: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(ratios) < 5:
        if len(ratios) % 2:
            plain, ours = timed(runs[1]), timed(runs[0])
        else:
            ours, plain = timed(runs[0]), timed(runs[1])
        ratios.append(ours / plain)
    return median(ratios)


def relative(ours: Tensor, plain: Tensor) -> float:
    return float((ours - plain).abs().max() / plain.abs().max().clamp(min=1))


def measure(case: Case, seconds: float, device: str) -> tuple[float, float, float]:
    """Forward ratio, forward + backward ratio and largest difference of the outputs."""
    modules, inputs, grads = layers(case, device)
    # In float64 the gradients agree but for rounding; in float32 a ReLU at zero may go either way.
    ours, plain = (
        outputs_and_gradients(case, copy.deepcopy(m).double(), x.detach().double().requires_grad_(), g.double())
        for m, x, g in zip(modules, inputs, grads, strict=True)
    )
    for name in plain:
        if (off := relative(ours[name], plain[name])) > 1e-9:
            raise SystemExit(f"{case.name}: {name} of ours and plain differ by {off:.1e} in float64; allowed: 1e-9")
    both = [partial(forward_backward, modules[i], inputs[i], grads[i]) for i in (0, 1)]
    train = ratio(both, 0.6 * seconds, device)
    for module in modules:
        module.eval()
    with torch.no_grad():
        y, z = (module(x) for module, x in zip(modules, inputs, strict=True))
        worst = relative(y, z.permute(0, 2, 3, 4, 1) if case.video else z)
        infer = ratio([partial(modules[i], inputs[i]) for i in (0, 1)], 0.4 * seconds, device)
    return infer, train, worst


def selected(only: str | None) -> Iterator[Case]:
    return (case for case in CASES if only is None or only in case.name)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of every operator against plain PyTorch of the same maths.")
    parser.add_argument("--only", help="cases whose name holds this")
    parser.add_argument("--seconds", type=float, default=6.0, help="timed per case")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    print(f"Time of ours / plain, batch {BATCH}")
    print(f"{'operator':32} {'map':>14} {'forward':>8} {'+backward':>10} {'max diff':>9}")
    rows: dict[str, tuple[float, float]] = {}
    for case in selected(options.only):
        infer, train, worst = measure(case, options.seconds, options.device)
        rows[case.name] = infer, train
        print(f"{case.name:32} {case.shape!s:>14} {infer:8.2f} {train:10.2f} {worst:9.1e}", flush=True)
        if worst > TOLERANCE:
            raise SystemExit(f"{case.name}: ours and plain differ by {worst:.1e}; allowed: {TOLERANCE:.0e}")
    if uncompared := [op for op in LAYERS.names() if op not in {case.config.op for case in CASES}]:
        print(f"without a plain form to stand beside: {', '.join(uncompared)}")
    means = [math.exp(sum(map(math.log, column)) / len(column)) for column in zip(*rows.values(), strict=True)]
    slowest = max(rows, key=lambda name: max(rows[name]))
    print(f"geometric mean {means[0]:.2f} forward, {means[1]:.2f} forward + backward")
    print(f"slowest: {slowest}, {rows[slowest][0]:.2f} forward, {rows[slowest][1]:.2f} forward + backward")


if __name__ == "__main__":
    main()
