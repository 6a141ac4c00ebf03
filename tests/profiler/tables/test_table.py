from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.errors import NasError
from nas.profiler.measured.device import Conditions
from nas.profiler.measured.environment import Environment, Rounding
from nas.profiler.tables.rows import Row, Workload
from nas.profiler.tables.table import Table

HERE = Conditions("cpu", "fp32", 1, 1)
LAYER = Workload("t2d", "8x4x4x16", "8x4x4x16", "1x1x1", 'heads=2 tubes=[{"kernel":[1,2]}]', 1000, 10)
NETWORK = Workload("network", "8x16x16x3", "1x1x1x5 tokens", "1x1x1", f"{LAYER.key}*3", 3000, 30)


def table(*rows: Row, device: str = "box", **environment: Any) -> Table:
    made = Table(device, Environment(**environment))
    for row in rows:
        made.add(row)
    return made


def test_file_comes_back_as_it_was(tmp_path: Path) -> None:
    made = table(Row(LAYER, 1.25, 0.02, 30), Row(NETWORK, 5.0, 0.01, 20), cpu="A", torch="2.13.0")
    made.reference_ms = 1.5
    made.save(tmp_path / "sub" / "box.csv")
    assert Table.load(tmp_path / "sub" / "box.csv") == made


def test_file_is_sorted_whatever_the_order_and_one_line_each(tmp_path: Path) -> None:
    rows = [Row(replace(LAYER, op=op), 1.0, 0.1, 9) for op in "dacb"]
    texts = []
    for seed in range(3):
        table(*random.Random(seed).sample(rows, 4)).save(tmp_path / "box.csv")
        texts.append((tmp_path / "box.csv").read_text())
    assert len(set(texts)) == 1
    lines = texts[0].splitlines()
    assert lines[:3] == ["# schema: 1", "# device: box", "# environment: {}"]
    assert [line.split(",")[1] for line in lines[4:]] == ["a", "b", "c", "d"]


def test_launching_is_a_column_where_a_gpu_was_timed(tmp_path: Path) -> None:
    made = table(Row(LAYER, 1.25, 0.02, 30, launch_ms=0.375), Row(NETWORK, 5.0, 0.01, 20))
    made.save(tmp_path / "gpu.csv")
    assert Table.load(tmp_path / "gpu.csv") == made
    lines = (tmp_path / "gpu.csv").read_text().splitlines()[3:]
    assert [line.split(",")[-1] for line in lines] == ["launch_ms", "0", "0.375"]
    bad = (tmp_path / "gpu.csv").read_text().replace("0.375", "-1")
    (tmp_path / "bad.csv").write_text(bad)
    with pytest.raises(NasError, match=r"line 6: launch_ms '-1' is not allowed; allowed: a number from 0"):
        Table.load(tmp_path / "bad.csv")


def test_merging_keeps_the_smaller_error() -> None:
    other = replace(LAYER, op="tps")
    ours = table(Row(LAYER, 1.0, 0.05, 9), cpu="A")
    theirs = table(Row(LAYER, 2.0, 0.01, 9), Row(other, 3.0, 0.5, 9), cpu="A")
    for merged in (ours.merged(theirs), theirs.merged(ours)):
        assert {key: row.ms for key, row in merged.rows.items()} == {LAYER.key: 2.0, other.key: 3.0}
    assert len(ours.rows) == 1


def test_merging_scales_to_the_reference_of_the_first() -> None:
    """The other machine was twice as slow: 6 ms there are 3 ms here. The row that both have with a
    smaller error there is scaled, too.
    """
    other = replace(LAYER, op="tps")
    ours, theirs = table(Row(LAYER, 1.5, 0.05, 9)), table(Row(LAYER, 4.0, 0.01, 9), Row(other, 6.0, 0.5, 9))
    ours.reference_ms, theirs.reference_ms = 1.0, 2.0
    merged = ours.merged(theirs)
    assert merged.reference_ms == 1.0
    assert {key: row.ms for key, row in merged.rows.items()} == {LAYER.key: 2.0, other.key: 3.0}
    merged = theirs.merged(ours)
    assert merged.reference_ms == 2.0
    assert {key: row.ms for key, row in merged.rows.items()} == {LAYER.key: 4.0, other.key: 6.0}
    assert theirs.rows[other.key].ms == 6.0


