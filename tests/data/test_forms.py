"""Pictures and arrays as clips: folders of frames, single pictures, `.npy` and `.npz` files."""

from __future__ import annotations

import pickle
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from nas.data.arrays import ArraySplit, read_array
from nas.data.datasets import Sampling, Split, VideoSplit, View, load_split, open_data
from nas.data.kinds import in_natural_order
from nas.data.video import read_view
from nas.errors import NasError

SAMPLING = Sampling(4, (8, 8))


def write_picture(path: Path, grey: int, size: int = 16) -> Path:
    """A PNG, or a JPEG where the name says so, of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name, kind = ("mjpeg", "yuvj420p") if path.suffix.lower() in (".jpg", ".jpeg") else ("png", "rgb24")
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = size, size, kind, Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), grey, np.uint8), format="rgb24")
    packets = [*encoder.encode(frame.reformat(format=kind)), *encoder.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


def write_frames(folder: Path, count: int, ending: str = "jpg") -> Path:
    """Picture i is grey of value 10 * i."""
    for i in range(count):
        write_picture(folder / f"frame{i}.{ending}", 10 * i)
    return folder


def greys(clip: np.ndarray[Any, Any]) -> list[int]:
    return [round(value / 10) for value in clip.mean((1, 2, 3))]


def names(split: Split | None) -> list[str]:
    assert isinstance(split, VideoSplit)
    return [path.name for path in split.paths]


def test_natural_order() -> None:
    found = sorted(["f10.png", "f9.png", "f009b.png", "10.png", "9.png"], key=in_natural_order)
    assert found == ["9.png", "10.png", "f9.png", "f009b.png", "f10.png"]


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "png"])
def test_a_folder_of_pictures_is_a_clip_in_the_order_of_the_numbers(tmp_path: Path, ending: str) -> None:
    folder = write_frames(tmp_path / "clip", 20, ending)
    (folder / ".hidden.jpg").write_bytes(b"is not read")
    (folder / "labels.txt").write_text("is not read")
    assert greys(read_view(folder, SAMPLING)) == [2, 7, 12, 17]
    assert greys(read_view(folder, Sampling(3, (8, 8), 2), View(1.0))) == [15, 17, 19]


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ("flow_x_{}.jpg", "'flow_x_#.jpg' and 'frame#.jpg' have the same numbers"),
        ("frame{}.png", "'frame#.jpg' and 'frame#.png' have the same numbers"),
    ],
)
def test_frames_that_are_there_twice_are_refused(tmp_path: Path, beside: str, words: str) -> None:
    folder = write_frames(tmp_path / "clip", 4)
    for i in range(4):
        write_picture(folder / beside.format(i), 200)
    with pytest.raises(NasError, match=words):
        read_view(folder, SAMPLING)


def test_times_in_the_names_of_frames_are_one_series(tmp_path: Path) -> None:
    for minute in range(2):
        for second in range(4):
            write_picture(tmp_path / f"12-0{minute}-0{second}.jpg", 10 * (4 * minute + second))
    assert greys(read_view(tmp_path, SAMPLING)) == [1, 3, 5, 7]


def test_a_picture_is_told_by_what_it_begins_with(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(write_picture(tmp_path / "a.png", 50).read_bytes())
    assert greys(read_view(tmp_path / "a.jpg", SAMPLING)) == [5, 5, 5, 5]


def test_class_folders_of_folders_of_frames(tmp_path: Path) -> None:
    for i in range(3):
        write_frames(tmp_path / "run" / f"clip{i}", 3)
        write_frames(tmp_path / "walk" / "day1" / f"clip{i}", 2, "PNG")
    data = open_data(tmp_path)
    assert data.classes == ("run", "walk")
    assert sorted(names(data.train) + names(data.val) + names(data.test)) == sorted(["clip0", "clip1", "clip2"] * 2)
    assert greys(load_split(data.train, Sampling(2, (8, 8))).pixels[0]) == [0, 2]


def test_pictures_in_class_folders_are_clips_of_one_frame(tmp_path: Path) -> None:
    for i in range(3):
        write_picture(tmp_path / "dark" / f"{i}.png", 20)
        write_picture(tmp_path / "light" / f"{i}.png", 200)
    data = open_data(tmp_path)
    assert (data.train.labels, data.val.labels) == ([0, 1], [0, 1])
    assert greys(load_split(data.train, Sampling(2, (8, 8))).pixels[1]) == [20, 20]


def test_pictures_beside_videos_are_no_clips(tmp_path: Path) -> None:
    """Covers and previews lie there; a folder of both is no clip of pictures either."""
    for label in ("a", "b"):
        for i in range(3):
            np.save(write_picture(tmp_path / label / f"{i}.png", 20).with_suffix(".npy"), np.zeros((2, 8, 8), np.uint8))
            np.save(
                write_picture(tmp_path / label / "x" / f"{i}.png", 9).with_suffix(".npy"), np.zeros((2, 8, 8), np.uint8)
            )
    data = open_data(tmp_path)
    found = names(data.train) + names(data.val) + names(data.test)
    assert sorted(found) == sorted([f"{i}.npy" for i in range(3)] * 4)
    assert "12 pictures beside videos left out" in data.notes


@pytest.mark.parametrize("line", ["{clip} {label}", "{clip},{label}", "{clip} 3 {label}"])
def test_folders_of_frames_in_lists(tmp_path: Path, line: str) -> None:
    lines = []
    for i in range(6):
        write_frames(tmp_path / f"clip{i}", 3)
        lines.append(line.format(clip=f"clip{i}", label="ab"[i % 2]))
    (tmp_path / "list.txt").write_text("\n".join(lines))
    data = open_data(tmp_path / "list.txt")
    assert data.classes == ("a", "b")
    assert sorted(names(data.train) + names(data.val) + names(data.test)) == [f"clip{i}" for i in range(6)]


def test_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "clip", 4)
    (folder / "frame2.jpg").write_bytes(b"no picture")
    with pytest.raises(NasError, match=r"picture '.*frame2\.jpg': it is in none of the formats; allowed: JPEG, PNG"):
        read_view(folder, SAMPLING)
    (folder / "frame2.jpg").write_bytes(b"")
    with pytest.raises(NasError, match=r"frame2\.jpg': it is empty"):
        read_view(folder, SAMPLING)
    (folder / "frame2.jpg").write_bytes(b"\x89PNG and no more")
    with pytest.raises(NasError, match=r"Cannot read picture '.*frame2\.jpg'"):
        read_view(folder, SAMPLING)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NasError, match="it holds no picture"):
        read_view(tmp_path / "empty", SAMPLING)


def clips(count: int, frames: int = 8, *channels: int) -> np.ndarray[Any, Any]:
    """Frame t of clip n is of value 10 * t + n."""
    values = 10 * np.arange(frames)[None] + np.arange(count)[:, None]
    shape = (count, frames, 16, 16, *channels)
    return np.broadcast_to(values.reshape(count, frames, *[1] * (len(shape) - 2)), shape).astype(np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_an_npz_of_clips(tmp_path: Path, save: Any, channels: tuple[int, ...]) -> None:
    path = tmp_path / "clips.npz"
    save(path, clips=clips(10, 8, *channels), labels=np.arange(10) % 2, classes=np.array(["sit", "run"]))
    data = open_data(path)
    assert data.classes == ("run", "sit")
    assert data.test is not None and (len(data.train), len(data.val), len(data.test)) == (6, 2, 2)
    split = data.train
    assert isinstance(split, ArraySplit)
    assert [data.classes[label] for label in split.labels] == [("sit", "run")[row % 2] for row in split.rows]
    loaded = load_split(split, SAMPLING)
    expected = [[10 * t + row for t in (1, 3, 5, 7)] for row in split.rows]
    assert loaded.pixels.mean((2, 3, 4)).tolist() == expected
    assert isinstance(read_array(path, "clips"), np.memmap) == (save is np.savez)
    assert pickle.loads(pickle.dumps(split)) == split


def test_groups_and_splits_of_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "clips.npz"
    labels, groups = np.arange(8) % 2, np.arange(8) // 2 + 2000
    np.savez(path, x=clips(8), y=labels, group=groups)
    data = open_data(path)
    assert data.classes == ("0", "1")
    assert (data.val.groups, data.test and data.test.groups) == (["2002"] * 2, ["2003"] * 2)
    splits = np.array(["train"] * 4 + ["validation"] * 4)
    np.savez(path, clips=clips(8), labels=labels, split=splits)
    data = open_data(path)
    assert isinstance(data.val, ArraySplit) and data.val.rows == [4, 5, 6, 7] and data.test is None


def test_clips_of_different_lengths_lie_behind_each_other(tmp_path: Path) -> None:
    path = tmp_path / "clips.npz"
    frames = np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None, None], (12, 16, 16))
    np.savez(path, frames=frames, offset=[0, 2, 5, 6, 8, 9], length=[2, 3, 1, 2, 1, 3], label=[0, 1, 0, 1, 0, 1])
    train = open_data(path).train
    assert isinstance(train, ArraySplit)
    clip = train.clip(train.rows.index(2), Sampling(3, (16, 16))) if 2 in train.rows else None
    assert clip is None or clip.mean((1, 2, 3)).tolist() == [2, 3, 4]
    assert sorted(row for row in train.rows) != []


def test_labels_of_an_npz_that_begin_at_one(tmp_path: Path) -> None:
    path = tmp_path / "clips.npz"
    np.savez(path, clips=clips(8), labels=np.arange(8) % 2 + 1, classes=np.array(["a", "b"]))
    data = open_data(path)
    assert data.classes == ("a", "b") and "labels begin at 1, which is the first of the classes" in data.notes


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"clips": clips(4)},
            "has the arrays clips, of which none is the labels; allowed: one called labels, label, y",
        ),
        ({"a": [1], "labels": [1]}, "of which none is the clips"),
        (
            {"clips": clips(4).astype(float), "labels": [0, 1, 0, 1]},
            r"clips of float64 \(4, 8, 16, 16\); allowed: uint8",
        ),
        ({"clips": clips(4, 8, 2), "labels": [0, 1, 0, 1]}, r"clips of uint8 \(4, 8, 16, 16, 2\)"),
        ({"clips": clips(4), "labels": [0, 1]}, "has 2 labels of 4 clips; allowed: one of each clip"),
        ({"clips": clips(4), "labels": [0.5, 1, 0, 1]}, "has labels of float64"),
        ({"clips": clips(4), "labels": [0, 1, 0, 3], "classes": ["a", "b"]}, "has the label 3 of 2 classes"),
        ({"clips": clips(4), "labels": [0, 1, 0, 1], "classes": ["a", "a"]}, "has a class twice"),
        ({"clips": clips(4), "labels": [0, 1, 0, 1], "split": ["train", "val", "dev", "val"]}, "clip 2: split 'dev'"),
        ({"clips": clips(4), "labels": np.array([0, "a", 0, 1], object)}, "holds Python objects, which are not read"),
        ({"clips": 3, "labels": [0, 1]}, r"has clips of int64 \(\); allowed: uint8"),
        ({"clips": clips(2)[0], "labels": [0, 1], "offset": [0, 6], "length": [4, 4]}, "clip 1: frames 6 to 10 of 8"),
    ],
)
def test_npz_files_that_cannot_be_used(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = tmp_path / "clips.npz"
    np.savez(path, **arrays)
    with pytest.raises(NasError, match=message):
        open_data(path)


def test_an_npz_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "clips.npz"
    path.write_bytes(b"PK no archive")
    with pytest.raises(NasError, match=r"Cannot read arrays of '.*clips\.npz'.*; allowed: an \.npy or \.npz file"):
        open_data(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_is_read_or_refused_in_a_sentence(tmp_path: Path, save: Any) -> None:
    path, draw = tmp_path / "clips.npz", random.Random(0)
    save(path, clips=clips(8), labels=np.arange(8) % 2, group=np.arange(8) // 2)
    whole, refused = path.read_bytes(), 0
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 3, 10))):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data[: draw.choice((len(data), draw.randrange(len(data))))])
        try:
            load_split(open_data(path).train, SAMPLING)
        except NasError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 20


def test_class_folders_of_arrays(tmp_path: Path) -> None:
    for label in ("run", "walk"):
        (tmp_path / label).mkdir()
        for i in range(3):
            np.save(tmp_path / label / f"{i}.npy", clips(1, 8, 3)[0])
            np.savez(tmp_path / label / f"{i}.NPZ.npz", frames=clips(1)[0])
    data = open_data(tmp_path)
    assert data.classes == ("run", "walk") and len(data.train) == 8
    loaded = load_split(data.train, SAMPLING)
    assert loaded.pixels.mean((2, 3, 4)).tolist() == [[10, 30, 50, 70]] * 8


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 8, 8), np.float32), r"it is float32 \(4, 8, 8\); allowed: uint8"),
        (np.zeros((8, 8), np.uint8), r"it is uint8 \(8, 8\)"),
        (np.zeros((0, 8, 8), np.uint8), r"it is uint8 \(0, 8, 8\)"),
        (np.array([None]), "holds Python objects"),
    ],
)
def test_arrays_that_are_no_clip(tmp_path: Path, array: Any, message: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(NasError, match=message):
        read_view(tmp_path / "a.npy", SAMPLING)


def test_nagoya_as_arrays(data_folder: Path) -> None:
    for name in ("clips.npz", "clips_t16.npz"):
        data = open_data(data_folder / "nagoya_fir16" / name)
        assert data.classes == ("falling", "lie", "sit", "sitdown", "stand", "standup", "walk")
        assert data.test is not None and len(data.train) + len(data.val) + len(data.test) == 2520
        assert set(data.val.groups) == {"20170209"} and set(data.test.groups) == {"20170210"}
        assert load_split(data.val, Sampling(8, (18, 18)), limit=14).pixels.shape == (14, 8, 18, 18, 3)
