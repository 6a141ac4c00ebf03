from __future__ import annotations

from pathlib import Path

from nas.data.duplicates import same_content


def test_files_of_equal_bytes_are_found(tmp_path: Path) -> None:
    contents = {"a": b"x" * 70_000, "b": b"x" * 69_999 + b"y", "c": b"x" * 70_000, "d": b"z", "e": b"w", "f": b"z"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    paths = [tmp_path / name for name in (*contents, "folder", "absent")]
    found = same_content(paths)
    assert [[path.name for path in group] for group in found] == [["a", "c"], ["d", "f"]]
