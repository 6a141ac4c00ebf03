from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nas.trained.folder import load_model
from nas.trained.passes import mean_probabilities


def test_views_are_averaged_after_the_softmax(model_folder: Path) -> None:
    """Logits (0, 0, ln 2) and (ln 6, 0, 0): the mean of (1, 1, 2) / 4 and (6, 1, 1) / 8."""
    model = load_model(model_folder)
    logits = torch.tensor([[1.0, 1, 2], [6, 1, 1]]).log()
    model.network.forward = lambda clips: logits[: len(clips)]  # type: ignore[method-assign, assignment]
    found = mean_probabilities(model, np.zeros((2, 4, 16, 16, 3), np.uint8))
    assert found.tolist() == pytest.approx([1 / 2, 3 / 16, 5 / 16])


def test_more_views_than_pass_at_a_time(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(model_folder)
    views = np.random.default_rng(0).integers(0, 256, (5, 4, 16, 16, 3), dtype=np.uint8)
    each = np.mean([mean_probabilities(model, view[None]) for view in views], axis=0)
    monkeypatch.setattr("nas.trained.passes.AT_A_TIME", 2)
    assert mean_probabilities(model, views) == pytest.approx(each, abs=1e-6)
