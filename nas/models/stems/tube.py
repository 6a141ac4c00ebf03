"""A stem of sparse tubes, which read too little of the clip to copy its channels to the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture.shape import Shape
from nas.architecture.stems.tube import StemTube, TubeStem
from nas.models.convolution import convolve, tube_conv
from nas.models.derived import Derived
from nas.models.registry import implements
from nas.models.tokens import tube_embedding


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

    def kernel(self, i: int) -> Tensor:
        """The shared kernel at the size of a tube, (width, C, kt, kh, kw)."""
        return F.interpolate(self.conv.weight, size=self.tubes[i].kernel, mode="trilinear", align_corners=False)

    def __getitem__(self, i: int) -> Callable[[Tensor], Tensor]:
        tube, kernel = self.tubes[i], self.kernel(i)
        ot, oh, ow = tube.offset
        return lambda x: convolve(x[:, ot:, oh:, ow:], kernel, self.conv.bias, tube.stride, padding=(0, 0, 0)).flatten(
            1, 3
        )


@implements(TubeStem)
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
        self.image_tubes = config.image_tubes()
        self.register_derived()

    def derived(self) -> dict[str, Tensor | None]:
        tubes, image = self.config.tubes, replace(self.shape, frames=1)
        embeddings = {"embedding": tube_embedding(tubes, self.shape, self.width)}
        if self.image_tubes:
            embeddings["image_embedding"] = tube_embedding([tubes[i] for i in self.image_tubes], image, self.width)
        return {**embeddings}

    def kernels(self) -> dict[str, Tensor]:
        """What is drawn of it: the kernel of every tube."""
        if isinstance(self.tubes, InterpolatedTubes):
            weights = [self.tubes.kernel(i) for i in range(len(self.config.tubes))]
        else:
            weights = [tube.get_parameter("conv.weight") for tube in self.tubes]
        return {f"tube {i}": weight for i, weight in enumerate(weights)}

    def image_name(self, name: str) -> str | None:
        """What a tensor of its state is called in the stem for images alone, of one frame; None
        where that has no such tube. A stem without tubes for images keeps all.
        """
        if isinstance(self.tubes, InterpolatedTubes) or not self.image_tubes:
            return name
        tubes, place, rest = name.split(".", 2)
        places = [str(i) for i in self.image_tubes]
        return f"{tubes}.{places.index(place)}.{rest}" if place in places else None

    def forward(self, x_BTHWC: Tensor, raw: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """The embedded tokens; with `raw` also the tokens alone, which gates take."""
        image = x_BTHWC.shape[1] == 1 < self.shape.frames
        chosen = self.image_tubes if image else range(len(self.config.tubes))
        tokens = torch.cat([self.tubes[i](x_BTHWC) for i in chosen], dim=1)[:, None, None]
        embedded = tokens + (self.image_embedding if image else self.embedding)
        return (embedded, tokens) if raw else embedded
