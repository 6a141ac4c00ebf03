"""Layers: from a map to a map of the same or a strided extent. One file for each operator, without
torch, named as its `op`; `nas.models.layers` holds the module of each under the same file name.

A new operator is a file here, a file there and a test: nothing else names it.
"""

from __future__ import annotations

from typing import Annotated

from nas.architecture.layers.base import AttentionConfig, LayerConfig
from nas.architecture.registry import Registry

# Runs number the operators of a neighbourhood in this order, which is kept for those that exist
# already; a new operator comes behind them.
_FIRST = (
    "t2d",
    "tps",
    "channel_attention",
    "factorized",
    "sparse_tube",
    "d2plus1d",
    "joint_filter",
    "full3d",
    "r2plus1d",
    "x3d",
)
LAYERS = Registry(LayerConfig, __name__, _FIRST)
Layer = Annotated[LayerConfig, LAYERS]

__all__ = ["LAYERS", "AttentionConfig", "Layer", "LayerConfig"]
