from __future__ import annotations

import pytest
import torch

from nas.data.transforms import augment, centre_crop, normalise
from nas.errors import NasError


def numbered() -> torch.Tensor:
    """64 clips of 2 frames of 4x6 pixels whose value is 10 * row + column."""
    picture = (10 * torch.arange(4)[:, None] + torch.arange(6)).to(torch.uint8)
    return picture[None, None, :, :, None].expand(64, 2, 4, 6, 3)


def test_augment_cuts_a_window_of_each_clip() -> None:
    clips = augment(numbered(), (3, 4), flip=False, generator=torch.Generator().manual_seed(0))
    assert clips.shape == (64, 2, 3, 4, 3)
    assert clips.dtype == torch.uint8
    corners = clips[:, :, 0, 0, 0]
    assert torch.equal(corners[:, 0], corners[:, 1])  # one window for all frames of a clip
    assert set(corners[:, 0].tolist()) == {0, 1, 2, 10, 11, 12}
    assert torch.equal(clips[:, 0, :, :, 0] - corners[:, :1, None], numbered()[:, 0, :3, :4, 0])


def test_augment_mirrors_half_of_the_clips() -> None:
    clips = augment(numbered(), (4, 6), flip=True, generator=torch.Generator().manual_seed(0))
    mirrored = [torch.equal(clip, numbered()[0].flip(2)) for clip in clips]
    upright = [torch.equal(clip, numbered()[0]) for clip in clips]
    assert all(a != b for a, b in zip(mirrored, upright, strict=True))
    assert 16 < sum(mirrored) < 48


def test_augment_repeats_with_its_generator() -> None:
    first, second = (augment(numbered(), (2, 2), True, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_centre_crop() -> None:
    assert centre_crop(numbered(), (2, 2))[0, 0, :, :, 0].tolist() == [[12, 13], [22, 23]]


def test_normalise() -> None:
    clips = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1, 1).expand(1, 2, 4, 5, 3)
    batch = normalise(clips)
    assert batch.shape == (1, 3, 2, 4, 5)
    assert batch[0, 0, :, 0, 0].tolist() == pytest.approx([-2.0, 0.55 / 0.225])


@pytest.mark.parametrize("size", [(5, 6), (4, 7)])
def test_crop_larger_than_the_clip(size: tuple[int, int]) -> None:
    for crop in (lambda: augment(numbered(), size, False), lambda: centre_crop(numbered(), size)):
        with pytest.raises(NasError, match=f"{size[0]}x{size[1]}.*4x6"):
            crop()
