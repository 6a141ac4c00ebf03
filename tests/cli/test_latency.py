"""`nas latency` as a user types it."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from command_line import nas

from nas.profiler.measured import references
from nas.profiler.measured.device import Conditions
from nas.profiler.tables import growth


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grow", "tiny", "--time", "5"], "time '5' is not a time"),
        (["grow", "tiny", "--batch", "x"], "batch 'x' is not allowed"),
        (["grow", "tiny", "--device", "tpu"], "device 'tpu' is not available"),
        (["export", "tiny", "--out", "file"], "out 'file' is a file; allowed: a folder"),
        (["import", "none.csv", "--device", "phone"], "file 'none.csv' is no file; allowed: "),
        (["references", "x3d"], "reference network 'x3d' is unknown"),
        (["references", "--runtime", "jit"], "runtime 'jit' is unknown"),
    ],
)
def test_bad_input_gets_a_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    (folder / "file").touch()
    nas("latency", *arguments, monkeypatch=monkeypatch, code=2)
    out, err = capsys.readouterr()
    assert out == "" and words in err.replace("\n", " ") and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["profile", "vov3d_l", "--space", "tiny"],
        ["profile", "vov3d_l", "--time", "5m"],
        ["latency", "grow", "tiny", "--compile"],
        ["latency", "grow", "tiny", "--no-measure"],
        ["latency", "export", "tiny", "--out", "layers", "--time", "5m"],
    ],
)
def test_an_option_of_another_command_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    nas(*arguments, monkeypatch=monkeypatch, code=2)
    assert "No such option" in capsys.readouterr().err


def test_an_interrupt_says_what_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def grow(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(growth, "grow", grow)
    nas("latency", "grow", "tiny", "--device", "cpu", monkeypatch=monkeypatch, code=130)
    assert "what was timed is in profiles/" in " ".join(capsys.readouterr().err.split())


def test_references_are_measured_under_the_options(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def measure(path: Path, conditions: Conditions, names: Any, seconds: float, patience: float, show: Any) -> Path:
        show("x3d_s", 0, 1)
        asked.append((path, conditions, list(names), seconds, patience))
        return path / "box.csv"

    monkeypatch.setattr(references, "measure_references", measure)
    options = ["--device", "cpu", "--batch", "1,2", "--threads", "1", "--train", "SGD", "--max-seconds", "3"]
    nas("latency", "references", "x3d_s", *options, monkeypatch=monkeypatch)
    wanted = [Conditions("cpu", "fp32", batch, 1, train="SGD") for batch in (1, 2)]
    assert asked == [(Path("profiles/reference"), each, ["x3d_s"], 3.0, 20.0) for each in wanted]
    assert capsys.readouterr().out.splitlines() == ["table  profiles/reference/box.csv"] * 2


def test_a_space_grows_a_table_that_is_gone_on_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--frames", "4", "--size", "16", "--time", "2s", "--threads", "1", "--device", "cpu"]
    nas("latency", "grow", "tiny", *arguments, monkeypatch=monkeypatch)
    (path,) = (folder / "profiles").glob("*.b1.t1.csv")
    known = path.read_text().splitlines()
    assert len(known) > 4 and f"are in profiles/{path.name}" in capsys.readouterr().out
    nas("latency", "grow", "tiny", *arguments, monkeypatch=monkeypatch)
    assert len(path.read_text().splitlines()) >= len(known)


def test_latencies_of_another_device_become_its_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nas.profiler.tables.remote import export_parts
    from nas.space import SearchSpace

    export_parts([SearchSpace.load("tiny").sample(0)], "list.csv")
    rows = list(csv.DictReader(io.StringIO(Path("list.csv").read_text())))
    rows[0]["ms"] = "2.5"
    with open("filled.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    nas("latency", "import", "filled.csv", "--device", "pixel-8.fp16", monkeypatch=monkeypatch)
    assert "1 layers and 0 networks are in profiles/pixel-8.fp16.csv" in capsys.readouterr().out
    assert "2.5" in (folder / "profiles" / "pixel-8.fp16.csv").read_text()
    nas("latency", "import", "list.csv", "--device", "pixel-8.fp16", monkeypatch=monkeypatch, code=2)
    assert "has no milliseconds" in capsys.readouterr().err
