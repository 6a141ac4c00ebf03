"""Spatiotemporal joint filter decomposition (NeurIPS 2021; derived from the abstract, no published
figures).

    W[o,i,t,h,w] = sum_{a,b} A[o,i,a,b] Dt[a,t] Ds[b,h,w]

with Kt temporal atoms Dt and Ks spatial atoms Ds shared by all channel pairs of a layer.
Multiply-adds of the factored execution: I Kt kt T'HW + I Kt Ks k^2 T'H'W' + O I Kt Ks T'H'W';
composed: the full convolution plus O I (Kt Ks kt + kt Ks k^2) once per forward.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from nas.architecture.fields import Triple
from nas.architecture.layers.joint_filter import JointFilter
from nas.architecture.shape import UNIT_STRIDE, Shape
from nas.errors import NasError, brief
from nas.models.convolution import ResidualBlock, convolve
from nas.models.registry import implements

ATOMS = ("temporal_atoms", "spatial_atoms")
# (order, zero) of the Bessel functions J_n by rising zero (Abramowitz and Stegun, table 9.5).
_BESSEL_ZEROS = (
    (0, 2.404825557695773),
    (1, 3.831705970207512),
    (2, 5.135622301840683),
    (0, 5.520078110286311),
    (3, 6.380161895923984),
    (1, 7.015586669815619),
    (4, 7.588342434503804),
    (2, 8.417244140399865),
    (0, 8.653727912911012),
    (5, 8.771483815959954),
    (3, 9.761023129981669),
    (6, 9.936109524217684),
    (1, 10.173468135062722),
    (4, 11.064709488501185),
    (7, 11.086370019245084),
    (2, 11.619841172149059),
    (0, 11.791534439014281),
    (8, 12.225092264004655),
    (5, 12.338604197466944),
    (3, 13.015200721698434),
    (1, 13.323691936314223),
)


def _bessel(order: int, x: Tensor) -> Tensor:
    """J_order(x) by its power series, for arguments below 20 in float64."""
    half = x / 2
    terms = [(-1) ** m / (math.factorial(m) * math.factorial(m + order)) * half ** (2 * m + order) for m in range(40)]
    return torch.stack(terms).sum(0)


@lru_cache
def fourier_bessel_atoms(count: int, size: int) -> Tensor:
    """The first `count` Fourier-Bessel functions on a size x size grid, by rising frequency:
    (count, size, size).

    They live on the disc of radius size / 2, are zero outside and have unit norm; one that the grid
    cannot tell from those before it is passed over, and single pixels complete the set where a
    large kernel asks for more than the listed frequencies.
    """
    with torch.device("cpu"):
        axis = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        radius, angle = torch.hypot(x, y) / (size / 2), torch.atan2(y, x)
        waves = [(order, _bessel(order, zero * radius) * (radius < 1)) for order, zero in _BESSEL_ZEROS]
        candidates = [
            wave * turn
            for order, wave in waves
            for turn in (
                [torch.ones_like(angle)] if order == 0 else [torch.cos(order * angle), torch.sin(order * angle)]
            )
        ]
        candidates += list(torch.eye(size * size, dtype=torch.float64).view(-1, size, size))
        atoms: list[Tensor] = []
        basis = torch.zeros(0, size * size, dtype=torch.float64)
        for candidate in candidates:
            norm = float(candidate.norm())
            atom = (candidate / max(norm, 1e-12)).flatten()
            rest = atom - basis.T @ (basis @ atom)
            if norm > 1e-6 and rest.norm() > 1e-3:
                atoms.append(atom.view(size, size))
                basis = torch.cat((basis, (rest / rest.norm())[None]))
        return torch.stack(atoms[:count]).float()


@lru_cache
def dct_atoms(count: int, size: int) -> Tensor:
    """The first `count` rows of the orthonormal DCT-II of `size` points, (count, size)."""
    with torch.device("cpu"):
        k = torch.arange(count, dtype=torch.float64)[:, None]
        n = torch.arange(size, dtype=torch.float64)[None, :]
        atoms = torch.cos(math.pi / size * (n + 0.5) * k) * math.sqrt(2 / size)
        atoms[0] /= math.sqrt(2)
        return atoms.float()


class JointFilterConv(nn.Module):
    """A 3D convolution decomposed into temporal atoms, spatial atoms and joint coefficients.

    Attributes:
        temporal_atoms: Dt, (Kt, kt).
        spatial_atoms: Ds, (Ks, k, k).
        coefficients: A, (out, in, Kt, Ks), kaiming normal with fan_in = in Kt Ks.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: Triple, config: JointFilter) -> None:
        super().__init__()
        self.stride, self.factored = stride, config.execution == "factored"
        kt, ks = config.temporal_atoms, config.spatial_atoms
        # Made empty and filled, so that they also build on the meta device.
        self.temporal_atoms = nn.Parameter(torch.empty(kt, config.temporal_kernel))
        self.spatial_atoms = nn.Parameter(torch.empty(ks, config.kernel, config.kernel))
        with torch.no_grad():
            self.temporal_atoms.copy_(dct_atoms(*self.temporal_atoms.shape))
            self.spatial_atoms.copy_(fourier_bessel_atoms(ks, config.kernel))
        self.coefficients = nn.Parameter(torch.empty(out_channels, in_channels, kt, ks))
        nn.init.normal_(self.coefficients, std=math.sqrt(2 / (in_channels * kt * ks)))

    def weight(self) -> Tensor:
        """The composed kernel, (out, in, kt, k, k)."""
        time = torch.einsum("oiab,at->oitb", self.coefficients, self.temporal_atoms)
        return torch.einsum("oitb,bhw->oithw", time, self.spatial_atoms)

    def kernels(self) -> dict[str, Tensor]:
        """What is drawn of it: its atoms."""
        return {
            "temporal atoms": self.temporal_atoms[:, None, :, None, None],
            "spatial atoms": self.spatial_atoms[:, None, None],
        }

    def fitted_state(self, name: str, value: Tensor) -> Tensor | None:
        """Swapped atoms, which are loaded with their size; see `nas.models.image_weights`."""
        return value if name in ATOMS and may_replace(value, getattr(self, name)) else None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Takes swapped atoms, which come with their size."""
        for name in ATOMS:
            old, new = getattr(self, name), state_dict.get(prefix + name)
            if isinstance(new, Tensor) and new.shape != old.shape and may_replace(new, old):
                setattr(self, name, nn.Parameter(old.new_zeros(new.shape), requires_grad=old.requires_grad))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def tune(self, x_BTHWC: Tensor) -> None:
        """Measures both executions on this input and keeps the faster one."""
        seconds = {}
        for self.factored in (False, True):
            timer = Timer(
                "layer(x)", globals={"layer": self.forward, "x": x_BTHWC}, num_threads=torch.get_num_threads()
            )
            seconds[self.factored] = timer.blocked_autorange(min_run_time=0.02).median
        self.factored = min(seconds, key=lambda factored: seconds[factored])

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        if not self.factored:
            return convolve(x_BTHWC, self.weight(), stride=self.stride)
        c = x_BTHWC.shape[-1]
        (kt, lt), (ks, k, _) = self.temporal_atoms.shape, self.spatial_atoms.shape
        st, sh, sw = self.stride
        # All channels share the atoms: depthwise convolutions with repeated weights.
        over_time = self.temporal_atoms.view(kt, 1, lt, 1, 1).repeat(c, 1, 1, 1, 1)
        over_space = self.spatial_atoms.view(ks, 1, 1, k, k).repeat(c * kt, 1, 1, 1, 1)
        x = convolve(x_BTHWC, over_time, stride=(st, 1, 1), groups=c)
        x = convolve(x, over_space, stride=(1, sh, sw), groups=c * kt)
        return F.linear(x, self.coefficients.flatten(1))


@implements(JointFilter)
class JointFilterBlock(ResidualBlock):
    """Basic residual block whose convolutions are decomposed, each with atoms of its own.

    The last normalisation starts at zero, so that the block starts as its shortcut (arXiv
    1706.02677, section 5.1): a random branch as strong as the shortcut hides what the layers before
    it see, and short trainings do not get past that.
    """

    parameter_kinds: ClassVar[dict[str, tuple[str, ...]]] = {
        "temporal": ("temporal_atoms",),
        "spatial": ("spatial_atoms",),
    }

    def __init__(self, config: JointFilter, shape_in: Shape, shape_out: Shape, stride: Triple) -> None:
        c_in, c_out = shape_in.channels, shape_out.channels
        first = JointFilterConv(c_in, c_out, stride, config)
        super().__init__(first, JointFilterConv(c_out, c_out, UNIT_STRIDE, config), c_in, c_out, stride)
        nn.init.zeros_(self.norm2.weight)


def swap_temporal_atoms(model: nn.Module, atoms: Tensor | None = None, dilation: int = 1) -> None:
    """Replaces the temporal atoms of every joint filter in a model, in place; all else stays.

    Dilated atoms see a slower tempo: where no layer strides over time, a clip with every frame
    shown twice then gives the output of the original clip, every frame twice. A state dict holds
    the swapped atoms, and loading it brings their size with it. They are new parameters: make
    optimizers afterwards.

    Args:
        model: A module with joint filters somewhere in it.
        atoms: As many atoms as there are, of any odd length, (Kt, length); the present ones if
            none.
        dilation: Distance of neighbouring values of an atom, in frames; zeros are put between them.

    Raises:
        NasError: No joint filter, another number of atoms, an even length, or a dilation below 1;
            nothing is replaced.
    """
    _swap(model, "temporal_atoms", atoms, dilation)


def swap_spatial_atoms(model: nn.Module, atoms: Tensor | None = None, dilation: int = 1) -> None:
    """Replaces the spatial atoms, (Ks, size, size), of every joint filter, as `swap_temporal_atoms`
    does the temporal.

    Raises:
        NasError: As `swap_temporal_atoms`.
    """
    _swap(model, "spatial_atoms", atoms, dilation)


def _swap(model: nn.Module, name: str, atoms: Tensor | None, dilation: int) -> None:
    if not isinstance(dilation, int) or isinstance(dilation, bool) or dilation < 1:
        raise NasError(f"dilation {brief(dilation)} is not allowed; allowed: whole numbers of 1 and more")
    if atoms is not None and not isinstance(atoms, Tensor):
        raise NasError(f"{name} {brief(atoms)} are no tensor; allowed: a tensor, or none for the present ones")
    layers = _joint_filters(model)
    swapped = [getattr(layer, name) if atoms is None else atoms for layer in layers]
    for layer, new in zip(layers, swapped, strict=True):
        old = getattr(layer, name)
        if not may_replace(new, old):
            shape = ", ".join(map(str, [len(old)] + ["odd size"] * (old.ndim - 1)))
            raise NasError(f"{name} of shape {list(new.shape)} do not fit; allowed: [{shape}], all sizes equal")
    for layer, new in zip(layers, swapped, strict=True):
        old = getattr(layer, name)
        spread = old.new_zeros(len(new), *(dilation * (n - 1) + 1 for n in new.shape[1:]))
        spread[(slice(None), *[slice(None, None, dilation)] * (new.ndim - 1))] = new.detach().to(old)
        setattr(layer, name, nn.Parameter(spread, requires_grad=old.requires_grad))


def may_replace(new: Tensor, old: Tensor) -> bool:
    """Whether atoms can stand in the place of others: as many, of one odd size."""
    size = new.shape[-1] if new.ndim else 0
    return new.shape == (*old.shape[:1], *[size] * (old.ndim - 1)) and size % 2 == 1


def _joint_filters(model: nn.Module) -> list[JointFilterConv]:
    layers = [module for module in model.modules() if isinstance(module, JointFilterConv)]
    if not layers:
        raise NasError(f"{type(model).__name__} holds no joint filter; allowed: a model with 'joint_filter' layers")
    return layers
