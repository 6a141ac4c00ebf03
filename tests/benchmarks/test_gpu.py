"""The checks for a GPU: on a CPU the same code is walked, with small sizes."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import nas
from nas.limits.memory import training_step_memory
from nas.trials.trainable import ProxyTrial

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


@pytest.fixture
def dry(tmp_path: Path) -> Any:
    return gpu.Bench(torch.device("cpu"), True, tmp_path)


def _finished_search(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """A search that has ended: what one is on a CPU, the tests of runs show."""
    assert command[1:4] == ["-m", "nas", "search"]
    shutil.copytree(RUN, command[command.index("--out") + 1])
    return subprocess.CompletedProcess(command, 0)


@pytest.mark.parametrize("name", gpu.CHECKS)
def test_every_check_is_walked_on_a_cpu(name: str, dry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "search":
        monkeypatch.setattr(gpu.subprocess, "run", _finished_search)
    answer = gpu.CHECKS[name].run(dry)
    assert answer == json.loads(json.dumps(answer, default=str)) or name in ("facts", "throttling")
    assert answer["said"] and not answer.get("wrong")
    if name == "parity":  # float32 of the CPU against itself
        assert answer["parts"] and all(set(part["float32"].values()) == {0} for part in answer["parts"].values())
    if name == "poison":
        assert answer["again"] == {"failure": None, "error": None, "micro_batch": 4, "peak_bytes": 0}
    if name == "table":
        (file,) = dry.out.glob("*.csv")
        assert [file.stem] == [key for key in answer if key not in ("said", "wrong")]
    if name == "same_seed":
        assert answer["equal"]
    if name == "refusals":
        assert "A100-40G" in answer["refused"]
    if name == "search":
        assert answer["exit"] == 0 and sum(answer["states"].values()) == len(nas.Run(RUN).trials)
    if name == "two_gpus":
        assert answer == {"said": "there are not two GPUs", "not run": True}


def test_gradients_that_are_no_numbers_are_not_as_expected(dry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a kernel whose output is right."""
    outputs = iter([(torch.ones(2), torch.ones(2)), (torch.ones(2), torch.tensor([1.0, math.nan]))] * 9)
    monkeypatch.setattr(gpu, "_outputs", lambda *_: next(outputs))
    monkeypatch.setattr(gpu, "TOLERANCES", {torch.float32: 1e-3})
    key = next(iter(gpu.parity_parts(dry)))
    monkeypatch.setattr(gpu, "in_cases", lambda bench, kind: {key: gpu.case_answer(bench, gpu.parity_case, key)})
    answer = gpu.parity(dry)
    assert answer["wrong"] == [f"{key}: torch.float32 is off by nan, and 0.001 is allowed"]
    assert "float32 is off by nan at most" in answer["said"]


