"""Networks of transformers, built from their configurations: closed forms, whatever the
implementation of attention.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from real_passes import real_pass
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

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


SMALL: dict[str, Any] = {"num_hidden_layers": 2, "hidden_size": 24}
VIT = SMALL | {"num_attention_heads": 3, "intermediate_size": 32, "image_size": 16}
PREDICTOR = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
JEPA = SMALL | PREDICTOR | {"num_attention_heads": 2, "crop_size": 16, "patch_size": 8, "frames_per_clip": 4}
PRISM = {"num_frames": 4, "tubelet_size": [1, 8, 8], "num_spatial_layers": 1, "num_temporal_layers": 1}
# Model, configuration, its options, implementations of attention that it has.
MODELS: dict[str, tuple[str, str, dict[str, Any], tuple[str, ...]]] = {
    "videomae": (
        "VideoMAEForVideoClassification",
        "VideoMAE",
        VIT | {"patch_size": 8, "num_frames": 4},
        ("sdpa", "flex"),
    ),
    "vivit": ("VivitModel", "Vivit", VIT | {"num_frames": 4, "tubelet_size": [2, 8, 8]}, ("sdpa", "flex")),
    **{
        kind: ("TimesformerModel", "Timesformer", VIT | {"patch_size": 8, "num_frames": 4, "attention_type": kind}, ())
        for kind in ("divided_space_time", "joint_space_time", "space_only")
    },
    "vjepa2": ("VJEPA2Model", "VJEPA2", JEPA, ("sdpa",)),
    "vjepa2 classifier": ("VJEPA2ForVideoClassification", "VJEPA2", JEPA | {"num_pooler_layers": 1}, ("sdpa",)),
    "videoprism": ("VideoPrismVisionModel", "VideoPrismVision", VIT | PRISM, ("flex",)),
}


class First(nn.Module):
    """The tensor of a model's output that a loss would read."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clip: Tensor) -> Tensor:
        out: Tensor = self.model(clip)[0]
        return out


@pytest.mark.parametrize(
    ("name", "attention"), [(name, how) for name, (*_, more) in MODELS.items() for how in ("eager", *more)]
)
def test_small_video_models_cost_what_a_real_pass_does(name: str, attention: str) -> None:
    """Whatever the implementation of attention; torch runs flex attention on a CPU compiled and
    forward only, so that one stands beside the model with eager attention.
    """
    model, family, options, _ = MODELS[name]
    torch.manual_seed(0)

    def build(how: str) -> nn.Module:
        config = getattr(transformers, f"{family}Config")(**options)
        config._attn_implementation = how
        return First(getattr(transformers, model)(config))

    clip = torch.randn(1, 4, 3, 16, 16)
    flex = attention == "flex"
    figures = cost(build("flex_attention" if flex else attention), clip)
    net = build("eager" if flex else attention)
    with torch.no_grad(), sdpa_kernel([SDPBackend.MATH]), FlopCounterMode(display=False) as counter:
        net.eval()(clip)
    assert (2 * figures.macs, figures.unknown) == (counter.get_total_flops(), {})
    if not flex:
        assert figures.activation_bytes == real_pass(net, clip, training=True)[1]


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
