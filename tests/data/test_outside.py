"""A list opens local files only, and those of its own folder unless its reader allows others."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import pytest

import nas
from nas.cli.app import app
from nas.data.datasets import open_data
from nas.errors import NasError


def videos(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"is not read")


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """A folder of lists with six videos inside, beside a folder with six others."""
    videos(tmp_path, *(f"{folder}/{i}.mp4" for folder in ("lists/in", "elsewhere") for i in range(6)))
    return tmp_path / "lists"


def write_list(folder: Path, outside: list[str], head: bool = True) -> Path:
    path = folder / ("list.csv" if head else "list.txt")
    rows = [f"in/{i}.mp4,{i % 2}" for i in range(6)] + [f"{name},{i % 2}" for i, name in enumerate(outside)]
    path.write_text("\n".join((["path,label"] if head else []) + rows))
    return path


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("way", ["whole path", "parent", "linked file", "linked folder", "linked twice"])
def test_videos_outside_of_the_folder_of_a_list(tmp_path: Path, lists: Path, way: str, head: bool) -> None:
    (lists / "link.mp4").symlink_to(tmp_path / "elsewhere" / "0.mp4")
    (lists / "folder").symlink_to(tmp_path / "elsewhere")
    (lists / "again").symlink_to("folder")
    name = {
        "whole path": f"{tmp_path}/elsewhere/0.mp4",
        "parent": "in/../../elsewhere/0.mp4",
        "linked file": "link.mp4",
        "linked folder": "folder/0.mp4",
        "linked twice": "again/0.mp4",
    }[way]
    path = write_list(lists, [name], head)
    expected = (
        rf"1 of its 7 videos lie outside of its folder \(first '.*'\); allowed: videos below '{lists}', or any wi"
    )
    with pytest.raises(NasError, match=expected):
        open_data(path)
    data = open_data(path, allow_outside=True)
    assert sum(len(split) for split in (data.train, data.val, data.test) if split) == 7


def test_videos_inside_by_any_path_and_link_are_read(tmp_path: Path, lists: Path) -> None:
    (tmp_path / "shortcut").symlink_to(lists)
    (lists / "same").symlink_to("in")
    videos(lists, "..x.mp4")
    inside = [f"{lists}/in/0.mp4", f"{tmp_path}/shortcut/in/1.mp4", "in/../in/0.mp4", "same/3.mp4", "..x.mp4"]
    for path in (write_list(lists, inside), tmp_path / "shortcut" / "list.csv"):
        data = open_data(path)
        assert sum(len(split) for split in (data.train, data.val, data.test) if split) == 7


def test_a_folder_whose_name_begins_alike_is_outside(tmp_path: Path, lists: Path) -> None:
    videos(tmp_path, "lists2/0.mp4")
    with pytest.raises(NasError, match="1 of its 7 videos lie outside"):
        open_data(write_list(lists, ["../lists2/0.mp4"]))


def test_lists_beside_a_list_keep_to_the_folder_too(tmp_path: Path, lists: Path) -> None:
    (lists / "train.csv").write_text("path,label\nin/0.mp4,a\nin/1.mp4,b\n")
    (lists / "val.csv").write_text(f"path,label\nin/2.mp4,a\n{tmp_path}/elsewhere/1.mp4,b\n")
    with pytest.raises(NasError, match="1 of its 4 videos lie outside"):
        open_data(lists / "train.csv")


@pytest.mark.parametrize(
    "name",
    [
        "http://127.0.0.1:9/a.mp4",
        "HTTPS://example.org/a.mp4",
        "rtsp://camera/stream",
        "file:///etc/passwd",
        "concat:in/0.mp4",
        "data:video/mp4;base64",
        "pipe:0",
        "fd:",
        "subfile:,,start,0,end,9,,:in/0.mp4",
        "crypto:in/0.mp4",
    ],
)
@pytest.mark.parametrize("allow_outside", [True, False])
def test_what_is_no_local_file_is_refused(lists: Path, name: str, allow_outside: bool) -> None:
    path = lists / "list.csv"
    path.write_text(f'path,label\nin/0.mp4,a\nin/1.mp4,b\n"{name}",a\n')
    with pytest.raises(NasError, match=r"List '.*', data row 3: '.*' is a URL; allowed: paths of local files"):
        open_data(path, allow_outside=allow_outside)
    (path.parent / "list.txt").write_text(f"in/0.mp4\ta\nin/1.mp4\tb\n{name}\ta\n")
    with pytest.raises(NasError, match=r"List '.*', line 3: '.*' is a URL; allowed: paths of local files"):
        open_data(path.parent / "list.txt", allow_outside=allow_outside)


@pytest.mark.parametrize("name", ["pipe:0.mp4", "concat:a.mp4"])
def test_a_file_with_the_name_of_a_protocol_is_a_file(lists: Path, name: str) -> None:
    videos(lists, name)
    data = open_data(write_list(lists, [name]))
    assert sum(len(split) for split in (data.train, data.val, data.test) if split) == 7


def test_links_of_a_folder_lead_outside_and_are_counted(tmp_path: Path, lists: Path) -> None:
    videos(tmp_path, *(f"mine/{label}/{i}.mp4" for label in "ab" for i in range(3)))
    (tmp_path / "mine" / "a" / "more").symlink_to(tmp_path / "elsewhere")
    data = open_data(tmp_path / "mine")
    assert data.notes == ("6 videos outside of the folder, by links",)


def test_a_link_in_a_circle_is_a_missing_video(lists: Path) -> None:
    os.symlink("circle.mp4", lists / "circle.mp4")
    with pytest.raises(NasError, match="1 of its 7 videos do not exist"):
        open_data(write_list(lists, ["circle.mp4"]))


def test_every_command_and_function_that_reads_data_can_allow_it() -> None:
    """Whoever takes `--data` or `data` takes the choice too."""
    import typer

    group = typer.main.get_command(app)
    commands = [command for command in getattr(group, "commands").values()]  # noqa: B009
    while any(hasattr(command, "commands") for command in commands):
        commands = [each for c in commands for each in (c.commands.values() if hasattr(c, "commands") else [c])]
    reading = [c for c in commands if any(option in p.opts for p in c.params for option in ("--data", "data"))]
    assert any(command.name == "search" for command in reading)
    for command in reading:
        assert any("--allow-outside" in p.opts for p in command.params), command.name
    assert "allow_outside" in inspect.signature(nas.search).parameters
