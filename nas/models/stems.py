"""Stems: from a clip (B, T, H, W, 3) to the first feature map (B, T', H', W', C).

The clip comes as a view of (B, 3, T, H, W). Stems that read all of it copy its few channels to the
end, so that the many channels of the map need no copy; tubes read too little of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture import ConvStem, PatchStem, Shape, StemTube, TubeStem
from nas.models.common import BatchNorm, Conv, Derived, Triple, convolve, tube_conv
from nas.models.positions import tube_embedding


class Conv3DStem(nn.Module):
    """Convolution, optional convolution over time, normalisation, and ReLU after batch
    normalisation.
    """

    def __init__(self, config: ConvStem, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        width, inner = shape_out.channels, config.inner_width or shape_out.channels
        # Batch normalisation takes away what a bias would add.
        biased = config.norm == "layer"
        self.conv = Conv(shape_in.channels, inner, config.kernel, config.stride, bias=biased)
        over_time = (config.temporal_kernel, 1, 1)
        self.time: nn.Module = nn.Identity()
        if config.inner_width:
            self.time = nn.Sequential(BatchNorm(inner), nn.ReLU(), Conv(inner, width, over_time, bias=biased))
        elif config.temporal_kernel > 1:
            self.time = Conv(width, width, over_time, groups=width, bias=biased)
        self.norm = (
            nn.Sequential(BatchNorm(width), nn.ReLU()) if config.norm == "batch" else nn.LayerNorm(width, eps=1e-5)
        )

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y: Tensor = self.norm(self.time(self.conv(x_BTHWC.contiguous())))
        return y


class ClassToken(nn.Module):
    """Puts a learned token, plus its learned position, before the tokens of every clip or of every
    frame.
    """

    def __init__(self, shape: Shape, position: bool) -> None:
        super().__init__()
        self.stored = shape.stored
        self.value = nn.Parameter(torch.empty(1, 1, 1, 1, shape.channels))
        self.position = nn.Parameter(torch.empty(1, 1, 1, 1, shape.channels)) if position else None
        for parameter in self.parameters():
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        frames, _, length = self.stored
        token = self.value if self.position is None else self.value + self.position
        x = x_BTHWC.reshape(-1, frames, 1, length - 1, x_BTHWC.shape[-1])
        return torch.cat((token.expand(len(x), frames, -1, -1, -1), x), dim=3)


class PatchEmbed(nn.Module):
    """Patches projected linearly, class tokens, learned position embeddings, optional LayerNorm."""

    def __init__(self, config: PatchStem, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        t, h, w = shape_out.extent
        width = shape_out.channels
        self.proj = tube_conv(shape_in.channels, width, config.size, config.size)
        axes: dict[str, tuple[Triple, ...]] = {
            "none": (),
            "joint": ((t, h, w),),
            "factorized": ((1, h, w), (t, 1, 1)),
            "spatial": ((1, h, w),),
        }
        self.positions = nn.ParameterList(torch.empty(1, *shape, width) for shape in axes[config.position])
        for position in self.positions:
            nn.init.trunc_normal_(position, std=0.02)
        self.token = ClassToken(shape_out, bool(self.positions)) if config.class_tokens != "none" else nn.Identity()
        self.norm = nn.LayerNorm(width, eps=config.norm_eps) if config.norm else nn.Identity()

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y: Tensor = self.proj(x_BTHWC.contiguous())
        for position in self.positions:
            y = y + position
        y = self.norm(self.token(y))
        return y


class TubeConv(nn.Module):
    """One tube: a convolution without padding, its neighbouring outputs folded into channels where
    asked.
    """

    def __init__(self, tube: StemTube, shape_in: Shape, width: int) -> None:
        super().__init__()
        self.offset, self.factors = tube.offset, tube.space_to_depth
        self.extent = tube.extent(shape_in)
        self.kernel = tube.kernel
        self.stride = [s // f for s, f in zip(tube.stride, self.factors, strict=True)]
        self.conv = tube_conv(shape_in.channels, width // math.prod(self.factors), tube.kernel, self.stride)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        (ot, oh, ow), (ft, fh, fw) = self.offset, self.factors
        y = self.conv(x_BTHWC[:, ot:, oh:, ow:])
        t, h, w = (1 if x_BTHWC.shape[1] == 1 else self.extent[0]), *self.extent[1:]
        # A last output may lack the neighbours that are folded into it: they are zero.
        missing = [n * f - size for n, f, size in zip((t, h, w), self.factors, y.shape[1:4], strict=True)]
        y = F.pad(y, (0, 0, 0, max(0, missing[2]), 0, max(0, missing[1]), 0, max(0, missing[0])))
        y = y[:, : t * ft, : h * fh, : w * fw].reshape(-1, t, ft, h, fh, w, fw, y.shape[-1])
        return y.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4).flatten(1, 3)


class InterpolatedTubes(nn.Module):
    """Tubes that share one learned 8x8x8 kernel, resized trilinearly to the kernel of each."""

    def __init__(self, tubes: Sequence[StemTube], in_channels: int, width: int) -> None:
        super().__init__()
        self.tubes = tubes
        self.conv = tube_conv(in_channels, width, (8, 8, 8), (8, 8, 8))

    def __getitem__(self, i: int) -> Callable[[Tensor], Tensor]:
        tube = self.tubes[i]
        kernel = F.interpolate(self.conv.weight, size=tube.kernel, mode="trilinear", align_corners=False)
        ot, oh, ow = tube.offset
        return lambda x: convolve(x[:, ot:, oh:, ow:], kernel, self.conv.bias, tube.stride, padding=(0, 0, 0)).flatten(
            1, 3
        )


class TubeEmbed(Derived):
    """Tokens of all tubes, concatenated, plus the fixed embedding of their centres: (B, 1, 1, N,
    C).

    A clip of one frame is an image: it goes through the tubes without extent in time alone.
    """

    embedding: Tensor
    image_embedding: Tensor

    def __init__(self, config: TubeStem, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        self.config, self.shape, self.width = config, shape_in, shape_out.channels
        self.tubes: nn.ModuleList | InterpolatedTubes
        if config.interpolated:
            self.tubes = InterpolatedTubes(config.tubes, shape_in.channels, self.width)
        else:
            self.tubes = nn.ModuleList(TubeConv(tube, shape_in, self.width) for tube in config.tubes)
        self.image_tubes = [config.tubes.index(tube) for tube in config.image_tubes()]
        self.register_derived()

    def derived(self) -> dict[str, Tensor | None]:
        image = replace(self.shape, frames=1)
        embeddings = {"embedding": tube_embedding(self.config.tubes, self.shape, self.width)}
        if self.image_tubes:
            embeddings["image_embedding"] = tube_embedding(self.config.image_tubes(), image, self.width)
        return {**embeddings}

    def forward(self, x_BTHWC: Tensor, raw: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """The embedded tokens; with `raw` also the tokens alone, which gates take."""
        image = x_BTHWC.shape[1] == 1 < self.shape.frames
        chosen = self.image_tubes if image else range(len(self.config.tubes))
        tokens = torch.cat([self.tubes[i](x_BTHWC) for i in chosen], dim=1)[:, None, None]
        embedded = tokens + (self.image_embedding if image else self.embedding)
        return (embedded, tokens) if raw else embedded


STEMS = {ConvStem: Conv3DStem, PatchStem: PatchEmbed, TubeStem: TubeEmbed}
