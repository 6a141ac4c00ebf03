"""Augmentation of whole clips on their device: what is drawn for a clip holds for all its frames.

Windows, flips, turns, shears, rotations and translations of a clip are one affine map, so a clip is
resampled once. All random numbers are drawn on the CPU, for a whole batch before it is cut into
micro-batches, so neither the device nor the size of micro-batches changes them. Shape suffixes: B
clips, T frames, H x W pixels, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.transforms import augment as random_window
from nas.training.feed import moved
from nas.training.recipe import Augmentation

GREY = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
RATIO = math.log(4 / 3)  # of a window's sides, either way
ERASED = (0.02, 1 / 3)  # share of the area


class Draws:
    """Random numbers of a generator, one at a time."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * torch.rand((), generator=self._generator, dtype=torch.float64).item()

    def integer(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self._generator))

    def sign(self) -> float:
        return 1.0 if self.integer(2) else -1.0


Colour = Callable[[Tensor], Tensor]  # of pixels (T, H, W, C) from 0 to 1


@dataclass(frozen=True)
class Variation:
    """What is done to one clip.

    Attributes:
        frames: Index of each frame that is shown, (T,).
        affine: Rows x and y of the map from places of the output to places of the clip, both from
            -1 to 1, (2, 3) in float64.
        colours: Changes of colour, in order.
        erased: Box as top, bottom, left, right in shares of the output, or None.
    """

    frames: Tensor
    affine: Tensor
    colours: tuple[Colour, ...] = ()
    erased: tuple[float, float, float, float] | None = None


def augment(
    clips_BTHWC: Tensor,
    frames: int,
    size: tuple[int, int],
    flip: bool,
    augmentation: Augmentation,
    generator: torch.Generator,
    needed: Collection[int] | None = None,
) -> Tensor:
    """Varies a batch.

    Args:
        clips_BTHWC: uint8 clips with at least as many frames as asked for; without `scale` at least
            of the size asked for.
        frames: T of the result.
        size: (height, width) of the result.
        flip: Whether clips may be mirrored.
        augmentation: How.
        generator: Source of the randomness, on the CPU.
        needed: Places of the clips that are looked at, all unless given: those of others hold no
            clip, whose numbers are drawn all the same.

    Returns:
        uint8 (B, frames, height, width, C) on the device of the clips.
    """
    if augmentation == Augmentation() and clips_BTHWC.shape[1] == frames:
        return random_window(clips_BTHWC, size, flip, generator)
    if augmentation.scale is None:
        clips_BTHWC = random_window(clips_BTHWC, size, False, generator)
    draws = Draws(generator)
    varied = clips_BTHWC.new_zeros(len(clips_BTHWC), frames, *size, clips_BTHWC.shape[-1])
    for i, clip in enumerate(clips_BTHWC):
        variation = draw_variation(draws, clip.shape[0], frames, clip.shape[1:3], size, flip, augmentation)
        if needed is None or i in needed:
            varied[i] = _apply(clip, size, variation)
    return varied


def draw_variation(
    draws: Draws,
    length: int,
    frames: int,
    given: tuple[int, ...],
    size: tuple[int, int],
    flip: bool,
    augmentation: Augmentation,
) -> Variation:
    """Draws what is done to a clip of `length` frames and `given` pixels."""
    affine = window(draws, given, size, augmentation.scale) if augmentation.scale is not None else torch.eye(3).double()
    if flip:
        affine = affine @ matrix([[draws.sign(), 0, 0], [0, 1, 0]])
        if augmentation.overhead:
            affine = affine @ turn(draws.integer(4) * math.pi / 2, size)
    colours: list[Colour] = []
    if augmentation.jitter:
        low, high = 1 - augmentation.jitter, 1 + augmentation.jitter
        colours += [change(draws.uniform(low, high)) for change in (brightness, contrast, saturation)]
    for _ in range(augmentation.operations):
        drawn = OPERATIONS[draws.integer(len(OPERATIONS))](draws, augmentation.magnitude / 10, size)
        if isinstance(drawn, Tensor):
            affine = affine @ drawn
        else:
            colours.append(drawn)
    shown = shown_frames(draws, length, frames, augmentation.time)
    erased = _box(draws) if augmentation.erasing and draws.uniform() < augmentation.erasing else None
    return Variation(shown, affine[:2], tuple(colours), erased)


