"""The two methods by which a layer says what it takes of other networks' weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nas.architecture import LAYERS, LayerConfig, Shape
from nas.architecture.edits import replacement
from nas.architecture.layers.full3d import Full3D
from nas.models.image_weights import CheckpointKind
from nas.models.registry import module_class

MAP = Shape(frames=4, height=8, width=8, channels=32)
SOURCES = {f"{module}.{name}" for module in ("cpe1", "norm1", "qkv", "proj", "channel_qkv", "channel_proj", "cpe2")
           for name in ("weight", "bias")}  # fmt: skip
SOURCES |= {f"{module}.{name}" for module in ("norm2", "mlp.0", "mlp.2") for name in ("weight", "bias")}
SOURCES |= {"bias_table"}


def forms(kind: type[LayerConfig]) -> list[LayerConfig]:
    """The layer with its defaults, and with every value of the fields that decide its parts."""
    plain = replacement(kind, Full3D(), MAP)
    found = [plain]
    for field in ("variant", "cpe", "scale", "bias_index"):
        if field in kind.model_fields:
            values: Any = kind.model_fields[field].annotation.__args__  # type: ignore[union-attr]
            found += [kind.model_validate({**plain.model_dump(), "heads": 4, field: value}) for value in values]
    return found


@pytest.mark.parametrize("kind", LAYERS.types(), ids=lambda kind: kind.op_name())
@pytest.mark.parametrize("family", ["ViT", "Swin", "DaViT"])
def test_slots_are_of_parameters_that_the_layer_has_and_of_names_that_image_networks_have(
    kind: type[LayerConfig], family: str
) -> None:
    module: Any = module_class(kind)
    if not hasattr(module, "image_slots"):
        assert kind.op_name() not in ("t2d", "tps", "channel_attention", "factorized")
        return
    for config in forms(kind):
        with torch.device("meta"):
            layer: nn.Module = module(config, MAP, MAP, (1, 1, 1))
        slots = list(module.image_slots(config, MAP, CheckpointKind(family)))
        targets = [slot.target for slot in slots]
        assert len(set(targets)) == len(targets)
        assert set(targets) <= dict(layer.named_parameters()).keys()
        assert {slot.source for slot in slots if slot.source} <= SOURCES


@pytest.mark.parametrize("kind", LAYERS.types(), ids=lambda kind: kind.op_name())
def test_what_does_not_fit_is_not_taken(kind: type[LayerConfig]) -> None:
    layer: Any = module_class(kind)(replacement(kind, Full3D(), MAP), MAP, MAP, (1, 1, 1))
    for module in layer.modules():
        if hasattr(module, "fitted_state"):
            for name, _ in module.named_parameters():
                assert module.fitted_state(name, torch.ones(3, 5, 2)) is None
