"""Joint filters: a 3D convolution as temporal atoms, spatial atoms and coefficients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import N2, NORM, SHORT, STRIDED, Case, D, E, N
from torch import Tensor, nn

import nas
from nas.architecture import Architecture, JointFilter, LayerConfig
from nas.errors import NasError
from nas.models.convolution import lay_out_channels_last
from nas.models.layers.joint_filter import (
    JointFilterBlock,
    JointFilterConv,
    dct_atoms,
    fourier_bessel_atoms,
    swap_spatial_atoms,
    swap_temporal_atoms,
)
from nas.models.network import build

Make = Callable[..., Any]
CASES = (
    Case(JointFilter()),
    Case(JointFilter(execution="factored", temporal_atoms=2)),
    Case(JointFilter(), **STRIDED),
    Case(JointFilter(execution="factored"), **STRIDED),
)
COMPOSE = 3 * 6 * 3 + 3 * 6 * 9  # per channel pair: temporal atoms first, then spatial ones
FILTER_PARAMS = 3 * 6 * D * D + 3 * 3 + 6 * 9
CLOSED_FORMS = (
    (JointFilter(), 2 * (27 * D * D * N + D * D * COMPOSE), 2 * (FILTER_PARAMS + NORM)),
    (
        JointFilter(execution="factored"),
        2 * N * (D * 3 * 3 + D * 18 * 9 + D * D * 18),
        2 * (FILTER_PARAMS + NORM),
    ),
)
STRIDED_MACS = (
    (JointFilter(), (D + E) * E * (27 * N2 + COMPOSE) + SHORT),
    (
        # Time first: temporal atoms at 3x5x7, spatial atoms at 3x3x4.
        JointFilter(execution="factored"),
        9 * (D * 3 * 5 * 7 + E * N2) + 18 * (9 + E) * (D + E) * N2 + SHORT,
    ),
)
COPIES: tuple[tuple[LayerConfig, list[float]], ...] = ((JointFilter(), []), (JointFilter(execution="factored"), []))
EXPORTED = (Case(JointFilter(execution="factored")),)


def without_zeros(module: nn.Module) -> None:
    """Moves what starts at zero and would hide the filters."""
    for block in module.modules():
        if isinstance(block, JointFilterBlock):
            nn.init.normal_(block.norm2.weight)


def test_it_starts_as_its_shortcut(make_layer: Make, x: Tensor) -> None:
    """The last normalisation starts at zero."""
    assert torch.equal(make_layer(JointFilter())(x), F.relu(x))


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
    without_zeros(composed)
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
    """J0 of zero 2.405 on a disc of radius 1.5: positive and round; then J1 as a pair turned by a
    right angle.
    """
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
    """DCT and Fourier-Bessel atoms, both learned; kaiming normal coefficients, fan_in I Kt Ks."""
    layer = make_layer(JointFilter(temporal_atoms=2, spatial_atoms=5)).conv1
    assert torch.equal(layer.temporal_atoms.float(), dct_atoms(2, 3))
    assert torch.equal(layer.spatial_atoms.float(), fourier_bessel_atoms(5, 3))
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {
        "temporal_atoms",
        "spatial_atoms",
        "coefficients",
    }
    assert float(layer.coefficients.detach().std()) == pytest.approx((2 / (32 * 2 * 5)) ** 0.5, rel=0.05)


def test_swapped_atoms_keep_all_else(make_layer: Make, x: Tensor) -> None:
    """Dilation 2 puts a zero between neighbours; atoms of five frames and pixels may replace those
    of three.
    """
    layer = make_layer(JointFilter(temporal_atoms=2, spatial_atoms=4))
    before = layer.conv1.temporal_atoms.clone()
    swap_temporal_atoms(layer, dilation=2)
    after = layer.conv1.temporal_atoms
    assert after.shape == (2, 5) and torch.equal(after[:, ::2], before) and not after[:, 1::2].any()
    assert after.requires_grad and layer(x).shape == x.shape
    swap_spatial_atoms(layer, fourier_bessel_atoms(4, 5))
    assert torch.equal(layer.conv2.spatial_atoms, fourier_bessel_atoms(4, 5).double())
    assert layer.conv2.weight().shape == (32, 32, 5, 5, 5) and layer(x).shape == x.shape


def test_a_network_of_joint_filters_is_invariant_to_tempo() -> None:
    """Without temporal strides, frames shown twice under dilated atoms give features shown twice,
    of equal mean.
    """
    layers = [{"op": "joint_filter", "temporal_atoms": 2}] * 2
    data = {
        "input": {"frames": 5, "size": 16},
        "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 2, 2]},
        "stages": [
            {"width": 8, "layers": layers},
            {"width": 12, "downsample": {"op": "in_layer", "stride": [1, 2, 2]}, "layers": layers},
        ],
        "head": {"op": "mean"},
    }
    architecture = Architecture.parse(data)
    torch.manual_seed(0)
    model, slow = build(architecture).double().eval(), build(architecture, frames=10).double().eval()
    without_zeros(model)
    slow.load_state_dict(model.state_dict())
    swap_temporal_atoms(slow, dilation=2)
    clip = torch.randn(2, 3, 5, 16, 16, dtype=torch.float64)
    assert torch.allclose(slow(clip.repeat_interleave(2, dim=2)), model(clip), atol=1e-10)


def networks_of(*counts: int) -> list[Any]:
    layers = [{"op": "joint_filter", "temporal_atoms": count} for count in counts]
    data = {"input": {"frames": 4, "size": 16}, "stem": {"op": "conv"}, "stages": [{"width": 8, "layers": layers}]}
    return [build(Architecture.parse(data)).eval() for _ in range(2)]


def test_atoms_that_fit_some_layers_only_replace_none() -> None:
    model, _ = networks_of(3, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(NasError, match=r"\[3, 5\] do not fit; allowed: \[2, odd size\]"):
        swap_temporal_atoms(model, torch.randn(3, 5))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("assign", [False, True])
def test_swapped_atoms_are_loaded_with_their_size(assign: bool) -> None:
    swapped, fresh = networks_of(3, 3)
    without_zeros(swapped)
    swap_temporal_atoms(swapped, dilation=2)
    swap_spatial_atoms(swapped, fourier_bessel_atoms(6, 5))
    fresh.parts["stages_0_layers_1"].conv2.temporal_atoms.requires_grad_(False)
    fresh.load_state_dict(swapped.state_dict(), assign=assign)
    assert fresh.parts["stages_0_layers_1"].conv2.temporal_atoms.shape == (3, 5)
    assert not fresh.parts["stages_0_layers_1"].conv2.temporal_atoms.requires_grad
    clip = torch.randn(1, 3, 4, 16, 16)
    assert torch.equal(fresh(clip), swapped(clip))
    other, _ = networks_of(2, 2)
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(swapped.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"atoms": torch.zeros(3, 3)}, r"\[3, 3\] do not fit; allowed: \[2, odd size\]"),
        ({"atoms": torch.zeros(2, 4)}, r"\[2, 4\] do not fit"),
        ({"atoms": torch.zeros(2, 3, 3)}, r"\[2, 3, 3\] do not fit"),
        ({"dilation": 0}, "dilation 0 is not allowed; allowed: whole numbers of 1 and more"),
        ({"dilation": 1.5}, "dilation 1.5 is not allowed"),
        ({"dilation": True}, "dilation True is not allowed"),
        ({"dilation": "2"}, "dilation '2' is not allowed"),
        ({"atoms": [[1.0, 0.0, 0.0]] * 2}, r"temporal_atoms \[\[1.0, .* are no tensor"),
        ({"atoms": torch.tensor(1.0)}, r"of shape \[\] do not fit"),
    ],
)
def test_atoms_that_do_not_fit_are_refused(make_layer: Make, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasError, match=message):
        swap_temporal_atoms(make_layer(JointFilter(temporal_atoms=2)), **arguments)


def test_tuning_keeps_the_faster_execution(make_layer: Make, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that says so, either; the output is the same."""
    layer = make_layer(JointFilter())
    without_zeros(layer)
    expected = layer(x)
    for faster in (True, False):

        class Clock:
            def __init__(self, *_: Any, globals: dict[str, Any], **__: Any) -> None:
                self.factored = globals["layer"].__self__.factored

            def blocked_autorange(self, min_run_time: float) -> Any:
                return type("Measurement", (), {"median": 1.0 if self.factored == faster else 2.0})  # noqa: B023

        monkeypatch.setattr("nas.models.layers.joint_filter.Timer", Clock)
        layer.conv1.tune(x)
        assert layer.conv1.factored is faster
        assert torch.allclose(layer(x), expected, atol=1e-10)


def test_a_network_is_laid_out_channels_last() -> None:
    """The kernels of five dimensions; the coefficients have four, which torch refuses."""
    model, _ = networks_of(3)
    clip = torch.randn(1, 3, 4, 16, 16)
    before = model(clip)
    lay_out_channels_last(model)
    assert model.parts["stem"].conv.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert model.parts["stages_0_layers_0"].conv1.coefficients.is_contiguous()
    assert torch.allclose(model(clip), before, atol=1e-5)


def test_a_network_is_tuned_as_it_is_built() -> None:
    model = nas.build("joint_r3d18_2_6", frames=4, size=32, num_classes=3, tuned=True)
    assert model.training and not any(layer._forward_pre_hooks for layer in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    choices = {m.factored for m in model.modules() if isinstance(m, JointFilterConv)}
    assert choices <= {True, False} and model(torch.randn(2, 3, 4, 32, 32)).shape == (2, 3)
