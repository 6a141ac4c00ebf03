"""Commands as a user types them."""

import io
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pandas as pd
import pytest
from typer import Typer
from typer.main import get_command
from typer.models import CommandInfo

import nas as nas_package
from nas.__main__ import main as entry
from nas.cli.app import app, main
from nas.cli.options import clip_shape
from nas.cli.search import print_event
from nas.errors import Interrupted, NasError
from nas.runs.settings import Settings
from nas.trained.files import FILES
from nas.units import seconds

BEFORE = Path(__file__).parents[1] / "runs" / "run_of_version_0.1"


def commands(instance: Typer, *words: str) -> dict[tuple[str, ...], CommandInfo]:
    """The commands of an app and of its groups, by the words that a user types."""
    found = {(*words, str(command.name)): command for command in instance.registered_commands}
    for group in instance.registered_groups:
        assert group.typer_instance
        found |= commands(group.typer_instance, *words, str(group.name))
    return found


COMMANDS = commands(app)


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def nas(*arguments: str) -> Done:
    """Runs a command in this process: a new one would import torch and Ray for seconds."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "argv", ["nas", *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            return Done(int(ended.code or 0), out.getvalue(), err.getvalue())
    return Done(0, out.getvalue(), err.getvalue())


def test_every_command_has_an_example_in_its_help() -> None:
    for words, command in COMMANDS.items():
        assert command.callback and f"Example: `nas {' '.join(words)}" in (command.callback.__doc__ or "")
    tables = {("latency", name) for name in ("grow", "export", "import", "references")}
    data = {("data", name) for name in ("check", "sample")}
    alone = {"search", "train", "evaluate", "predict", "show", "space", "profile", "report", "check", "export"}
    alone |= {"benchmark", "list"}
    assert set(COMMANDS) == {(name,) for name in alone} | tables | data


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_printed(command: tuple[str, ...]) -> None:
    done = nas(*command, "--help")
    assert done.returncode == 0 and "Example" in done.stdout


def test_the_options_of_search_are_the_settings_in_their_words() -> None:
    options = {option.name: option for option in get_command(app).commands["search"].params}  # type: ignore[attr-defined]
    read = {"rung_seconds": "rungs", "proxy_frames": "proxy", "proxy_size": "proxy"}
    own = {"out", "resume", "dry_run", "quiet", "json", "help"}
    assert set(options) - own == {read.get(name, name) for name in Settings.model_fields}
    as_text = {"time", "gpus_per_trial", "rungs", "proxy", "trial_timeout"}
    for name, field in Settings.model_fields.items():
        option = options[read.get(name, name)]
        if option.name not in as_text:
            assert option.default == field.default, name
            words = re.sub(r"`(\w+)`", lambda match: f"--{match[1]}", field.description or "")
            assert option.help == words, name
        else:
            assert option.default is None and option.help, name


def test_help_of_search_says_when_it_ends() -> None:
    words = " ".join(nas("search", "--help").stdout.replace("│", " ").split())
    assert "with --time too, the search ends at whichever comes first" in words
    assert "without --trials and --time 6.5m, with --trials alone no limit" in words
    assert "motion:DIFFICULTY" in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "--budget", "100"], "budget '100' has no unit"),
        (["search", "nospace"], "search space 'nospace' is neither"),
        (["search", "--time", "5"], "time '5' is not a time"),
        (["search", "--proxy", "8"], "proxy '8' is no clip shape"),
        (["search", "--data", "nodata"], "nodata"),
        (["report", "."], "is not a run"),
        (["export", "."], "'.' is neither a run nor a trained network; allowed: a folder of nas search or nas train"),
        (["export", "modle", "--out", "x.onnx"], "'modle' does not exist, neither as a run nor a trained network"),
        (["profile", "nonet"], "architecture 'nonet' is neither"),
        (["space", "tiny", "--budget", "2..1ms"], "budget '2..1ms' is an empty range"),
        (
            ["profile", "hybird"],
            "nearest: hybrid (a search space, for nas search hybrid and nas latency grow hybrid)",
        ),
        (["profile", "vov3dl"], "a name that nas list prints; nearest: vov3d_l, vov3d_m"),
        (
            ["profile", "tiny"],
            "'tiny' is the name of a search space; allowed: a path, a reference network, or the search",
        ),
        (["latency", "grow", "vov3d_l"], "search space 'vov3d_l' is the name of a reference network"),
        (["search", "vov3d_l"], "or the reference network in nas search --around vov3d_l and nas profile vov3d_l"),
        (["search", "hybird"], "one of conv, hybrid, swin, tiny, vit; nearest: hybrid"),
        (
            ["search", "--resume", "runs/a", "--dry-run"],
            "--dry-run does not go with --resume; allowed: --budget, --trials, --t",
        ),
        (["search", "tiny", "--resume", "runs/a"], "SPACE does not go with --resume"),
        (
            ["search", "tiny", "--around", "vov3d_l"],
            "space 'tiny' stands beside --around vov3d_l; allowed: one of them",
        ),
        (["search", "--edits", "3"], "edits 3 are of no network; allowed: --edits beside --around"),
        (["search", "--trials", "1.5"], "Invalid value '1.5' for '--trials': "),
        (["search", "--trials=1.5"], "Invalid value '1.5' for '--trials': "),
        (["search", "--trials", "5", "--trials", "1.5"], "Invalid value '1.5' for '--trials': "),
        (["search", "--budgt", "1ms"], "No such option: --budgt"),
        (["serch"], "No such command 'serch'"),
        (["export", str(BEFORE), "--out", "."], "out '.' is a folder; allowed: a file in an existing folder"),
        (
            ["search", "--seed", str(2**64)],
            f"seed {2**64} is not allowed; allowed: whole numbers from 0, up to 4,294,967",
        ),
        (["search", "--budget", "1ms,2ms"], "budget '1ms,2ms' limits latency twice"),
        (["search", "--proxy", "1x1"], "proxy 1x1 shows no motion; allowed: 2 to 32 frames x a size of 2 to 224"),
        (["search", "--proxy", "8x1"], "proxy 8x1 shows no motion; allowed: 2 to 32 frames x a size of 2 to 224"),
        (["search", "--device", "tpu"], "device 'tpu' is unknown; allowed: auto, cpu, cuda or cuda:0"),
        (["search", "--sampler", "best"], "sampler 'best' is unknown; allowed: pareto, tpe, nsga2, gp, random"),
        (["search", "tiny", "--workers", "1000"], "workers 1000 are more than the "),
        (["search", "tiny", "--train-clips", "1"], "train_clips 1 are fewer than the 12 classes; allowed: from 12"),
        (
            ["profile", "sub/file.py:ok"],
            "factory 'sub/file.py:ok' names a file; allowed: its module, as in 'sub.file:ok'",
        ),
        (["profile", "../x.py:ok"], "'../x.py:ok' names a file; allowed: a module of the current folder"),
        (
            ["profile", "x3d_xs", "--input", "1x3x8x64x64"],
            "for architecture 'x3d_xs', which is profiled at its own, 1x3x4x160x160; allowed: no --input, or a copy",
        ),
        (["search", "--gpus-per-trial", "much"], "gpus_per_trial 'much' is not allowed; allowed: above 0, up to 1, or"),
        (["search", "--around", "tiny"], "or the search space in nas search tiny and nas latency grow tiny"),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = nas(*arguments)
    assert done.returncode == 2
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [["-h"], ["search", "-h"], ["latency", "grow", "-h"]])
def test_h_is_help(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", *arguments])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()
    assert "Usage" in capsys.readouterr().out


def test_version_is_that_of_the_distribution(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", {"video-nas": "3.2.1"}.__getitem__)
    monkeypatch.setattr(sys, "argv", ["nas", "--version"])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()
    assert capsys.readouterr().out == "nas 3.2.1\n"


def test_the_package_is_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", "--version"])
    monkeypatch.delitem(sys.modules, "nas.__main__")  # runpy warns of a module that it runs again
    with pytest.raises(SystemExit):
        runpy.run_module("nas", run_name="__main__")
    assert capsys.readouterr().out.strip()


def test_version_of_a_checkout_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    assert nas_package.__version__ == "unknown"


@pytest.mark.parametrize(
    ("error", "words"),
    [(Interrupted("interrupted; what was trained is kept"), "what was trained is kept"), (KeyboardInterrupt(), "")],
)
def test_interrupted_commands_exit_with_130(
    error: BaseException, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("nas.runs.search.search", interrupted)
    monkeypatch.setattr(sys, "argv", ["nas", "search", "tiny"])
    with pytest.raises(SystemExit, match=r"^130$"):
        main()
    assert words in capsys.readouterr().err


def test_a_command_that_is_interrupted_while_it_loads_exits_with_130() -> None:
    loading = mock.patch("builtins.__import__", side_effect=KeyboardInterrupt)
    with pytest.raises(SystemExit, match=r"^130$"), loading:
        entry()


def test_bad_input_of_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "nas.cli.app", "search", "--time", "5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.strip().splitlines()) == 1


def test_what_is_wrong_by_itself_is_refused_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    program = """
import sys
from nas.cli.app import main
for line in list(sys.argv[1:]):
    words = line.split()
    sys.argv = ["nas", *words]
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 2, words
    assert not {"torch", "ray", "optuna"} & sys.modules.keys(), words
