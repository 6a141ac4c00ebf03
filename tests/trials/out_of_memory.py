"""Trains a trial whose process has too little memory, and prints its report."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np

from nas.architecture import Architecture
from nas.data.datasets import Clips
from nas.training.recipe import Recipe
from nas.trials.results import Assignment
from nas.trials.trainable import Proxy, ProxyData, ProxyTrial

MORE = 300_000_000  # bytes
DOCUMENT = {
    "input": {"frames": 8, "size": 256},
    "num_classes": 2,
    "stem": {"op": "conv", "stride": [1, 1, 1]},
    "stages": [{"width": 128, "layers": [{"op": "full3d"}]}],
}

pixels = np.zeros((2, 8, 256, 256, 3), np.uint8)
clips = Clips(pixels, np.arange(2))
proxy = Proxy(8, (256, 256), (1,), 2, 2, Recipe(epochs=1, batch_size=2), threads=1, device="cpu")
trial = ProxyTrial.__new__(ProxyTrial)
trial.setup(
    Assignment(0, Architecture.parse(DOCUMENT).document(), (1.0,)).config(), proxy, ProxyData(clips, clips, None, False)
)
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + MORE, taken + MORE))
print(json.dumps(trial.step()))
