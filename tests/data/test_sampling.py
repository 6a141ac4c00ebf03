from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nas.data.datasets import VideoSplit, load_clips
from nas.data.sampling import Sampling, View
from nas.data.video import read_clip
from nas.errors import NasError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frames": 0}, "frames 0"),
        ({"size": (0, 4)}, "height 0"),
        ({"size": (4, -1)}, "width -1"),
        ({"stride": 0}, "stride 0"),
        ({"cover": (5, 3)}, "clips of 4x4 are larger than the 5x3"),
    ],
)
def test_clips_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(NasError, match=message):
        Sampling(**{"frames": 8, "size": (4, 4), **values})


@pytest.mark.parametrize(("view", "message"), [((-0.1, 0.5), "start -0.1"), ((0, 1.5), "place 1.5")])
def test_views_out_of_range(view: tuple[float, float], message: str) -> None:
    with pytest.raises(NasError, match=message):
        View(*view)


@pytest.mark.parametrize(
    ("full", "place", "corner"),
    [((8, 6), 0.0, (0, 1)), ((8, 6), 1.0, (4, 1)), ((6, 8), 0.0, (1, 0)), ((6, 8), 1.0, (1, 4)), ((4, 4), 1.0, (0, 0))],
)
def test_a_window_moves_along_the_side_with_more_room(
    full: tuple[int, int], place: float, corner: tuple[int, int]
) -> None:
    rows, columns = Sampling(1, (4, 4)).window(full, place)
    assert (rows.start, columns.start) == corner
    assert (rows.stop, columns.stop) == (corner[0] + 4, corner[1] + 4)


def test_plain_arguments_read_what_a_sampling_reads(tmp_path: Path) -> None:
    """Pictures of grey 0 to 9 as the frames of one clip: five parts, or a stride of 3."""
    folder = tmp_path / "clips" / "a" / "one"
    for name in ("a/one", "b/two"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / "clips" / name / f"{i}.png")
    assert read_clip(folder, 5, None, None, (8, 8))[:, 0, 0, 0].tolist() == [1, 3, 5, 7, 9]
    assert read_clip(folder, 3, 3, 1.0, (8, 8))[:, 0, 0, 0].tolist() == [3, 6, 9]
    split = VideoSplit([0, 1], [], [folder, tmp_path / "clips" / "b" / "two"])
    assert load_clips(split, 5, (4, 4)).pixels[:, :, 0, 0, 0].tolist() == [[1, 3, 5, 7, 9]] * 2
