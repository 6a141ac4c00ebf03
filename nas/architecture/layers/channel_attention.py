"""Channel attention (DaViT, ECCV 2022)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat

from nas.architecture.layers.base import POSITION_ENCODING, AttentionConfig


class ChannelAttention(AttentionConfig):
    """DaViT's channel block: attention between the channels of a group, over all tokens; `heads` is
    the groups.
    """

    op: Literal["channel_attention"] = "channel_attention"
    scale: Literal["head_dim", "tokens"] = Field(
        default="tokens", description="keys by head_dim^-0.5 (image network), or queries by tokens^-0.5 (video network)"
    )
    cpe: Literal["none", "2d", "3d"] = POSITION_ENCODING
    norm_eps: PositiveFloat = 1e-5
