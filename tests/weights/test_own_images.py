"""Networks of this package that were trained on images are image networks for those of video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from image_checkpoints import EXACT, FRAMES, TUBES, architecture, davit_architecture, error, features, image, still
from safetensors.torch import save_file

import nas
from nas.architecture import Architecture
from nas.models.network import Network
from nas.weights.fill import fill_from

BLOCK = {"heads": 3, "mlp_ratio": 2, "norm_eps": 1e-5}
STEM = {"op": "patch", "size": [1, 8, 8], "position": "spatial"}


def vit(layer: dict[str, Any], frames: int = FRAMES, tube: bool = False) -> Architecture:
    """Two layers of width 48 on patches of 8x8, or on tubes."""
    stem = {"op": "tube", "tubes": TUBES} if tube else STEM
    stages = [{"width": 48, "layers": [BLOCK | layer] * 2}]
    head = {"op": "mean", "norm_eps": 1e-5}
    made: Architecture = architecture(stem, stages, head, input={"frames": frames, "size": 32})
    return made


SPACE = {"op": "factorized", "variant": "space"}


def trained_on_images(folder: Path, made: Architecture) -> Network:
    """A network of one frame with weights that all matter, in a folder as `nas train` writes it."""
    network = nas.build(made)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.normal_(std=0.2, generator=generator)
    folder.mkdir(exist_ok=True)
    made.save(folder / "architecture.yaml")
    save_file(network.state_dict(), folder / "model.safetensors")
    return network


def test_a_still_clip_gives_what_the_image_network_gave(tmp_path: Path) -> None:
    """Of every operator that adds nothing at its start; the whole map is one window of TPS, whose
    position biases, which a ViT has not, are zero."""
    images = trained_on_images(tmp_path, vit(SPACE, 1))
    expected = features(images, image()[:, :, None])
    for layer in (
        {"op": "t2d"},
        {"op": "tps", "window": 4},
        {"op": "factorized", "variant": "divided"},
        {"op": "factorized", "variant": "self_attention"},
    ):
        network = nas.build(vit(layer))
        filled = fill_from(network, tmp_path)
        assert filled.kind == "ViT with the names of this package" and not [n for n in filled.left if "stages" in n]
        assert error(features(network, still(image())), expected) < EXACT


def test_tubes_take_the_patches_of_an_image_network(tmp_path: Path) -> None:
    images = trained_on_images(tmp_path, vit(SPACE, 1))
    network = nas.build(vit({"op": "factorized", "variant": "joint"}, tube=True))
    filled = fill_from(network, tmp_path)
    patches = images.state_dict()["parts.stem.proj.weight"]
    assert torch.equal(network.state_dict()["parts.stem.tubes.1.conv.weight"], patches)
    assert "parts.stem.positions.0" in filled.left and "parts.stem.tubes.0.conv.weight" in filled.new


def test_layers_of_two_kinds_with_position_encodings_find_their_places(tmp_path: Path) -> None:
    images = trained_on_images(tmp_path, davit_architecture(frames=1))
    network = nas.build(davit_architecture())
    filled = fill_from(network, tmp_path)
    assert filled.kind == "DaViT with the names of this package"
    name = "parts.stages_1_layers_1.qkv.weight"  # of channel attention
    found, given = (model.state_dict()[name].chunk(3) for model in (network, images))
    assert torch.equal(found[0], given[0]) and torch.equal(found[1], given[1] / 2)  # of twice as many tokens
    encoding = "parts.stages_0_layers_0.cpe1.planes.0.weight"
    assert torch.equal(network.state_dict()[encoding], images.state_dict()[encoding])


def test_a_network_of_one_frame_takes_all_of_the_weights_as_before(tmp_path: Path) -> None:
    images = trained_on_images(tmp_path, vit(SPACE, 1))
    again = nas.build(vit(SPACE, 1))
    assert fill_from(again, tmp_path).kind == "a network of this package"
    assert all(torch.equal(again.state_dict()[name], value) for name, value in images.state_dict().items())


def test_layers_of_another_form_are_refused(tmp_path: Path) -> None:
    trained_on_images(tmp_path, davit_architecture("tokens", frames=1))
    with pytest.raises(nas.NasError, match="of another form than image networks; allowed: layers that compute what"):
        fill_from(nas.build(davit_architecture()), tmp_path)


def test_what_is_missing_or_no_square_is_refused(tmp_path: Path) -> None:
    images = trained_on_images(tmp_path, vit(SPACE, 1))
    state = images.state_dict()
    del state["parts.stages_0_layers_1.norm.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(nas.NasError, match=r"has no 'parts.stages_0_layers_1.norm.bias'; allowed: the weights of t"):
        fill_from(nas.build(vit({"op": "t2d"})), tmp_path)
    wide = vit(SPACE, 1).resized(1, (16, 32))
    trained_on_images(tmp_path, wide)
    with pytest.raises(nas.NasError, match=r"positions of \[1, 2, 4\] frames, rows and columns; allowed: those of a"):
        fill_from(nas.build(vit({"op": "t2d"})), tmp_path)
