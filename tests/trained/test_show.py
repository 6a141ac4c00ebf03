from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nas.architecture import Architecture
from nas.models.network import build
from nas.trained.attribution import explain, gradient_times_input, smoothed_shares
from nas.trained.folder import load_model
from nas.trained.show import draw_attribution, draw_kernels, kernels_of, mosaic


class Linear(nn.Module):
    """Logits (0, sum of weight * clip)."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return torch.stack([clip.sum(dim=(1, 2, 3, 4)) * 0, (self.weight * clip).sum(dim=(1, 2, 3, 4))], 1)


def test_gradient_times_input_of_a_linear_network_adds_up_to_its_logit() -> None:
    torch.manual_seed(0)
    weight, clip = torch.randn(2, 1, 3, 2, 4, 5, dtype=torch.float64)
    network = Linear(weight)
    moved = gradient_times_input(network, clip, 1)
    assert torch.allclose(moved, (weight * clip)[0].sum(0))
    assert moved.sum().item() == pytest.approx(network(clip)[0, 1].item())
    assert not gradient_times_input(network, clip, 0).any()


def test_shares_add_up_to_one_and_are_smoothed() -> None:
    moved = torch.zeros(2, 24, 24)
    moved[1, 10, 10] = -3.0
    shares = smoothed_shares(moved)
    assert shares[0].sum() == 0
    assert shares[1, 9:12, 9:12] == pytest.approx(np.full((3, 3), 1 / 9))
    assert smoothed_shares(torch.zeros(2, 3, 4)) == pytest.approx(np.full((2, 3, 4), 1 / 24))


def test_explanation_of_a_clip(model_folder: Path, clips_folder: Path, tmp_path: Path) -> None:
    model, clip = load_model(model_folder), clips_folder / "val" / "left" / "2.mp4"
    explained = explain(model, clip)
    best = model.predict(clip)
    assert (explained.video, explained.label) == ("left/2.mp4", best.label)
    assert explained.probability == best.probabilities.max()
    assert explained.shares.shape == explained.clip.shape[:3] == (4, 16, 16)
    assert explained.shares.sum() == pytest.approx(1)
    other = next(name for name in model.classes if name != best.label)
    assert explain(model, clip, other).label == other
    assert min(Image.open(draw_attribution(explained, tmp_path)).size) > 300


def test_mosaic_scales_each_kernel_with_zero_in_the_middle() -> None:
    """Two kernels of two frames of 1x2 pixels, one above the other."""
    kernels = torch.zeros(2, 3, 2, 1, 2)
    kernels[0, 0, 0, 0, 0] = 2.0  # red, frame 0
    kernels[0, 2, 1, 0, 1] = -1.0  # blue, frame 1
    kernels[1, :, 1, 0, 0] = -5.0
    sheet = mosaic(kernels)
    assert sheet.shape == (3, 4, 3) or sheet.shape == (1, 9, 3)
    first, second = sheet[0, :4], sheet[-1, -4:]
    assert first[0].tolist() == [1, 0.5, 0.5]
    assert first[3].tolist() == [0.5, 0.5, 0.25]
    assert second[2].tolist() == [0, 0, 0]
    assert second[0].tolist() == [0.5, 0.5, 0.5]


def test_kernels_of_stems_and_atoms(model_folder: Path, tmp_path: Path) -> None:
    model = load_model(model_folder)
    found = kernels_of(model.network)
    assert found["stem"]["kernels"].shape == (8, 3, 3, 5, 5)
    atoms = found["stages_0_layers_0.conv1"]
    assert {title: tuple(weight.shape[1:]) for title, weight in atoms.items()} == {
        "temporal atoms": (1, 3, 1, 1),
        "spatial atoms": (1, 1, 3, 3),
    }
    files = draw_kernels(model.network, tmp_path)
    assert [path.name for path in files][:2] == ["kernels_stem.png", "kernels_stages_0_layers_0_conv1.png"]
    assert all(min(Image.open(path).size) > 100 for path in files)


@pytest.mark.parametrize("interpolated", [False, True])
def test_kernels_of_tubes(interpolated: bool) -> None:
    tubes = [{"kernel": [4, 4, 4], "stride": [4, 8, 8]}, {"kernel": [1, 8, 8], "stride": [4, 8, 8]}]
    document = {
        "input": {"frames": 8, "size": 16},
        "num_classes": 2,
        "stem": {"op": "tube", "tubes": tubes, "interpolated": interpolated},
        "stages": [{"width": 12, "layers": [{"op": "factorized", "variant": "joint", "heads": 2}]}],
    }
    network = build(Architecture.parse(document))
    shapes = {title: tuple(weight.shape) for title, weight in kernels_of(network)["stem"].items()}
    assert shapes == {"tube 0": (12, 3, 4, 4, 4), "tube 1": (12, 3, 1, 8, 8)}
