"""Data that are nearly right: the sentence says what is wrong, and comments are read over."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.data.datasets import open_data
from nas.errors import NasError

CLIPS = [f"{label}/{i}.mp4" for label in ("run", "walk") for i in range(3)]


def made(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def as_list(folder: Path, lines: list[str]) -> Path:
    made(folder, CLIPS)
    path = folder / "list.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


GOOD = [f"{name},{name.split('/')[0]}" for name in CLIPS]


def test_comments_are_read_over(tmp_path: Path) -> None:
    found = open_data(as_list(tmp_path, ["# made by hand", "path,label", *GOOD[:3], "  # the others", *GOOD[3:]]))
    assert found.classes == ("run", "walk") and len(found.train) + len(found.val) == 4


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["path,label", GOOD[0], '"run/1.mp4,run', *GOOD[2:]], "run/1.mp4,run' has a quote without its other"),
        (["path,label", *GOOD, "x" * 200_000 + ",run"], "line 8, has 200,004 characters; allowed: up to 20,000"),
        (["path,label", *GOOD[:5], "walk/2.mp4,Walk"], "labels 'Walk' and 'walk' differ in capitals or spaces alone"),
        (["path,label", GOOD[0], GOOD[3]], "has one clip of each of its 2 classes, so none can be held out; allowed: "),
    ],
)
def test_a_list_that_is_nearly_right_is_refused_with_what_is_wrong(
    lines: list[str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(NasError) as caught:
        open_data(as_list(tmp_path, lines))
    assert words in str(caught.value) and "allowed" in str(caught.value) and len(str(caught.value)) < 600


def test_a_folder_around_the_splits_is_named(tmp_path: Path) -> None:
    made(tmp_path / "archive", [f"{split}/{name}" for split in ("train", "val") for name in CLIPS])
    with pytest.raises(NasError, match=r"one folder with videos, 'archive', in which there are train, val; allowed: "):
        open_data(tmp_path)
    assert open_data(tmp_path / "archive").classes == ("run", "walk")


def test_one_clip_of_each_class_cannot_be_held_out(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="has one clip of each of its 2 classes, so none can be held out"):
        open_data(made(tmp_path, [CLIPS[0], CLIPS[3]]))


def test_a_name_that_begins_as_that_of_an_unknown_user_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made(tmp_path, [f"~nouser/{name}" for name in CLIPS]))
    assert open_data("~nouser").classes == ("run", "walk")
    with pytest.raises(NasError, match="data '~nouser/x' does not exist"):
        open_data("~nouser/x")
