"""What standalone files hold beside the layers."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from nas.data.pictures import Resizer
from nas.data.sampling import Sampling
from nas.deployment.shipped import FromFrames, read_safetensors, resampling
from nas.weights.checkpoints import write_tensors


def test_safetensors_of_every_type_and_shape(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3).half(),
        "brain": torch.randn(2, 2).bfloat16(),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "yes": torch.tensor([True, False]),
        "odd bytes": torch.arange(5, dtype=torch.uint8),
        "after odd bytes": torch.randn(4, dtype=torch.float64),
    }
    write_tensors(tmp_path / "w", tensors, {"note": "x"})
    found = read_safetensors(tmp_path / "w")
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def rows(count: int, scale: float, least: int, size: int) -> list[list[float]]:
    places = torch.arange(count, dtype=torch.float64)
    return resampling(places, torch.tensor(scale, dtype=torch.float64), least, size).tolist()


def test_resampling_by_hand() -> None:
    assert rows(4, 1.0, 4, 2) == [[0, 1, 0, 0], [0, 0, 1, 0]]  # the middle, as it is
    # Twice as long: centres at -1/4, 1/4, 3/4 and 5/4; the first has no neighbour before it.
    assert rows(2, 2.0, 4, 4) == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    # Half as long: the first value lies at 1/2 and averages over two to each side, (3, 3, 1) of 7.
    assert rows(4, 0.5, 2, 2)[0] == pytest.approx([3 / 7, 3 / 7, 1 / 7, 0])
    assert len(rows(100, 0.1, 12, 12)) == 12  # never shorter than asked for


@pytest.mark.parametrize(("height", "width"), [(240, 320), (100, 100), (57, 33), (360, 640)])
def test_frames_are_resized_as_the_decoder_does(height: int, width: int) -> None:
    """swscale rounds to whole levels, and twice where it makes smaller."""
    y, x = np.mgrid[:height, :width]
    waves = (np.sin(x / 9 + y / 17), np.cos(y / 5), np.sin(x / 4))
    picture = np.stack([128 + 100 * wave for wave in waves], -1).astype(np.uint8)
    sampling = Sampling(1, (56, 48), None, (64, 64))
    expected = Resizer(sampling, 0.5)(av.VideoFrame.from_ndarray(picture, format="rgb24"))
    way = FromFrames(torch.nn.Identity(), (56, 48), (64, 64), (0.0,) * 3, (1.0,) * 3)
    found = way.pixels(torch.from_numpy(picture)[None, None])[0, 0].numpy()
    assert found.shape == expected.shape == (56, 48, 3)
    assert np.abs(found - expected).mean() < 0.75
    assert np.abs(found - expected).max() < 4
