from __future__ import annotations

from pathlib import Path

import pytest

from nas.data.unreadable import UNREADABLE, Unreadable, check_unreadable, read_unreadable, write_unreadable
from nas.errors import NasError

REASON = "Cannot read video '{}, \"x\".mp4': empty; allowed: a"
FOUND = [Unreadable("train", f"run/{i}.mp4", REASON.format(i)) for i in range(12)]


def test_the_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_unreadable(tmp_path, FOUND)
    assert read_unreadable(tmp_path) == tuple(FOUND)
    write_unreadable(tmp_path, [])
    assert read_unreadable(tmp_path) == () and not (tmp_path / UNREADABLE).exists()


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / UNREADABLE).write_text("a,b\n")
    with pytest.raises(NasError, match="is not of unreadable clips"):
        read_unreadable(tmp_path)


def test_a_twentieth_is_the_most() -> None:
    check_unreadable(FOUND, 240)
    message = r"12 of 239 clips of train .*'9, \"x\"\.mp4': empty, and 2 more; allowed: up to 5 %"
    with pytest.raises(NasError, match=message):
        check_unreadable(FOUND, 239)
