"""Strips of frames, as a run keeps them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data import strips
from nas.data.clips import Clips
from nas.data.strips import read_strips, strip, write_strips


def test_frames_are_spread_over_the_clip_and_made_small() -> None:
    clip = np.repeat(np.arange(0, 220, 20, dtype=np.uint8), 128 * 96 * 3).reshape(11, 128, 96, 3)
    picture = Image.open(io.BytesIO(strip(clip)))
    assert picture.format == "JPEG" and picture.size == (6 * 48, 64)
    # Of 11 frames the 1st, 3rd, 5th, ... whose grey is 0, 40, 80, ...
    middles = [picture.getpixel((48 * place + 24, 32)) for place in range(6)]
    assert [middle[0] for middle in middles] == pytest.approx([0, 40, 80, 120, 160, 200], abs=2)  # type: ignore[index]
    assert Image.open(io.BytesIO(strip(clip[:2, :8, :8]))).size == (16, 8)


def test_what_is_more_than_a_run_keeps_or_no_picture_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 2, 16, 16, 3), np.uint8)
    write_strips(tmp_path, Clips(pixels, np.array([2, 0, 2, 1])))
    found = read_strips(tmp_path, 3)
    assert found == {0: strip(pixels[1]), 1: strip(pixels[3]), 2: strip(pixels[0])}
    monkeypatch.setattr(strips, "MOST_BYTES", len(found[0]) + len(found[1]))
    assert list(read_strips(tmp_path, 3)) == [0, 1] and list(read_strips(tmp_path, 1)) == [0]
    (tmp_path / "frames" / "0.jpg").write_text("<svg onload=alert(1)>")
    assert 0 not in read_strips(tmp_path, 3) and 1 in read_strips(tmp_path, 3)
    (tmp_path / "other").mkdir()
    write_strips(tmp_path / "other", Clips(pixels, np.array([2, 0, 2, 1])))
    assert list(read_strips(tmp_path / "other", 3)) == [0, 1] and read_strips(tmp_path / "none", 3) == {}
