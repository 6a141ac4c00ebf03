"""Documents of users: whatever a file holds, it is read or refused in a sentence, soon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.documents import MAX_YAML, parse_json, read_json, read_text, read_yaml
from nas.errors import NasError

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_a_document_is_plain_data_with_or_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: [1, 2.5, yes, null, \xc3\xa9]\nb: &n {c: 1}\nd: [*n, *n]\n")
    found = {"a": [1, 2.5, True, None, "é"], "b": {"c": 1}, "d": [{"c": 1}, {"c": 1}]}
    assert read_yaml("search space", path) == found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; allowed: a YAML document"),
        (b"# nothing\n", "is empty; allowed: a YAML document"),
        (b"a: [1, 2", "is not YAML"),
        (b"\xff\xfe\x00", "is not text in UTF-8 (byte 0)"),
        ("name: é".encode("cp1252"), "is not text in UTF-8 (byte 6)"),
        (b"a: \x01", "is not YAML"),
        (b"a: 1\nb: 2\na: 3\n", ", line 3: the key 'a' stands twice in one mapping; allowed: each key once"),
        (b"s: [{a: 1, 'a': 1}]", ", line 1: the key 'a' stands twice"),
        (LAUGHS.encode(), ", line 5: there are too many values, what aliases repeat included; allowed: up to 50,000"),
        (b"a: &a [*a]", ", line 1: *a stands inside of what it names or before it"),
        (b"a: &a {<<: *a}", ", line 1: *a stands inside of what it names or before it"),
        (b"[" * 5000, ", line 1: mappings and lists nest more than 50 deep; allowed: up to 50"),
        (b"".join(b" " * i + b"a:\n" for i in range(400)), ", line 51: mappings and lists nest more than 50 deep"),
        (b"- x\n" * 60_000, ", line 50000: there are too many values"),
        (b"a: " + b"9" * 5000, "is not YAML"),
        (b"a: 2020-13-45", "is not YAML"),
        (b"a: !!python/object/apply:os.system [ls]", "is not YAML"),
        (b"a: !!int x", "is not YAML"),
        (b"a: !!binary \xc3\xa9", "is not YAML"),
        (b"? [a]\n: 1", "is not YAML"),
        (b"a: 1\n---\nb: 2", "is not YAML"),
        (b"#" * (MAX_YAML + 1), "is larger than 256,000 bytes; allowed: up to that"),
    ],
)
def test_what_is_no_document_is_refused_in_a_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(NasError) as caught:
        read_yaml("search space", path)
    message = str(caught.value)
    assert message.startswith(f"search space {str(path)!r}") and words in message and "allowed" in message
    assert len(message.splitlines()) == 1


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "is no regular file; allowed: a text file"),
        (_endless, "is no regular file"),
        (Path.mkdir, "cannot be read (Is a directory)"),
        (_loop, "cannot be read (Too many levels of symbolic links)"),
        (lambda path: None, "cannot be read (No such file or directory)"),
    ],
)
def test_what_is_no_file_is_refused_and_never_waited_for(
    make: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    make(tmp_path / "a")
    for read in (lambda: read_text("list", tmp_path / "a", 10), lambda: read_yaml("list", tmp_path / "a")):
        with pytest.raises(NasError) as caught:
            read()
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["a\0b", "a" * 300])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(NasError, match=r"list '.*' cannot be read \(.+\); allowed: a readable file"):
        read_text("list", name, 10)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is not JSON (Expecting value"),
        ('{"a": 1', "is not JSON"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "is not JSON (the key 'c' stands twice)"),
        ('{"a": NaN}', "is not JSON (NaN is no number)"),
        ('{"a": -Infinity}', "is not JSON (-Infinity is no number)"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_no_json_is_refused_in_a_sentence(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(NasError) as caught:
        read_json("record", path)
    assert str(caught.value).startswith(f"record {str(path)!r} {words}") and "allowed" in str(caught.value)


def test_a_key_that_stands_twice_among_many_is_found_soon() -> None:
    keys = ",".join(f'"{i}":1' for i in range(30_000))
    begin = time.process_time()
    with pytest.raises(NasError, match=r"^text is not JSON \(the key '29999' stands twice\); allowed: "):
        parse_json("text", f'{{{keys},"29999":2}}')
    assert time.process_time() - begin < 3  # to compare each with all takes half a minute


def test_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('\ufeff{"a": [1, 2.5, null, "x"]}')
    assert read_json("record", tmp_path / "run.json") == {"a": [1, 2.5, None, "x"]}
