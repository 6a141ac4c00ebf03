from __future__ import annotations

from pathlib import Path

import pytest

from nas.data.datasets import open_data
from nas.data.doubts import doubts
from nas.data.oddities import odd_labels


@pytest.mark.parametrize(
    ("classes", "notes"),
    [
        (["0", "1", "2"], []),
        (["run", "walk"], []),
        (["1", "2"], ["labels begin at 1, which is the first class of the network"]),
        (["0", "1", "4"], ["2 numbers between the labels 0 and 4 have no clip"]),
        (["00", "01"], ["labels are numbers with leading zeros, which they keep"]),
        (["Run", "run", "walk"], ["the labels 'Run', 'run' differ in case, spaces or quotes only"]),
        (["sit down", "sit_down"], ["the labels 'sit down', 'sit_down' differ in case, spaces or quotes only"]),
    ],
)
def test_labels(classes: list[str], notes: list[str]) -> None:
    assert odd_labels(classes) == notes


LINES = 'path;label;split\r\n"a.MP4";" 01 ";train\r\nb.mp4;02;train\r\nsub/c.Mp4;"01";val\r\n.d.mp4;02;val\r\n'


def test_a_list_of_every_oddity_at_once(tmp_path: Path) -> None:
    """A byte order mark, CRLF, semicolons, quotes, spaces, leading zeros, a hidden file, upper-case
    endings, a nested folder, and a copy in the other split.
    """
    (tmp_path / "sub").mkdir()
    for name, content in {"a.MP4": b"1", "b.mp4": b"2", "sub/c.Mp4": b"1", ".d.mp4": b"3"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "list.csv").write_bytes(LINES.encode("utf-8-sig"))
    data = open_data(tmp_path / "list.csv")
    assert data.classes == ("01", "02")
    assert (data.train.labels, data.val.labels) == ([0, 1], [0, 1])
    assert data.notes == (
        "labels begin at 1, which is the first class of the network",
        "labels are numbers with leading zeros, which they keep",
    )
    assert doubts(data) == ("1 clip of equal content in several splits, such as a.MP4 and c.Mp4",)
