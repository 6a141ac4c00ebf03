"""One encoder with a head for clips and one for images."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import nas
from nas.architecture import Architecture
from nas.models.network import Network
from nas.models.two_heads import TwoHeads

TUBES = [
    {"kernel": [2, 4, 4], "stride": [2, 8, 8]},
    {"kernel": [1, 8, 8], "stride": [4, 8, 8]},
    {"kernel": [1, 4, 4], "stride": [4, 16, 16], "offset": [1, 0, 0]},
]
JOINT = {"op": "factorized", "variant": "joint", "heads": 2}
TUBEVIT = {"stem": {"op": "tube", "tubes": TUBES}, "stages": [{"width": 12, "layers": [JOINT]}]}
PATCHES = {"stem": {"op": "patch", "size": [1, 8, 8]}, "stages": [{"width": 12, "layers": [{"op": "t2d", "heads": 2}]}]}
CONVOLUTIONS = {
    "stem": {"op": "conv", "kernel": [3, 3, 3], "stride": [1, 4, 4]},
    "stages": [
        {"width": 8, "layers": [{"op": "full3d"}, {"op": "r2plus1d"}]},
        {
            "width": 8,
            "downsample": {"op": "conv", "stride": [2, 2, 2]},
            "layers": [{"op": "joint_filter"}, {"op": "d2plus1d"}],
        },
    ],
}


def network(parts: dict[str, Any], head: str = "mean") -> Network:
    torch.manual_seed(0)
    return nas.build(
        Architecture.parse({"input": {"frames": 4, "size": 16}, "num_classes": 3, "head": {"op": head}} | parts)
    )


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 1, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("parts", [TUBEVIT, PATCHES, CONVOLUTIONS])
def test_each_task_has_the_encoder_and_its_own_head(parts: dict[str, Any], image: bool) -> None:
    """Gradients of one task reach no parameter of the other's head; those of images no tube that
    has an extent in time or begins after the first frame."""
    model = TwoHeads(network(parts), 5)
    clips = images().repeat(1, 1, 1 if image else 4, 1, 1)
    logits = model(clips, image=True) if image else model(clips)
    assert logits.shape == (2, 5 if image else 3)
    logits.square().sum().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    other = [name for name, _ in model.named_parameters() if name.startswith("parts.head" if image else "image_head")]
    expected = {*other}
    if image and parts is TUBEVIT:
        expected |= {f"parts.stem.tubes.{i}.conv.{kind}" for i in (0, 2) for kind in ("weight", "bias")}
    assert without == expected and other


@pytest.mark.parametrize(("parts", "frames"), [(TUBEVIT, 1), (PATCHES, 4), (CONVOLUTIONS, 1)])
def test_the_network_for_images_stands_alone(parts: dict[str, Any], frames: int) -> None:
    """Of one frame where a network takes single ones, else it sees the image in all frames."""
    model = TwoHeads(network(parts), 5).eval()
    alone = nas.build(model.image_architecture).eval()
    alone.load_state_dict(model.image_state())
    assert alone.architecture.input.frames == frames
    torch.testing.assert_close(alone(images().repeat(1, 1, frames, 1, 1)), model(images(), image=True))
    whole = nas.build(model.architecture).eval()
    whole.load_state_dict(model.clip_state())
    clips = torch.randn(2, 3, 4, 16, 16)
    torch.testing.assert_close(whole(clips), model(clips))


def test_shared_kernels_of_tubes_are_those_of_images() -> None:
    tubes = {"op": "tube", "interpolated": True, "tubes": TUBES[:2]}
    model = TwoHeads(network(TUBEVIT | {"stem": tubes}, "attention"), 5).eval()
    alone = nas.build(model.image_architecture).eval()
    alone.load_state_dict(model.image_state())
    torch.testing.assert_close(alone(images()), model(images(), image=True))


def test_a_repeated_image_has_the_features_of_the_clip_that_shows_it() -> None:
    """With equal heads both tasks give equal logits."""
    model = TwoHeads(network(PATCHES), 3).eval()
    model.image_head.load_state_dict(model.parts["head"].state_dict())
    torch.testing.assert_close(model(images(), image=True), model(images().repeat(1, 1, 4, 1, 1)))


def test_vectors_of_classes_are_refused() -> None:
    with pytest.raises(nas.NasError, match="head 'similarity' scores vectors of classes, of which images have none; a"):
        TwoHeads(network(PATCHES, "similarity"), 5)
