"""Sparse tubes as a layer: every cell attends to the tokens of a few strided convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from cases import BLOCK_PARAMS, TUBES, Case, D, N
from torch import Tensor

from nas.architecture import LayerConfig, SparseTube, Tube
from nas.models.tokens import centre_embedding

Make = Callable[..., Any]
CASES = (Case(SparseTube(heads=2, tubes=TUBES)),)
CLOSED_FORMS = (
    (
        # 18 tube tokens: their convolutions, q and projection of all cells, k and v of the tokens,
        # QK and AV, the MLP.
        SparseTube(heads=2, tubes=TUBES),
        D * D * (12 * 8 + 6 * 3) + 10 * D * D * N + 2 * D * D * 18 + 2 * N * 18 * D,
        BLOCK_PARAMS + (8 + 3) * D * D + 2 * D,
    ),
)
COPIES: tuple[tuple[LayerConfig, list[float]], ...] = ((SparseTube(heads=2, tubes=TUBES), []),)


def test_against_a_loop_over_tubes(make_layer: Make, x: Tensor) -> None:
    """Tokens by hand from the normalised map, keys with the embedding of their centres, values
    without.
    """
    tubes = (
        Tube(kernel=(2, 2, 2), stride=(2, 2, 3)),  # 2 x 3 x 3 tokens of the 5x6x9 map
        Tube(kernel=(3, 1, 1), stride=(3, 2, 4), offset=(1, 1, 0)),  # 1 x 3 x 3
    )
    block = make_layer(SparseTube(heads=2, tubes=tubes))
    n = block.norm1(x)
    tokens, centres = [], []
    for tube, conv in zip(tubes, block.tubes, strict=True):
        (kt, kh, kw), (st, sh, sw), (ot, oh, ow) = tube.kernel, tube.stride, tube.offset
        for t in range(ot, 5 - kt + 1, st):
            for h in range(oh, 6 - kh + 1, sh):
                for w in range(ow, 9 - kw + 1, sw):
                    cells = n[:, t : t + kt, h : h + kh, w : w + kw]
                    tokens.append(torch.einsum("bthwi,oithw->bo", cells, conv.weight) + conv.bias)
                    centres.append([t + kt // 2, h + kh // 2, w + kw // 2])
    assert len(tokens) == 18 + 9
    keys = torch.stack(tokens, 1)
    position = centre_embedding(torch.tensor(centres), 32)
    assert torch.allclose(block.embedding.float(), position)
    q = block.q(n.flatten(1, 3)).unflatten(-1, (2, 16))
    k = block.k(keys + position).unflatten(-1, (2, 16))
    v = block.v(keys).unflatten(-1, (2, 16))
    weights = (torch.einsum("bqnd,bknd->bnqk", q, k) * 16**-0.5).softmax(-1)
    y = x + block.proj(torch.einsum("bnqk,bknd->bqnd", weights, v).flatten(2)).view_as(x)
    assert torch.allclose(block(x), y + block.mlp(block.norm2(y)), atol=1e-12)
