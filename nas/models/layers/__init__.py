"""One operator, one file: the file is named as the layer's `op` and its `__all__` names the module
class.

A layer class is called as `Layer(config, shape_in, shape_out, stride)` and maps (B, T, H, W, C) to
(B, T', H', W', C').
"""

from __future__ import annotations

from importlib import import_module

from torch import nn

from nas.architecture import LayerConfig, Shape


def build_layer(config: LayerConfig, shape_in: Shape, shape_out: Shape, stride: tuple[int, int, int]) -> nn.Module:
    """Returns the module of a layer."""
    module = import_module(f"{__name__}.{config.op}")
    layer = getattr(module, module.__all__[0])(config, shape_in, shape_out, stride)
    assert isinstance(layer, nn.Module)
    return layer
