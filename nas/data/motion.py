"""The embedded task: twelve classes that differ only in how a random texture moves.

A clip is the sum of a moving and a static field of random plane waves. Direction, phase, colour and
position in a wrapped frequency band are drawn so that moving, turning or zooming a field leaves the
distribution of every single frame unchanged: a frame says nothing about the class. Five pairs of
classes are exact time reversals of each other; the sixth, `sway_slow` and `sway_fast`, covers the
same range of positions at two periods.

Shapes: T frames, H x W pixels, K waves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from nas.data.sampling import MIDDLE, Sampling, View
from nas.data.source import SPLITS, Split, VideoData
from nas.errors import NasError

CLASSES = (
    "move_right",
    "move_left",
    "move_down",
    "move_up",
    "turn_clockwise",
    "turn_counterclockwise",
    "approach",
    "recede",
    "horizontal_then_vertical",
    "vertical_then_horizontal",
    "sway_slow",
    "sway_fast",
)
DEFAULT_DIFFICULTY = 0.2

_CLIPS = {"train": 4096, "val": 512, "test": 512}
_WAVES = 12
_BAND = (1.0, 6.0)  # cycles per short side
_LOG_BAND = float(np.log(_BAND[1] / _BAND[0]))

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MotionSplit(Split):
    """Clips of the motion task, drawn at the length and size asked for: views of one differ in
    their crops only. A seed draws a new clip of the same class.

    Attributes:
        difficulty: Of every clip, 0 to 1.
        stream: Clips of different streams never share their randomness.
    """

    difficulty: float
    stream: int

    def clip(
        self, index: int, sampling: Sampling, view: View = MIDDLE, seed: int | None = None
    ) -> npt.NDArray[np.uint8]:
        draw = 0 if seed is None else seed + 1
        clip_seed = (draw << 96) + (self.stream << 32) + index
        clip = motion_clip(clip_seed, self.labels[index], sampling.frames, sampling.covered, self.difficulty)
        return clip[:, *sampling.window(sampling.covered, view.place)]


class MotionSource:
    """`motion`, or `motion:` and a difficulty. Clips are not mirrored unless asked: left and right
    are classes.
    """

    forms: ClassVar[str] = "`motion`, `motion:DIFFICULTY`"

    def accepts(self, spec: str) -> bool:
        return spec.partition(":")[0] == "motion"

    def open(self, spec: str, seed: int, flip: bool | None, allow_outside: bool) -> VideoData:
        _, colon, value = spec.partition(":")
        try:
            difficulty = float(value) if colon else DEFAULT_DIFFICULTY
        except ValueError:
            difficulty = -1.0
        if not 0 <= difficulty <= 1:
            raise NasError(f"data {spec!r} has the difficulty {value!r}; allowed: numbers from 0 to 1")
        train, val, test = (
            MotionSplit([i % len(CLASSES) for i in range(_CLIPS[name])], [], difficulty, len(SPLITS) * seed + number)
            for number, name in enumerate(SPLITS)
        )
        return VideoData(spec, CLASSES, train, val, test, bool(flip))


def motion_clip(
    seed: int, label: int, frames: int, size: int | tuple[int, int], difficulty: float
) -> npt.NDArray[np.uint8]:
    """Draws one clip; equal arguments give equal pixels.

    Everything but the path of the texture is drawn from `seed` alone: one seed shows one texture
    under every label. Speeds are per frame and relative to the short side: more frames are a longer
    clip, more pixels a finer one. Below 4 frames some classes look alike.

    Args:
        seed: non-negative; names the texture, colours, speed, signs, phases and noise.
        label: index into `CLASSES`.
        frames: T, at least 1.
        size: side of a square clip or (height, width), pixels.
        difficulty: 0 (no noise, no static texture, one speed) to 1.

    Returns:
        uint8 (T, H, W, 3).

    Raises:
        NasError: label, frames, size or difficulty out of range.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if not 0 <= label < len(CLASSES):
        raise NasError(f"motion label {label} is no class; allowed: 0 to {len(CLASSES) - 1}")
    if frames < 1 or height < 1 or width < 1:
        raise NasError(f"motion clip of {frames}x{height}x{width} is empty; allowed: at least 1 frame, row and column")
    if not 0.0 <= difficulty <= 1.0:
        raise NasError(f"motion difficulty {difficulty} is not allowed; allowed: 0 to 1")
    rng = np.random.default_rng(seed)
    offset, angle, zoom = _path(rng, label, frames, difficulty)
    unit = min(height, width)
    rows = ((np.arange(height) - height / 2) / unit).astype(np.float32)
    columns = ((np.arange(width) - width / 2) / unit).astype(np.float32)
    still = np.zeros(1, np.float32)
    clip = _field(rng, rows, columns, offset, angle, zoom)
    clip += 1.6 * difficulty * _field(rng, rows, columns, np.zeros((1, 2), np.float32), still, still)
    contrast, brightness = rng.uniform(35.0, 50.0), rng.uniform(100.0, 156.0, 3)
    clip *= contrast / np.sqrt(1 + (1.6 * difficulty) ** 2)
    clip += brightness.astype(np.float32)
    if difficulty > 0:
        clip += rng.standard_normal(clip.shape, dtype=np.float32) * np.float32(80.0 * difficulty)
    return clip.clip(0, 255, out=clip).astype(np.uint8)


