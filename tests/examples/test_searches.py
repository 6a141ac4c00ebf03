"""The examples that search call `nas.search` as it wants to be called, and say what came of it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import nas
from nas.errors import Interrupted
from nas.report.page import write_page
from nas.runs.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples"
BEFORE = Path(__file__).parents[1] / "runs" / "run_of_version_0.1"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands for a search: the settings that it was asked for, which are checked; and a run."""
    asked: list[dict[str, Any]] = []

    def search(space: str, budget: str, data: str, *, out: str, **settings: Any) -> nas.Run:
        Settings.of(space=space, budget=budget, data=data, **settings)
        asked.append({"space": space, "budget": budget, "data": data, **settings})
        return nas.Run(shutil.copytree(BEFORE, tmp_path / out))

    monkeypatch.setattr("nas.search", search, raising=False)
    monkeypatch.chdir(tmp_path)
    return asked


def test_a_search_on_your_folder(
    searched: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = example("search_your_folder")
    monkeypatch.setattr(module, "write", lambda run: [write_page(run)])  # without its pictures
    module.main(["clips", "--time", "2m", "--space", "tiny"])
    assert searched == [{"space": "tiny", "budget": "5gflops", "data": "clips", "time": 120.0}]
    run, said = nas.Run(tmp_path / "run"), capsys.readouterr().out
    assert f"accuracy: trial {run.pick_trial()}, " in said
    assert nas.load(tmp_path / "best.yaml").hash == run.pick().hash and (tmp_path / "run" / "report.html").exists()


def test_a_search_on_a_cluster(
    searched: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = example("search_on_a_cluster")
    module.main(["/shared/clips", "--storage", "/shared/ray", "--trials", "3"])
    cluster = {"address": "auto", "storage": "/shared/ray"}
    assert searched == [{"space": "hybrid", "budget": "20gflops", "data": "/shared/clips", "trials": 3, **cluster}]
    assert "latency_ms" in capsys.readouterr().out

    def interrupted(*_: Any, **__: Any) -> None:
        raise Interrupted("interrupted; what was trained is kept; allowed: nas search --resume run")

    monkeypatch.setattr("nas.search", interrupted)
    module.main(["/shared/clips", "--storage", "/shared/ray"])
    assert capsys.readouterr().out.endswith("nas search --resume run --address auto --storage /shared/ray\n")
