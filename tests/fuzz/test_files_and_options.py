"""Files and options by the thousand: each ends in success or in one NasError, soon.

`make test` runs a few of each kind. All of them, or another seed, or some kinds alone:

    NAS_FUZZ_EXAMPLES=20000 NAS_FUZZ_SEED=1 python -m pytest -n 0 -s tests/fuzz -k 'budget or space'

The number is of all kinds together. A case that fails is printed small enough to be read.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from inputs import (
    ARCHITECTURES,
    BUDGETS,
    NUMBERS,
    PLACE,
    SPACES,
    SPOILT_BYTES,
    TEXTS,
    VALUES,
    Bytes,
    as_yaml,
    changed,
    put,
)
from watch import Outcomes, bounded, check, limits

import nas
from nas.cli.app import main
from nas.data.datasets import open_data
from nas.errors import NasError
from nas.limits.budget import Budget
from nas.profiler.measured.environment import Environment
from nas.profiler.tables.rows import Row, part_workloads
from nas.profiler.tables.table import Table
from nas.runs.folder.run import Run
from nas.runs.settings import Settings
from nas.space import SearchSpace
from nas.trained.folder import load_model
from nas.weights.checkpoints import load_state

EXAMPLES = int(os.environ.get("NAS_FUZZ_EXAMPLES", "300"))
SEED = int(os.environ.get("NAS_FUZZ_SEED", "0"))
ROOT = Path(__file__).parents[2]
# The share of each kind: what takes microseconds is tried more often.
SHARES = {
    "architecture": 0.16,
    "price": 0.04,
    "space": 0.14,
    "budget": 0.1,
    "settings": 0.1,
    "list": 0.15,
    "folder": 0.05,
    "table": 0.1,
    "run": 0.06,
    "checkpoint": 0.06,
    "model": 0.02,
    "command": 0.02,
}
assert abs(sum(SHARES.values()) - 1) < 1e-9


def fuzz(kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many cases of a kind, from the seed."""

    def decorated(test: Callable[..., None]) -> Callable[..., None]:
        settled = settings(
            max_examples=max(1, round(EXAMPLES * SHARES[kind])),
            deadline=None,
            database=None,
            print_blob=True,
            report_multiple_bugs=True,
            suppress_health_check=list(HealthCheck),
        )
        return seed(SEED)(settled(test))

    return decorated


