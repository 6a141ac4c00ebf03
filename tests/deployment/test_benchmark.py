"""One network in several runtimes side by side."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas.data.datasets import open_data
from nas.deployment import benchmark as module
from nas.deployment.benchmark import Benchmark, Row, benchmark, paired_ratio
from nas.deployment.runtimes import EAGER, NEEDED, ONNX, OPENVINO
from nas.deployment.timing import time_in_turn
from nas.errors import NasError
from nas.profiler.measured.latency import Latency
from nas.trained.evaluation import evaluate
from nas.trained.folder import load_model
from nas.trained.scores import Share


def test_each_turn_begins_with_another_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four turns of three; the clock moves one second with every look at it."""
    clock = itertools.count()
    monkeypatch.setattr("nas.deployment.timing.perf_counter", lambda: float(next(clock)))
    order: list[str] = []

    def runtime(name: str) -> Callable[[Tensor], Tensor]:
        return lambda clip: order.append(name) or clip  # type: ignore[func-returns-value]

    def timed(run: Callable[[], object]) -> float:
        run()
        return float(len(order))

    samples = time_in_turn({name: runtime(name) for name in "abc"}, torch.zeros(1), max_seconds=4.0, timed=timed)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert samples == {"a": [1, 6, 8, 10], "b": [2, 4, 9, 11], "c": [3, 5, 7, 12]}


def test_one_turn_is_made_however_little_time_there_is() -> None:
    samples = time_in_turn({"a": lambda x: x}, torch.zeros(1), max_seconds=1e-9)
    assert len(samples["a"]) == 1


def test_ratio_is_of_the_same_turn() -> None:
    """A machine that becomes ten times slower half-way changes both times of a turn."""
    assert paired_ratio([1, 1, 10, 10, 10], [2, 2, 20, 20, 20]) == 0.5


def test_torch_and_onnx_of_a_trained_network(
    model_folder: Path, clips_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(module, "NEEDED", {EAGER: (), ONNX: (), OPENVINO: ()})
    monkeypatch.setattr(module, "missing", lambda name: ["openvino"] * (name == OPENVINO))
    data = open_data(str(clips_folder))
    done = benchmark(model_folder, data, device="cpu", threads=1, max_seconds=0.2)
    assert [row.runtime for row in done.rows] == [EAGER, ONNX]
    assert done.skipped == {OPENVINO: "openvino not installed"}
    assert done.clips == f"12 clips of val of {clips_folder.name}"
    expected = evaluate(load_model(model_folder, "cpu"), data).results[0].scores.top1
    for row in done.rows:
        assert row.accuracy == expected
        assert row.latency_ms.n == len(done.rows[0].latency_ms.samples) > 0
        assert row.peak_memory_bytes > row.file_bytes / 2
    eager, onnx = done.rows
    assert (eager.difference, eager.ratio) == (0, 1)
    assert eager.file_bytes == (model_folder / "model.safetensors").stat().st_size
    assert onnx.difference is not None and 0 < onnx.difference < 1e-4
    assert json.loads(json.dumps(done.to_dict()))["rows"][1]["runtime"] == ONNX


def test_a_runtime_that_fails_is_left_out_with_its_reason(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def runner(name: str, *_: object) -> object:
        if name != EAGER:
            raise RuntimeError("no compiler\nfound")
        return lambda clips: torch.zeros(len(clips), 3)

    monkeypatch.setattr(module, "runner", runner)
    monkeypatch.setattr(module, "write_onnx_file", lambda *_, **__: None)
    monkeypatch.setattr(module, "missing", lambda _: [])
    runs, skipped = module._runs(load_model(model_folder, "cpu"), model_folder, model_folder / "x", 1)
    assert list(runs) == [EAGER]
    assert skipped == {name: "RuntimeError: no compiler found" for name in NEEDED if name != EAGER}


def test_what_torch_cannot_run_is_one_sentence(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def runner(*_: object) -> object:
        raise RuntimeError("no kernel image\nis there")

    monkeypatch.setattr(module, "runner", runner)
    with pytest.raises(NasError, match=r"cannot be run by torch .RuntimeError: no kernel image is there.; allowed: "):
        module._runs(load_model(model_folder, "cpu"), model_folder, model_folder / "x", 1)


def test_a_difference_that_is_no_number_is_none_and_json_is_json() -> None:
    ones, broken = torch.ones(2, 3), torch.tensor([[1.0, math.nan, 1.0], [1.0, math.inf, 1.0]])
    assert module._difference(ones, broken) is None and module._difference(broken, ones) is None
    assert module._difference(ones, 2 * ones) == 0.5
    row = Row(ONNX, "1", "epyc", 1, Latency.of([1.0]), 1.0, 1, None, None)
    json.dumps(Benchmark("m", "clips", (row,), {}, ()).to_dict(), allow_nan=False)


def test_refusals(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NasError, match="is no folder; allowed: a folder that `nas train` wrote"):
        benchmark(tmp_path / "none")
    with pytest.raises(NasError, match="whose classes are not those of model"):
        benchmark(model_folder, open_data("motion"), device="cpu")
    for options in ({"max_seconds": 0.0}, {"max_seconds": float("nan")}, {"threads": 0}):
        with pytest.raises(NasError, match="is not allowed; allowed: "):
            benchmark(model_folder, device="cpu", **options)  # type: ignore[arg-type]


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from nas.cli.benchmark import _table

    row = Row(
        "compiled",
        "2.13",
        "epyc",
        123_400_000,
        Latency.of([123.4] * 20),
        1.0,
        132_600_000,
        0.0,
        Share.of_value(0.75, 48),
    )
    other = Row(ONNX, "1.31", "epyc", 2000, Latency.of([1.0] * 20), 0.5, 4_000_000, 2.5e-7, Share.of_value(1.0, 48))
    Console(width=80).print(_table(Benchmark("m", "48 clips of val of x", (row, other), {}, ())))
    text = capsys.readouterr().out
    assert "20 turns on epyc; differences on 48 clips of val of x" in text
    for words in ("75.0 ± 6.2 %", "123", "0.50", "132.6 MB", "123.4 MB", "2.5e-07", "100 % of 48", "compiled"):
        assert words in text
