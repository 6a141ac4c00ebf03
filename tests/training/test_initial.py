"""How a network begins that no checkpoint fills."""

import pytest
import torch

from nas.architecture import Architecture
from nas.models.network import build
from nas.training.initial import draw_anew

NETWORK = {
    "input": {"frames": 4, "size": 8},
    "stem": {"op": "patch", "size": [1, 4, 4], "position": "joint"},
    "stages": [{"width": 64, "layers": [{"op": "factorized", "heads": 2, "mlp_ratio": 4}]}],
}


def test_linear_layers_of_blocks_are_drawn_by_what_they_read_and_positions_beside_tokens() -> None:
    """Of 64 and of 256 inputs; TimeSformer's layer behind the attention over time stays zero."""
    torch.manual_seed(0)
    model = build(Architecture.parse(NETWORK))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    draw_anew(model, 2.0)
    after, block = model.state_dict(), "parts.stages_0_layers_0"
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    qkv = {f"{block}.attention.{branch}.weight" for branch in ("0.0.qkv", "0.0.proj", "1.qkv", "1.proj")}
    assert changed == qkv | {f"{block}.mlp.0.weight", f"{block}.mlp.2.weight", "parts.stem.positions.0"}
    assert after["parts.stem.positions.0"].std().item() == pytest.approx(1.0, rel=0.1)  # 1,024 of them
    assert after[f"{block}.mlp.0.weight"].std().item() == pytest.approx(2 / 8, rel=0.02)
    assert after[f"{block}.mlp.2.weight"].std().item() == pytest.approx(2 / 16, rel=0.02)
    assert not after[f"{block}.attention.0.1.weight"].any()
