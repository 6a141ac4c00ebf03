from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from nas.data.motion import CLASSES, DEFAULT_DIFFICULTY, motion_clip
from nas.data.transforms import normalise
from nas.errors import NasError

Pixels = npt.NDArray[np.uint8]
REVERSED = [
    ("move_right", "move_left"),
    ("move_down", "move_up"),
    ("turn_clockwise", "turn_counterclockwise"),
    ("approach", "recede"),
    ("horizontal_then_vertical", "vertical_then_horizontal"),
]


def clip(name: str, seed: int, frames: int = 8, size: int = 32) -> Pixels:
    return motion_clip(seed, CLASSES.index(name), frames, size, difficulty=0.0)


def test_twelve_classes() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 12


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**70), st.integers(0, 11), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20))
def test_shape_and_determinism(seed: int, label: int, frames: int, height: int, width: int) -> None:
    first = motion_clip(seed, label, frames, (height, width), 0.4)
    assert first.shape == (frames, height, width, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, motion_clip(seed, label, frames, (height, width), 0.4))


@pytest.mark.parametrize(("forwards", "backwards"), REVERSED)
def test_pairs_are_time_reversals(forwards: str, backwards: str) -> None:
    for seed in range(5):
        difference = clip(forwards, seed)[::-1].astype(int) - clip(backwards, seed)
        assert np.abs(difference).max() <= 1  # rounding
        assert np.abs(clip(forwards, seed).astype(int) - clip(backwards, seed)).max() > 30


def test_the_middle_frame_is_the_same_under_every_label() -> None:
    # In a clip of odd length the straight motions pass through the same picture at the middle.
    for seed in range(5):
        middles = [motion_clip(seed, label, 7, 32, 0.5)[3] for label in range(8)]
        assert all(np.array_equal(middle, middles[0]) for middle in middles)


def shift_between(first: Pixels, second: Pixels) -> tuple[int, int]:
    """(down, right) pixels that best carry the middle of the first frame into the second."""
    middle = first[8:-8, 8:-8].astype(int)
    height, width = middle.shape[:2]
    errors = {
        (down, right): np.abs(second[8 + down : 8 + down + height, 8 + right : 8 + right + width] - middle).sum()
        for down in range(-8, 9)
        for right in range(-8, 9)
    }
    return min(errors, key=errors.__getitem__)


@pytest.mark.parametrize(
    ("name", "expected"), [("move_right", (0, 4)), ("move_left", (0, -4)), ("move_down", (4, 0)), ("move_up", (-4, 0))]
)
def test_directions(name: str, expected: tuple[int, int]) -> None:
    # The speed at difficulty 0 is 0.06 of the side: 3.84 of 64 pixels.
    assert [shift_between(*clip(name, seed, 2, 64)) for seed in range(3)] == [expected] * 3


@pytest.mark.parametrize(
    ("label", "frames", "size", "difficulty", "named"),
    [
        (12, 8, 32, 0.3, "12"),
        (-1, 8, 32, 0.3, "-1"),
        (0, 0, 32, 0.3, "0x32x32 is empty"),
        (0, 8, 0, 0.3, "0x0"),
        (0, 8, 32, 1.5, "1.5"),
    ],
)
def test_bad_input(label: int, frames: int, size: int, difficulty: float, named: str) -> None:
    with pytest.raises(NasError, match=named):
        motion_clip(0, label, frames, size, difficulty)


class Small(nn.Module):
    """Three convolutions and a global mean; with `depth` 1 it sees one frame at a time and averages
    the logits.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, width in ((3, 16), (16, 32), (32, 64)):
            stride = (1 if depth == 1 or width == 16 else 2, 2, 2)
            convolution = nn.Conv3d(channels, width, (depth, 3, 3), stride, (depth // 2, 1, 1))
            layers += [convolution, nn.BatchNorm3d(width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(64, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).mean((3, 4)).transpose(1, 2))
        return logits.mean(1)


def accuracy_after(model: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], epochs: int) -> float:
    batch, (clips, labels) = 32, train
    steps = epochs * (len(labels) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    for step in range(steps):
        if step % (len(labels) // batch) == 0:
            order = torch.randperm(len(labels))
        chosen = order[:batch]
        order = order[batch:]
        optimizer.zero_grad()
        functional.cross_entropy(model(normalise(clips[chosen])), labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        guesses = torch.cat([model(normalise(part)).argmax(1) for part in test[0].split(200)])
    return float((guesses == test[1]).float().mean())


def test_only_motion_tells_the_classes_apart() -> None:
    def make(count: int, first: int) -> tuple[Tensor, Tensor]:
        labels = [i % 12 for i in range(count)]
        clips = [motion_clip(first + i, label, 8, 32, DEFAULT_DIFFICULTY) for i, label in enumerate(labels)]
        return torch.from_numpy(np.stack(clips)), torch.tensor(labels)

    train, test = make(1020, 0), make(1800, 10**6)
    torch.manual_seed(0)
    by_frame = accuracy_after(Small(1), train, test, epochs=6)
    by_motion = accuracy_after(Small(3), train, test, epochs=4)
    # 1800 guesses at 1/12 have a standard error of .0065: the bound is chance and 5 of them, .116
    # or 1.4 x chance.
    assert by_frame < 1 / 12 + 5 * (1 / 12 * 11 / 12 / 1800) ** 0.5
    assert by_motion > 0.6
