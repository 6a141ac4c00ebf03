"""CSV files and lists of paths and labels, as tools and people write them."""

from __future__ import annotations

import codecs
import csv
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from nas.data.folders import named_alike, split_named
from nas.data.kinds import CLIP_SUFFIXES, is_clip
from nas.data.records import Record, outside, video_data
from nas.data.source import VideoData
from nas.errors import NasError, brief

_DELIMITERS = ",\t;|"
_LONGEST = 20_000  # characters of a line: a path has 4096
_MOST = 100_000_000  # bytes of a list
_SAMPLED = 50  # lines that tell how a list without a header separates its values
_ENDING = re.compile(rf"({'|'.join(map(re.escape, sorted(CLIP_SUFFIXES)))})\s+", re.IGNORECASE)
# Of URLs, and those of FFmpeg's protocols that need no slashes.
_PROTOCOL = re.compile(
    r"\w[\w+.-]*://|(async|cache|concat|concatf|crypto|data|fd|ffrtmpcrypt|file|hls|ipfs|md5|pipe|subfile|tee|unix):",
    re.IGNORECASE,
)


class ListSource:
    """A CSV file with columns `path` (or `file`) and `label`, and optionally `split` and `group`;
    or a list without such a head, of a path and a label in each line.

    Lines that begin with `#` are comments. Values are separated by commas, tabs, semicolons or
    bars, in a list without a head also by white space, whichever finds the videos. Text is UTF-8,
    UTF-16 with its mark or else Windows-1252. Paths are of local files in the list's folder, at
    which they start, or, if that is allowed, of any local file. A file whose name holds `train` and
    that has no column `split` is read with `val` and `test` files of otherwise the same name; where
    those have no labels, the folders of the training videos tell them, if each is of one class.
    """

    forms: ClassVar[str] = "a CSV or a list of videos"

    def accepts(self, spec: str) -> bool:
        return os.path.isfile(os.path.expanduser(spec))

    def open(self, spec: str, seed: int, flip: bool | None, allow_outside: bool) -> VideoData:
        path = Path(os.path.expanduser(spec))  # pathlib raises for users that there are not
        records, notes = _read_lists(path)
        if not allow_outside:
            _refuse_outside(path, records)
        return video_data(path, records, seed, flip, notes)


@dataclass(frozen=True)
class _Row:
    """What a line says; `line` names it in messages."""

    line: str
    file: str
    label: str | None
    split: str | None = None
    group: str | None = None


def _read_lists(path: Path) -> tuple[list[Record], list[str]]:
    """The videos of a list and of those beside it, and sentences on what is not used."""
    rows, notes = _rows(path)
    records = [_record(path, row, row.label, row.split) for row in rows]
    siblings = {} if any(row.split for row in rows) else _siblings(path)
    if not siblings:
        return records, notes
    of_folder: defaultdict[str, set[str]] = defaultdict(set)
    for record in records:
        of_folder[record.path.parent.name].add(record.label)
    held_out = list[Record]()
    for split, sibling in siblings.items():
        others, of_sibling = _rows(sibling)
        notes += of_sibling + [f"{sibling.name} holds no videos"] * (not others)
        labels = [{row.label} if row.label else _labels(sibling, row, of_folder) for row in others]
        if split == "test" and any(len(each) != 1 for each in labels):
            notes.append(f"{sibling.name} left out as it has no labels")
            continue
        for row, found in zip(others, labels, strict=True):
            held_out.append(_record(sibling, row, next(iter(found)) if len(found) == 1 else None, split))
    if held_out:
        records = [replace(record, split="train") for record in records]
    return records + held_out, notes


def _refuse_outside(path: Path, records: Sequence[Record]) -> None:
    """Refuses videos that are not in a list's folder, links followed: who wrote the list may be
    another than who reads it.
    """
    if found := outside(path.parent, records):
        raise NasError(
            f"data {str(path)!r}: {len(found)} of its {len(records)} videos lie outside of its folder (first "
            f"{str(found[0])!r}); allowed: videos below {str(path.parent.resolve())!r}, or any with --allow-outside "
            "(allow_outside=True), for a list that you trust"
        )


def _labels(path: Path, row: _Row, of_folder: dict[str, set[str]]) -> set[str]:
    return of_folder.get(_located(path.parent, row.file).parent.name, set())


def _siblings(path: Path) -> dict[str, Path]:
    """The val and test lists whose names are that of a train list, but for that word."""
    found: dict[str, Path] = {}
    names = sorted(os.listdir(path.parent)) if "train" in path.name.lower() else []
    for name, split in named_alike(path.name, names).items():
        if split != "train" and (path.parent / name).is_file():
            found.setdefault(split, path.parent / name)
    return found


