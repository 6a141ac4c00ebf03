"""Fixed computations that are timed beside what is measured, so that a machine that became slower
or faster shows: its host, which launches, or its GPU.

They must not change: ratios to another computation cannot be compared, and those in the tables of
`profiles/` are to these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

ReferenceKind = Literal["network", "kernels"]  # what a computation on a GPU is bound by


class ReferenceNetwork(nn.Module):
    """The fixed network beside every measurement: convolution, attention over space and an MLP,
    three times.

    It has 0.24 * 10^9 multiply-adds and takes some ten milliseconds on two cores.
    """

    WIDTH = 32
    INPUT = (1, WIDTH, 8, 14, 14)

    def __init__(self) -> None:
        super().__init__()
        c, blocks = self.WIDTH, range(3)
        self.convolutions = nn.ModuleList(nn.Conv3d(c, c, 3, padding=1) for _ in blocks)
        self.qkv = nn.ModuleList(nn.Linear(c, 3 * c) for _ in blocks)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(c), nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c)) for _ in blocks
        )

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        frames, height, width = x_BCTHW.shape[2:]
        for convolution, qkv, mlp in zip(self.convolutions, self.qkv, self.mlps, strict=True):
            x_BCTHW = x_BCTHW + convolution(x_BCTHW)
            x_TNC = x_BCTHW.flatten(3).permute(0, 2, 3, 1).flatten(0, 1)
            q, k, v = qkv(x_TNC).chunk(3, dim=-1)
            x_TNC = x_TNC + F.scaled_dot_product_attention(q, k, v)
            x_TNC = x_TNC + mlp(x_TNC)
            x_BCTHW = x_TNC.reshape(-1, frames, height, width, self.WIDTH).permute(0, 4, 1, 2, 3).contiguous()
        return x_BCTHW


def reference_run(device: torch.device, dtype: torch.dtype, kind: ReferenceKind = "network") -> Callable[[], object]:
    """Returns one forward of what is timed beside a network.

    Args:
        device: Where.
        dtype: Of weights and activations.
        kind: `network` is the reference network, which on a GPU takes as long as its launching;
            beside a network that is bound by its kernels, `kernels` are a few large ones.
    """
    if kind == "kernels":
        return torch.inference_mode()(reference_block(device, dtype))
    network = ReferenceNetwork().to(device, dtype).eval()
    clip = torch.randn(ReferenceNetwork.INPUT, device=device, dtype=dtype)

    @torch.inference_mode()
    def run() -> object:
        return network(clip)

    return run


def reference_block(device: torch.device, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    """Returns the computation beside single layers: a millisecond or so of convolution, linear
    layer, normalisation and activation.
    """
    frames, size = (64, 56) if device.type == "cuda" else (4, 16)
    x_BTHWC = torch.randn(1, frames, size, size, 32, device=device, dtype=dtype)
    kernel = torch.randn(32, 32, 3, 3, 3, device=device, dtype=dtype) / 30
    weight = torch.randn(32, 32, device=device, dtype=dtype) / 6

    def run() -> torch.Tensor:
        y = F.conv3d(x_BTHWC.permute(0, 4, 1, 2, 3), kernel, padding=1).permute(0, 2, 3, 4, 1)
        return F.gelu(F.linear(F.layer_norm(y, (32,)), weight))

    return run
