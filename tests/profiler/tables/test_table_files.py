"""Latency tables that people edit: a line is right or refused with its number."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.errors import NasError
from nas.profiler.tables.rows import LARGEST, ROW_COLUMNS, Workload
from nas.profiler.tables.table import Table

HEADER = ",".join(ROW_COLUMNS)
WORKLOAD = Workload("full3d", "8x14x14x32", "8x14x14x32", "1x1x1", "kernel=3", 0, 0)


def line(workload: Workload = WORKLOAD, macs: str = "5", ms: str = "1.5", runs: str = "3") -> str:
    w = workload
    return f"{w.key},{w.op},{w.input},{w.output},{w.stride},{w.config},{macs},7,{ms},0.1,{runs}"


def load(tmp_path: Path, *lines: str, head: str = "# device: phone") -> Table:
    path = tmp_path / "phone.csv"
    path.write_text("\n".join([head, HEADER, *lines]) + "\n")
    return Table.load(path)


def test_a_form_of_very_many_digits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"has the schema '99999.*9'; allowed: whole numbers from 1"):
        load(tmp_path, line(), head=f"# device: phone\n# schema: {'9' * 5000}")


def test_a_line_is_read(tmp_path: Path) -> None:
    row = load(tmp_path, line()).rows[WORKLOAD.key]
    assert (row.ms, row.error, row.runs, row.workload.macs, row.workload.params) == (1.5, 0.1, 3, 5, 7)


HUGE = Workload("full3d", f"{LARGEST * 10}x1x1x32", "8x14x14x32", "1x1x1", "kernel=3", 0, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x" * 200_000, "line 3, has 200,000 characters; allowed: up to 100,000"),
        (f'"{line()}', "line 3, is no CSV (unexpected end of data); allowed: values between commas, quotes in pairs"),
        (
            line(macs="9" * 20),
            "line 3: macs '99999999999999999999' is not allowed; allowed: whole numbers from 0 to 10",
        ),
        (line(runs="9" * 5000), "line 3: runs '999"),
        (line(ms="nan"), "line 3: ms 'nan' is not allowed; allowed: a number above 0"),
        (line(ms="1e999"), "line 3: ms '1e999' is not allowed; allowed: a number above 0"),
        (line(HUGE), "line 3: 'full3d' from '1000"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(NasError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "head",
    [
        "# nothing",
        "# device: phone\n# reference_ms: nan",
        "# device: phone\n# reference_ms: inf",
        "# device: phone\n# reference_ms: 0",
        '# device: phone\n# environment: {"cpu": NaN}',
        '# device: phone\n# environment: {"cpu": 1, "cpu": 2}',
        "# device: phone\n# environment: " + "[" * 50_000,
    ],
)
def test_a_head_that_says_nothing_sure_is_refused(head: str, tmp_path: Path) -> None:
    with pytest.raises(NasError, match="does not say what it was measured on; allowed: comment lines"):
        load(tmp_path, line(), head=head)