"""
    lines = ["search --budget 1", "search nospace", "search --data nodata", "search --trials 0", "search --sampler x"]
    lines += ["search --resume .", "search --around x", "profile nonet", "space tiny --budget 1", "report ."]
    lines += ["evaluate nonet --data .", "predict nonet a.mp4", "show nonet --video a.mp4", "benchmark nonet"]
    lines += ["train vov3d_l --data nodata", "train nonet --data .", "export nonet"]
    model = tmp_path / "model"
    model.mkdir()
    for name in FILES:
        (model / name).touch()
    lines += [f"evaluate {model} --data nodata", f"benchmark {model} --data nodata", f"export {model} --data nodata"]
    lines += ["latency grow nospace", "export ."]
    (tmp_path / "empty" / "class").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    lines += ["search --data empty", "train vov3d_l --data empty", f"evaluate {model} --data empty"]
    lines += ["search --out notes", "search --out notes/a.txt", "search --out notes/a.txt/run", "search --proxy 1x1"]
    done = subprocess.run([sys.executable, "-c", program, *lines], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error: ") == len(lines)


def test_a_file_that_cannot_be_written_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "layers.csv")

    monkeypatch.setattr("nas.cli.listing.resource_names", full)
    assert nas("list") == (
        2,
        "search spaces\n",
        "error: 'layers.csv' cannot be read or written (No space left on device); "
        "allowed: files with rights and room\n",
    )


def test_space_prints_its_cost_and_list_its_names() -> None:
    done = nas("space", "tiny", "--samples", "5", "--budget", "5gflops")
    assert done.returncode == 0 and "networks" in done.stdout and "100 % of them inside 5gflops" in done.stdout
    for budget, said in (
        ("30ms", "Which of them keep 30ms is not known, as nothing is measured here."),
        (
            "5gflops,30ms",
            "100 % of them inside 5gflops,30ms but for the limit of latency, as nothing is measured here.",
        ),
    ):
        assert said in " ".join(nas("space", "tiny", "--samples", "2", "--budget", budget).stdout.split())
    assert "hybrid" in nas("list").stdout


def test_dry_run_trains_nothing(tmp_path: Path) -> None:
    with mock.patch("nas.cli.search.SAMPLES", 5):
        done = nas("search", "tiny", "--dry-run", "--out", str(tmp_path / "run"))
    assert done.returncode == 0 and "Nothing was trained" in done.stdout and not (tmp_path / "run").exists()


def test_option_values() -> None:
    assert [seconds(t) for t in ("90s", "30m", "1.5h", "1h30m")] == [90, 1800, 5400, 5400]
    assert clip_shape("8x32") == (8, 32)
    for text in ("5", "m", "-3m", "5m!"):
        with pytest.raises(NasError, match="allowed"):
            seconds(text)


def test_a_search_that_nothing_keeps_the_limits_of_prints_what_it_has_and_what_works(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BEFORE, tmp_path / "run"))
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"budget": "5gflops,100ms"}))
    trials = pd.read_csv(folder / "trials.csv").assign(latency_ms=[685.0, 220.0, 702.0])
    trials.to_csv(folder / "trials.csv", index=False)
    ran = mock.patch("nas.runs.search.resume", return_value=nas_package.Run(folder))
    with ran, mock.patch("nas.report.write", return_value=[folder / "report.html"]):
        done = nas("search", "--resume", str(folder), "--budget", "5gflops,100ms")
    assert done.returncode == 1 and done.stderr == ""
    assert "220 ms > 100 ms" in done.stdout and "No trained network keeps 5gflops,100ms as measured." in done.stdout
    assert f"nas search --resume {folder} --budget 5gflops,220ms makes a front" in done.stdout
    assert f"report  {folder / 'report.html'}" in done.stdout


def test_export_writes_over_nothing_that_it_was_not_told_to(tmp_path: Path) -> None:
    out = tmp_path / "best.yaml"
    done = nas("export", str(BEFORE), "--out", str(out))
    assert done.returncode == 0 and "trial 1 of" in done.stdout  # the most accurate
    assert nas_package.load(out).hash == nas_package.load(BEFORE / "best.yaml").hash
    out.write_text("years of work")
    for name, words in ((out, "exists; allowed: another file, or --force"), (tmp_path, "is a folder; allowed: a file")):
        done = nas("export", str(BEFORE), "--out", str(name))
        assert done.returncode == 2 and words in done.stderr
    assert out.read_text() == "years of work"
    assert nas("export", str(BEFORE), "--out", str(out), "--force").returncode == 0
    assert nas("export", str(BEFORE), "--out", str(tmp_path), "--force").returncode == 2
    done = nas("export", str(BEFORE), "--out", str(tmp_path / "best.onnx"))
    assert done.returncode == 2 and "needs weights, which a run keeps none of; allowed: .yaml and .py" in done.stderr
    assert nas("export", str(BEFORE), "--out", str(tmp_path / "best.py")).returncode == 0
    assert '"""\n# trial 1 (pick accuracy) of the run' in (tmp_path / "best.py").read_text()
    assert nas_package.load(out).num_classes == 12


