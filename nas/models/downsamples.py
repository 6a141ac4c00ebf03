"""Downsamplings between stages: from a map (B, T, H, W, C) to a smaller one."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nas.architecture.downsamples import ConvDownsample, FramePool, MergeDownsample
from nas.architecture.shape import Shape
from nas.models.attention import pad_to_windows
from nas.models.convolution import tube_conv
from nas.models.image_weights import precise, resize_positions, with_shape
from nas.models.registry import implements
from nas.models.tokens import ClassToken


@implements(ConvDownsample)
class ConvDownsampling(nn.Module):
    """LayerNorm, then a convolution whose kernel is its stride."""

    def __init__(self, config: ConvDownsample, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        self.stride = config.stride
        self.norm = nn.LayerNorm(shape_in.channels, eps=1e-5)
        self.conv = tube_conv(shape_in.channels, shape_out.channels, config.stride, config.stride)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y: Tensor = self.conv(pad_to_windows(self.norm(x_BTHWC), self.stride))
        return y


@implements(MergeDownsample)
class PatchMerging(nn.Module):
    """The cells of a stride side by side on channels, LayerNorm, linear without bias (Swin).

    Cells are ordered by frame, then column, then row, as in Swin's weights.
    """

    def __init__(self, config: MergeDownsample, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        self.stride = config.stride
        merged = shape_in.channels * math.prod(config.stride)
        self.norm = nn.LayerNorm(merged, eps=1e-5)
        self.reduction = nn.Linear(merged, shape_out.channels, bias=False)
        nn.init.trunc_normal_(self.reduction.weight, std=0.02)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        st, sh, sw = self.stride
        x = pad_to_windows(x_BTHWC, self.stride)
        b, t, h, w, c = x.shape
        x = x.reshape(b, t // st, st, h // sh, sh, w // sw, sw, c).permute(0, 1, 3, 5, 2, 6, 4, 7)
        y: Tensor = self.reduction(self.norm(x.flatten(4)))
        return y


@implements(FramePool)
class FramePooling(nn.Module):
    """The class token of each frame, or else the mean of its tokens; LayerNorm; position; class
    token.
    """

    def __init__(self, config: FramePool, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        width = shape_out.channels
        self.takes_token = shape_in.class_tokens == "frame"
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.position = nn.Parameter(torch.empty(1, shape_out.frames, 1, 1, width)) if config.position else None
        if self.position is not None:
            nn.init.trunc_normal_(self.position, std=0.02)
        self.token = ClassToken(shape_out, config.position) if config.class_token else nn.Identity()

    def fitted_state(self, name: str, value: Tensor) -> Tensor | None:
        """Positions of other frames, interpolated; see `nas.models.image_weights`."""
        if name != "position" or self.position is None:
            return None
        return with_shape(resize_positions(precise(value), self.position.shape), self.position)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        x = x_BTHWC[:, :, :, :1] if self.takes_token else x_BTHWC.mean(dim=(2, 3), keepdim=True)
        y: Tensor = self.norm(x)
        if self.position is not None:
            y = y + self.position
        y = self.token(y)
        return y