# ----------------------------------------------------------------------------------------- geometry


def matrix(rows: list[list[float]]) -> Tensor:
    """An affine map of the plane in float64, (3, 3), from its first two rows."""
    return torch.tensor([*rows, [0, 0, 1]], dtype=torch.float64)


def turn(angle: float, size: tuple[int, int]) -> Tensor:
    """A rotation in pixels, written for places from -1 to 1 of a map of (height, width)."""
    cos, sin, ratio = math.cos(angle), math.sin(angle), size[0] / size[1]
    return matrix([[cos, -sin * ratio, 0], [sin / ratio, cos, 0]])


def window(draws: Draws, given: tuple[int, ...], size: tuple[int, int], least: float) -> Tensor:
    """A random window of a share of the area, sides in the proportion of the output times 3:4 to
    4:3, as large as the clip allows.
    """
    area, ratio = draws.uniform(least, 1), math.exp(draws.uniform(-RATIO, RATIO))
    proportion = size[1] / size[0] * given[0] / given[1]  # of the output's sides, in shares of the clip's
    largest = min(1, proportion) / max(1, proportion) if proportion else 1.0
    width = min(1.0, math.sqrt(area * largest * proportion * ratio))
    height = min(1.0, math.sqrt(area * largest / proportion / ratio))
    x, y = draws.uniform(width - 1, 1 - width), draws.uniform(height - 1, 1 - height)
    return matrix([[width, 0, x], [0, height, y]])


def shown_frames(draws: Draws, length: int, frames: int, least: float) -> Tensor:
    """Frames that are shown, (T,): evenly spread over a random share of the clip, the nearest ones.

    With `least` 1 and as many frames as are there, all of them in order.
    """
    part = draws.uniform(least, 1) * (length - 1) if least < 1 else float(length - 1)
    start = draws.uniform(0, length - 1 - part) if least < 1 else 0.0
    steps = torch.arange(frames, dtype=torch.float64) / max(1, frames - 1)
    return (start + part * steps).round().long()


def _box(draws: Draws) -> tuple[float, float, float, float]:
    area, ratio = draws.uniform(*ERASED), math.exp(draws.uniform(-1, 1) * math.log(3.3))
    height, width = min(1.0, math.sqrt(area * ratio)), min(1.0, math.sqrt(area / ratio))
    top, left = draws.uniform(0, 1 - height), draws.uniform(0, 1 - width)
    return top, top + height, left, left + width


# ------------------------------------------------------------------------------------------- colour


def brightness(factor: float) -> Colour:
    return lambda pixels: pixels * factor


def contrast(factor: float) -> Colour:
    """Away from the mean grey of the whole clip, or towards it."""
    return lambda pixels: _blend(_grey(pixels).mean(), pixels, factor)


def saturation(factor: float) -> Colour:
    return lambda pixels: _blend(_grey(pixels), pixels, factor)