def _record(path: Path, row: _Row, label: str | None, split: str | None) -> Record:
    if label is None:
        raise NasError(f"List {str(path)!r}, {row.line}: {brief(row.file)} is not a path and a label; allowed: both")
    file = _located(path.parent, row.file)
    if _PROTOCOL.match(row.file.strip()) and not os.path.isfile(file):
        raise NasError(f"List {str(path)!r}, {row.line}: {brief(row.file)} is a URL; allowed: paths of local files")
    return Record(file, unicodedata.normalize("NFC", label), split, row.group)


def _located(folder: Path, text: str) -> Path:
    """The file that a list names: as written, without white space around it, in the other form of
    its accents, or with Windows' separators. As written without white space where there is none.
    """
    stripped = text.strip()
    spellings = (stripped, text, *(unicodedata.normalize(form, stripped) for form in ("NFC", "NFD")))
    for spelling in (*spellings, stripped.replace("\\", "/")):
        if is_clip(folder / spelling):
            return folder / spelling
    return folder / stripped


def _text(path: Path) -> tuple[str, list[str]]:
    """A text file as a string, its lines ended by line feeds, and a sentence if its encoding is
    guessed.

    Raises:
        NasError: It cannot be read, or is not text.
    """
    refused = NasError(f"Data file {str(path)!r} is not text; allowed: a CSV file or a list of paths, in UTF-8")
    try:
        with path.open("rb") as stream:
            data = stream.read(1 << 16)
            wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            if b"\0" in data and not wide:
                raise refused
            data += stream.read(_MOST)
    except OSError as error:
        raise NasError(f"Data file {str(path)!r} cannot be read: {error.strerror}; allowed: readable files") from None
    if len(data) > _MOST:
        raise NasError(f"Data file {str(path)!r} is larger than {_MOST:,} bytes; allowed: up to that")
    for encoding in ("utf-16",) if wide else ("utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        # No list is without a full stop, which stands before the ending of a file.
        if re.search(r"[\x00-\x08\x0e-\x19]", text) or (wide and "." not in text):
            break
        guessed = [f"{path.name} is read as Windows-1252, as it is not UTF-8"] * (encoding == "cp1252")
        return text.replace("\r\n", "\n").replace("\r", "\n"), guessed
    raise refused


def _rows(path: Path) -> tuple[list[_Row], list[str]]:
    """What the lines of a list say, and sentences on how it is read.

    Raises:
        NasError: It cannot be read.
    """
    text, notes = _text(path)
    lines = [line for line in text.split("\n") if line.strip(" \t\x1a") and not _is_comment(path.parent, line)]
    if lines and re.fullmatch('"?sep=.?"?', lines[0]):  # as Excel writes it
        del lines[0]
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST:
            raise NasError(
                f"List {str(path)!r}, line {number}, has {len(line):,} characters; allowed: up to {_LONGEST:,}"
            )
    for delimiter in (*_DELIMITERS, " "):
        head = [name.strip(' "').lower() for line in lines[:1] for name in line.split(delimiter)]
        if "label" in head and {"path", "file"} & set(head):
            if delimiter == " " and len(head) == 2 and head[1] == "label":
                return _without_head(path, lines[1:]), notes
            values = list(_values(path, lines[1:], delimiter))
            _refuse_hidden_split(path, head, values)
            return list(_with_head(path, head, values)), notes
    return _without_head(path, lines), notes


def _is_comment(folder: Path, line: str) -> bool:
    """Whether a line begins with `#`, and that is not how its file begins."""
    line = line.strip()
    names = {line.rsplit(maxsplit=1)[0], *(line.split(delimiter)[0] for delimiter in _DELIMITERS)} if line else set()
    return line.startswith("#") and not any(is_clip(_located(folder, name)) for name in names)


def _refuse_hidden_split(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Refuses a list that tells splits in a column of another name."""
    if "split" in head:
        return
    for i, name in enumerate(head):
        found = {split_named(row[i]) if i < len(row) else None for row in rows}
        if name != "label" and len(found) > 1 and None not in found:
            raise NasError(
                f"CSV {str(path)!r} has splits in the column {name!r}; allowed: the name `split` for it, or none such"
            )


def _values(path: Path, lines: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        yield from reader
    except csv.Error as error:
        # A quote that nothing closes swallows what follows: the line where it stands tells more.
        odd = next((line for line in lines if line.count('"') % 2), None)
        where = f"line {reader.line_num}" if odd is None else f"line {brief(odd)} has a quote without its other"
        raise NasError(f"data {str(path)!r}: {where} ({error}); allowed: CSV, quotes in pairs") from None


def _with_head(path: Path, head: list[str], rows: Iterable[list[str]]) -> Iterator[_Row]:
    where = f"CSV {str(path)!r}"
    file_column = "path" if "path" in head else "file"
    for name in (file_column, "label", "split", "group"):
        if head.count(name) > 1:
            raise NasError(f"{where} has {head.count(name)} columns {name!r}; allowed: one")
    for number, values in enumerate(rows, 1):
        line = f"data row {number}"
        if any(map(str.strip, values[len(head) :])):
            raise NasError(
                f"{where}, {line}: {len(values)} values under {len(head)} columns; allowed: as many, with quotes "
                "around one that holds the separator"
            )
        if not any(map(str.strip, values)):
            continue
        record = dict(zip(head, (*values, *[""] * len(head)), strict=False))
        given = {name: record[name].strip() for name in (file_column, "label", "split", "group") if name in record}
        split = given.get("split")
        if split is not None and split_named(split) is None:
            raise NasError(f"{where}, {line}: split {split!r} is not train, val or test; allowed: these")
        for name, value in given.items():
            if not value:
                raise NasError(f"{where}, {line}: the {'path' if name == 'file' else name} is empty; allowed: text")
        yield _Row(
            line, record[file_column], given["label"], None if split is None else split_named(split), given.get("group")
        )


def _without_head(path: Path, lines: list[str]) -> list[_Row]:
    """The rows of a list, read in the way that finds most of the videos of its first lines; where
    none is found, with the first separator that cuts all of those lines alike.
    """

    def values(lines: list[str], delimiter: str) -> list[list[str]]:
        if delimiter == " ":
            return [_spaced(path.parent, line) for line in lines]
        rows = ([value.strip() for value in row] for row in _values(path, lines, delimiter))
        return [row[:-1] if len(row) > 1 and not row[-1] else row for row in rows]

    best, most, alike = " ", 0, ""
    for delimiter in (*_DELIMITERS, " "):
        try:
            sample = values(lines[:_SAMPLED], delimiter)
        except NasError:
            continue
        found = sum(is_clip(_located(path.parent, row[0])) for row in sample if len(row) > 1 or delimiter == " ")
        if found > most:
            best, most = delimiter, found
        if len({len(row) for row in sample}) == 1 < len(sample[0]):
            alike = alike or delimiter
    rows = values(lines, best if most else alike or " ")
    first = rows[0][0] if rows else ""
    is_video = Path(first).suffix.lower() in CLIP_SUFFIXES or is_clip(_located(path.parent, first))
    if not is_video and (most or path.suffix.lower() == ".csv"):
        holds = f"has the columns {', '.join(rows[0])}" if rows else "holds no row"
        raise NasError(f"data {str(path)!r} {holds}; allowed: `path` (or `file`) and `label`, and more")
    if re.fullmatch(r".+_test_split\d\.txt", path.name) and {row[-1] for row in rows} <= {"0", "1", "2"}:
        raise NasError(
            f"List {str(path)!r} has 1 for train and 2 for test behind the videos of one class, as HMDB51 has; "
            "allowed: a path and a label in each line, or a CSV with a column `split`"
        )
    for number, row in enumerate(rows, 1):
        if len(row) > 2:
            raise NasError(
                f"List {str(path)!r}, line {number}: {len(row)} values and no head that names them; "
                "allowed: a path and a label, or a first line with `path` and `label`"
            )
    return [_Row(f"line {n}", row[0], row[1] if len(row) > 1 else None) for n, row in enumerate(rows, 1)]


def _spaced(folder: Path, text: str) -> list[str]:
    """A path and perhaps a label with white space between them, where both may hold white space:
    the first cut that leaves a path of a file, else the last word is the label.
    """
    text = text.strip()
    quoted = re.fullmatch(r'"([^"]+)"\s+("?)([^"]+)\2', text)
    if quoted:
        return [quoted[1], quoted[3]]
    cuts = [len(text), *(match.end() for match in re.finditer(r"^.*\s(?=\S)", text))]
    # Several numbers behind a path are no label: lists of frames have their count there.
    cuts += [match.end() for match in _ENDING.finditer(text) if not re.fullmatch(r"[\d.\s-]+", text[match.end() :])]
    for cut in cuts:
        if is_clip(_located(folder, text[:cut])):
            return [text[:cut].strip(), text[cut:].strip()] if cut < len(text) else [text]
    of_frames = re.fullmatch(r"(\S+)\s+\d+\s+(\S+)", text)  # a folder, the number of its frames, a label
    if of_frames and os.path.isdir(_located(folder, of_frames[1])):
        return [of_frames[1], of_frames[2]]
    return text.rsplit(maxsplit=1)