def test_every_option_of_search_stands_in_a_group() -> None:
    for option in get_command(app).commands["search"].params:  # type: ignore[attr-defined]
        assert option.name in ("space", "help") or option.rich_help_panel, option.name


def test_events_are_a_line_each(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BEFORE, tmp_path / "run"))

    def resumed(path: Path, quiet: bool, on_event: Callable[[dict[str, Any]], None]) -> nas_package.Run:
        on_event({"event": "trained", "trial": 3, "text": "[1] #3"})
        return nas_package.Run(path)

    with mock.patch("nas.runs.search.resume", resumed), mock.patch("nas.report.write", return_value=[folder / "r"]):
        done, quiet = (nas("search", "--resume", str(folder), "--json", *more) for more in ([], ["--quiet"]))
    assert done.returncode == 0 and quiet.stdout == done.stdout
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["begin", "trained", "end"]
    assert events[-1]["pick"] == 1 and events[-1]["best"] == str(folder / "best.yaml")


def test_an_event_is_written_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life come from another thread, in the midst of what is written in two."""
    pieces: list[str] = []
    monkeypatch.setattr(sys, "stdout", mock.Mock(write=pieces.append))
    print_event({"event": "busy", "text": "planning"})
    assert list(filter(None, pieces)) == ['{"event": "busy", "text": "planning"}\n']


def test_help_waits_for_nothing_that_it_does_not_print() -> None:
    code = """
