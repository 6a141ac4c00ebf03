"""The cost that the example prints is the closed form of VideoMAE."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "examples" / "profile_video_model.py"


def test_a_video_model_of_hugging_face(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("profile_video_model", FILE)
    assert spec and spec.loader
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(["1"])
    tokens, width = 8 * 14 * 14, 768  # tubes of 2 frames of 16x16 pixels
    layer = 4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * 4 * width
    macs = tokens * width * 3 * 2 * 16 * 16 + layer + width * 400
    first, memory, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{macs / 1e9:.1f} GFLOPs, ") and "GB to train on one clip with AdamW" in memory
    assert 0 < len(rows) <= example.PARTS and "videomae.encoder.layer.0" in rows[0]
