"""States of networks of this package, filled whole or in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from image_checkpoints import (
    FRAMES,
    T2D,
    TUBES,
    WIDTH,
    architecture,
    checkpoint,
    parts,
    pst_architecture,
    refused,
    vit_architecture,
)
from image_networks import ViT
from torch import nn

import nas
from nas.models.layers.joint_filter import swap_temporal_atoms
from nas.models.network import Network
from nas.weights.fill import fill


def test_a_network_of_this_package_comes_back_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = nas.build(vit_architecture(T2D, {}))
    torch.save({"model": network.state_dict()}, tmp_path / "mine.pt")
    again = nas.build(vit_architecture(T2D, {}), init=tmp_path / "mine.pt")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in again.state_dict().items())
    other = nas.build(vit_architecture(T2D, {}), init=tmp_path / "mine.pt", num_classes=7)
    assert torch.equal(parts(other)["stem"].proj.weight, parts(network)["stem"].proj.weight)
    assert "  new: 2 (parts.head.classifier.weight, parts.head.classifier.bias)" in capsys.readouterr().err


def test_positions_of_this_package_are_interpolated() -> None:
    """Linearly along time, at (t + 1/2) / 2 - 1/2 for twice the frames; bicubically in space."""
    network = nas.build(vit_architecture(T2D, {}))
    longer = nas.build(vit_architecture(T2D, {}), frames=2 * FRAMES, size=64)
    filled = fill(longer, network.state_dict())
    place, frame = (position.detach()[0] for position in parts(network)["stem"].positions)
    assert torch.equal(parts(longer)["stem"].positions[1].detach()[0, 0], frame[0])
    expected = 0.75 * frame[0] + 0.25 * frame[1]
    torch.testing.assert_close(parts(longer)["stem"].positions[1].detach()[0, 1], expected)
    expected = nn.functional.interpolate(place.permute(0, 3, 1, 2), size=(8, 8), mode="bicubic").permute(0, 2, 3, 1)
    torch.testing.assert_close(parts(longer)["stem"].positions[0].detach()[0], expected)
    assert filled.notes == [
        "interpolated to the frames and size of the network: parts.stem.positions.0, parts.stem.positions.1"
    ]


def test_bias_tables_of_this_package_are_interpolated_along_time() -> None:
    """Distances -1, 0, 1 of 2 frames become the -3 to 3 of 4; distance 0 stays, 1 lies at (4.5 3 /
    7) - 1/2 = 1.43.
    """
    network, longer = nas.build(pst_architecture("patch")), nas.build(pst_architecture("patch"), frames=4 * FRAMES)
    filled = fill(longer, network.state_dict())
    name = "stages_1_layers_1"
    old = parts(network)[name].bias_table.detach().view(2 * FRAMES - 1, 49, 6)
    new = parts(longer)[name].bias_table.detach().view(4 * FRAMES - 1, 49, 6)
    torch.testing.assert_close(new[3], old[1])
    torch.testing.assert_close(new[4], old[1] + (4.5 * 3 / 7 - 1.5) * (old[2] - old[1]))
    assert filled.new == [] and "stages_0_layers_0.bias_table" in filled.notes[0]


def test_swapped_atoms_of_this_package_are_filled() -> None:
    layers = [{"op": "joint_filter"}]
    video = architecture({"op": "conv"}, [{"width": 8, "layers": layers}], {"op": "mean"})
    network, fresh = nas.build(video).eval(), nas.build(video).eval()
    swap_temporal_atoms(network, dilation=2)
    fill(fresh, network.state_dict())
    clip = torch.randn(1, 3, FRAMES, 32, 32)
    assert torch.equal(fresh(clip), network(clip))
    message = refused(fresh, network.state_dict() | {"parts.stages_0_layers_0.conv1.temporal_atoms": torch.ones(2, 3)})
    assert "conv1.temporal_atoms' of [2, 3], but the network's is [3, 5]" in message


def test_tubes_of_a_small_network_enter_a_large_image_network() -> None:
    def tube_network(width: int, factor: int) -> Network:
        document = vit_architecture({"op": "factorized", "variant": "joint"}, {}).document()
        tubes = [{"kernel": [2, 4, 4], "stride": [2, 16, 16], "space_to_depth": [factor, 1, 1]}, TUBES[1]]
        document["stages"][0]["width"] = width
        return nas.build(nas.Architecture.parse(document | {"stem": {"op": "tube", "tubes": tubes}}))

    large, small = tube_network(48, 2), tube_network(24, 1)
    image_filled = fill(large, checkpoint(ViT(), "vit timm"))
    assert "parts.stem.tubes.0.conv.weight" in image_filled.new
    assert image_filled.left == ["cls_token", "pos_embed"]
    before = parts(large)["stages_0_layers_0"].mlp[0].weight.clone()
    state = {f"module.{name}": value for name, value in small.state_dict().items()}
    assert "allowed: a checkpoint of the same architecture, or fill(model, state, partial=True)" in refused(
        large, state
    )
    filled = fill(large, state, partial=True)
    assert filled.filled == [f"parts.{name}" for name in ("stem.tubes.0.conv.weight", "stem.tubes.0.conv.bias")] + [
        "parts.head.classifier.bias"
    ]
    assert torch.equal(parts(large)["stem"].tubes[0].conv.weight, parts(small)["stem"].tubes[0].conv.weight)
    assert torch.equal(parts(large)["stages_0_layers_0"].mlp[0].weight, before)


def test_scaling_up_leaves_the_image_network_as_it_is() -> None:
    """Image weights, then the tubes of a smaller network, then gates, all closed, behind the frozen
    layers.
    """

    def tube_network(width: int, factor: int, **layer: Any) -> Network:
        document = vit_architecture({"op": "factorized", "variant": "joint"}, {}).document()
        tubes = [{"kernel": [2, 4, 4], "stride": [2, 16, 16], "space_to_depth": [factor, 1, 1]}, TUBES[1]]
        document["stages"][0]["width"] = width
        document["stages"][0]["layers"][-1] |= layer
        return nas.build(nas.Architecture.parse(document | {"stem": {"op": "tube", "tubes": tubes}})).eval()

    small, plain, gated = tube_network(24, 1), tube_network(48, 2), tube_network(48, 2, stem_gate=True)
    state = checkpoint(ViT(), "vit timm")
    fill(plain, state)
    fill(gated, state)
    gated.load_state_dict({k: v for k, v in plain.state_dict().items() if "head" in k}, strict=False)
    fill(gated, {k: v for k, v in small.state_dict().items() if ".tubes." in k}, partial=True)
    size = plain.architecture.input.size
    image = torch.randn(2, 3, 1, *size)
    assert torch.equal(gated(image), plain(image))
    clip = image.expand(-1, -1, plain.architecture.input.frames, -1, -1)
    assert not torch.equal(gated(clip), plain(clip))


def test_a_network_of_this_package_that_shares_nothing_is_refused() -> None:
    model = nas.build(vit_architecture(T2D, {}))
    with pytest.raises(nas.NasError, match=r"no tensor agrees .* \(first 'parts.stem.conv.weight'\)"):
        fill(model, {"parts.stem.conv.weight": torch.ones(3)}, partial=True)


def test_another_network_of_this_package_is_refused() -> None:
    """42 names: 4 of the stem, 17 in each of 2 blocks, 2 of the norm, 2 of the classifier."""
    model, state = nas.build(vit_architecture(T2D, {})), nas.build(vit_architecture(T2D, {})).state_dict()
    assert len(state) == 4 + 2 * 17 + 2 + 2
    message = refused(model, {name: value for name, value in state.items() if "layers_1" not in name})
    assert message == (
        "weights.pt, a network of this package, lacks 17 of 42 names of the network (first "
        "'parts.stages_0_layers_1.alpha'); allowed: a checkpoint of the same architecture, or fill(model, state, "
        "partial=True)"
    )
    message = refused(model, state | {"parts.stages_0_layers_2.alpha": torch.ones(WIDTH)})
    assert "has 1 names that the network lacks (first 'parts.stages_0_layers_2.alpha'); allowed" in message
    message = refused(model, state | {"parts.stages_0_layers_1.alpha": torch.ones(36)})
    assert "has a 'parts.stages_0_layers_1.alpha' of [36], but the network's is [48]; allowed" in message
    empty = torch.ones(1, 0, 1, 1, WIDTH)
    assert "positions.1' of [1, 0, 1, 1, 48], but" in refused(model, state | {"parts.stem.positions.1": empty})
    message = refused(model, state | {"parts.stem.positions.1": torch.ones(1, 4, 1, 1, 36)})
    assert "has a 'parts.stem.positions.1' of [1, 4, 1, 1, 36], but the network's is [1, 2, 1, 1, 48]" in message


def test_bias_tables_of_another_window_of_this_package_are_refused() -> None:
    state = nas.build(pst_architecture(window=2)).state_dict()
    assert "has a 'parts.stages_0_layers_0.bias_table' of [27, 3]" in refused(nas.build(pst_architecture()), state)
