"""Heads: from the last feature map (B, T, H, W, C) to class logits (B, classes)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture.heads import AttentionHead, ClassTokenHead, ConvHead, MeanHead, SimilarityHead
from nas.architecture.shape import Shape
from nas.models.attention import attend
from nas.models.convolution import BatchNorm, Conv
from nas.models.mlp import linear
from nas.models.registry import implements


@implements(MeanHead)
class MeanPool(nn.Module):
    """Mean over all tokens, LayerNorm before, between the mean over space and time, after or not at
    all; linear.
    """

    def __init__(self, config: MeanHead, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        self.where = config.norm
        self.norm = nn.Identity() if config.norm == "none" else nn.LayerNorm(shape_in.channels, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = linear(shape_in.channels, shape_out.channels)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        if self.where == "before":
            x = self.norm(x_BTHWC).mean(dim=(1, 2, 3))
        elif self.where == "frame":
            x = self.norm(x_BTHWC.mean(dim=(2, 3))).mean(dim=1)
        else:
            x = self.norm(x_BTHWC.mean(dim=(1, 2, 3)))
        logits: Tensor = self.classifier(self.dropout(x))
        return logits


@implements(AttentionHead)
class AttentionPool(nn.Module):
    """LayerNorm, one learned query with a softmax over all tokens, dropout, linear classifier
    (TubeViT).
    """

    def __init__(self, config: AttentionHead, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape_in.channels, eps=config.norm_eps)
        self.query = nn.Parameter(torch.empty(1, 1, shape_in.channels))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = linear(shape_in.channels, shape_out.channels)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        tokens = self.norm(x_BTHWC).flatten(1, 3)
        query = self.query.expand(tokens.shape[0], -1, -1)
        logits: Tensor = self.classifier(self.dropout(attend(query, tokens, tokens, heads=1)[:, 0]))
        return logits


@implements(ClassTokenHead)
class ClassTokenPool(nn.Module):
    """LayerNorm of the class token, dropout, linear classifier."""

    def __init__(self, config: ClassTokenHead, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape_in.channels, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = linear(shape_in.channels, shape_out.channels)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.norm(x_BTHWC[:, 0, 0, 0])))
        return logits


class ClassVectors(nn.Module):
    """One vector per class, kept with the network's state and not trained.

    Attributes:
        weight: (classes, D), of any length.
    """

    weight: Tensor

    def __init__(self, dimension: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(classes, dimension))
        nn.init.normal_(self.weight)

    def forward(self, features_BD: Tensor) -> Tensor:
        """The cosine of each feature with each class, (B, classes)."""
        return F.normalize(features_BD, dim=-1) @ F.normalize(self.weight, dim=-1).T


@implements(SimilarityHead)
class SimilarityPool(nn.Module):
    """LayerNorm, mean over all tokens, dropout, projection; exp(scale) times the cosine with the
    vector of each class.

    As in CLIP the scale begins at 1 / 0.07 and is kept at 100 at most.
    """

    def __init__(self, config: SimilarityHead, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape_in.channels, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.projection = nn.Linear(shape_in.channels, config.dimension, bias=False)
        nn.init.normal_(self.projection.weight, std=shape_in.channels**-0.5)
        self.scale = nn.Parameter(torch.full((), math.log(1 / 0.07)))
        self.classifier = ClassVectors(config.dimension, shape_out.channels)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        features = self.projection(self.dropout(self.norm(x_BTHWC).mean(dim=(1, 2, 3))))
        logits: Tensor = self.scale.exp().clamp(max=100) * self.classifier(features)
        return logits


@implements(ConvHead)
class ConvPool(nn.Module):
    """conv, BN, ReLU, mean, linear, ReLU, dropout, linear (X3D, VoV3D).

    In evaluation a map larger than the one it was built for is pooled in windows of that size, one
    cell apart, and the logarithm of the mean class probability over all windows is returned.
    """

    def __init__(self, config: ConvHead, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        self.window = shape_in.extent
        self.conv, self.norm = Conv(shape_in.channels, config.inner_width), BatchNorm(config.inner_width)
        self.project = Conv(config.inner_width, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.width, shape_out.channels)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x_BTHWC)))
        larger = not self.training and x_BTHWC.shape[1:4] != self.window
        if larger:
            x = F.avg_pool3d(x.permute(0, 4, 1, 2, 3), self.window, stride=1).permute(0, 2, 3, 4, 1)
        else:
            x = x.mean(dim=(1, 2, 3), keepdim=True)
        logits: Tensor = self.classifier(self.dropout(F.relu(self.project(x)))).flatten(1, 3)
        if larger:
            return logits.log_softmax(-1).logsumexp(1) - math.log(logits.shape[1])
        return logits[:, 0]
