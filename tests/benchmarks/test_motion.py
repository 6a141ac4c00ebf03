"""The networks of `benchmarks/motion.py`: what sees time and what does not."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from nas.models.network import build

FOLDER = Path(__file__).parents[2] / "benchmarks"
OPERATORS = ("t2d", "tps", "factorized", "sparse_tube", "d2plus1d", "joint_filter")


@pytest.fixture
def motion(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)  # its scripts import each other
    return importlib.import_module("motion")


def touched(motion: ModuleType, operator: str, sees_time: bool) -> set[int]:
    """Frames of the map before the head that another fourth frame of the clip changes."""
    torch.manual_seed(0)
    model = build(motion.architecture(operator, sees_time)).eval()
    maps: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
        maps.append(output)

    last = len(motion.CASES[operator].layers) - 1
    model.get_submodule(f"parts.stages_0_layers_{last}").register_forward_hook(keep)
    clip = torch.randn(1, 3, *model.architecture.input.shape.extent)
    other = clip.clone()
    other[:, :, 3] += torch.randn_like(other[:, :, 3])
    with torch.no_grad():
        for parameter in model.parameters():  # what begins at zero is to count as well
            parameter.add_(0.1 * torch.randn_like(parameter))
        model(clip)
        model(other)
    return set((maps[0] - maps[1]).abs().amax((0, 2, 3, 4)).gt(1e-4).nonzero().flatten().tolist())


@pytest.mark.parametrize("operator", OPERATORS)
def test_without_time_a_frame_counts_for_itself_alone(motion: ModuleType, operator: str) -> None:
    assert tuple(motion.CASES) == OPERATORS
    assert len(touched(motion, operator, True)) > 1
    if operator == "sparse_tube":  # its keys are of all frames: without time it has one
        assert motion.architecture(operator, False).input.frames == 1
    else:
        assert touched(motion, operator, False) == {3}
