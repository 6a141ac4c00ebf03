"""Documents that a user hands over, read within limits: text, YAML and JSON.

Whatever the file holds, reading it ends soon, in little memory, with the document or with one
sentence. A YAML file is walked event by event before anything is built of it, because a few lines
that refer to each other may stand for a document of any size.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

from nas.errors import SHOWN, NasError, brief, message_of

MAX_YAML = 256_000  # bytes of a file
MAX_NODES = 50_000  # mappings, lists and values of a YAML document, those that aliases repeat included
MAX_DEPTH = 50  # of its nesting
MAX_JSON = 20_000_000  # bytes of a file

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster where libyaml is there


def of_schema(document: Any, newest: int, where: str) -> Any:
    """A document without its key `schema`, the number of its form; without one it is of the first.

    Args:
        document: Any; what is no mapping is returned as it is.
        newest: The number that this version writes.
        where: The document, for messages.

    Raises:
        NasError: The number is none, or that of a newer version.
    """
    if not isinstance(document, Mapping) or "schema" not in document:
        return document
    schema = document["schema"]
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise NasError(f"{where} has the schema {brief(schema)}; allowed: whole numbers from 1")
    if schema > newest:
        raise NasError(f"{where} has the schema {brief(schema)}, of a newer nas; allowed: up to {newest}, or that nas")
    return {key: value for key, value in document.items() if key != "schema"}


def read_text(what: str, path: str | Path, most: int) -> str:
    """The text of a regular file in UTF-8, with or without its mark.

    Args:
        what: What the file is, for messages: "search space".
        path: The file; a pipe or a device is refused and never waited for.
        most: Bytes that it may have.

    Raises:
        NasError: It cannot be read, is no regular file, is too large, or is not UTF-8.
    """
    where = f"{what} {brief(str(path), SHOWN)}"
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise NasError(f"{where} is no regular file; allowed: a text file")
            data = stream.read(most + 1)
    except OSError as error:
        raise NasError(f"{where} cannot be read ({error.strerror}); allowed: a readable file") from None
    except ValueError as error:  # a name that no file can have
        raise NasError(f"{where} cannot be read ({error}); allowed: a readable file") from None
    if len(data) > most:
        raise NasError(f"{where} is larger than {most:,} bytes; allowed: up to that")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NasError(f"{where} is not text in UTF-8 (byte {error.start}); allowed: UTF-8") from None


def read_yaml(what: str, path: str | Path) -> Any:
    """The document in a YAML file.

    Raises:
        NasError: The file cannot be read, is empty or not YAML, says a key twice, or stands for a
            larger document than anything here needs, with the line.
    """
    text = read_text(what, path, MAX_YAML)
    where = f"{what} {brief(str(path), SHOWN)}"
    try:
        _check_events(yaml.parse(text, Loader=_LOADER), where)
        document = yaml.load(text, Loader=_LOADER)  # nosec B506  # the safe loader: plain data only
    except NasError:
        raise
    # ValueError: dates and numbers that are none; TypeError, AttributeError: tags on what they do
    # not fit.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise NasError(f"{where} is not YAML ({message_of(error)}); allowed: a YAML document") from None
    if document is None:
        raise NasError(f"{where} is empty; allowed: a YAML document")
    return document


def _check_events(events: Iterable[yaml.Event], where: str) -> None:
    """Refuses what would make a document too large, and keys that stand twice in a mapping."""
    total = 0
    open_nodes: list[_Open] = []
    sizes: dict[str, int] = {}  # of what anchors name, once it is whole
    for event in events:
        line = event.start_mark.line + 1 if event.start_mark else 0
        match event:
            case yaml.AliasEvent():
                if event.anchor not in sizes:
                    _refuse(
                        where,
                        line,
                        f"*{event.anchor} stands inside of what it names or before it",
                        "names of what is whole",
                    )
                total += sizes[event.anchor]
                _count_key(open_nodes, None, where, line)
            case yaml.ScalarEvent():
                total += 1
                _count_key(open_nodes, event.value, where, line)
                if event.anchor:
                    sizes[event.anchor] = 1
            case yaml.CollectionStartEvent():
                total += 1
                _count_key(open_nodes, None, where, line)
                open_nodes.append(_Open(event.anchor, total, isinstance(event, yaml.MappingStartEvent)))
                if len(open_nodes) > MAX_DEPTH:
                    _refuse(where, line, f"mappings and lists nest more than {MAX_DEPTH} deep", f"up to {MAX_DEPTH}")
            case yaml.CollectionEndEvent():
                closed = open_nodes.pop()
                if closed.anchor:
                    sizes[closed.anchor] = total - closed.before + 1
        if total > MAX_NODES:
            _refuse(where, line, "there are too many values, what aliases repeat included", f"up to {MAX_NODES:,}")


class _Open:
    """A mapping or list that has begun and not ended."""

    def __init__(self, anchor: str | None, before: int, mapping: bool) -> None:
        self.anchor, self.before = anchor, before
        self.keys: set[str] | None = set() if mapping else None
        self.at_key = True


def _count_key(open_nodes: list[_Open], key: str | None, where: str, line: int) -> None:
    """Takes note of a key or value of the mapping that is open; a key that is no text has None."""
    if not open_nodes or open_nodes[-1].keys is None:
        return
    mapping, keys = open_nodes[-1], open_nodes[-1].keys
    if mapping.at_key and key is not None:
        if key in keys:
            _refuse(where, line, f"the key {brief(key)} stands twice in one mapping", "each key once")
        keys.add(key)
    mapping.at_key = not mapping.at_key


def _refuse(where: str, line: int, problem: str, allowed: str) -> NoReturn:
    raise NasError(f"{where}, line {line}: {problem}; allowed: {allowed}")


def read_json(what: str, path: str | Path) -> Any:
    """The document in a JSON file.

    Raises:
        NasError: The file cannot be read, is not JSON, or says a key twice.
    """
    return parse_json(f"{what} {brief(str(path), SHOWN)}", read_text(what, path, MAX_JSON))


def parse_json(where: str, text: str) -> Any:
    """The document in a JSON text.

    Args:
        where: The text, for messages.
        text: What is read.

    Raises:
        NasError: It is not JSON, or says a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise NasError(f"{where} is not JSON ({message_of(error)}); allowed: a JSON document") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {brief(key)} stands twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")
