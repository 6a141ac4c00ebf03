"""The architecture file of a pick and its provenance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from nas.architecture import load
from nas.errors import NasError
from nas.runs.folder.export import BEST, provenance, save_pick, write_picks
from nas.runs.folder.run import Run

BEFORE = Path(__file__).parents[1] / "run_of_version_0.1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BEFORE, tmp_path / "run-1"))


def test_the_file_says_where_it_comes_from_and_is_read(folder: Path, tmp_path: Path) -> None:
    run = Run(folder)
    out = tmp_path / "best.yaml"
    assert save_pick(run, "accuracy", out) == 1
    assert load(out).hash == run.pick().hash == load(folder / "architectures" / "1.yaml").hash
    head = [line.removeprefix("# ") for line in out.read_text().splitlines() if line.startswith("#")]
    assert head == provenance(run, 1)
    assert head[0] == "trial 1 (pick accuracy) of the run run-1, nas 0.1.0"
    assert head[1] == "space tiny under 5gflops, data motion"
    assert json.loads(head[2].removeprefix("classes ")) == list(run.record.classes)
    assert head[3] == (
        "accuracy as a proxy of 4x16x16, 2 epochs of 12 clips: 25.0 \N{PLUS-MINUS SIGN} 12.5 % validation (12 clips), "
        "4.2 \N{PLUS-MINUS SIGN} 5.8 % test (12 clips)"
    )
    assert head[4].startswith("at 16x64x64: multiply-adds 0.170 GFLOPs, parameters 0.514 M,")
    assert "latency 220 ms" in head[4] and head[4].endswith("on epyc-25-1-2c.torch2.13.fp32.b1.t2")
    assert head[5].startswith("disturbed while it was measured: other processes used 0.99 of the 2 cores")
    assert str(tmp_path) not in out.read_text()


@pytest.mark.parametrize(
    "name", ["x\ny: 1", "\x00\x07", "a\u2028b", "\ud800", "\N{PILE OF POO}", '"], op: full3d', "#" * 200]
)
def test_names_of_classes_are_comments_whatever_they_hold(folder: Path, tmp_path: Path, name: str) -> None:
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(document | {"classes": [name] * 12, "data": name, "space": name}))
    save_pick(Run(folder), 1, tmp_path / "best.yaml")
    assert load(tmp_path / "best.yaml").hash == load(folder / "architectures" / "1.yaml").hash


def test_the_default_pick_is_written_and_goes_with_its_front(folder: Path) -> None:
    (folder / BEST).unlink()
    run = write_picks(folder)
    assert run.front["pick"].tolist() == ["accuracy"]  # 25 % of 12 clips is not clearly above chance
    assert pd.read_csv(folder / "front.csv")["pick"].tolist() == ["accuracy"]
    assert load(folder / BEST).hash == run.pick().hash
    pd.read_csv(folder / "front.csv").head(0).to_csv(folder / "front.csv", index=False)
    write_picks(folder)
    assert not (folder / BEST).exists()


def test_what_cannot_be_written_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"architecture .* cannot be written .No such file or directory."):
        save_pick(Run(folder), 1, tmp_path / "a" / "b.yaml")
