"""A stem of patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.architecture.fields import Triple
from nas.architecture.shape import Shape
from nas.architecture.stems.patch import PatchStem
from nas.models.convolution import tube_conv
from nas.models.image_weights import precise, resize_positions, with_shape
from nas.models.registry import implements
from nas.models.tokens import ClassToken


@implements(PatchStem)
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

    def fitted_state(self, name: str, value: Tensor) -> Tensor | None:
        """Positions of other frames or size, interpolated; see `nas.models.image_weights`."""
        if not name.startswith("positions."):
            return None
        position = self.get_parameter(name)
        return with_shape(resize_positions(precise(value), position.shape), position)

    def kernels(self) -> dict[str, Tensor]:
        """What is drawn of it: the projection of a patch."""
        return {"patches": self.proj.weight}

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y: Tensor = self.proj(x_BTHWC.contiguous())
        for position in self.positions:
            y = y + position
        y = self.norm(self.token(y))
        return y
