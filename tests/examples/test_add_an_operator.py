"""An operator in one file outside the package: searched, priced, profiled and exported."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import nas
from nas.architecture import LAYERS, Architecture
from nas.architecture.edits import single_edits
from nas.architecture.registry import ENVIRONMENT
from nas.models.testing import check_operator
from nas.space import SearchSpace

FILE = Path(__file__).parents[2] / "examples" / "add_an_operator.py"
SETTINGS = {"trials": 2, "epochs": 1, "train_clips": 24, "val_clips": 12, "workers": 1, "confirm_seeds": 0}


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The example, imported from its file; its operator is known for one test."""
    monkeypatch.setenv(ENVIRONMENT, "")
    monkeypatch.setattr(LAYERS, "_outside", {})
    spec = importlib.util.spec_from_file_location("add_an_operator", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "add_an_operator", module)
    spec.loader.exec_module(module)
    yield module


def network(**layer: object) -> Architecture:
    return Architecture.parse(
        {
            "input": {"frames": 4, "size": 32},
            "stem": {"op": "conv"},
            "stages": [{"width": 8, "layers": [{"op": "temporal_conv", **layer}]}],
        }
    )


def test_it_takes_one_file_of_less_than_sixty_lines() -> None:
    assert len(FILE.read_text().splitlines()) < 60
    package = Path(nas.__file__).parent
    assert not [path for path in package.rglob("*") if path.suffix == ".py" and "temporal_conv" in path.read_text()]


def test_it_is_priced_as_its_formula_says_and_takes_edits(example: ModuleType) -> None:
    """A map of 4x8x8 cells of 8 channels: 5 taps in time for each channel, then 8 x 8."""
    architecture = network(temporal_kernel=5)
    layer = nas.cost(architecture).layers[1]
    assert (layer.macs, layer.params) == (4 * 8 * 8 * (5 * 8 + 8 * 8), 5 * 8 + 2 * 8 + 8 * 8)
    base = nas.load("x3d_l")
    assert "stages.1.layers.0.op=temporal_conv" in single_edits(base)
    assert nas.build(architecture, device="meta")(torch.empty(2, 3, 4, 32, 32, device="meta")).shape == (2, 400)


def test_it_passes_the_checks_of_an_operator(example: ModuleType) -> None:
    check_operator(example.TemporalConv)


def test_what_it_refuses_is_said_as_of_the_others(example: ModuleType) -> None:
    with pytest.raises(nas.ArchitectureError, match=r"^stages.0.layers.0.temporal_kernel: 4 is even; allowed: odd"):
        network(temporal_kernel=4)
    with pytest.raises(nas.ArchitectureError, match=r"0.kernel: unknown key; allowed: op, temporal_kernel$"):
        network(kernel=3)


def test_one_line_makes_it_an_operator_of_hybrid(example: ModuleType, tmp_path: Path) -> None:
    one_line = "{extends: hybrid, operators: {temporal_conv: {temporal_kernel: {choice: [3, 5]}}}}"
    (tmp_path / "mine.yaml").write_text(one_line)
    space = SearchSpace.load(tmp_path / "mine.yaml")
    samples = [space.sample(seed) for seed in range(20)]
    with_it = [sample for sample in samples if "temporal_conv" in sample.operators]
    assert with_it and all(nas.cost(sample).macs > 0 for sample in with_it)


def test_it_is_searched_profiled_and_exported(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trials and measurements are processes of their own, which know it by `NAS_OPERATORS`."""
    assert os.environ[ENVIRONMENT] == str(FILE)
    example.main(tmp_path / "out", measure_seconds=0.1, **SETTINGS)
    run = nas.Run(tmp_path / "out" / "run")
    assert len(run.trials) == 2 and not (run.trials["state"] == "failed").any()
    best = nas.load(tmp_path / "out" / "best.yaml")
    program = torch.export.load(tmp_path / "out" / "best.pt2").module()
    assert program(torch.rand(1, 3, 4, 32, 32)).shape == (1, best.num_classes)
