"""Files: where the package's data (`search_spaces/`, `profiles/`) lies, inside the wheel or beside
`nas/` in a checkout, and how a file is written that must be whole whenever it is read.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from nas.documents import read_text
from nas.errors import SHOWN, NasError, brief

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_LINES = 50_000_000  # bytes of a file of lines
_PACKAGE = Path(__file__).resolve().parent
FEW = 8  # names that are all printed
_DRAFT = re.compile(r"\..+\.\d+")  # the name of one
# What the YAML files of a folder are, and the commands that take their names.
KINDS: dict[str, tuple[str, Callable[[str], str]]] = {
    "search_spaces": ("search space", lambda name: f"nas search {name} and nas latency grow {name}"),
    "search_spaces/reference": (
        "reference network",
        lambda name: f"nas search --around {name} and nas profile {name}",
    ),
    "recipes": ("recipe", lambda name: f"nas train --recipe {name}"),
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft that takes the place of a file when the context ends, safely on the disk; if it
    breaks off, the file stays as it was.

    Yields:
        Where to write: beside the file, under a name that no other process takes.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _naming(path, draft):
            yield draft
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path, draft: Path | None = None) -> Iterator[None]:
    """Gives errors of the operating system the name of the file that is written within: that of a
    full disk has none, and a draft's is not what a user knows.
    """
    try:
        yield
    except OSError as error:
        if error.filename not in (None, draft, str(draft)):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def drafts(folder: Path) -> list[Path]:
    """The drafts below a folder, of which those of killed processes stay."""
    return sorted(path for path in folder.rglob(".*") if _DRAFT.fullmatch(path.name))


def append_line(path: Path, line: str, header: str | None = None) -> None:
    """Adds a line to a file of lines, safely on the disk when this returns.

    A last line that a full disk or a dying machine has left unfinished is taken away first.

    Args:
        path: The file, made if needed.
        line: Without its line break.
        header: Written first into a file that has no whole line yet.
    """
    written = path.read_bytes() if path.exists() else b""
    whole = written.rfind(b"\n") + 1
    lines = [line] if whole or header is None else [header, line]
    with _naming(path), path.open("r+b" if written else "wb") as file:
        file.seek(whole)
        file.truncate()
        file.write("".join(f"{each}\n" for each in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def append_record(path: Path, record: DataclassInstance) -> None:
    """Appends a dataclass to a CSV file whose columns are its fields, as `append_line` does."""
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(asdict(record).values())
    append_line(path, row.getvalue(), header=",".join(field.name for field in fields(record)))


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that `append_line` writes, without one that was left unfinished; none
    without the file.

    Raises:
        NasError: It cannot be read.
    """
    return read_text("file", path, MAX_LINES).split("\n")[:-1] if os.path.lexists(path) else []


def installed_version(package: str, otherwise: str = "unknown") -> str:
    """The version of an installed package; of one that is not there, or a checkout on the path, the
    text that is given for it.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return otherwise


def resource_folder(name: str) -> Path:
    """Returns the folder of package data called `name`, such as `search_spaces/reference`."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def resource_names(folder: str) -> list[str]:
    """Returns the names, without suffix, of the YAML files of a data folder."""
    return sorted(path.stem for path in resource_folder(folder).glob("*.yaml"))


def find_resource(what: str, name: str | Path, folder: str) -> Path:
    """Returns the YAML file that `name` means: a path, or the name of a file in the data folder.

    Args:
        what: What is looked for, for the message: "search space", "architecture".
        name: A path, or a name without suffix.
        folder: The data folder that holds the named ones.

    Raises:
        NasError: Neither a file nor a known name; the message says where a name of the other folder
            belongs.
    """
    if isinstance(name, str | Path):
        path = Path(name)
        if os.path.isfile(path):  # false, not an error, for what cannot be the name of a file
            return path
        named = resource_folder(folder) / f"{name}.yaml"
        if path.name == str(name) and os.path.isfile(named):
            return named
    shown = brief(str(name) if isinstance(name, Path) else name, SHOWN)
    other = next(kind for kind in KINDS if kind != folder)
    elsewhere, use = KINDS[other]
    known, others = resource_names(folder), resource_names(other)
    if str(name) in others:
        raise NasError(
            f"{what} {shown} is the name of a {elsewhere}; allowed: a path, a {KINDS[folder][0]}, "
            f"or the {elsewhere} in {use(str(name))}"
        )
    near = get_close_matches(str(name), [*known, *others], 3, 0.7)
    allowed = "a name that nas list prints" if near and len(known) > FEW else f"one of {', '.join(known) or 'none yet'}"
    meant = [found if found in known else f"{found} (a {elsewhere}, for {use(found)})" for found in near]
    nearest = f"; nearest: {', '.join(meant)}" if meant else ""
    raise NasError(f"{what} {shown} is neither a file nor a known name; allowed: a path, or {allowed}{nearest}")


def csv_cell(cell: object) -> object:
    """A cell of a CSV file: a text that a spreadsheet would take for a formula gets an apostrophe
    before it. Names of files, classes and modules, and messages, are anybody's.
    """
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def without_home(text: str) -> str:
    """A text with `~` for the home folder of the user, whose name that often holds."""
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text