import sys
from nas.cli.app import main
sys.argv = ["nas", "--help"]
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
heavy = ("numpy", "pandas", "torch", "nas.architecture", "nas.space", "nas.data.arrays")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_what_is_wrong_on_any_machine_is_refused_before_anything_heavy_is_loaded() -> None:
    code = """
import sys
from nas.cli.app import main
for words in (["--budget", "100"], ["nospace"], ["--seed", "-1"], ["--around", "nonet"], ["--epochs", "0"],
              ["--measure", "int8"], ["--rungs", "5"], ["--resume", "runs/none", "--budget", "5xflops"]):
    sys.argv = ["nas", "search", *words]
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 2, words
print([name for name in ("torch", "ray", "optuna", "pandas", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]" and len(done.stderr.strip().splitlines()) == 8


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("nas se", ["search"]),
        ("nas search --confirm", ["--confirm-seeds"]),
        ("nas data ", ["check", "sample"]),
    ],
)
def test_a_shell_completes_commands_and_options(
    typed: str, offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_NAS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    done = nas()
    assert (done.returncode, sorted(done.stdout.split())) == (0, offered)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("nas profile pst", ["pst_b", "pst_t"]),
        ("nas search t", ["tiny"]),
        ("nas search --around pst", ["pst_b", "pst_t"]),
        ("nas space --around r3", ["r3d_18"]),
        ("nas search --resume ", ["runs/[a]"]),
        ("nas report runs/", ["runs/[a]"]),
        ("nas report runs/[", ["runs/[a]"]),
        ("nas report ./runs/", ["./runs/[a]"]),
        ("nas export runs/", ["runs/[a]", "runs/best"]),
        ("nas train r", ["r2plus1d_18", "r3d_18", "runs/[a]"]),
        ("nas evaluate ", ["runs/best"]),
        ("nas profile nosuch", []),
    ],
)
def test_a_shell_completes_names_and_folders(
    typed: str, offered: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder, file in (("[a]", "run.json"), ("best", "model.json"), ("other", "notes.txt")):
        (tmp_path / "runs" / folder).mkdir(parents=True)
        (tmp_path / "runs" / folder / file).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_NAS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    assert sorted(nas().stdout.split()) == offered


def test_a_shell_waits_for_nothing_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import sys
from nas.cli.app import main
sys.argv = ["nas"]
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
print([name for name in ("numpy", "pandas", "torch", "ray", "optuna") if name in sys.modules])
"""
    for name, value in (("_NAS_COMPLETE", "complete_bash"), ("COMP_WORDS", "nas profile pst"), ("COMP_CWORD", "2")):
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pst_b", "pst_t", "[]"]
