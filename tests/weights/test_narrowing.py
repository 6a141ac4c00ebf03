"""What of a space image weights can fill, worked out for a ViT of width 48, two layers and an MLP
twice as wide."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_checkpoints import saved, vit_architecture
from image_networks import Swin, ViT

import nas
from nas.space import SearchSpace
from nas.weights.image_start import ImageStart
from nas.weights.narrowing import narrowed

RATIO = {"choice": [2, 4]}
SPACE: dict[str, Any] = {
    "input": {"frames": 4, "size": 32},
    "num_classes": 5,
    "operators": {
        "t2d": {"heads": 3, "mlp_ratio": RATIO, "variant": {"choice": ["shared", "2d"]}},
        "sparse_tube": {"heads": 3, "mlp_ratio": RATIO, "tubes": [{"kernel": [2, 2, 2], "stride": [2, 2, 2]}]},
        "channel_attention": {"heads": 3},
    },
    "stem": {"op": "patch", "size": [1, 8, 8], "norm": {"choice": [False, True]}},
    "stages": [
        {"width": {"choice": [24, 48]}, "layers": {"repeat": {"choice": [1, 2, 3]}, "layer": {"operators": "all"}}}
    ],
    "head": {"op": "mean"},
}


def space(**changes: Any) -> SearchSpace:
    return SearchSpace.from_document(copy.deepcopy(SPACE) | changes, "small")


@pytest.fixture
def start(tmp_path: Path) -> ImageStart:
    return ImageStart.read(saved(ViT(), "vit timm", tmp_path))


def test_of_every_hole_what_can_be_filled_is_left(start: ImageStart) -> None:
    """Tubes begin anew, whatever their MLP; channel attention has weights of a DaViT alone."""
    found = narrowed(space(), start)
    holes = {hole.name: hole.values for hole in found.space.holes}
    layers = {
        f"stages.0.layers.{i}.{name}": values
        for i in (0, 1)
        for name, values in {
            "op": ("t2d", "sparse_tube"),
            "t2d.mlp_ratio": (2,),
            "t2d.variant": ("shared", "2d"),
            "sparse_tube.mlp_ratio": (2, 4),
        }.items()
    }
    assert holes == {"stem.norm": (False, True), "stages.0.width": (48,), "stages.0.layers.repeat": (2,)} | layers
    assert found.left_out["stages.0.width"][24].startswith("image.safetensors, a ViT with the names of timm, has a")
    assert "has no 'stages.0.layers.1.channel_qkv" in found.left_out["stages.0.layers.1.op"]["channel_attention"]
    rng = np.random.default_rng(0)
    drawn = [found.space.decode(found.space.sample_params(rng)) for _ in range(20)]
    for architecture in drawn:
        tubes_alone = set(architecture.operators) == {"sparse_tube"}  # fits layer by layer, but takes nothing
        assert bool(start.misfits(architecture)) == tubes_alone
    start.fill(nas.build(next(each for each in drawn if not start.misfits(each))))


def test_the_narrowed_space_is_a_document(start: ImageStart, tmp_path: Path) -> None:
    found = narrowed(space(), start).space
    found.save(tmp_path / "space.yaml")
    again = SearchSpace.load(tmp_path / "space.yaml").with_classes(7)
    assert again.holes == found.holes and again.size == found.size and again.sample(0).num_classes == 7


def test_a_neighbourhood_keeps_the_edits_that_can_be_filled(start: ImageStart) -> None:
    base = vit_architecture({"op": "t2d"}, {})
    found = narrowed(SearchSpace.around(base, 2), start)
    kept = set(found.space.document["choices"])
    assert {f"stages.0.layers.{i}.op={op}" for i in (0, 1) for op in ("tps", "factorized", "sparse_tube")} <= kept
    assert not [name for name in kept if "width" in name or "depth" in name or "ratio" in name]
    assert "stages.0.depth=1" in found.left_out["edit"]


def test_parts_that_do_not_fit_are_counted(start: ImageStart) -> None:
    assert start.misfits(vit_architecture({"op": "t2d"}, {})) == []
    # One layer too many, which has no counterpart either.
    assert len(start.misfits(vit_architecture({"op": "t2d"}, {}, depth=3))) == 2
    assert len(start.misfits(vit_architecture({"op": "t2d", "mlp_ratio": 4}, {}))) == 2
    reason = start.misfit(vit_architecture({"op": "t2d"}, {}, depth=1))
    assert reason and "has [2] layers per stage, but the network has [1]" in reason


def test_a_space_of_which_nothing_can_be_filled_is_refused(start: ImageStart, tmp_path: Path) -> None:
    stages = [{"width": 24, "layers": [{"op": "t2d", "heads": 3, "mlp_ratio": 2}] * 2}]
    with pytest.raises(nas.NasError, match=r"'image.safetensors' fills no candidate of space 'small': the neare"):
        narrowed(space(stages=stages), start)
    with pytest.raises(nas.NasError, match=r"does not fill the network that is searched around: .* but the net"):
        narrowed(SearchSpace.around(vit_architecture({"op": "t2d"}, {}, depth=3), 2), start)
    conv = [{"width": 8, "layers": [{"op": "full3d"}]}]
    with pytest.raises(nas.NasError, match="no layer of the network has weights of one"):
        narrowed(space(stem={"op": "conv"}, stages=conv), ImageStart.read(saved(Swin(), "swin timm", tmp_path)))


def test_what_is_no_image_network_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    video = vit_architecture({"op": "t2d"}, {})
    video.save(tmp_path / "architecture.yaml")
    save_file(nas.build(video).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(nas.NasError, match="is a network of this package with 2 frames; allowed: weights of an image"):
        ImageStart.read(tmp_path)
    (tmp_path / "architecture.yaml").unlink()
    with pytest.raises(nas.NasError, match=r"with no architecture.yaml beside it; allowed"):
        ImageStart.read(tmp_path)
