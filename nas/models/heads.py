"""Heads: from the last feature map (B, T, H, W, C) to class logits (B, classes)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.architecture import AttentionHead, MeanHead, Shape
from nas.models.common import attend, linear


class MeanPool(nn.Module):
    """Mean over all tokens, LayerNorm before, after or not at all, dropout, linear classifier."""

    def __init__(self, config: MeanHead, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        self.norm_first = config.norm == "before"
        self.norm = nn.Identity() if config.norm == "none" else nn.LayerNorm(shape_in.channels, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = linear(shape_in.channels, shape_out.channels)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        x = self.norm(x_BTHWC) if self.norm_first else x_BTHWC
        x = x.mean(dim=(1, 2, 3))
        logits: Tensor = self.classifier(self.dropout(x if self.norm_first else self.norm(x)))
        return logits


class AttentionPool(nn.Module):
    """LayerNorm, one learned query with a softmax over all tokens, dropout, linear classifier (TubeViT)."""

    def __init__(self, config: AttentionHead, shape_in: Shape, shape_out: Shape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape_in.channels, eps=1e-6)
        self.query = nn.Parameter(torch.empty(1, 1, shape_in.channels))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = linear(shape_in.channels, shape_out.channels)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        tokens = self.norm(x_BTHWC).flatten(1, 3)
        query = self.query.expand(len(tokens), -1, -1)
        logits: Tensor = self.classifier(self.dropout(attend(query, tokens, tokens, heads=1)[:, 0]))
        return logits


HEADS = {MeanHead: MeanPool, AttentionHead: AttentionPool}
