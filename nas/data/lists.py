"""CSV files and lists of paths and labels."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import ClassVar

from nas.data.folders import SPLIT_NAMES
from nas.data.records import Record, video_data
from nas.data.source import VideoData
from nas.errors import NasError


class ListSource:
    """A CSV file with columns `path` (or `file`) and `label`, and optionally `split` and `group`;
    or a text file with a path and a label per line, whose name may hold `train` and have a `val`
    (and `test`) file beside it. Relative paths start at the file's folder.
    """

    forms: ClassVar[str] = "a CSV or a list of videos"

    def accepts(self, spec: str) -> bool:
        return Path(spec).expanduser().is_file()

    def open(self, spec: str, seed: int, flip: bool | None) -> VideoData:
        path = Path(spec).expanduser()
        return video_data(path, _read_csv(path) if _has_header(path) else _read_lists(path), seed, flip)


def _has_header(path: Path) -> bool:
    if path.suffix.lower() != ".csv":
        return False
    first = next(iter(_lines(path)), "")
    return "," in first or len(first.split()) < 2  # else it is a list of `path label` under the name of a CSV file


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise NasError(f"Data file {str(path)!r} is not text: a CSV file or a list of paths is needed.") from None


def _read_csv(path: Path) -> list[Record]:
    reader = csv.DictReader(_lines(path), restval="")
    columns = {(name or "").strip().lower(): name for name in reader.fieldnames or []}
    file_column = columns.get("path", columns.get("file"))
    if file_column is None or "label" not in columns:
        found = ", ".join(columns) or "none"
        raise NasError(f"data {str(path)!r} has the columns {found}; allowed: `path` (or `file`) and `label`, and more")
    rows = []
    for number, record in enumerate(reader, 1):
        file, label = record[file_column].strip(), record[columns["label"]].strip()
        if not file or not label:
            raise NasError(f"CSV {str(path)!r}, data row {number}: the {'label' if file else 'path'} is empty.")
        split = None
        if "split" in columns:
            value = record[columns["split"]].strip()
            if value.lower() not in SPLIT_NAMES:
                raise NasError(f"CSV {str(path)!r}, data row {number}: split {value!r} is not train, val or test.")
            split = SPLIT_NAMES[value.lower()]
        group = record[columns["group"]].strip() if "group" in columns else None
        rows.append(Record(path.parent / file, label, split, group))
    return rows


def _read_lists(path: Path) -> list[Record]:
    if "train" not in path.name:
        return _read_list(path, None)
    rows = {}
    for word, split in SPLIT_NAMES.items():
        sibling = path.with_name(path.name.replace("train", word))
        if sibling.is_file() and split not in rows:
            rows[split] = _read_list(sibling, split)
    if "val" not in rows:
        return _read_list(path, None)
    return [row for part in rows.values() for row in part]


def _read_list(path: Path, split: str | None) -> list[Record]:
    rows = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        fields = line.strip().rsplit(maxsplit=1)
        if len(fields) < 2:
            raise NasError(f"List {str(path)!r}, line {number}: {line.strip()!r} is not a path and a label.")
        rows.append(Record(path.parent / fields[0], fields[1], split))
    return rows