def test_merging_with_a_table_without_reference_scales_nothing() -> None:
    ours, theirs = table(), table(Row(LAYER, 4.0, 0.01, 9))
    theirs.reference_ms = 2.0
    assert ours.merged(theirs) == theirs
    assert theirs.merged(table(Row(LAYER, 3.0, 0.0, 0))).rows[LAYER.key].ms == 3.0


def test_lines_of_a_union_merge_by_git_are_read_like_a_merge(tmp_path: Path) -> None:
    table(Row(LAYER, 1.0, 0.05, 9)).save(tmp_path / "a.csv")
    table(Row(LAYER, 2.0, 0.01, 9)).save(tmp_path / "b.csv")
    last = (tmp_path / "b.csv").read_text().splitlines()[-1]
    with open(tmp_path / "a.csv", "a") as file:
        file.write(last + "\n")
    assert Table.load(tmp_path / "a.csv").rows[LAYER.key].ms == 2.0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (table(device="phone"), "latency table of 'phone' cannot be used for 'box'"),
        (table(torch="2.13.0"), "was measured with torch '2.13.0', and here it is '2.12.0'"),
        (table(torch="2.12.0", cudnn=92_000), "was measured with cudnn 92000, and here it is None"),
        (table(torch="2.12.0", tf32=Rounding(True, False)), "was measured with tf32 .*, and here it is None"),
        (table(torch="2.12.0", threads=4), "was measured with threads 4, and here it is None"),
    ],
)
def test_another_device_or_environment_is_refused(other: Table, message: str) -> None:
    with pytest.raises(NasError, match=message):
        table(torch="2.12.0").merged(other)


def broken(old: str, new: str) -> str:
    row = f'{LAYER.key},t2d,8x4x4x16,8x4x4x16,1x1x1,"heads=2 tubes=[{{""kernel"":[1,2]}}]",1000,10,1.25,0.02,30'
    text = f"# device: box\nkey,op,input,output,stride,config,macs,params,ms,error,runs\n{row}\n"
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.25", "fast", "line 3: ms 'fast' is not allowed; allowed: a number above 0"),
        ("1.25", "nan", "line 3: ms 'nan' is not allowed"),
        ("1.25", "-1", "line 3: ms '-1' is not allowed"),
        ("1.25", "0", "line 3: ms '0' is not allowed"),
        ("0.02", "-0.1", "line 3: error '-0.1' is not allowed; allowed: a number from 0"),
        (",30\n", ",x\n", "line 3: runs 'x' is not allowed; allowed: whole numbers from 0"),
        (",30\n", "\n", "line 3, has 10 cells; allowed: 11"),
        ("heads=2", "heads=4", "line 3: key '[0-9a-f]{12}' is not that of the layer"),
        ("key,op", "op", "has columns 'op, input"),
        ("# device: box\n", "", "does not say what it was measured on"),
        ("# device: box\n", "# device: box\n# environment: {\n", "does not say what it was measured on"),
    ],
)
def test_broken_file_is_refused_in_one_sentence(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "box.csv").write_text(broken(old, new))
    with pytest.raises(NasError, match=message):
        Table.load(tmp_path / "box.csv")


def test_shape_that_is_none_is_refused(tmp_path: Path) -> None:
    workload = replace(LAYER, input="big")
    table(Row(workload, 1.0, 0.1, 9)).save(tmp_path / "box.csv")
    with pytest.raises(NasError, match="'t2d' from 'big' to '8x4x4x16' is not understood"):
        Table.load(tmp_path / "box.csv")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="cannot be read"):
        Table.load(tmp_path / "none.csv")


def test_table_of_this_machine_carries_its_environment(tmp_path: Path) -> None:
    made = Table.under(HERE)
    assert made.device == HERE.name
    assert {"cpu", "torch", "threads"} <= made.environment.to_document().keys()
    made.add(Row(LAYER, 1.0, 0.1, 9))
    made.save(tmp_path / f"{made.device}.csv")
    assert Table.find(HERE, tmp_path).rows == made.rows
    assert Table.find(replace(HERE, threads=2), tmp_path).rows == {}


def test_only_plain_inference_has_a_table() -> None:
    with pytest.raises(NasError, match="latency table with compile is not allowed"):
        Table.under(replace(HERE, compile=True))
