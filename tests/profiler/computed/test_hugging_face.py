"""Networks of transformers, built from their configurations: closed forms, whatever the
implementation of attention.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from nas.profiler.computed.cost import cost

# Network, clip, multiply-adds.
NETWORKS = {
    "Timesformer": ((1, 8, 3, 224, 224), 195_829_972_992),
    "Vivit": ((1, 32, 3, 224, 224), 451_525_036_032),
    "VideoMAE": ((1, 16, 3, 224, 224), 180_344_586_240),
}


def build(name: str, attention: str, **options: Any) -> torch.nn.Module:
    config = getattr(transformers, f"{name}Config")(**options)
    config._attn_implementation = attention
    model: torch.nn.Module = getattr(transformers, f"{name}Model")(config)
    return model


@pytest.mark.parametrize(
    ("name", "attention"),
    [("Timesformer", "eager"), *((name, how) for name in ("Vivit", "VideoMAE") for how in ("sdpa", "eager"))],
)
def test_published_networks_count_their_closed_form(name: str, attention: str) -> None:
    shape, macs = NETWORKS[name]
    with torch.device("meta"):
        model, clip = build(name, attention), torch.empty(shape)
    figures = cost(model.eval(), clip)
    assert (figures.macs, figures.unknown) == (macs, {})
    assert cost(model.train(), clip).macs == macs


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_what_is_kept_for_backward_is_what_a_real_pass_keeps(attention: str) -> None:
    model = build("VideoMAE", attention, num_hidden_layers=2, hidden_size=48, num_attention_heads=3, image_size=64)
    clip = torch.randn(1, 16, 3, 64, 64)
    own = {x.untyped_storage()._cdata for x in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        out = model.train()(clip)
    assert out.last_hidden_state.requires_grad
    assert cost(model, clip).activation_bytes == sum(storage.nbytes() for storage in kept.values())


def test_a_mask_as_input_decides_which_tokens_are_counted() -> None:
    """Of 1568 tokens of 64 numbers 168 enter the encoder; the decoder sees all of them."""
    config = transformers.VideoMAEConfig(num_hidden_layers=1, decoder_num_hidden_layers=0)
    with torch.device("meta"):
        model = transformers.VideoMAEForPreTraining(config)
    mask = torch.zeros(1, 1568, dtype=torch.bool)
    mask[:, :1400] = True
    figures = cost(model, torch.empty(1, 16, 3, 224, 224, device="meta"), bool_masked_pos=mask)
    encoder = sum(row.macs for row in figures.layers if ".encoder." in row.path)
    assert encoder == 12 * 168 * 768**2 + 2 * 168**2 * 768