def _path(rng: np.random.Generator, label: int, frames: int, difficulty: float) -> tuple[Array, Array, Array]:
    """Offset (T, 2) as (x, y) in short sides, clockwise angle (T,) in radians, logarithm of the
    scale (T,).
    """
    speed = 0.06 * np.exp(difficulty * rng.uniform(-1.2, 0.3))
    signs = rng.choice((-1.0, 1.0), 2)
    switch = rng.uniform(-0.1, 0.1) * frames
    heading, phase = rng.uniform(0, 2 * np.pi, 2)
    amplitude = 2.5 * speed
    time = np.arange(frames) - (frames - 1) / 2
    name = CLASSES[label]
    # Time runs backwards in the second class of a reversed pair: both show the same set of frames.
    if name in ("move_left", "move_up", "turn_counterclockwise", "recede", "vertical_then_horizontal"):
        time = -time
    zero = np.zeros(frames)
    x, y, angle, zoom = zero, zero, zero, zero
    if name in ("move_right", "move_left"):
        x = speed * time
    elif name in ("move_down", "move_up"):
        y = speed * time
    elif name.startswith("turn"):
        angle = 2.5 * speed * time
    elif name in ("approach", "recede"):
        zoom = 2.5 * speed * time
    elif name in ("sway_slow", "sway_fast"):
        cycles = 1 if name == "sway_slow" else 2
        swing = amplitude * np.sin(2 * np.pi * cycles * time / frames + phase)
        x, y = swing * np.cos(heading), swing * np.sin(heading)
    else:
        x = signs[0] * speed * np.minimum(time - switch, 0)
        y = signs[1] * speed * np.maximum(time - switch, 0)
    return np.stack([x, y], 1).astype(np.float32), angle.astype(np.float32), zoom.astype(np.float32)


def _field(rng: np.random.Generator, rows: Array, columns: Array, offset: Array, angle: Array, zoom: Array) -> Array:
    """A sum of K plane waves, moved: float (T, H, W, 3) of zero mean and roughly unit variance.

    Frequencies lie evenly on a logarithmic band that wraps, with amplitudes that vanish at its
    ends: a zoom can go on for ever and every frame holds the same mixture of scales.
    """
    place = (np.arange(_WAVES) + rng.uniform()) / _WAVES
    direction, phase = rng.uniform(0, 2 * np.pi, (2, _WAVES))
    colour = 1 + rng.normal(0, 0.5, (_WAVES, 3))
    place_TK = (place - zoom[:, None] / _LOG_BAND) % 1.0
    frequency = 2 * np.pi * _BAND[0] * np.exp(_LOG_BAND * place_TK)
    fx = (frequency * np.cos(direction + angle[:, None])).astype(np.float32)
    fy = (frequency * np.sin(direction + angle[:, None])).astype(np.float32)
    amplitude = np.sin(np.pi * place_TK) ** 2 * np.sqrt(16 / 3 / _WAVES / 1.25)
    # cos(a + b) = cos a cos b - sin a sin b splits the waves into rows and columns: one small
    # matrix product per frame.
    a = fy[:, None, :] * (rows[:, None] - offset[:, None, 1:]) + phase.astype(np.float32)
    b = fx[:, :, None] * (columns - offset[:, :1])[:, None, :]
    left = np.concatenate([np.cos(a), -np.sin(a)], 2)
    tint = (amplitude[:, :, None] * colour).astype(np.float32)[:, :, None, :]
    right = np.concatenate([np.cos(b)[..., None] * tint, np.sin(b)[..., None] * tint], 1)
    frames, height, width = len(offset), len(rows), len(columns)
    product: Array = left @ right.reshape(frames, 2 * _WAVES, 3 * width)
    return product.reshape(frames, height, width, 3)
