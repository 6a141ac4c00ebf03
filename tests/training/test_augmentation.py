import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.data.transforms import augment as random_window
from nas.training import augmentation as module
from nas.training.augmentation import Draws, augment, autocontrast, matrix, middle, resample, shown_frames, turn, window
from nas.training.recipe import Augmentation

EVERYTHING = Augmentation(scale=0.4, time=0.6, overhead=True, jitter=0.4, operations=3, erasing=0.5)


def random_clips(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_choices_it_is_the_random_window_of_proxies() -> None:
    clips = random_clips(6, 4, 9, 9, 3)
    found = augment(clips, 4, (8, 8), True, Augmentation(), generator())
    assert torch.equal(found, random_window(clips, (8, 8), True, generator()))


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (torch.eye(3).double(), lambda clip: clip),
        (matrix([[-1, 0, 0], [0, 1, 0]]), lambda clip: clip.flip(2)),
        (matrix([[1, 0, 0], [0, -1, 0]]), lambda clip: clip.flip(1)),
        (turn(math.pi / 2, (6, 6)), lambda clip: clip.rot90(1, (1, 2))),
        (matrix([[0.5, 0, -0.5], [0, 0.5, 0.5]]), lambda clip: clip[:, 3:, :3].repeat_interleave(1, 1)),
    ],
)
def test_affine_maps_of_whole_pixels_are_exact(affine: Tensor, expected: Any) -> None:
    clip = random_clips(4, 6, 6, 3).float()
    wanted = expected(clip)
    found = resample(clip, tuple(wanted.shape[1:3]), affine[:2])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


def test_a_turn_of_a_clip_that_is_no_square_turns_pixels() -> None:
    """Forth and back is the same place, and a quarter maps (x, y) = (1, 0) to (0, W / H)."""
    quarter = turn(math.pi / 2, (4, 8))
    torch.testing.assert_close(quarter @ turn(-math.pi / 2, (4, 8)), torch.eye(3).double())
    torch.testing.assert_close(quarter[:2, 0], torch.tensor([0.0, 2.0]).double())


def test_every_frame_is_varied_alike() -> None:
    clips = random_clips(8, 1, 12, 12, 3).expand(8, 6, 12, 12, 3)
    found = augment(clips, 6, (8, 8), True, EVERYTHING, generator())
    assert found.shape == (8, 6, 8, 8, 3) and found.dtype == torch.uint8
    assert (found == found[:, :1]).all()
    assert any(not torch.equal(found[0], other) for other in found[1:])


def test_it_repeats_by_seed() -> None:
    clips = random_clips(4, 6, 12, 12, 3)
    first, again, other = (augment(clips, 6, (8, 8), True, EVERYTHING, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_nothing_is_mirrored_where_left_and_right_are_classes() -> None:
    """A clip that is dark on the left stays so."""
    clips = torch.zeros(64, 2, 8, 8, 3, dtype=torch.uint8)
    clips[:, :, :, 4:] = 200
    chosen = Augmentation(scale=0.8, overhead=True)
    found = augment(clips, 2, (8, 8), False, chosen, generator()).float()
    assert (found[..., 0, :].mean((1, 2, 3)) < found[..., -1, :].mean((1, 2, 3))).all()


def test_clips_from_above_are_turned_in_eight_ways() -> None:
    clip = random_clips(1, 1, 4, 4, 3)
    found = augment(clip.expand(200, -1, -1, -1, -1), 1, (4, 4), True, Augmentation(overhead=True), generator())
    turned = [clip[0].rot90(k, (1, 2)) for k in range(4)]
    expected = [*turned, *(each.flip(2) for each in turned)]
    kinds = [
        next(i for i, each in enumerate(expected) if (found_one.int() - each.int()).abs().max() <= 1)
        for found_one in found
    ]
    assert set(kinds) == set(range(8))


def test_windows_lie_inside_and_have_their_area() -> None:
    draws = Draws(generator())
    areas = []
    for _ in range(200):
        (width, _, x), (_, height, y) = window(draws, (20, 40), (8, 16), 0.25)[:2].tolist()
        assert abs(x) <= 1 - width + 1e-12 and abs(y) <= 1 - height + 1e-12
        areas.append(width * height)
        assert 3 / 4 - 1e-9 <= width / height <= 4 / 3 + 1e-9 or max(width, height) == 1
    assert min(areas) >= 0.2 and max(areas) <= 1 and 0.5 < sum(areas) / len(areas) < 0.75


def test_frames_are_spread_over_a_part_in_order() -> None:
    draws = Draws(generator())
    assert shown_frames(draws, 8, 8, 1.0).tolist() == list(range(8))
    assert shown_frames(draws, 9, 3, 1.0).tolist() == [0, 4, 8]
    for _ in range(50):
        shown = shown_frames(draws, 16, 16, 0.5)
        assert (shown.diff() >= 0).all() and shown[0] >= 0 and shown[-1] <= 15
        assert 7 <= int(shown[-1] - shown[0]) <= 15


def test_frames_for_evaluation_are_the_middles_of_equal_parts() -> None:
    clips = torch.arange(12).view(1, 12, 1, 1, 1)
    assert middle(clips, 4).flatten().tolist() == [1, 4, 7, 10]
    assert middle(clips, 12) is clips


def test_colours_by_hand() -> None:
    clip = torch.tensor([0.2, 0.4]).view(1, 1, 2, 1).expand(1, 1, 2, 3)
    values = {
        "brightness": (module.brightness(1.5), [0.3, 0.6]),
        "contrast": (module.contrast(0.5), [0.25, 0.35]),
        "saturation": (module.saturation(0.3), [0.2, 0.4]),  # grey has none
        "posterize": (module.posterize(4), [0.0, 1 / 3]),
        "solarize": (module.solarize(0.3), [0.2, 0.6]),
        "autocontrast": (autocontrast, [0.0, 1.0]),
        "sharpness": (module.sharpness(1.0), [0.2, 0.4]),
    }
    for name, (change, expected) in values.items():
        assert change(clip)[0, 0, :, 0].tolist() == pytest.approx(expected, abs=1e-6), name


def test_a_box_of_a_clip_is_erased_in_all_frames() -> None:
    clips = random_clips(20, 3, 16, 16, 3)
    found = augment(clips, 3, (16, 16), False, Augmentation(erasing=1.0), generator())
    changed = (found != clips).any(-1)
    for clip, mask in zip(found, changed, strict=True):
        rows, columns = mask.any(0).any(1).nonzero().flatten(), mask.any(0).any(0).nonzero().flatten()
        box = clip[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert 2 <= mask.any(0).sum() <= 0.4 * 256
        assert (box.float().std((0, 1, 2)) == 0).float().mean() >= 0.9
