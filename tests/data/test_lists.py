from __future__ import annotations

from pathlib import Path

import pytest

from nas.data import lists
from nas.data.datasets import Split, VideoSplit, open_data
from nas.errors import NasError


def videos(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def names(split: Split | None) -> list[str]:
    assert isinstance(split, VideoSplit)
    return [path.stem for path in split.paths]


LISTED = {"a b.mp4": "run", "c,d.mp4": "sit down", "é;f.mp4": "run", "g:h.mp4": "sit down"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("head", [True, False])
def test_lists_as_tools_write_them(tmp_path: Path, encoding: str, end: str, delimiter: str, head: bool) -> None:
    videos(tmp_path, *LISTED)
    quoted = [f'"{file}"{delimiter}"{label}"' for file, label in LISTED.items()]
    lines = [f"path{delimiter}label", *quoted] if head else quoted
    (tmp_path / "list.txt").write_bytes(end.join((*lines, "")).encode(encoding))
    data = open_data(tmp_path / "list.txt")
    assert data.classes == ("run", "sit down")
    assert isinstance(data.train, VideoSplit) and isinstance(data.val, VideoSplit)
    pairs = zip(data.train.paths + data.val.paths, data.train.labels + data.val.labels, strict=True)
    assert {path.name: data.classes[label] for path, label in pairs} == LISTED


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("a,b.mp4 1\nc d.mp4 2\n", ["1", "2"]),
        ("a,b.mp4\trun fast\nc d.mp4\twalk\n", ["run fast", "walk"]),
        ("c d.mp4 run fast\na,b.mp4 walk\n", ["run fast", "walk"]),
        ('c d.mp4,01\n"a,b.mp4",10,\n', ["01", "10"]),
        ("sub\\e.mp4,x\nc d.mp4 , y\n", ["x", "y"]),
    ],
)
def test_values_of_a_list_without_a_head(tmp_path: Path, text: str, labels: list[str]) -> None:
    videos(tmp_path, "a,b.mp4", "c d.mp4", "sub/e.mp4")
    (tmp_path / "train.txt").write_text(text)
    rows, _ = lists._rows(tmp_path / "train.txt")
    assert all(lists._located(tmp_path, row.file).is_file() for row in rows)
    assert [row.label for row in rows] == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4,x,1\nb.mp4,y,2\n", "line 1: 3 values and no head"),
        ("a.mp4\tx\t1\nb.mp4\ty\t2\n", "line 1: 3 values and no head"),
        ("a.mp4 120 3\nb.mp4 90 4\n", r"2 of its 2 videos do not exist \(first '.*/a.mp4 120'\)"),
        ("name;class\na.mp4;x\nb.mp4;y\n", "has the columns name, class"),
        ("path,label\na.mp4,x\na,b.mp4,y\n", "data row 2: 3 values under 2 columns"),
        ("path,label,label\na.mp4,x,y\n", "has 2 columns 'label'"),
        (
            'path,label\n"a.mp4,x\nb.mp4,y\n',
            r"has a quote without its other \(unexpected end of data\); allowed: CSV, quotes in pairs",
        ),
        ("path,label,group\na.mp4,x,1\nb.mp4,y,\n", "data row 2: the group is empty"),
        ("path,label,subset\na.mp4,x,train\nb.mp4,y,val\n", "splits in the column 'subset'; allowed: the name `split`"),
        ("a.mp4,1\nb.mp4,1.0\n", "labels '1' and '1.0' are one number; allowed: one spelling of a class"),
        ("a.mp4\nb.mp4\n", "line 1: 'a.mp4' is not a path and a label"),
        ("http://host/a.mp4,x\nb.mp4,y\n", "line 1: 'http://host/a.mp4' is a URL; allowed: paths of local files"),
        ("concat:a.mp4|b.mp4,x\nb.mp4,y\n", r"line 1: 'concat:a.mp4\|b.mp4' is a URL; allowed: paths of local files"),
        ("file:a.mp4,x\nb.mp4,y\n", "line 1: 'file:a.mp4' is a URL; allowed: paths of local files"),
        ("", "fewer than two classes: none"),
    ],
)
def test_lists_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    videos(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(NasError, match=message):
        open_data(tmp_path / "list.txt")


def test_lists_of_one_class_in_which_numbers_are_splits_are_refused(tmp_path: Path) -> None:
    videos(tmp_path, "a.avi", "b.avi", "c.avi")
    (tmp_path / "wave_test_split1.txt").write_text("a.avi 1\nb.avi 2\nc.avi 0\n")
    with pytest.raises(NasError, match="1 for train and 2 for test behind the videos of one class, as HMDB51 has"):
        open_data(tmp_path / "wave_test_split1.txt")


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("# made by hand\n#1.mp4,x\n#2.mp4,x\n#3.mp4,y\n# 4.mp4,y\n", ["#1.mp4", "#2.mp4", "#3.mp4"]),
        ("#1.mp4 x\n#2.mp4 x\n# gone.mp4 x\n#3.mp4 y\n", ["#1.mp4", "#2.mp4", "#3.mp4"]),
        ("sep=;\npath;label\n#1.mp4;x\n#2.mp4;x\n#3.mp4;y\n;\n;\n", ["#1.mp4", "#2.mp4", "#3.mp4"]),
    ],
)
def test_comments_and_what_spreadsheets_add_are_no_videos(tmp_path: Path, text: str, files: list[str]) -> None:
    videos(tmp_path, *files, "4.mp4")
    (tmp_path / "list.csv").write_text(text)
    assert [row.file for row in lists._rows(tmp_path / "list.csv")[0]] == files


