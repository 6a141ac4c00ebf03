"""A small data set in memory, and the plan of a training on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nas.architecture import Architecture
from nas.data.sampling import MIDDLE, Sampling, View
from nas.data.source import Split, VideoData
from nas.trained import plan as plan_module
from nas.trained.plan import Plan, TrainSettings

NETWORK = {
    "name": "small",
    "input": {"frames": 2, "size": 8},
    "num_classes": 2,
    "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 4, 4]},
    "stages": [{"width": 4, "layers": [{"op": "full3d"}]}],
    "head": {"op": "mean", "dropout": 0.2},
}


@dataclass(frozen=True)
class Brightness(Split):
    """Dark clips of class 0 and bright ones of class 1."""

    def clip(
        self, index: int, sampling: Sampling, view: View = MIDDLE, seed: int | None = None
    ) -> npt.NDArray[np.uint8]:
        noise = np.random.default_rng(index).integers(0, 60, (sampling.frames, *sampling.size, 3))
        return (noise + 150 * self.labels[index]).astype(np.uint8)


def brightness(count: int) -> Brightness:
    return Brightness([i % 2 for i in range(count)], [])


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> VideoData:
    """Forty clips to train on, ten to validate, six to test; whatever data is named."""
    made = VideoData("brightness", ("dark", "bright"), brightness(40), brightness(10), brightness(6), True)
    monkeypatch.setattr(plan_module, "open_data", lambda *_, **__: made)
    monkeypatch.setattr("nas.trained.train.SHOW_SECONDS", 0)
    return made


@pytest.fixture
def plan(data: VideoData, tmp_path: Path) -> Callable[..., Plan]:
    """The plan of a training into `tmp_path`, with settings as given."""

    def make(out: str = "out", architecture: Architecture | None = None, **settings: Any) -> Plan:
        common: dict[str, Any] = {"epochs": 3, "batch": 8, "device": "cpu", "threads": 1} | settings
        return Plan.of(
            TrainSettings(data="brightness", out=str(tmp_path / out), **common),
            architecture or Architecture.parse(NETWORK),
        )

    return make
