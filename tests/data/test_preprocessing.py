from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from nas.data.preprocessing import Preprocessing
from nas.data.sampling import Sampling, View
from nas.data.transforms import centre_crop, normalise
from nas.errors import NasError


def test_of_input_resizes_to_eight_sevenths() -> None:
    made = Preprocessing.of_input(16, (112, 56))
    assert (made.frames, made.size, made.resized, made.stride) == (16, (112, 56), (128, 64), None)
    assert made.training == Sampling(16, (128, 64))
    assert made.evaluation == Sampling(16, (112, 56), None, (128, 64))


def test_network_input_is_the_middle_crop_on_the_scale_of_the_proxies() -> None:
    clips = torch.arange(2 * 3 * 5 * 6 * 3).remainder(256).to(torch.uint8).view(2, 3, 5, 6, 3)
    batch = Preprocessing(3, 3, 4, 5, 6).network_input(clips)
    assert batch.shape == (2, 3, 3, 3, 4)
    assert torch.equal(batch, normalise(centre_crop(clips, (3, 4))))


def test_network_input_scales_each_channel() -> None:
    made = Preprocessing(1, 1, 1, 1, 1, mean=(0.0, 0.5, 0.2), std=(1.0, 0.5, 0.1))
    batch = made.network_input(torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 1, 1, 1, 3))
    assert batch.flatten().tolist() == pytest.approx([1, -1, 0])


def test_views_of_equal_parts_lie_in_the_middles_of_parts_of_each_part() -> None:
    made = Preprocessing.of_input(4, (8, 8))
    assert made.views(1, 1) == (View(0.5, 0.5),)
    assert [view.start for view in made.views(3, 1)] == pytest.approx([1 / 6, 1 / 2, 5 / 6])


def test_views_with_a_stride_reach_from_the_first_clip_to_the_last() -> None:
    made = Preprocessing.of_input(4, (8, 8), stride=2)
    assert [(view.start, view.place) for view in made.views(2, 3)] == [
        (0, 0),
        (0, 0.5),
        (0, 1),
        (1, 0),
        (1, 0.5),
        (1, 1),
    ]
    assert made.views(1, 1) == (View(),)


@pytest.mark.parametrize(("clips", "crops"), [(0, 1), (1, 0), (-1, 3)])
def test_no_views(clips: int, crops: int) -> None:
    with pytest.raises(NasError, match="allowed: clips x crops"):
        Preprocessing.of_input(4, (8, 8)).views(clips, crops)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frames": 0}, "frames 0"),
        ({"stride": 0}, "stride 0"),
        ({"resized_width": 7}, "resizes frames to 10x7 and crops 8x8"),
        ({"std": (0.2, 0.0, 0.2)}, "std"),
    ],
)
def test_bad_values_are_named(changed: dict[str, object], message: str) -> None:
    good = asdict(Preprocessing.of_input(4, (8, 8)))
    with pytest.raises(NasError, match=message):
        Preprocessing(**{**good, **changed})