def sharpness(factor: float) -> Colour:
    """Away from the mean of 3x3 pixels, or towards it."""

    def change(pixels_THWC: Tensor) -> Tensor:
        planes = F.pad(pixels_THWC.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
        return _blend(F.avg_pool2d(planes, 3, 1).permute(0, 2, 3, 1), pixels_THWC, factor)

    return change


def posterize(levels: int) -> Colour:
    return lambda pixels: (pixels * levels).floor().clamp_(max=levels - 1) / (levels - 1)


def solarize(threshold: float) -> Colour:
    return lambda pixels: torch.where(pixels < threshold, pixels, 1 - pixels)


def autocontrast(pixels: Tensor) -> Tensor:
    """Stretches a clip to the whole range, all frames and channels alike."""
    low, high = pixels.amin(), pixels.amax()
    return (pixels - low) / (high - low).clamp_(min=1e-3)


def _grey(pixels: Tensor) -> Tensor:
    if pixels.shape[-1] != len(GREY):
        return pixels.mean(-1, keepdim=True)
    return (pixels * moved(torch.tensor(GREY), pixels.device)).sum(-1, keepdim=True)


def _blend(other: Tensor, pixels: Tensor, factor: float) -> Tensor:
    return other + factor * (pixels - other)


# RandAugment's operations but equalize, which has no counterpart of a whole clip that is cheap.
# Ranges at magnitude 10 are the paper's: 30 degrees, shear 0.3, translation 0.33 of a side.
OPERATIONS: tuple[Callable[[Draws, float, tuple[int, int]], Tensor | Colour], ...] = (
    lambda draws, strength, size: torch.eye(3, dtype=torch.float64),
    lambda draws, strength, size: turn(draws.sign() * strength * math.radians(30), size),
    lambda draws, strength, size: matrix([[1, draws.sign() * strength * 0.3 * size[0] / size[1], 0], [0, 1, 0]]),
    lambda draws, strength, size: matrix([[1, 0, 0], [draws.sign() * strength * 0.3 * size[1] / size[0], 1, 0]]),
    lambda draws, strength, size: matrix([[1, 0, draws.sign() * strength * 0.66], [0, 1, 0]]),
    lambda draws, strength, size: matrix([[1, 0, 0], [0, 1, draws.sign() * strength * 0.66]]),
    lambda draws, strength, size: brightness(1 + draws.sign() * strength * 0.9),
    lambda draws, strength, size: contrast(1 + draws.sign() * strength * 0.9),
    lambda draws, strength, size: saturation(1 + draws.sign() * strength * 0.9),
    lambda draws, strength, size: sharpness(1 + draws.sign() * strength * 0.9),
    lambda draws, strength, size: posterize(2 ** round(8 - 4 * strength)),
    lambda draws, strength, size: solarize(1 - strength),
    lambda draws, strength, size: autocontrast,
)


# -------------------------------------------------------------------------------------- application


def _apply(clip_THWC: Tensor, size: tuple[int, int], variation: Variation) -> Tensor:
    shown = clip_THWC[moved(variation.frames, clip_THWC.device)]
    unmoved = shown.shape[1:3] == size and torch.equal(variation.affine, torch.eye(3, dtype=torch.float64)[:2])
    if unmoved and not variation.colours and variation.erased is None:
        return shown
    pixels = shown.float() / 255
    if not unmoved:
        pixels = resample(pixels, size, variation.affine)
    for change in variation.colours:
        pixels = change(pixels).clamp_(0, 1)
    if variation.erased is not None:
        top, bottom, left, right = variation.erased
        rows = slice(round(top * size[0]), round(bottom * size[0]))
        columns = slice(round(left * size[1]), round(right * size[1]))
        pixels = pixels.clone()
        pixels[:, rows, columns] = pixels.mean((0, 1, 2))
    return (pixels * 255).round_().to(torch.uint8)


def resample(pixels_THWC: Tensor, size: tuple[int, int], affine: Tensor) -> Tensor:
    """Reads a clip at the places that an affine map gives, bilinearly, mirrored at its borders.

    Frames are channels of one picture for this, so that all of them are read at the same places.
    """
    frames, height, width, channels = pixels_THWC.shape
    planes = pixels_THWC.permute(0, 3, 1, 2).reshape(1, frames * channels, height, width)
    grid = F.affine_grid(
        moved(affine[None].to(pixels_THWC.dtype), pixels_THWC.device), [1, 1, *size], align_corners=False
    )
    read = F.grid_sample(planes, grid, "bilinear", "reflection", align_corners=False)
    return read.view(frames, channels, *size).permute(0, 2, 3, 1)


def middle(clips_BTHWC: Tensor, frames: int) -> Tensor:
    """Frames spread evenly over each clip, those that evaluation uses: the middle of `frames` equal
    parts.
    """
    length = clips_BTHWC.shape[1]
    if length == frames:
        return clips_BTHWC
    shown = torch.arange(frames) * length // frames + length // frames // 2
    return clips_BTHWC[:, moved(shown, clips_BTHWC.device)]
