"""What several operators share: convolution, normalisation, windows and attention on (B, T, H, W,
C) maps.

Shape suffixes: B batch, T frames, H height, W width, C channels, S sequences (windows of all
clips), L tokens of a sequence. A contiguous (B, T, H, W, C) map permuted to (B, C, T, H, W) is a
`channels_last_3d` tensor, so neither attention nor convolution copies it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Triple = tuple[int, int, int]
UNIT: Triple = (1, 1, 1)
LARGE_KERNEL = 8  # numbers of a kernel over those of the map


def convolve(
    x_BTHWC: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = UNIT,
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
    if tuple(kernel) == UNIT and not any(padding) and groups == 1:
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
    if x.device.type != "cuda" and weight.numel() > LARGE_KERNEL * x.numel():
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


class Derived(nn.Module):
    """A module whose buffers follow from its configuration: they are in no state dict.

    `to_empty`, which makes a network of the meta device a real one, leaves buffers without numbers,
    and no state dict has them; so they are computed again wherever the module is moved.
    """

    def derived(self) -> dict[str, Tensor | None]:
        """The buffers by name, on the default device."""
        raise NotImplementedError

    def register_derived(self) -> None:
        for name, value in self.derived().items():
            self.register_buffer(name, value, persistent=False)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        before = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        moved = {name: now for name, now in self.named_buffers(recurse=False) if now is not before[name]}
        if moved:
            with torch.no_grad(), torch.device("cpu"):
                for name, value in self.derived().items():
                    if value is not None and name in moved:
                        moved[name].copy_(value)
        return self


class Conv(nn.Module):
    """3D convolution of a (B, T, H, W, C) map, kaiming-normal (fan out, ReLU) without bias unless
    asked.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int] = UNIT,
        stride: Sequence[int] = UNIT,
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


def tube_conv(in_channels: int, out_channels: int, kernel: Triple, stride: Sequence[int]) -> Conv:
    """A convolution without padding, as tokenizers use it: bias, truncated normal of fan_in^-0.5."""
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
        if x_BTHWC.shape[:-1].numel() > 1:
            y = super().forward(x)
        else:
            y = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return y.permute(0, 2, 3, 4, 1)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of CLIP's networks."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "quick_gelu": QuickGELU,
}


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer with the initialisation of vision transformers: truncated normal of .02, zero
    bias.
    """
    layer = nn.Linear(in_features, out_features)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


def mlp(width: int, ratio: float, activation: str) -> nn.Sequential:
    """Two linear layers around an activation; the hidden width is round(width * ratio)."""
    hidden = round(width * ratio)
    return nn.Sequential(linear(width, hidden), ACTIVATIONS[activation](), linear(hidden, width))


def pad_to_windows(x_BTHWC: Tensor, window: Triple) -> Tensor:
    """Pads T, H and W with zeros at their ends up to multiples of the window; any axes may follow."""
    t, h, w = ((-n) % s for n, s in zip(x_BTHWC.shape[1:4], window, strict=True))
    rest = (0, 0) * (x_BTHWC.ndim - 4)
    return F.pad(x_BTHWC, (*rest, 0, w, 0, h, 0, t)) if t or h or w else x_BTHWC


def window_partition(x_BTHWC: Tensor, window: Triple) -> Tensor:
    """Cuts a map whose extent is a multiple of the window into sequences: (S, L, C), clips and
    frames outermost.

    The channels may be several axes. Where the windows lie one after the other in memory the result
    is a view.
    """
    b, t, h, w, *c = x_BTHWC.shape
    wt, wh, ww = window
    x = x_BTHWC.reshape(b, t // wt, wt, h // wh, wh, w // ww, ww, *c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, *range(7, x.ndim)).reshape(-1, wt * wh * ww, *c)


def window_reverse(x_SLC: Tensor, window: Triple, extent: Sequence[int]) -> Tensor:
    """Puts the sequences of `window_partition` back to a map of `extent` (T, H, W)."""
    t, h, w = extent
    wt, wh, ww = window
    x = x_SLC.reshape(-1, t // wt, h // wh, w // ww, wt, wh, ww, x_SLC.shape[-1])
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(-1, t, h, w, x_SLC.shape[-1])


def attend(q_SLC: Tensor, k_SLC: Tensor, v_SLC: Tensor, heads: int, bias_GhLL: Tensor | None = None) -> Tensor:
    """Multi-head attention of sequences, scaled by head_dim^-0.5.

    Args:
        q_SLC: Queries (S, Lq, C).
        k_SLC: Keys (S, Lk, C).
        v_SLC: Values (S, Lk, C).
        bias_GhLL: Added to the logits, (G, heads, Lq, Lk): sequence s gets row s mod G.

    Returns:
        (S, Lq, C).
    """
    q, k, v = (torch.unflatten(x, -1, (heads, -1)).transpose(1, 2) for x in (q_SLC, k_SLC, v_SLC))
    if bias_GhLL is not None and len(bias_GhLL) > 1:
        clips = len(q) // len(bias_GhLL)
        bias_GhLL = bias_GhLL.expand(clips, *bias_GhLL.shape).flatten(0, 1)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_GhLL).transpose(1, 2)
    if bias_GhLL is not None and torch.compiler.is_exporting():
        # ONNX export finds a view here by the strides of fused attention, then replays it with
        # those of plain attention, which a bias that needs a gradient selects; a clone has the same
        # strides in both.
        y = y.clone(memory_format=torch.contiguous_format)
    return y.flatten(2)


def window_attention(qkv_BTHW3C: Tensor, heads: int, window: Triple) -> Tensor:
    """Self-attention inside windows of a map of queries, keys and values.

    A window of extent 1 along an axis is attention in the plane of the others. Where the map is no
    multiple of the window it is padded with zeros, which are attended to.

    Args:
        qkv_BTHW3C: (B, T, H, W, 3, C); C may be part of a larger axis.

    Returns:
        (B, T, H, W, C).
    """
    t, h, w = qkv_BTHW3C.shape[1:4]
    padded = pad_to_windows(qkv_BTHW3C, window)
    q, k, v = window_partition(padded, window).unbind(-2)
    y = window_reverse(attend(q, k, v, heads), window, padded.shape[1:4])
    return y[:, :t, :h, :w]


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
    if in_channels == out_channels and stride == UNIT:
        return nn.Identity()
    return nn.Sequential(Conv(in_channels, out_channels, stride=stride), BatchNorm(out_channels))
