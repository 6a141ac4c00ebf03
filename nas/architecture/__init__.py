"""The language of architecture files: the types in which every network is written, without torch.

Here are shapes, fields, the types of stems, layers, downsamplings and heads, the registries that
find them, the document and its edits. Nothing here builds, prices or searches a network.
"""

from __future__ import annotations

from nas.architecture.document import Architecture, Input, Part, Stage, check_layer, load
from nas.architecture.downsamples import (
    DOWNSAMPLES,
    ConvDownsample,
    DownsampleConfig,
    FramePool,
    InLayerDownsample,
    MergeDownsample,
)
from nas.architecture.fields import Config, Operator, Tube
from nas.architecture.heads import HEADS, AttentionHead, ClassTokenHead, ConvHead, HeadConfig, MeanHead, SimilarityHead
from nas.architecture.layers import LAYERS, AttentionConfig, LayerConfig
from nas.architecture.layers.channel_attention import ChannelAttention
from nas.architecture.layers.d2plus1d import D2Plus1D
from nas.architecture.layers.e3d import E3D
from nas.architecture.layers.factorized import Factorized
from nas.architecture.layers.full3d import Full3D
from nas.architecture.layers.joint_filter import JointFilter
from nas.architecture.layers.r2plus1d import R2Plus1D
from nas.architecture.layers.sparse_tube import SparseTube
from nas.architecture.layers.t2d import T2D
from nas.architecture.layers.tps import TPS
from nas.architecture.layers.x3d import X3D
from nas.architecture.messages import ArchitectureError
from nas.architecture.registry import register_operator
from nas.architecture.shape import UNIT_STRIDE, Shape
from nas.architecture.stems import STEMS, StemConfig
from nas.architecture.stems.conv import ConvStem
from nas.architecture.stems.patch import PatchStem
from nas.architecture.stems.tube import StemTube, TubeStem

__all__ = [
    "DOWNSAMPLES",
    "E3D",
    "HEADS",
    "LAYERS",
    "STEMS",
    "T2D",
    "TPS",
    "UNIT_STRIDE",
    "X3D",
    "Architecture",
    "ArchitectureError",
    "AttentionConfig",
    "AttentionHead",
    "ChannelAttention",
    "ClassTokenHead",
    "Config",
    "ConvDownsample",
    "ConvHead",
    "ConvStem",
    "D2Plus1D",
    "DownsampleConfig",
    "Factorized",
    "FramePool",
    "Full3D",
    "HeadConfig",
    "InLayerDownsample",
    "Input",
    "JointFilter",
    "LayerConfig",
    "MeanHead",
    "MergeDownsample",
    "Operator",
    "Part",
    "PatchStem",
    "R2Plus1D",
    "Shape",
    "SimilarityHead",
    "SparseTube",
    "Stage",
    "StemConfig",
    "StemTube",
    "Tube",
    "TubeStem",
    "check_layer",
    "load",
    "register_operator",
]
