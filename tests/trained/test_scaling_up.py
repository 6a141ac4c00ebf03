"""A small network's tubes in a large image network, as `nas train --init --tubes` puts them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nas.architecture import Architecture
from nas.errors import NasError
from nas.trained.plan import Plan
from nas.trained.train import Session, train

PATCHES = {"op": "patch", "size": [1, 4, 4], "position": "spatial"}


def silent(text: str) -> None:
    pass


def network(width: int, stem: dict[str, Any], frames: int, *gates: bool) -> Architecture:
    variant = "space" if frames == 1 else "joint"
    layers = [{"op": "factorized", "variant": variant, "heads": 1, "stem_gate": gate} for gate in gates]
    return Architecture.parse(
        {"input": {"frames": frames, "size": 8}, "stem": stem, "stages": [{"width": width, "layers": layers}]}
    )


def tubes(factor: int) -> dict[str, Any]:
    first = {"kernel": [2, 4, 4], "stride": [2, 4, 4], "space_to_depth": [factor, 1, 1]}
    return {"op": "tube", "tubes": [first, {"kernel": [1, 4, 4], "stride": [2, 4, 4]}]}


LARGE = network(12, tubes(2), 2, False, True)


def weights(plan: Plan) -> dict[str, torch.Tensor]:
    return load_file(Path(plan.settings.out) / "last" / "model.safetensors")


@pytest.fixture
def begun(plan: Callable[..., Plan]) -> tuple[Plan, Plan]:
    """A ViT of width 12 that was trained on images, and a network of tubes of width 6."""
    made = (
        plan("vit", network(12, PATCHES, 1, False, False), epochs=1),
        plan("small", network(6, tubes(1), 2, False), epochs=1),
    )
    for each in made:
        train(each, say=silent)
    return made


def test_tubes_are_taken_and_layers_before_the_gate_stay(begun: tuple[Plan, Plan], plan: Callable[..., Plan]) -> None:
    """Half the channels at half the stride in time: the kernel of 6 channels is the small one's;
    that of single frames has 12, and is the ViT's. Before the first step the gate is closed.
    """
    vit, small = begun
    large = plan("large", LARGE, epochs=1, init=vit.settings.out, tubes=small.settings.out)
    assert "tubes as given; layers before stages.0.layers.1 stay as --init fills them" in large.reasons
    session = Session(large, Path(large.settings.out), silent)
    state = session.model.state_dict()
    first, second = (f"parts.stem.tubes.{i}.conv.weight" for i in (0, 1))
    assert torch.equal(state[first], weights(small)[first]) and state[first].shape[0] == 6
    assert torch.equal(state[second], weights(vit)["parts.stem.proj.weight"])
    assert first not in session.new and "parts.stages_0_layers_1.gate" in session.new
    train(large, say=silent)
    before, after = weights(vit), weights(large)
    fixed = [name for name in after if name.startswith("parts.stages_0_layers_0.")]
    assert fixed and all(torch.equal(after[name], before[name]) for name in fixed)
    assert after["parts.stages_0_layers_1.gate"] != 0 and not torch.equal(after[first], state[first])


def test_what_is_refused(begun: tuple[Plan, Plan], plan: Callable[..., Plan]) -> None:
    vit, small = (each.settings.out for each in begun)
    with pytest.raises(NasError, match="small' enter a network of which layers are fixed; allowed: --tubes beside --i"):
        plan("large", LARGE, tubes=small)
    with pytest.raises(
        NasError, match="by layers with 'stem_gate', of which it has none; allowed: stem_gate: true in the"
    ):
        plan("large", network(12, tubes(2), 2, False, False), init=vit, tubes=small)
    with pytest.raises(NasError, match="checkpoint '/nothing' is no file; allowed: "):
        plan("large", LARGE, init=vit, tubes="/nothing")
    with pytest.raises(NasError, match=r"vit/model.safetensors' has none; allowed: the folder of a network with a ste"):
        plan("large", LARGE, init=vit, tubes=vit)
