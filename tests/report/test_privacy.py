"""What is passed on names nobody and no machine, and hostile names in it are text."""

from __future__ import annotations

import base64
import getpass
import gzip
import json
import platform
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from nas.report import write
from nas.report.cost_page import write_cost_page
from nas.report.page import compose
from nas.report.text import visible
from nas.resources import csv_cell
from nas.runs.folder.record import RunRecord
from nas.runs.folder.run import Run
from nas.runs.folder.tables import write_table
from nas.runs.settings import Settings

SECRETS = ("/nowhere/wilhelmina", "wilhelmina", "host-of-mine", "swordfish")
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</script><script>alert(1)//",
    "{{ 7 * 7 }}",
    "[x](javascript:alert(1))",
    "`code` **bold** | cell",
    "=HYPERLINK(1)",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "evil\u202egnp.exe",
]


@pytest.fixture
def private(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run of a user whose name, home, machine and variables are in all that it was asked for."""
    home = SECRETS[0]
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("USER", "wilhelmina")
    monkeypatch.setenv("LOGNAME", "wilhelmina")
    monkeypatch.setenv("NAS_PASSWORD", "swordfish")
    for module, name in ((socket, "gethostname"), (platform, "node")):
        monkeypatch.setattr(module, name, lambda: "host-of-mine")
    settings = Settings(
        space=f"{home}/space.yaml",
        data=f"{home}/videos/list.csv",
        around=f"{home}/network.yaml",
        storage=f"{home}/ray",
        address="host-of-mine:6379",
    )
    run.record = replace(run.record, settings=settings)
    failed = run.trials.assign(error="")
    failed.loc[7, "error"] = f"NasError: Cannot read video '{home}/videos/a.mp4'"
    write_table(run.path / "trials.csv", failed)
    yield run


def test_what_is_passed_on_names_nobody(private: Run, tmp_path: Path) -> None:
    assert getpass.getuser() == "wilhelmina"
    paths = write(private, tmp_path / "out")
    (tmp_path / "shown.json").write_text(json.dumps(private.record.shown()))
    files = [*paths, tmp_path / "shown.json", private.path / "trials.csv", private.path / "front.csv"]
    secrets = (*SECRETS, str(private.path.parent), str(tmp_path))
    for path in files:
        text = own_part(path.read_bytes().decode("latin-1"))
        assert not [secret for secret in secrets if secret in text], path.name
    assert "~/videos/a.mp4" in (private.path / "trials.csv").read_text()
    assert f"nas export {private.path.name} --pick" in (tmp_path / "out" / "report.html").read_text()


def own_part(page: str) -> str:
    """A page without plotly.js, its charts unpacked."""
    text = re.sub(r'<script id="plotly".*?</script>', "", page, count=1, flags=re.DOTALL)
    return re.sub(r'(?<=<script id="figures" type="text/plain">)[^<]+', lambda found: unpacked(found[0]), text)


def unpacked(text: str) -> str:
    return gzip.decompress(base64.b64decode(text)).decode()


def test_pictures_carry_the_name_of_the_program_alone(private: Run, tmp_path: Path) -> None:
    for path in (path for path in write(private, tmp_path) if path.suffix == ".png"):
        with Image.open(path) as picture:
            assert set(picture.info) <= {"Software", "dpi"}, path.name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(run: Run, tmp_path: Path, name: str) -> None:
    run.record = replace(run.record, space=name, data=name, device=name, data_description=name, classes=(name, "b"))
    run.front["flags"] = name
    report = compose(run)
    own = re.sub(r'<script id="plotly".*?</script>', "", report.html, count=1, flags=re.DOTALL)
    assert own.count("<script") == 3 and own.count("</script>") == 3  # unpacking, the figures, and what draws them
    assert "<img" not in own and "49" not in re.findall(r"<h1>(.*?)</h1>", own)[0]
    assert not re.search(r"(?<!\\)\[x\]\(", report.markdown) and "<script" not in report.markdown
    assert "\u202e" not in own
    assert "\u202e" not in report.markdown
    figures = re.search(r'<script id="figures" type="text/plain">(.*?)</script>', own, flags=re.DOTALL)
    assert figures and "\u202e" not in str(json.loads(unpacked(figures[1])))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_in_a_page_of_cost(tmp_path: Path, name: str) -> None:
    from torch import nn, zeros

    from nas.profiler.computed.cost import cost

    module = nn.Sequential()
    module.add_module(name.replace(".", "_"), nn.Linear(2, 2))
    figures = cost(module, zeros(1, 2))
    write_cost_page(tmp_path / "cost.html", name, figures, list(figures.layers), {}, [name])
    own = own_part((tmp_path / "cost.html").read_text(encoding="utf-8"))
    assert own.count("<script") == 3 and "<img" not in own and "<h1>49" not in own and "\u202e" not in own


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_cells_are_no_formulas(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / "table.csv", pd.DataFrame({"trial": [1], "error": [name], "accuracy": [-0.5]}))
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["error"][0] == (f"'{name}" if name[0] in "=+-@" else name)
    assert table["accuracy"][0] == -0.5


def test_numbers_are_no_formulas() -> None:
    assert [csv_cell(cell) for cell in ("-1", "+2.5", -3, "a", "")] == ["-1", "+2.5", -3, "a", ""]
    assert [csv_cell(cell) for cell in ("\t=1", "\r=1")] == ["'\t=1", "'\r=1"]


def test_marks_that_turn_text_are_seen() -> None:
    assert visible("a\u202eb\u2066c\u200f") == "a(U+202E)b(U+2066)c(U+200F)"
    assert visible("שלום") == "שלום"


def test_what_was_asked_for_is_shown_without_paths_and_machines() -> None:
    shown = RunRecord(settings=Settings(data="/x/y/list.csv", address="host-of-mine:6379")).shown()["settings"]
    assert (shown["data"], shown["address"], shown["storage"]) == ("list.csv", "a cluster", None)
