"""`nas profile` as a user types it."""

import csv
import io
import json
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from command_line import nas

from nas.cli.cost_tables import grouped
from nas.profiler.computed.cost import LayerCost
from nas.profiler.measured.phases import measured_phases

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 4, bias=False))
        self.table = nn.Embedding(10, 4)

    def forward(self, x, ids=None):
        y = self.body(x)
        return y if ids is None else y + self.table(ids)

def build():
    print("made", file=open("made.txt", "a"))
    return Net()

def broken():
    raise RuntimeError("no weights\\nhere")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.cli.profile.WIDTH", 200)
    (tmp_path / "profiled_nets.py").write_text(NETS)
    sys.modules.pop("profiled_nets", None)
    return tmp_path


def row(path: str, op: str, macs: int, alive: int) -> LayerCost:
    return LayerCost(path, op, "2x2", macs, 1, 2, 3, 4, alive)


def test_rows_are_summed_below_a_depth() -> None:
    rows = [row("", "Net", 1, 7), row("a.b", "Linear", 10, 5), row("a.c.d", "Conv3d", 20, 9), row("e", "Linear", 5, 3)]
    found = grouped(rows, 1, {"a": "Block"})
    assert [(r.path, r.op, r.macs, r.params, r.inference_bytes) for r in found] == [
        ("", "Net", 1, 1, 7),
        ("a", "Block", 30, 2, 9),
        ("e", "Linear", 5, 1, 3),
    ]
    assert grouped(rows, None, {}) == rows
    assert grouped(rows, 1, {})[1].op == "Linear, Conv3d"
    many = [row(f"a.{i}.{j}", "Linear", 1, 1) for i in range(30) for j in range(2)]
    assert len(grouped(many, None, {})) == 30


