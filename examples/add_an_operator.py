"""An operator in one file, searched, priced, profiled, exported: add_an_operator.py FOLDER"""

import sys
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

import nas
from nas.architecture import LayerConfig, Shape
from nas.architecture.fields import Odd
from nas.models.convolution import BatchNorm, Conv


class TemporalConv(LayerConfig):
    strides_allowed: ClassVar[bool] = True
    op: Literal["temporal_conv"] = "temporal_conv"
    temporal_kernel: Odd = 3


class TemporalConvBlock(nn.Module):
    """Depthwise convolution over time, BN, ReLU, pointwise convolution, plus the input."""

    def __init__(self, config: TemporalConv, shape_in: Shape, shape_out: Shape, stride: tuple[int, int, int]) -> None:
        super().__init__()
        c_in, c_out = shape_in.channels, shape_out.channels
        self.time = Conv(c_in, c_in, (config.temporal_kernel, 1, 1), stride, groups=c_in)
        self.norm, self.point = BatchNorm(c_in), Conv(c_in, c_out)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        y: Tensor = self.point(self.norm(self.time(x_BTHWC)).relu())
        return x_BTHWC + y if x_BTHWC.shape == y.shape else y


nas.register_operator(TemporalConv, TemporalConvBlock)

SPACE = """
input: {frames: 4, size: 32}
stem: {op: conv, kernel: [1, 3, 3]}
stages: [{width: {choice: [8, 16]}, layers: [{choice: [
  {op: full3d}, {op: temporal_conv, temporal_kernel: {choice: [3, 5]}}]}]}]
"""


def main(folder: Path, **settings: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "space.yaml").write_text(SPACE)
    run = nas.search(folder / "space.yaml", "20mflops", out=folder / "run", **settings)
    best = run.pick("accuracy")
    print(best.operators, nas.cost(best).macs, nas.measure(best, max_seconds=0.2).latency_ms.median)
    best.save(folder / "best.yaml")
    clip = torch.rand(1, 3, *best.input.shape.extent)
    torch.export.save(torch.export.export(nas.build(best).eval(), (clip,)), folder / "best.pt2")


if __name__ == "__main__":
    made = Path(sys.argv[1]) if len(sys.argv) == 2 else sys.exit("usage: add_an_operator.py FOLDER, which is made")
    main(made, trials=4, train_clips=48, val_clips=24)
