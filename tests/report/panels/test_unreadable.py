from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nas.data.unreadable import Unreadable, write_unreadable
from nas.report.blocks import Facts
from nas.report.panels.unreadable import UnreadableClips


def test_clips_are_listed_with_their_reason(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(path=tmp_path)
    assert not UnreadableClips().applies(run)
    write_unreadable(tmp_path, [Unreadable("val", "run/1.mp4", "Cannot read video '1.mp4': the file is empty")])
    assert UnreadableClips().applies(run)
    (block,) = UnreadableClips().blocks(run)
    assert isinstance(block, Facts)
    assert list(block.rows) == [("val run/1.mp4", "Cannot read video '1.mp4': the file is empty")]
