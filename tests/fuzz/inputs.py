"""Strategies: valid files and options, made wrong in one to three places, or in their bytes."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from nas.resources import resource_folder

NUMBERS = st.sampled_from(
    [
        0,
        -1,
        1,
        2,
        3,
        7,
        8,
        16,
        10**6,
        10**6 + 1,
        10**9,
        2**31,
        2**63,
        2**64,
        10**20,
        -(2**63),
        10**400,
        0.5,
        -0.5,
        1e-300,
        1e-9,
        3.7,
        1e18,
        1e300,
        float("inf"),
        float("-inf"),
        float("nan"),
    ]
)
TEXTS = st.sampled_from(
    [
        "",
        " ",
        "x",
        "all",
        "x" * 300,
        "x" * 5000,
        "a\0b",
        "é",
        "e\u0301",
        "🎥",
        "\u202egpj",
        "../..",
        "/dev/zero",
        "~",
        "~nouser/x",
        "-",
        "--",
        "=1+1",
        "'",
        '"',
        "%s",
        "{",
        "<script>",
        "a\nb",
        "\x1b[31m",
        "\x85",
        "NaN",
        "null",
        "true",
        "yes",
        "1e5",
        "0x10",
        "1_000",
        "\u0661\u0662",
        "9" * 20,
        "9" * 5000,
        "t2d",
        "full3d",
        "conv",
        "hybrid",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "op",
        "heads",
        "window",
        "kernel",
        "stride",
        "width",
        "layers",
        "repeat",
        "layer",
        "choice",
        "range",
        "name",
        "operators",
        "set",
        "extends",
        "around",
        "edits",
        "choices",
        "size",
        "frames",
        "input",
        "stem",
        "head",
        "choise",
        "downsample",
        "num_classes",
        "mlp_ratio",
        "dropout",
        "tubes",
        "<<",
        "",
        "é",
        "a.b",
    ]
)
HOLES = st.one_of(
    st.builds(lambda options: {"choice": options}, st.lists(VALUES, max_size=4) | VALUES),
    st.builds(lambda bounds: {"range": bounds}, st.lists(NUMBERS, min_size=2, max_size=4) | VALUES),
    st.builds(lambda n, layer: {"repeat": n, "layer": layer}, NUMBERS, VALUES),
    st.builds(lambda names, changes: {"operators": names, "set": changes}, VALUES, VALUES),
)


def paths_of(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path]
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        found += paths_of(value, (*path, key))
    return found


def _at(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


@st.composite
def changed(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    """A document with one to three changes."""
    data = copy.deepcopy(draw(documents))
    for _ in range(draw(st.integers(0, 3))):
        places = paths_of(data)
        path = draw(st.sampled_from(places))
        old, change = _at(data, path), draw(st.sampled_from(["value", "hole", "drop", "key", "repeat", "move", "nest"]))
        if change == "key":
            if isinstance(old, dict):
                old[draw(KEYS)] = draw(VALUES)
            continue
        if change == "repeat":
            if isinstance(old, list) and old:
                old.extend([old[-1]] * draw(st.sampled_from([1, 3, 200])))
            continue
        if not path:
            data = draw(VALUES | HOLES) if change == "value" else data
            continue
        parent = _at(data, path[:-1])
        if change == "drop":
            del parent[path[-1]]
        elif change == "move":
            parent[path[-1]] = copy.deepcopy(_at(data, draw(st.sampled_from(places[1:]))))
        elif change == "nest":
            for _ in range(draw(st.sampled_from([1, 3, 60]))):
                inner = parent[path[-1]]
                wraps = [[inner], {"choice": [inner]}, {"repeat": draw(st.sampled_from([1, 100])), "layer": inner}]
                parent[path[-1]] = draw(st.sampled_from(wraps))
        else:
            parent[path[-1]] = draw(VALUES if change == "value" else HOLES)
    return data


LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
Bytes = Callable[[bytes], bytes]
_BYTES: list[Bytes] = [
    lambda data: data[: len(data) // 2],
    lambda data: data[: len(data) // 3] + b"\x00" + data[len(data) // 3 :],
    lambda data: data[: len(data) // 3] + b"\xff\xfe\xfd" + data[len(data) // 3 :],
    lambda data: b"\xef\xbb\xbf" + data,
    lambda data: data.decode("utf-8", "replace").encode("utf-16"),
    lambda data: data.decode("utf-8", "replace").encode("utf-32"),
    lambda data: "é\n".encode("cp1252") + data,
    lambda data: data + data,
    lambda data: b"",
    lambda data: b"\n" * 10,
    lambda data: b"# only a comment",
    lambda data: data.replace(b"\n", b"\r\n"),
    lambda data: data.replace(b"\n", b"\r"),
    lambda data: data.replace(b"1", b"9" * 20),
    lambda data: data.replace(b"1", b"9" * 5000, 1),
    lambda data: data.replace(b"1", b"nan"),
    lambda data: data.replace(b"1", b"-1e999"),
    lambda data: data.replace(b",", b";"),
    lambda data: data.replace(b'"', b""),
    lambda data: data.replace(b",", b',"', 1),
    lambda data: data + b"x" * 200_000,
    lambda data: b"[" * 20_000 + data,
    lambda data: data + LAUGHS.encode(),
    lambda data: data * 300,
    lambda data: bytes(range(256)) * 4,
    lambda data: b"\n".join(data.split(b"\n")[::-1]),
    lambda data: b"a: &a {b: *a}\n" + data,
    lambda data: data + b"\n---\n" + data,
    lambda data: data.replace(b":", b": !!python/name:os.system ", 1),
]
SPOILT_BYTES = st.one_of(
    st.just(lambda data: data),
    st.just(lambda data: data),
    st.sampled_from(_BYTES),
    st.builds(lambda at, byte: lambda data: _flip(data, at, byte), st.floats(0, 1), st.integers(0, 255)),
)


def _flip(data: bytes, at: float, byte: int) -> bytes:
    place = int(at * max(0, len(data) - 1))
    return data[:place] + bytes([byte]) + data[place + 1 :]


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _denied(path: Path) -> None:
    path.write_bytes(b"x")
    path.chmod(0)


# In place of a file.
PLACES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "loop": _loop,
    "dead link": lambda path: path.symlink_to(path.parent / "gone"),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "no rights": _denied,
}
PLACE = st.one_of(*[st.none()] * 12, st.sampled_from(sorted(PLACES)))


def put(path: Path, data: bytes, place: str | None) -> Path:
    """Makes the file, or what stands in its place."""
    if path.is_symlink() or path.exists():
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    if place is None:
        path.write_bytes(data)
    else:
        PLACES[place](path)
    return path


def _documents(folder: str) -> list[Any]:
    return [yaml.safe_load(path.read_text()) for path in sorted(resource_folder(folder).glob("*.yaml"))]


ARCHITECTURES = st.sampled_from(_documents("search_spaces/reference"))
SPACES = st.sampled_from(
    [
        *_documents("search_spaces"),
        {"extends": "tiny", "name": "mine"},
        {"extends": "hybrid", "operators": {"tps": {"heads": 2}}},
        {"around": _documents("search_spaces/reference")[-1], "edits": 3},
        {
            "input": {"frames": 4, "size": 32},
            "stem": {"op": "conv", "kernel": [1, 3, 3]},
            "stages": [
                {
                    "width": {"choice": [8, 16]},
                    "layers": {"repeat": {"range": [1, 3, 1]}, "layer": {"choice": [{"op": "full3d"}, {"op": "x3d"}]}},
                }
            ],
        },
    ]
)


def as_yaml(data: Any) -> bytes:
    """A document as YAML; a number of more digits than Python writes is left out."""
    try:
        return yaml.dump(data, Dumper=yaml.SafeDumper, sort_keys=False).encode("utf-8", "surrogatepass")
    except ValueError:
        return b"num_classes: " + b"9" * 6000


BUDGETS = st.one_of(
    st.text(max_size=20),
    st.builds(
        lambda parts: ",".join(parts),
        st.lists(
            st.builds(
                lambda low, high, space, unit, gpu: f"{low}{high}{space}{unit}{gpu}",
                st.sampled_from(["", "", "1..", "0..", "5 .. ", "nan..", "1..2.."]),
                st.sampled_from(["1", ".5", "1.", "100", "0", "-1", "1e9", "nan", "inf", "9" * 400, "\u0661", "1_0"]),
                st.sampled_from(["", " ", "\t", "\n", "\u00a0"]),
                st.sampled_from(
                    ["gflops", "GFLOPs", "gmacs", "ms", "GB", "mb-inference", "mparams", "m", "", "tflops"]
                ),
                st.sampled_from(["", "", "@H100", "@", "@x", " @ a100"]),
            ),
            min_size=1,
            max_size=3,
        ),
    ),
)
