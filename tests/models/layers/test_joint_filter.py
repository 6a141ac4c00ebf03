"""Joint filters: a 3D convolution as temporal atoms, spatial atoms and coefficients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture import JointFilter
from nas.models.layers.joint_filter import dct_atoms, fourier_bessel_atoms

Make = Callable[..., Any]


def test_the_kernel_is_a_sum_over_atoms(make_layer: Make) -> None:
    layer = make_layer(JointFilter(temporal_atoms=2, spatial_atoms=4)).conv1
    weight = layer.weight()
    for o, i, t, h, w in ((0, 0, 0, 0, 0), (3, 7, 2, 1, 0), (31, 30, 1, 2, 2)):
        by_hand = sum(
            layer.coefficients[o, i, a, b] * layer.temporal_atoms[a, t] * layer.spatial_atoms[b, h, w]
            for a in range(2)
            for b in range(4)
        )
        assert torch.isclose(weight[o, i, t, h, w], by_hand)


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
@pytest.mark.parametrize("atoms", [(3, 6), (2, 9), (1, 1)])
def test_factored_equals_composed(
    make_layer: Make, x: Tensor, stride: tuple[int, int, int], atoms: tuple[int, int]
) -> None:
    composed, factored = (
        make_layer(
            JointFilter(temporal_atoms=atoms[0], spatial_atoms=atoms[1], execution=execution), width=48, stride=stride
        )
        for execution in ("composed", "factored")
    )
    factored.load_state_dict(composed.state_dict())
    assert torch.allclose(factored(x), composed(x), atol=1e-10)


@pytest.mark.parametrize("execution", ["composed", "factored"])
def test_delta_atoms_give_an_ordinary_convolution(make_layer: Make, x: Tensor, execution: Any) -> None:
    """Kt = kt and Ks = k^2 atoms of a single one each: the coefficients are the kernel."""
    config = JointFilter(temporal_atoms=3, spatial_atoms=9, execution=execution)
    layer = make_layer(config, stride=(1, 2, 2)).conv1
    weight = torch.randn(32, 32, 3, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.temporal_atoms.copy_(torch.eye(3))
        layer.spatial_atoms.copy_(torch.eye(9).view(9, 3, 3))
        layer.coefficients.copy_(weight.reshape(32, 32, 3, 9))
    expected = F.conv3d(x.permute(0, 4, 1, 2, 3), weight, stride=(1, 2, 2), padding=1)
    assert torch.allclose(layer(x), expected.permute(0, 2, 3, 4, 1), atol=1e-10)


def test_doubled_frames_under_dilated_temporal_atoms_double_the_output(make_layer: Make, x: Tensor) -> None:
    """Tempo invariance, at the ends of the clip too: the padding of zeros grows with the atoms."""
    layer = make_layer(JointFilter()).conv1
    once = layer(x)
    dilated = torch.zeros(3, 5, dtype=torch.float64)
    dilated[:, ::2] = layer.temporal_atoms.detach()
    layer.temporal_atoms = nn.Parameter(dilated)
    assert torch.allclose(layer(x.repeat_interleave(2, 1)), once.repeat_interleave(2, 1), atol=1e-10)


@pytest.mark.parametrize(("count", "size"), [(6, 3), (9, 3), (14, 5), (25, 5)])
def test_fourier_bessel_atoms_are_independent_and_of_unit_norm(count: int, size: int) -> None:
    atoms = fourier_bessel_atoms(count, size).flatten(1)
    assert atoms.shape == (count, size**2)
    assert torch.linalg.matrix_rank(atoms) == count
    assert torch.allclose(atoms.norm(dim=1), torch.ones(count))


def test_the_first_fourier_bessel_atoms_of_3x3() -> None:
    """J0 of zero 2.405 on a disc of radius 1.5: positive and round; then J1 as a pair turned by a right angle."""
    atoms = fourier_bessel_atoms(6, 3)
    assert (atoms[0] > 0).all()
    assert torch.allclose(atoms[0], atoms[0].rot90())
    at_distance = {0: 1.0, 1: 0.4536, 2: 0.0734}  # J0(2.4048 r / 1.5) at squared distances r^2 of 0, 1 and 2 pixels
    values = torch.tensor([[at_distance[(r - 1) ** 2 + (c - 1) ** 2] for c in range(3)] for r in range(3)])
    assert torch.allclose(atoms[0], values / values.norm(), atol=1e-3)
    assert torch.allclose(atoms[1].rot90(-1), atoms[2], atol=1e-6)
    assert torch.allclose(atoms[1], -atoms[1].flip(1), atol=1e-6)


def test_atoms_of_5x5_are_zero_outside_the_disc() -> None:
    atoms = fourier_bessel_atoms(14, 5)
    assert not atoms[:, [0, 0, 4, 4], [0, 4, 0, 4]].any()


def test_dct_atoms_are_orthonormal() -> None:
    for size in (1, 3, 5):
        assert torch.allclose(dct_atoms(size, size) @ dct_atoms(size, size).T, torch.eye(size), atol=1e-6)
    assert torch.allclose(dct_atoms(1, 3), torch.full((1, 3), 3**-0.5))


def test_initialisation(make_layer: Make) -> None:
    """DCT and Fourier-Bessel atoms, both learned; coefficients kaiming normal with fan_in I Kt Ks."""
    layer = make_layer(JointFilter(temporal_atoms=2, spatial_atoms=5)).conv1
    assert torch.equal(layer.temporal_atoms.float(), dct_atoms(2, 3))
    assert torch.equal(layer.spatial_atoms.float(), fourier_bessel_atoms(5, 3))
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {
        "temporal_atoms",
        "spatial_atoms",
        "coefficients",
    }
    assert float(layer.coefficients.detach().std()) == pytest.approx((2 / (32 * 2 * 5)) ** 0.5, rel=0.05)
