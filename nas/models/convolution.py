"""Convolution and batch normalisation of (B, T, H, W, C) maps, and the blocks made of them.

Shape suffixes: B batch, T frames, H height, W width, C channels. A contiguous (B, T, H, W, C) map
permuted to (B, C, T, H, W) is a `channels_last_3d` tensor, so convolution copies it nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture.fields import Triple
from nas.architecture.shape import UNIT_STRIDE

LARGE_KERNEL = 8  # numbers of a kernel over those of the map


def convolve(
    x_BTHWC: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = UNIT_STRIDE,
    padding: Sequence[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """Convolution of a (B, T, H, W, C) map; kernels without extent in time or in space run as 2D
    convolutions.

    Args:
        x_BTHWC: Contiguous feature map.
        weight: (out, in / groups, kt, kh, kw).
        stride: Along T, H and W.
        padding: Along T, H and W; by default half the kernel, which keeps the size at stride 1.

    Returns:
        A contiguous (B, T', H', W', out) map.
    """
    kernel = weight.shape[2:]
    if padding is None:
        padding = [k // 2 for k in kernel]
    if any(n < k for n, k in zip(x_BTHWC.shape[1:4], kernel, strict=True)) and _trains_in_bfloat16_on_cpu(x_BTHWC):
        # Of kernels longer than the map oneDNN 3.12 leaves weight gradients unwritten, or writes
        # past their end.
        x_BTHWC = F.pad(x_BTHWC, (0, 0, *(p for p in reversed(padding) for _ in range(2))))
        padding = (0, 0, 0)
    b, t, h, w, c = x_BTHWC.shape
    if tuple(kernel) == UNIT_STRIDE and not any(padding) and groups == 1:
        x = x_BTHWC[:, :: stride[0], :: stride[1], :: stride[2]]
        return F.linear(x, weight.flatten(1), bias)
    if kernel[0] == 1 and stride[0] == 1 and padding[0] == 0:
        x = x_BTHWC.reshape(b * t, h, w, c).permute(0, 3, 1, 2)
        y = F.conv2d(x, weight.squeeze(2), bias, tuple(stride[1:]), tuple(padding[1:]), 1, groups)
        return torch.unflatten(y.permute(0, 2, 3, 1).contiguous(), 0, (b, t))
    if kernel[1] == kernel[2] == 1 and stride[1] == stride[2] == 1 and not any(padding[1:]):
        x = x_BTHWC.reshape(b, t, h * w, c).permute(0, 3, 1, 2)
        y = F.conv2d(x, weight.squeeze(4), bias, (stride[0], 1), (padding[0], 0), 1, groups)
        return torch.unflatten(y.permute(0, 2, 3, 1).contiguous(), 2, (h, w))
    x = x_BTHWC.permute(0, 4, 1, 2, 3)
    if x.device.type != "cuda" and not torch.compiler.is_exporting() and weight.numel() > LARGE_KERNEL * x.numel():
        # On CPU a channels-last convolution reorders its kernel on every call: on small maps half
        # of its time.
        x = x.contiguous()
    y = F.conv3d(x, weight, bias, tuple(stride), tuple(padding), 1, groups)
    return y.permute(0, 2, 3, 4, 1).contiguous()


def _trains_in_bfloat16_on_cpu(x: Tensor) -> bool:
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return dtype == torch.bfloat16


class Conv(nn.Module):
    """3D convolution of a (B, T, H, W, C) map, kaiming-normal (fan out, ReLU) without bias unless
    asked.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int] = UNIT_STRIDE,
        stride: Sequence[int] = UNIT_STRIDE,
        *,
        groups: int = 1,
        bias: bool = False,
        padding: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.groups = tuple(stride), padding, groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        return convolve(x_BTHWC, self.weight, self.bias, self.stride, self.padding, self.groups)


def lay_out_channels_last(model: nn.Module) -> None:
    """Lays kernels of five dimensions out as maps are, `channels_last_3d`, in place: cuDNN would
    copy each into that layout at every call.

    `Module.to(memory_format=...)` refuses networks with a parameter of four dimensions, as the
    coefficients of joint filters.
    """
    for parameter in model.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """Moves a network to where it trains, its kernels laid out as that device wants them."""
    model.to(device)
    if device.type == "cuda":
        lay_out_channels_last(model)
    return model


def tube_conv(in_channels: int, out_channels: int, kernel: Triple, stride: Sequence[int]) -> Conv:
    """A tokenizer's convolution: no padding, a bias, truncated normal of fan_in^-0.5."""
    conv = Conv(in_channels, out_channels, kernel, stride, bias=True, padding=(0, 0, 0))
    nn.init.trunc_normal_(conv.weight, std=conv.weight[0].numel() ** -0.5)
    return conv


class BatchNorm(nn.BatchNorm3d):
    """Batch normalisation over the last axis of a (B, T, H, W, C) map.

    A single value per channel, as one clip has on a map of one cell, has no variance: it takes the
    running statistics.
    """

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        x = x_BTHWC.permute(0, 4, 1, 2, 3)
        if not self.training or math.prod(x_BTHWC.shape[:-1]) > 1:
            y = super().forward(x)
        else:
            y = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return y.permute(0, 2, 3, 4, 1)


def round8(value: float) -> int:
    """Nearest multiple of eight, at least eight and never below 90 % of the value."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


class SqueezeExcite(nn.Module):
    """y sigmoid(W2 ReLU(W1 mean y)), hidden width round8(width / 16)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = round8(width / 16)
        self.reduce, self.expand = Conv(width, hidden, bias=True), Conv(hidden, width, bias=True)

    def forward(self, y_BTHWC: Tensor) -> Tensor:
        mean = y_BTHWC.mean(dim=(1, 2, 3), keepdim=True)
        return y_BTHWC * torch.sigmoid(self.expand(F.relu(self.reduce(mean))))


class PositionEncoding(nn.Module):
    """Convolutional position encoding: x plus depthwise 3x3 convolutions of x.

    `2d` convolves in space; `3d` sums convolutions on the (H, W), (T, W) and (T, H) planes
    (DaViT-T2D).
    """

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        kernels = {"none": (), "2d": ((1, 3, 3),), "3d": ((1, 3, 3), (3, 1, 3), (3, 3, 1))}[kind]
        self.planes = nn.ModuleList(Conv(width, width, kernel, groups=width, bias=True) for kernel in kernels)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y = x_BTHWC
        for conv in self.planes:
            y = y + conv(x_BTHWC)
        return y


class ResidualBlock(nn.Module):
    """conv, BN, ReLU, conv, BN, plus the shortcut, ReLU (the basic block of ResNet, 3D form)."""

    def __init__(
        self, first: nn.Module, second: nn.Module, in_channels: int, out_channels: int, stride: Triple
    ) -> None:
        super().__init__()
        self.conv1, self.norm1 = first, BatchNorm(out_channels)
        self.conv2, self.norm2 = second, BatchNorm(out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x_BTHWC)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x_BTHWC))


def shortcut(in_channels: int, out_channels: int, stride: Triple) -> nn.Module:
    """The identity, or a strided pointwise convolution with BN where width or size change."""
    if in_channels == out_channels and stride == UNIT_STRIDE:
        return nn.Identity()
    return nn.Sequential(Conv(in_channels, out_channels, stride=stride), BatchNorm(out_channels))
