"""Files of every version are read for ever, and those of a newer one are refused by name.

`tests/fixtures/schema_N` holds what the version wrote whose files have the number N, and stays as
it is; files without a number, as versions before wrote them, are of the first.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nas
from nas.architecture.document import SCHEMA
from nas.profiler.tables.table import Table
from nas.runs.folder.consistency import check_run
from nas.space import SearchSpace
from nas.trained.train import planned

FIXTURES = Path(__file__).with_name("fixtures") / "schema_1"
# How each kind is read, and the file of it that has the number.
READERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "architecture.yaml": (nas.load, ""),
    "space.yaml": (SearchSpace.load, ""),
    "box.csv": (Table.load, ""),
    "run": (nas.Run, "run.json"),
    "model": (lambda path: nas.load_model(path, "cpu"), "model.json"),
}


def numbered(path: Path, number: str | None) -> None:
    """Gives a file another number, or none."""
    if path.suffix == ".json":
        document = {name: value for name, value in json.loads(path.read_text()).items() if name != "schema"}
        path.write_text(json.dumps(document | ({} if number is None else {"schema": json.loads(number)})))
        return
    lines = path.read_text().splitlines(keepends=True)
    (place,) = [i for i, line in enumerate(lines) if line.startswith(("schema: 1", "# schema: 1"))]
    lines[place] = "" if number is None else lines[place].replace("1", number)
    path.write_text("".join(lines))


@pytest.mark.parametrize("name", READERS)
def test_files_of_the_first_number_are_read_with_it_and_without(name: str, tmp_path: Path) -> None:
    read, inside = READERS[name]
    copy = tmp_path / name
    shutil.copytree(FIXTURES / name, copy) if inside else shutil.copy(FIXTURES / name, copy)
    first = read(copy)
    numbered(copy / inside, None)
    second = read(copy)
    if isinstance(first, nas.Run):
        assert (len(first.trials), len(first.front), check_run(copy).problems) == (12, len(second.front), [])
        assert first.record == second.record and first.record.schema == 1 and first.record.settings is not None
    elif name == "model":
        assert first.classes == second.classes == ("left", "right", "up")
    elif isinstance(first, SearchSpace):
        assert first.document == second.document and "schema" not in first.document
    else:
        assert first == second


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("2", r"has the schema 2, of a newer nas; allowed: up to 1, or that nas"),
        ("0", r"has the schema 0; allowed: whole numbers from 1"),
        ('"new"', r"has the schema '\W*new\W*'; allowed: whole numbers from 1"),
    ],
)
@pytest.mark.parametrize("name", READERS)
def test_a_newer_number_is_refused_by_name(name: str, number: str, message: str, tmp_path: Path) -> None:
    read, inside = READERS[name]
    copy = tmp_path / name
    shutil.copytree(FIXTURES / name, copy) if inside else shutil.copy(FIXTURES / name, copy)
    numbered(copy / inside, number)
    with pytest.raises(nas.NasError, match=message):
        read(copy)


def test_what_is_written_has_the_number(tmp_path: Path) -> None:
    nas.load(FIXTURES / "architecture.yaml").save(tmp_path / "a.yaml")
    SearchSpace.load(FIXTURES / "space.yaml").save(tmp_path / "b.yaml")
    for name in ("a.yaml", "b.yaml"):
        assert (tmp_path / name).read_text().startswith(f"schema: {SCHEMA}\n")
    assert nas.load(tmp_path / "a.yaml").hash == nas.load(FIXTURES / "architecture.yaml").hash


def test_a_training_of_a_newer_number_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "settings.json").write_text('{"schema": 3}')
    with pytest.raises(nas.NasError, match="has the schema 3, of a newer nas; allowed: up to 2"):
        planned(tmp_path)