# The columns of vov3d_l are 17, 9, 13 (names) and 6, 8, 6, 6, 6, 8 wide, each with a border and two
# spaces, and there is one border more: 107 in all, 96 without live, 87 without kept, 76 without
# other, 67 without moved.
@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (107, ""),
        (106, "live"),
        (96, "live"),
        (95, "kept, live"),
        (87, "kept, live"),
        (86, "other, kept, live"),
        (80, "other, kept, live"),
        (76, "other, kept, live"),
        (75, "other, moved, kept, live"),
    ],
)
def test_a_narrow_window_leaves_out_columns_and_breaks_no_name(
    width: int, left_out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nas.cli.profile.WIDTH", width)
    nas("profile", "vov3d_l", "--no-measure", monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line[:1] in "┏┃┡│├└"]
    assert max(map(len, table)) <= width
    assert sum("│ stages.2.layers." in line and "d2plus1d" in line for line in table) == 5
    said = [line for line in lines if line.startswith("no room for")]
    assert said == ([f"no room for {left_out}: a wider window or --csv FILE has them"] if left_out else [])


def test_factory_is_made_once_and_printed_by_module(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["profile", "profiled_nets:build", "--input", "1x5x8", "--input", "ids=1x5:int64", "--no-measure"]
    nas(*arguments, "--compare", "--depth", "1", monkeypatch=monkeypatch)
    out, err = capsys.readouterr()
    assert (folder / "made.txt").read_text() == "made\n"
    assert "profiled_nets:build, input 1x5x8 ids=1x5:int64" in out
    (body,) = [line for line in out.splitlines() if "body" in line]
    assert [cell.strip() for cell in body.split("│")[1:6]] == ["body", "Sequential", "", "480", "40"]
    assert " 96 " in body  # parameters
    assert "intensity" in out and "MACs are multiply-adds" in out and "AdamW" in out
    assert "torch counter, meta" in out and "counting with fvcore" in err


def test_json_and_csv_hold_raw_numbers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["profile", "profiled_nets:build", "--input", "1x5x8", "--no-measure"]
    nas(*arguments, "--json", "--csv", "rows.csv", "--by", "operator", monkeypatch=monkeypatch)
    document = json.loads(capsys.readouterr().out)
    assert document["cost"]["macs"] == 5 * 8 * 8 + 5 * 8 * 4 and document["cost"]["params"] == 8 * 8 + 8 * 4 + 10 * 4
    assert document["cost"]["training_bytes"]["adamw"] > document["cost"]["step_bytes"]
    assert document["inputs"] == ["1x5x8"] and document["measurements"] == [] and document["comparison"] is None
    rows = list(csv.DictReader(io.StringIO((folder / "rows.csv").read_text())))
    assert {line["op"]: line["macs"] for line in rows}["mm"] == "480"
    nas(*arguments, "--csv", "-", "--by", "layer", monkeypatch=monkeypatch)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(line["path"], line["macs"]) for line in rows] == [
        ("body.0", "320"),
        ("body.1", "0"),
        ("body.2", "160"),
        ("table", "0"),
    ]


def test_page_needs_no_network_and_escapes_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nas("profile", "vov3d_l", "--no-measure", "--html", "cost.html", monkeypatch=monkeypatch)
    page = (folder / "cost.html").read_text()
    assert all(f'<th scope="col">{head}</th>' in page for head in ("MACs (G)", "params (M)", "live (MB)"))
    assert "<td>0.1541</td>" in page.replace(' data-share="0.0166"', "")  # the stem, as the terminal shows it
    out, err = capsys.readouterr()
    assert "0.1541" in out and "page  cost.html" in err
    assert "Plotly.react" in page and "<script src" not in page and "stages.2.layers" in page


@pytest.fixture
def measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phases run in this process, which they would else slow down: starting one takes seconds, and
    `tests/profiler/measured` does so.
    """
    monkeypatch.setattr(
        "nas.profiler.measured.measure._fresh_processes",
        lambda *_: nullcontext(lambda request: next(measured_phases(request))),
    )
    monkeypatch.setattr("nas.profiler.measured.phases.bind", lambda device, threads: [0])
    monkeypatch.setattr("nas.profiler.measured.phases.peak_bytes", lambda prepare, *_: 1000)


@pytest.mark.usefixtures("measured_here")
def test_batches_are_measured_one_by_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--batch", "1,2", "--batch", "3", "--threads", "1", "--max-seconds", "0.2", "--device", "cpu"]
    arguments += ["--patience", "0"]  # a busy machine would be waited for
    nas("profile", "profiled_nets:build", "--input", "1x5x8", *arguments, "--json", monkeypatch=monkeypatch)
    found = json.loads(capsys.readouterr().out)["measurements"]
    assert [measurement["conditions"]["batch"] for measurement in found] == [1, 2, 3]
    assert all(measurement["latency_ms"]["median"] > 0 for measurement in found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["nosuch_module:build", "--input", "1x5x8"],
            "module 'nosuch_module' of 'nosuch_module:build' does not import",
        ),
        (["profiled_nets:nothing", "--input", "1x5x8"], "has no 'nothing'; allowed: the name of a function or class"),
        (["profiled_nets:broken", "--input", "1x5x8"], "'profiled_nets:broken' failed: RuntimeError: no weights here"),
        (["profiled_nets:build", "--input", "1x5x7"], "Net cannot run on inputs of [1, 5, 7]"),
        (["profiled_nets:build", "--input", "5y"], "input '5y' is not allowed"),
        (["profiled_nets:build"], "'profiled_nets:build' has no input"),
        (["vov3d_l", "--input", "1x5x8"], "input '1x5x8' is not allowed for architecture 'vov3d_l'"),
        (["vov3d_l", "--batch", "1,x"], "batch 'x' is not allowed"),
        (["vov3d_l", "--by", "stage"], "by 'stage' is unknown; allowed: layer, operator, module"),
        (["vov3d_l", "--json", "--csv", "-"], "would both be printed"),
        (["vov3d_l", "--html", "no/folder.html"], "html 'no/folder.html' cannot be written"),
        (["vov3d_l", "--runtime", "jit"], "runtime 'jit' is unknown"),
        (["vov3d_l", "--no-measure", "--batch", "4"], "--batch does not go with --no-measure; allowed: one of them"),
        (["vov3d_l", "--no-measure", "--compile"], "--compile does not go with --no-measure"),
        (["vov3d_l", "--no-measure", "--max-seconds", "5"], "--max-seconds does not go with --no-measure"),
        (["vov3d_l", "--by", "operator", "--depth", "2"], "depth 2 is of no path of operators; allowed: --depth with"),
        (["vov3d_l", "--compare", "--csv", "-"], "csv '-' would leave no place for --compare; allowed: one of them"),
    ],
)
def test_bad_input_gets_a_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    nas("profile", *arguments, monkeypatch=monkeypatch, code=2)
    out, err = capsys.readouterr()
    assert out == "" and words in err.replace("\n", " ") and len(err.strip().splitlines()) == 1


def test_the_help_says_that_a_factory_is_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    nas("profile", "--help", monkeypatch=monkeypatch)
    assert "package.module:factory, which is code of yours" in " ".join(capsys.readouterr().out.split())
