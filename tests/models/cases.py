"""What the tests of operators share: a piece of a network with its shapes, and the pieces to test.

An operator's own file, `layers/test_<op>.py`, may define lists that the tests of all operators
gather:

    CASES         pieces that train, autocast, compile, export, save; without them `default_cases`
    CLOSED_FORMS  (config, multiply-adds, parameters) on the 5x5x7 map of 32 channels below
    STRIDED_MACS  (config, multiply-adds) from that map at stride 2 to 3x3x4 cells of 48 channels
    COPIES        (config, sizes of the copies of maps in one forward pass, in maps)
    EXPORTED      further pieces that ONNX Runtime computes

So a new operator is tested without any list being edited.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from nas.architecture import LAYERS, Config, DownsampleConfig, HeadConfig, LayerConfig, Part, Shape, StemConfig, Tube
from nas.models.network import build_part
from nas.models.testing import example_parts

CLIP = Shape(3, 15, 21, 3)
MAP = Shape(3, 5, 7, 32)
CLIP_TOKEN, FRAME_TOKENS = (Shape(3, 5, 7, 32, class_tokens=kind) for kind in ("clip", "frame"))
TOKENS = Shape(1, 1, 11, 32, grid=False)
STRIDED: dict[str, Any] = {"width": 48, "stride": (2, 2, 2)}
TUBES = (Tube(kernel=(2, 2, 2), stride=(2, 2, 2)), Tube(kernel=(3, 1, 1), stride=(3, 2, 2), offset=(0, 1, 1)))

# The map of closed forms: D channels, N = T H W cells. Of a transformer block the LayerNorms, qkv,
# projection and an MLP of ratio 4, of which only the weights multiply.
D, N, T, H, W = 32, 5 * 5 * 7, 5, 5, 7
BLOCK, BLOCK_PARAMS = 12 * D * D * N, 12 * D * D + 13 * D
ATTENTION, NORM = 4 * D * D + 4 * D, 2 * D  # parameters of qkv with projection, and of a norm
SPACE, PLANES = 2 * N * D * H * W, 2 * N * D * (T * H + T * W)
W3 = 5 * 6 * 9  # cells of the map padded to windows of 3x3
# Stride 2 to 3x3x4 cells of E channels, with a pointwise convolution in the shortcut.
N2, E = 3 * 3 * 4, 48
SHORT = D * E * N2


@dataclass(frozen=True)
class Case:
    """A piece of a network and the shape that it reads."""

    config: Config
    input: Shape = MAP
    width: int = 32
    stride: tuple[int, int, int] = (1, 1, 1)

    @property
    def part(self) -> Part:
        config: Any = self.config
        if isinstance(config, LayerConfig):
            output = self.input.strided(self.stride, self.width)
            config.check(output, "layer")
        elif isinstance(config, HeadConfig):
            config.check(self.input, "head")
            output = Shape(1, 1, 1, 7, grid=False)
        else:
            output = config.output(self.input, self.width, "part")
        return Part("part", config, self.input, output, self.stride)

    @property
    def output_shape(self) -> tuple[int, ...]:
        output = self.part.output
        return (2, 7) if isinstance(self.config, HeadConfig) else (2, *output.stored, output.channels)

    def build(self, seed: int = 0) -> nn.Module:
        """The module, its parameters moved so that no zero or one of the initialisation hides a
        term.
        """
        torch.manual_seed(seed)
        module = build_part(self.part)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return module

    def inputs(self) -> tuple[Tensor, ...]:
        """What the network hands over: to the stem a view of (B, 3, T, H, W), to a stem gate two
        maps.
        """
        generator = torch.Generator().manual_seed(1)
        count = 2 if isinstance(self.config, LayerConfig) and self.config.adds_stem_tokens else 1
        if self.input.channels == 3:
            return (torch.randn(2, 3, *self.input.extent, generator=generator).permute(0, 2, 3, 4, 1),)
        size = (2, *self.input.stored, self.input.channels)
        return tuple(torch.randn(size, generator=generator) for _ in range(count))

    def __str__(self) -> str:
        values = self.config.model_dump(exclude_defaults=True, exclude={"heads", "tubes", "inner_width"}, mode="json")
        words = [f"{key}={value}" for key, value in values.items()]
        words += [self.input.class_tokens] * (self.input.class_tokens != "none") + ["strided"] * (self.stride[1] > 1)
        words += ["tokens"] * (not self.input.grid)
        return "-".join([str(type(self.config).model_fields["op"].default), *words]).replace(" ", "")


def default_cases(kind: type[Config]) -> Iterator[Case]:
    """The pieces that a type is tested as when nothing says more: on every kind of map that it may
    stand on.
    """
    if issubclass(kind, LayerConfig):
        for part in example_parts(kind):
            yield Case(part.config, part.input, part.output.channels, part.stride)
    elif issubclass(kind, StemConfig):
        yield Case(kind.model_validate({}).fitted(CLIP), CLIP)
    elif issubclass(kind, DownsampleConfig):
        yield Case(kind.model_validate({"stride": (2, 2, 2)} if "stride" in kind.model_fields else {}), width=48)
    else:
        yield Case(kind())


@cache
def _file_of(op: str) -> ModuleType | None:
    path = Path(__file__).with_name("layers") / f"test_{op}.py"
    spec = importlib.util.spec_from_file_location(f"cases_of_{op}", path)
    if not path.exists() or spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def gathered(name: str) -> list[Any]:
    """A list that operators' own files define, of all operators in order."""
    return [entry for op in LAYERS.names() for entry in getattr(_file_of(op), name, ())]


def layer_cases() -> list[Case]:
    """The pieces of every operator: those of its own file, or the default ones."""
    return [case for kind in LAYERS.types() for case in getattr(_file_of(kind.op_name()), "CASES", default_cases(kind))]
