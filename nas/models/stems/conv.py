"""A stem of convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from nas.architecture.shape import Shape
from nas.architecture.stems.conv import ConvStem
from nas.models.convolution import BatchNorm, Conv
from nas.models.registry import implements


@implements(ConvStem)
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

    def kernels(self) -> dict[str, Tensor]:
        """What is drawn of it: its first convolution."""
        return {"kernels": self.conv.weight}

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y: Tensor = self.norm(self.time(self.conv(x_BTHWC.contiguous())))
        return y