def test_a_training_that_fails_is_not_as_expected(dry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of a process, whose second goes well."""
    reports = iter([{"failure": "error", "error": "no kernel"}, {"failure": None, "error": None}])
    monkeypatch.setattr(ProxyTrial, "step", lambda trial: next(reports))
    monkeypatch.setattr(ProxyTrial, "reset_config", lambda trial, config: trial._begin() is None)
    answer = gpu.poison(dry)
    assert [line[:39] for line in answer["wrong"]] == ["a training failed alone: {'failure': 'e"]


def test_a_gpu_is_loaded_with_the_same_numbers_to_the_end(dry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of products would soon be zero, or nan, which take less power."""
    factors: list[torch.Tensor] = []
    monkeypatch.setattr(torch, "matmul", lambda a, b, out: factors.append(a.clone()))
    gpu.throttling(dry)
    assert len(factors) >= 10 and factors[0].std() > 0.9
    assert all(torch.equal(each, factors[0]) for each in factors)


def test_what_is_checked_on_a_gpu_can_be_built() -> None:
    """Every operator, and the layers of proxies of four spaces at their size there."""
    bench = gpu.Bench(torch.device("cpu"), False, Path("unused"))
    parts = gpu.parity_parts(bench)
    assert {kind.op_name() for kind in gpu.LAYERS.types()} <= {key.split()[0] for key in parts}
    assert {key.split()[0] for key in parts if key.split()[1] in "01"} == {"hybrid", "swin", "conv", "vit"}
    assert len(gpu.attention_cases(bench)) == 5 * 2 * 3


def test_memory_that_is_too_small_can_be_kept_to_by_smaller_batches() -> None:
    """In six tenths of what a whole batch takes, also where activations take half of what is
    computed, as in bfloat16.
    """
    candidate = gpu.roomy_candidate(gpu.Bench(torch.device("cpu"), False, Path("unused")))
    priced = nas.cost(candidate)
    weights = 4 * priced.parameter_bytes  # with their gradients and moments
    whole, fourth = (training_step_memory(priced, 16, batch) for batch in (16, 4))
    assert fourth - weights / 4 < 0.6 * (weights + (whole - weights) / 2)


def test_attention_beyond_every_limit_fits_into_a_gpu_of_40_gb() -> None:
    """Outputs, gradients and a sum in float32 are less than twelve times the input. It is split for
    the index of the backward pass all the same.
    """
    for case in gpu.attention_cases(gpu.Bench(torch.device("cpu"), False, Path("unused"))):
        sequences, heads, length = (int(n) for n in re.findall(r"[0-9]+", case))
        assert 12 * sequences * heads * length * 32 * 2 < 40e9
    assert gpu.sequences_per_call(12, 16, 32) == 2**31 // (12 * 128 * 32) < 65_535


def test_throughput_ends_with_what_it_knows_when_there_is_no_time(dry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process takes 30 s and two take 35 s, of 64 s: four would end later."""
    clock = [0.0]

    def side_by_side(bench: Any, variants: list[str], count: int, threads: int) -> list[dict[str, float]]:
        clock[0] += {1: 30.0, 2: 35.0}[count]
        return [dict.fromkeys(variants, 10.0)] * count

    monkeypatch.setattr(gpu, "_side_by_side", side_by_side)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: clock[0])
    answer = gpu.throughput(replace(dry, dry=False))
    assert answer["2 at a time, as trials"]["clips_per_s"] == 20
    assert answer["wrong"] == [f"{n} at a time, as trials: there was no time for it" for n in (4, 8)]


def test_a_check_that_dies_is_an_answer(dry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gpu.CHECKS, "unheard of", gpu.Check(gpu.facts, 60, ""))
    assert "KeyError" in gpu.run_check("unheard of", dry)["failed"]  # the process knows no such check


def test_an_answer_counts_whose_process_dies_behind_it(dry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one may that has lost its device."""
    program = 'import os; print(\'{"said": "lost"}\', flush=True); os.abort()'
    monkeypatch.setattr(gpu.Bench, "command", lambda self, *options: [sys.executable, "-c", program])
    assert gpu.run_check("facts", dry, limit=20.0)["said"] == "lost"


def test_a_check_that_hangs_is_ended_with_all_that_it_started(
    dry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    program = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(started)!r}).write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setattr(gpu.Bench, "command", lambda self, *options: [sys.executable, "-c", program])
    assert gpu.run_check("facts", dry, limit=3.0)["failed"] == "not done within 3 s"
    state = Path(f"/proc/{started.read_text()}/stat")
    end = time.monotonic() + 10
    while state.exists() and state.read_text().rsplit(")")[1].split()[0] != "Z" and time.monotonic() < end:
        time.sleep(0.05)
    assert not state.exists() or state.read_text().rsplit(")")[1].split()[0] == "Z"


def test_cases_go_on_behind_one_that_takes_the_context_along_and_one_that_dies(
    dry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five cases the second loses the context, and at the fourth the process dies."""
    begun: list[int] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        first = int(command[command.index("--first") + 1])
        begun.append(first)
        answers = ["{}", '{"error": "CUDA error", "context_lost": true}', "{}", "", "{}"]
        said = {0: [0, 1], 2: [2], 3: [], 4: [4]}[first]
        lines = "".join(f'{{"case {i}": {answers[i]}}}\n' for i in said)
        return subprocess.CompletedProcess(command, int(first in (2, 3)), lines, "Segmentation fault\n")

    monkeypatch.setattr(gpu.subprocess, "run", run)
    monkeypatch.setitem(gpu.CASES, "five", (lambda bench: [f"case {i}" for i in range(5)], gpu.parity_case))
    monkeypatch.setitem(gpu.CHECKS, "five", gpu.Check(gpu.parity, 60, ""))
    found = gpu.in_cases(replace(dry, dry=False), "five")
    assert begun == [0, 2, 3, 4]
    assert found == {
        "case 0": {},
        "case 1": {"error": "CUDA error", "context_lost": True},
        "case 2": {},
        "case 3": {"error": "exit code 1: Segmentation fault"},
        "case 4": {},
    }
    assert gpu.failures(found) == ["case 1: CUDA error", "case 3: exit code 1: Segmentation fault"]


def test_cases_that_there_is_no_time_for_leave_what_was_answered(dry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is ended within its third case, of which a part was written."""

    def run(command: list[str], **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"], b'{"a": {}}\n{"b": {}}\n{"c"')

    monkeypatch.setattr(gpu.subprocess, "run", run)
    monkeypatch.setitem(gpu.CASES, "four", (lambda bench: list("abcd"), gpu.parity_case))
    monkeypatch.setitem(gpu.CHECKS, "four", gpu.Check(gpu.parity, 60, ""))
    found = gpu.in_cases(replace(dry, dry=False), "four")
    assert found == {"a": {}, "b": {}, "c": {"error": "there was no time for it and what follows"}}


def test_a_lost_context_ends_the_process_of_the_cases(
    dry: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(bench: Any, key: str) -> dict[str, Any]:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setitem(gpu.CASES, "three", (lambda bench: ["a", "b", "c"], lost))
    gpu.run_cases(dry, "three", 1, one=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["b"]["context_lost"] is True


def test_depthwise_convolutions_leave_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    original = torch.backends.cudnn.flags

    def flags(enabled: bool) -> Any:
        seen.append(enabled)
        return original(enabled=enabled)

    monkeypatch.setattr(torch.backends.cudnn, "flags", flags)
    x = torch.randn(1, 4, 3, 3, 3)
    with gpu.native_depthwise():
        torch.nn.functional.conv3d(x, torch.randn(4, 1, 3, 3, 3), None, (1, 1, 1), (1, 1, 1), 1, 4)
        torch.nn.functional.conv3d(x, torch.randn(8, 4, 1, 1, 1))
    torch.nn.functional.conv3d(x, torch.randn(8, 4, 1, 1, 1))
    assert seen == [False, True]


FACTS = {
    "said": "80 GB",
    "device": "NVIDIA X",
    "versions": {"python": "3.12.3", "torch": "2.11.0"},
    "environment": {"cuda": "13.0", "cudnn": 91900},
    "attention_kernels": {f"shape {n}": "flash" for n in range(25)},
    "wrong": [],
    "seconds": 4.0,
}


def test_the_page_begins_with_device_versions_and_a_table_of_all_checks() -> None:
    answers = {
        "facts": FACTS,
        "parity": {
            "said": "of 2 parts",
            "wrong": ["t2d is off"],
            "parts": {"t2d": {"float32": {"output": 0.123456, "gradients": 123456}}},
        },
        "search": {"failed": "not done within 120 s", "seconds": 120.1},
        "profile": {"failed": "Traceback:\n  File\n\nKeyError"},
        "throttling": {"said": "at 1980 MHz\nor | more", "seconds": 14.0},
        "two_gpus": {"said": "there are not two GPUs", "not run": True, "seconds": 3.0},
    }
    text = gpu.page(answers)
    lines = text.splitlines()
    assert lines[0] == "# GPU checks on NVIDIA X"
    assert {"| python | 3.12.3 |", "| torch | 2.11.0 |", "| CUDA | 13.0 |", "| cuDNN | 91900 |"} <= set(lines)
    assert "5 of 15 checks ran, and 3 things are not as expected." in text
    rows = {line.split(" | ")[0]: line for line in lines if line.endswith(" |")}
    asked = gpu.CHECKS["facts"].asked
    assert rows["| facts"] == f"| facts | A8, A11, C6, C9 | {asked} | 80 GB | as expected | 4.0 |"
    assert [rows[f"| {name}"].split(" | ")[4] for name in ("parity", "search", "throttling", "memory", "two_gpus")] == [
        "1 not as expected",
        "failed",
        "told",
        "not run",
        "not run",
    ]
    assert "\n- parity: t2d is off\n- search: not done within 120 s\n- profile: Traceback: File KeyError\n" in text
    assert rows["| throttling"].endswith(" | at 1980 MHz or / more | told | 14.0 |")
    assert "parts:\n  t2d: float32 output 0.1235, gradients 123,456\n" in text
    assert "  shape 19: flash\n  and 5 more, in answers.json\n" in text
    assert "## search" not in text and "## two_gpus" not in text
    dry = gpu.page({"facts": FACTS}, dry=True)
    assert "1 of 15 checks ran, and all is as expected." in dry
    assert dry.startswith("# GPU checks, a dry run on a CPU\n\nThe code was walked")


def test_answers_are_kept_for_a_later_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is there is not checked again. What may take longer than is left, by a clock that goes
    as the checks do, is not run, and what may take less behind it is: after 20 s to begin with and
    25 s of facts there are 45 s of a minute and a half, too few for parity.
    """
    begun: list[str] = []
    clock = [0.0]

    def run_check(name: str, bench: Any) -> dict[str, Any]:
        begun.append(name)
        clock[0] += gpu.CHECKS[name].seconds
        return {"said": "", "seconds": 1.0}

    monkeypatch.setattr(gpu, "run_check", run_check)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: clock[0])
    command = ["gpu.py", "--dry-run", "--out", str(tmp_path)]
    for options, expected in (
        (["--minutes", "0"], []),
        (["--minutes", "1.5"], ["facts", "poison"]),
        (["--only", "parity,facts"], ["facts", "poison", "parity", "facts"]),
    ):
        monkeypatch.setattr(sys, "argv", [*command, *options])
        with pytest.raises(SystemExit) as ended:
            gpu.main()
        assert not ended.value.code and begun == expected
    assert "parity: not run, as it may take 80 s and 45 s are left" in capsys.readouterr().out
    assert list(json.loads((tmp_path / "answers.json").read_text())) == ["facts", "poison", "parity"]
    assert "| same_seed | C8 |" in (tmp_path / "gpu.md").read_text()


def test_limits_of_the_most_valuable_checks_add_up_to_nine_minutes_and_others_end_within_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def run_check(name: str, bench: Any) -> dict[str, Any]:
        clock[0] += gpu.CHECKS[name].seconds
        return {"said": "", "seconds": 1.0}

    monkeypatch.setattr(gpu, "run_check", run_check)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--dry-run", "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        gpu.main()
    assert list(json.loads((tmp_path / "answers.json").read_text())) == list(gpu.CHECKS)[:8]
    assert clock[0] + gpu.BEGINNING <= 540


@pytest.mark.gpu
@pytest.mark.parametrize("name", gpu.CHECKS)
def test_every_check_runs_on_a_gpu(name: str, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    answer = gpu.run_check(name, gpu.Bench(torch.device("cuda:0"), False, tmp_path))
    assert "failed" not in answer and not answer.get("wrong")