def test_what_is_guessed_of_lists_is_said(tmp_path: Path) -> None:
    videos(tmp_path, *(f"{i}.mp4" for i in range(6)))
    text = "".join(f"{i}.mp4,{'走る' if i % 2 else '歩く'}\n" for i in range(6))
    (tmp_path / "train.csv").write_bytes(text.encode("shift-jis"))
    (tmp_path / "val.csv").write_text("path,label\n")
    guessed = ("train.csv is read as Windows-1252, as it is not UTF-8", "val.csv holds no videos")
    assert open_data(tmp_path / "train.csv").notes == guessed
    (tmp_path / "train.csv").write_text("0.mp4,x\n1.mp4,y\n")
    (tmp_path / "val.csv").write_text("0.mp4,x\n1.mp4,y\n")
    with pytest.raises(NasError, match=r"no train split; found: val \(2 files of train and val in val only\); allowed"):
        open_data(tmp_path / "train.csv")


def test_a_test_list_without_labels(tmp_path: Path) -> None:
    """As UCF101's: the folders of the training videos tell them."""
    clips = [f"{label}/v_{label}_g{g}.avi" for label in ("Archery", "Bowling") for g in range(8)]
    videos(tmp_path, *clips)
    train = [f"{clip} {1 + clip.startswith('B')}\n" for clip in clips if clip[-5] > "1"]
    (tmp_path / "TrainList01.txt").write_text("".join(train))
    (tmp_path / "TestList01.txt").write_text("".join(f"{clip}\n" for clip in clips if clip[-5] <= "1"))
    data = open_data(tmp_path / "TrainList01.txt")
    assert data.test is not None and data.test.labels == [0, 0, 1, 1]
    assert data.describe() == (
        "TrainList01: 2 classes, 10 train, 2 val, 4 test clips; val is a part of what was given as train; "
        "labels begin at 1, which is the first class of the network"
    )
    videos(tmp_path, "new/x.avi")
    (tmp_path / "TestList01.txt").write_text("new/x.avi\n")
    data = open_data(tmp_path / "TrainList01.txt")
    assert data.describe() == (
        "TrainList01: 2 classes, 8 train, 2 val, 2 test clips; TestList01.txt left out as it has no labels; "
        "labels begin at 1, which is the first class of the network"
    )
    (tmp_path / "ValList01.txt").write_text("new/x.avi\n")
    with pytest.raises(NasError, match=r"ValList01\.txt', line 1: 'new/x.avi' is not a path and a label"):
        open_data(tmp_path / "TrainList01.txt")


def test_lists_with_heads_beside_each_other(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "train.csv").write_text("path,label\na.mp4,x\nb.mp4,y\n")
    (tmp_path / "validation.csv").write_text("label;path\ny;c.mp4\n")
    data = open_data(tmp_path / "train.csv")
    assert (names(data.train), names(data.val), data.val.labels) == (["a", "b"], ["c"], [1])


@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
@pytest.mark.parametrize("head", ["", "path,label\n"])
def test_a_line_longer_than_any_path_is_refused(tmp_path: Path, name: str, head: str) -> None:
    videos(tmp_path, "b.mp4")
    for length in (5000, 200_000):
        (tmp_path / name).write_text(f"{head}{'a' * length},x\nb.mp4,y\n")
        with pytest.raises(NasError, match=r"do not exist|characters; allowed|has the columns|not a path and a label"):
            open_data(tmp_path / name)


@pytest.mark.parametrize("line", [f"{'x' * 5000} 12 run", f"http://{'x' * 5000},run", f"{'x' * 5000}\t1\twalk"])
def test_a_name_longer_than_a_file_can_have_is_a_missing_file(tmp_path: Path, line: str) -> None:
    videos(tmp_path, "b.mp4")
    (tmp_path / "list.csv").write_text(f"{line}\nb.mp4,y\n")
    with pytest.raises(NasError, match=r"do not exist|is a URL|no head|has the columns|not a path"):
        open_data(tmp_path / "list.csv")
    (tmp_path / "list.txt").write_text(f"b.mp4 walk\n{line}\n")
    with pytest.raises(NasError, match=r"do not exist|is a URL|no head|has the columns|not a path"):
        open_data(tmp_path / "list.txt")


def test_labels_of_thousands_of_digits_are_names(tmp_path: Path) -> None:
    videos(tmp_path, *(f"{i}.mp4" for i in range(4)))
    labels = ["9" * 5000, "10" * 3000]
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"{i}.mp4,{labels[i % 2]}\n" for i in range(4)))
    assert open_data(tmp_path / "list.csv").classes == (labels[1], labels[0])
