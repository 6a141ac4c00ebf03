"""Class vectors that the example makes are read as it wrote them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from nas.trained.zero_shot import read_class_vectors

FILE = Path(__file__).parents[2] / "examples" / "class_vectors.py"


def test_class_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("class_vectors", FILE)
    assert spec and spec.loader
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main([str(tmp_path / "v.safetensors"), "sit_down", "stand_up", "walk"])
    assert "3 vectors of 64 numbers" in capsys.readouterr().out
    read = read_class_vectors(tmp_path / "v.safetensors")
    assert read.names == ("sit_down", "stand_up", "walk")
    # A text has the same vector beside longer ones: what pads it is not attended to.
    assert torch.allclose(example.small_encoder([example.PROMPT.format("walk")])[0], read.vectors[2], atol=1e-5)