@pytest.fixture
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """Counts of one kind, printed at its end."""
    found = Outcomes()
    with limits():
        yield found
    print(
        f"\n{request.node.name}: {found.accepted} accepted, {found.refused} refused; slowest refusal "
        f"{found.slowest:.2f} s, most memory of one {found.most_bytes / 1e6:.0f} MB"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for the file of a case."""
    return tmp_path_factory.mktemp("fuzz")


def run_case(case: Callable[[], object], outcomes: Outcomes) -> None:
    with bounded():
        check(case, outcomes)


@fuzz("architecture")
@given(changed(ARCHITECTURES), SPOILT_BYTES, PLACE)
def test_architecture(folder: Path, outcomes: Outcomes, document: Any, spoil: Bytes, place: str | None) -> None:
    path = put(folder / "architecture.yaml", spoil(as_yaml(document)), place)
    run_case(lambda: nas.load(path), outcomes)


@fuzz("price")
@given(changed(ARCHITECTURES))
def test_price(outcomes: Outcomes, document: Any) -> None:
    run_case(lambda: nas.cost(nas.Architecture.parse(document)), outcomes)


@fuzz("space")
@given(changed(SPACES), SPOILT_BYTES, PLACE)
def test_space(folder: Path, outcomes: Outcomes, document: Any, spoil: Bytes, place: str | None) -> None:
    path = put(folder / "space.yaml", spoil(as_yaml(document)), place)

    def case() -> None:
        space = SearchSpace.load(path)
        assert repr(space) and space.with_classes(7)

    run_case(case, outcomes)


@fuzz("budget")
@given(BUDGETS)
def test_budget(outcomes: Outcomes, text: str) -> None:
    def case() -> None:
        budget = Budget.parse(text)
        assert Budget.parse(str(budget)) == budget

    run_case(case, outcomes)


@fuzz("settings")
@given(st.dictionaries(st.sampled_from([*Settings.model_fields, "trails"]), VALUES | BUDGETS, max_size=4))
def test_settings(outcomes: Outcomes, given_settings: dict[str, Any]) -> None:
    run_case(lambda: Settings.of(**given_settings).absolute(), outcomes)


LABELS = st.sampled_from(["walk", "run", "Walk", "1", "01", "-1", "", "a b", "é", "x" * 300, "\u202e", "=1", "#", '"'])
SEPARATORS = st.sampled_from([",", ",", ",", "\t", ";", "|", " "])
HEADS = st.sampled_from(
    [
        "",
        "path,label",
        "file,label",
        "path,label,split",
        "path,label,group",
        "label,path",
        "path,path,label",
        "a,b",
        "path",
    ]
)
VIDEOS = ["a/1.mp4", "a/2.mp4", "a/3.mp4", "b/1.mp4", "b/2.mp4", "b/3.mp4"]
FILES = (
    st.sampled_from([*VIDEOS, *VIDEOS, "gone.mp4", "a", "loop.mp4", "pipe.mp4", "/etc/passwd", "http://x/y.mp4"])
    | TEXTS
)
LINES = st.one_of(
    st.builds(lambda *cells: list(cells), FILES, LABELS),
    st.builds(lambda *cells: list(cells), FILES, LABELS, st.sampled_from(["train", "val", "test", "Train", "", "x"])),
    st.lists(TEXTS, max_size=4),
    st.just(["# a comment"]),
    st.just(["x" * 200_000, "walk"]),
    st.just(['"a/1.mp4', "walk"]),
)


@pytest.fixture(scope="module")
def videos(folder: Path) -> Path:
    """A folder with empty videos: no case decodes one."""
    for name in VIDEOS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    os.mkfifo(folder / "pipe.mp4")
    return folder


@fuzz("list")
@given(HEADS, st.lists(LINES, max_size=12), SEPARATORS, SPOILT_BYTES, PLACE, st.sampled_from(["csv", "txt"]))
def test_list(
    videos: Path,
    outcomes: Outcomes,
    head: str,
    lines: list[list[str]],
    separator: str,
    spoil: Bytes,
    place: str | None,
    ending: str,
) -> None:
    good = [[name, name[0]] for name in VIDEOS]
    rows = [separator.join(row) for row in [*(good if len(lines) < 6 else []), *lines]]
    text = "\n".join([*([head.replace(",", separator)] if head else []), *rows])
    path = put(videos / f"list.{ending}", spoil(text.encode("utf-8", "surrogatepass")), place)
    run_case(lambda: open_data(path).describe(), outcomes)


NAMES = st.sampled_from(
    [
        "train",
        "val",
        "test",
        "Train",
        "validation",
        "a",
        "b",
        "A",
        "annotations",
        ".hidden",
        "__MACOSX",
        "é",
        "x" * 200,
        "1.mp4",
        "2.mp4",
        "3.MP4",
        "._x.mp4",
        "a.txt",
        "line\nbreak",
        "\udcff",
        "\x1b[31m",
    ]
)
KINDS = st.sampled_from(["file", "file", "file", "link", "loop", "pipe", "dead"])


@fuzz("folder")
@given(st.dictionaries(st.lists(NAMES, min_size=1, max_size=4).map(tuple), KINDS, max_size=14), st.booleans())
def test_folder(folder: Path, outcomes: Outcomes, tree: dict[tuple[str, ...], str], good: bool) -> None:
    root = folder / "tree"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    tree = {("a", "7.mp4"): "file", ("a", "8.mp4"): "file", ("b", "7.mp4"): "file"} | tree if good else tree
    for parts, kind in tree.items():
        path = root.joinpath(*parts)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            match kind:
                case "file":
                    path.touch()
                case "pipe":
                    os.mkfifo(path)
                case "link":
                    path.symlink_to(root)
                case "loop":
                    path.symlink_to(path)
                case _:
                    path.symlink_to(root / "gone")
    run_case(lambda: open_data(root).describe(), outcomes)


@pytest.fixture(scope="module")
def table(folder: Path) -> bytes:
    """A latency table."""
    made = Table("phone", Environment(cpu="x", threads=1), 1.5)
    for part in part_workloads(nas.load("x3d_xs"))[:20]:
        made.add(Row(part, 1.5, 0.1, 3))
    made.save(folder / "whole.csv")
    return (folder / "whole.csv").read_bytes()


@fuzz("table")
@given(st.integers(0, 400), TEXTS | NUMBERS.map(lambda n: "9" * 400 if n == 10**400 else str(n)), SPOILT_BYTES, PLACE)
def test_table(
    folder: Path, table: bytes, outcomes: Outcomes, cell: int, value: str, spoil: Bytes, place: str | None
) -> None:
    cells = table.split(b",")
    if cell < len(cells):
        cells[cell] = value.encode("utf-8", "surrogatepass")
    path = put(folder / "table.csv", spoil(b",".join(cells)), place)
    run_case(lambda: Table.load(path), outcomes)


MOST = 5_000_000  # bytes of a file that a case writes
RUN = ROOT / "tests" / "runs" / "run_of_version_0.1"
RUN_FILES = st.sampled_from(
    sorted(str(path.relative_to(RUN)) for path in RUN.rglob("*") if path.is_file() and path.name != "study.log")
)


@st.composite
def spoilt_runs(draw: st.DrawFn) -> tuple[str, bytes, str | None]:
    """A file of a run with other content."""
    name = draw(RUN_FILES)
    data = (RUN / name).read_bytes()
    if name.endswith(".json") and draw(st.booleans()):
        document = draw(changed(st.just(json.loads(data))))
        with contextlib.suppress(ValueError):
            data = json.dumps(document).encode("utf-8", "surrogatepass")
    elif name.endswith(".csv") and draw(st.booleans()):
        cells = data.split(b",")
        cells[draw(st.integers(0, len(cells) - 1))] = draw(
            TEXTS | st.sampled_from(["0", "-1", "1e999", "nan", "9" * 20, "1.5"])
        ).encode("utf-8", "surrogatepass")
        data = b",".join(cells)
    return name, draw(SPOILT_BYTES)(data), draw(PLACE)


@fuzz("run")
@given(
    spoilt_runs(), st.sampled_from(["knee", "accuracy", "memory", "latency", "0", "99999999999999999999", "x", "-1"])
)
def test_run(folder: Path, outcomes: Outcomes, spoilt: tuple[str, bytes, str | None], pick: str) -> None:
    run, (name, data, place) = folder / "run", spoilt
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(RUN, run)
    put(run / name, data, place)

    def case() -> None:
        found = Run(run)
        found.confirmed()
        found.pick(pick)

    run_case(case, outcomes)


@pytest.fixture(scope="module")
def checkpoints(folder: Path) -> dict[str, bytes]:
    """Small checkpoints of each format, as bytes by ending."""
    import torch
    from safetensors.torch import save_file

    state = {"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3, dtype=torch.float16)}
    save_file(state, folder / "state.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, folder / "state.pt")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    return {
        f".{name.split('.')[1]}": (folder / name).read_bytes() for name in ("state.safetensors", "state.pt", "old.pth")
    }


@fuzz("checkpoint")
@given(
    st.sampled_from([".safetensors", ".pt", ".pth", ".bin", ".h5", ""]),
    st.sampled_from([".safetensors", ".pt", ".pth"]),
    st.lists(SPOILT_BYTES, min_size=1, max_size=3),
    PLACE,
)
def test_checkpoint(
    folder: Path,
    checkpoints: dict[str, bytes],
    outcomes: Outcomes,
    ending: str,
    content: str,
    spoils: list[Bytes],
    place: str | None,
) -> None:
    data = checkpoints[content]
    for spoil in spoils:
        data = spoil(data)
    path = put(folder / f"checkpoint{ending}", data[:MOST], place)
    run_case(lambda: load_state(path), outcomes)


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """A folder of a trained network."""
    from nas.data.preprocessing import Preprocessing
    from nas.trained.folder import ModelRecord, TrainedModel

    document = {
        "input": {"frames": 4, "size": 16},
        "num_classes": 2,
        "stem": {"op": "conv", "kernel": [1, 3, 3]},
        "stages": [{"width": 4, "layers": [{"op": "full3d"}]}],
    }
    network = nas.build(nas.Architecture.parse(document))
    record = ModelRecord(classes=("a", "b"), preprocessing=Preprocessing.of_input(4, (16, 16)))
    return TrainedModel(network, record).save(folder / "trained")


@fuzz("model")
@given(st.sampled_from(["model.json", "architecture.yaml", "model.safetensors"]), st.data(), SPOILT_BYTES, PLACE)
def test_model(
    folder: Path, model: Path, outcomes: Outcomes, name: str, data: st.DataObject, spoil: Bytes, place: str | None
) -> None:
    copied = folder / "model"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(model, copied)
    content = (copied / name).read_bytes()
    if name == "model.json":
        with contextlib.suppress(ValueError):
            content = json.dumps(data.draw(changed(st.just(json.loads(content))))).encode("utf-8", "surrogatepass")
    put(copied / name, spoil(content), place)
    run_case(lambda: load_model(copied), outcomes)


OPTIONS = st.sampled_from(
    [
        "--budget",
        "--data",
        "--train-clips",
        "--val-clips",
        "--epochs",
        "--rungs",
        "--proxy",
        "--trials",
        "--time",
        "--measure-seconds",
        "--confirm-seeds",
        "--control",
        "--seed",
        "--sampler",
        "--device",
        "--workers",
        "--gpus-per-trial",
        "--storage",
        "--around",
        "--edits",
        "--samples",
        "--input",
        "--by",
        "--depth",
        "--batch",
        "--out",
        "--pick",
        "--resume",
        "--html",
        "--csv",
        "--frames",
        "--size",
        "--plots",
        "--max-seconds",
        "--nosuch",
    ]
)
GOOD = st.sampled_from(
    [
        "1",
        "2",
        "3",
        "8x32",
        "1x1",
        "16x64",
        "10m",
        "90s",
        "100gflops",
        "5 gflops",
        "tiny",
        "motion",
        "motion:0.5",
        "knee",
        "random",
        "random:0.5",
        "pareto",
        "tpe",
        "cpu",
        "auto",
        "vov3d_l",
        "x3d_xs",
        "1x3x4x32x32",
        "layer",
        "module",
    ]
)
WORDS = (GOOD | TEXTS | NUMBERS.map(lambda n: "9" * 400 if n == 10**400 else str(n))).filter(
    lambda text: "\0" not in text
)
COMMANDS = st.sampled_from(
    [
        ["search", "tiny", "--dry-run"],
        ["space", "--samples", "1"],
        ["space", "tiny", "--samples", "1"],
        ["profile", "x3d_xs", "--no-measure"],
        ["profile", "--no-measure"],
        ["report"],
        ["export"],
        ["latency", "import"],
        ["list"],
    ]
)


def command(arguments: list[str]) -> None:
    """Runs a command in this process; a NasError again for exit code 2."""
    err = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["nas", *arguments]),
        mock.patch("nas.cli.search.SAMPLES", 2),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            assert ended.code in (0, 2), (ended.code, err.getvalue())
            if ended.code == 2:
                raise NasError(err.getvalue().removesuffix("\n")) from None


@fuzz("command")
@given(COMMANDS, st.lists(WORDS, max_size=1), st.lists(st.tuples(OPTIONS, WORDS), max_size=2))
def test_command(
    folder: Path, outcomes: Outcomes, words: list[str], arguments: list[str], options: list[tuple[str, str]]
) -> None:
    given_words = [*words, *arguments, *(word for option in options for word in option)]
    if given_words[:1] in (["report"], ["export"]) and len(given_words) == 1:
        return
    with contextlib.chdir(folder):
        run_case(lambda: command(given_words), outcomes)
