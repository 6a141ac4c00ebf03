"""The checks for a GPU: on a CPU the same code is walked, with small sizes."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import nas

FILE = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
RUN = Path(__file__).parents[1] / "runs" / "run_of_version_0.1"


def _module() -> ModuleType:
    specification = importlib.util.spec_from_file_location("benchmarks_gpu", FILE)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules["benchmarks_gpu"] = module
    specification.loader.exec_module(module)
    return module


gpu = _module()
DRY = gpu.Bench(torch.device("cpu"), dry=True)


def _finished_search(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """A search that has ended: what one is on a CPU, the tests of runs show."""
    assert command[1:4] == ["-m", "nas.cli.app", "search"]
    shutil.copytree(RUN, command[command.index("--out") + 1])
    return subprocess.CompletedProcess(command, 0)


@pytest.mark.parametrize("name", gpu.CHECKS)
def test_every_check_is_walked_on_a_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, _ = gpu.CHECKS[name]
    if name == "search":
        monkeypatch.setattr(gpu.subprocess, "run", _finished_search)
    answer = check(DRY)
    assert answer == json.loads(json.dumps(answer, default=str)) or name == "facts"
    if name == "parity":  # the CPU against itself
        errors = [error["torch.float32"] for error in answer.values()]
        assert errors and all(error == 0 for error in errors)
    if name == "same_seed":
        assert answer["equal"]
    if name == "refusals":
        assert "A100-40G" in answer["refused"]
    if name == "search":
        assert answer["exit"] == 0 and sum(answer["states"].values()) == len(nas.Run(RUN).trials)


def test_a_check_that_dies_is_an_answer_and_the_next_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gpu.CHECKS, "unheard of", (gpu.facts, 60))
    answer = gpu.run_check("unheard of", DRY, tmp_path)  # the process knows no such check
    assert "KeyError" in answer["failed"]
    assert json.loads((tmp_path / "unheard of.json").read_text())["failed"] == answer["failed"]


@pytest.mark.gpu
@pytest.mark.parametrize("name", gpu.CHECKS)
def test_every_check_runs_on_a_gpu(name: str, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert "failed" not in gpu.run_check(name, gpu.Bench(torch.device("cuda:0"), dry=False), tmp_path)
