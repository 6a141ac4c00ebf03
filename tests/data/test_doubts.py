"""What makes accuracies doubtful, on files of a few bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nas.data.datasets import open_data
from nas.data.doubts import doubts
from nas.data.records import VideoSplit
from nas.data.source import VideoData


def data(folder: Path, *splits: list[tuple[str, bytes, int, str]]) -> VideoData:
    """A data set of splits, each of (name, content, label, group)."""
    parts = []
    for clips in splits:
        for name, content, _, _ in clips:
            (folder / name).write_bytes(content)
        groups = [group for *_, group in clips if group]
        parts.append(VideoSplit([label for _, _, label, _ in clips], groups, [folder / name for name, *_ in clips]))
    return VideoData("clips", ("a", "b"), parts[0], parts[1], parts[2] if len(parts) > 2 else None, True)


def test_a_clean_data_set_has_none(tmp_path: Path) -> None:
    assert doubts(data(tmp_path, [("a", b"1", 0, "x"), ("b", b"2", 1, "x")], [("c", b"3", 0, "y")])) == ()
    assert doubts(open_data("motion")) == ()


def test_what_is_there_twice_is_named(tmp_path: Path) -> None:
    train = [("a", b"1", 0, "x"), ("b", b"1", 1, "y"), ("c", b"2", 0, "y"), ("d", b"2", 0, "y")]
    val = [("e", b"1", 0, "y"), ("f", b"4", 1, "z")]
    test = [("g", b"5", 0, "z"), ("h", b"6", 0, "x")]
    assert doubts(data(tmp_path, train, val, test)) == (
        "val shares 1 group with train: y",
        "test shares 1 group with train: x",
        "test shares 1 group with val: z",
        "1 clip of equal content in several splits, such as a and b",
        "1 clip of equal content under two labels, such as a and b",
        "1 clip of equal content twice in one split, such as c and d",
    )


def test_files_that_a_list_names_twice_are_doubts_too(tmp_path: Path) -> None:
    clean = data(tmp_path, [("a", b"1", 0, ""), ("b", b"2", 1, "")], [("c", b"3", 0, "")])
    assert doubts(replace(clean, doubts=("1 file of train and val in val only",))) == (
        "1 file of train and val in val only",
    )
    (tmp_path / "d").write_bytes(b"4")
    rows = [
        ("d", "x", "train"),
        ("b", "y", "train"),
        ("a", "x", "train"),
        ("a", "x", "val"),
        ("c", "y", "val"),
        ("c", "y", "val"),
    ]
    (tmp_path / "list.csv").write_text("path,label,split\n" + "".join(f"{','.join(row)}\n" for row in rows))
    assert doubts(open_data(tmp_path / "list.csv")) == (
        "1 repeated file left out",
        "1 file of train and val in val only",
    )
