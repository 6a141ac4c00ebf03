from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from nas.data.datasets import open_data
from nas.errors import NasError


def videos(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


SPLIT_FOLDERS = ("train/run/0.mp4", "train/run/1.mp4", "train/walk/0.MP4", "val/run/0.mp4", "val/walk/0.Avi")


@pytest.mark.parametrize(
    ("renamed", "beside"),
    [
        ({}, ["annotations/"]),
        ({}, ["annotations/a.json", "README.md"]),
        ({}, ["__MACOSX/train/run/._0.mp4", "__MACOSX/x.mp4", "train/run/._0.mp4", ".cache/x.mp4", "train/.old/0.mp4"]),
        ({"train": "Train", "val": "Val"}, []),
        ({"train": "TRAINING", "val": "validation"}, []),
        ({"train": "train_set", "val": "valid"}, ["Thumbs.db"]),
        ({"train": "train_256", "val": "val_256"}, []),
        ({"train": "clips-Train", "val": "clips-Validation"}, ["System Volume Information/x/y.mp4"]),
        ({"train": "kinetics_train_lr", "val": "kinetics_val_lr"}, ["#recycle/run/0.mp4", "__macosx/run/0.mp4"]),
    ],
)
def test_folders_of_splits_are_not_classes(tmp_path: Path, renamed: dict[str, str], beside: list[str]) -> None:
    for path in SPLIT_FOLDERS:
        split, _, rest = path.partition("/")
        videos(tmp_path, f"{renamed.get(split, split)}/{rest}")
    for path in beside:
        if path.endswith("/"):
            (tmp_path / path).mkdir()
        else:
            videos(tmp_path, path)
    data = open_data(tmp_path)
    assert data.classes == ("run", "walk")
    assert (data.train.labels, data.val.labels, data.test, data.notes) == ([0, 0, 1], [0, 1], None, ())


def test_what_of_a_folder_is_not_used_is_said(tmp_path: Path) -> None:
    videos(tmp_path, *SPLIT_FOLDERS, "extra/run/5.mp4", "train/loose.mp4")
    (tmp_path / "val" / "run" / "dead.mp4").symlink_to(tmp_path / "nowhere")
    data = open_data(tmp_path)
    assert (len(data.train), len(data.val)) == (3, 2)
    expected = (
        "1 video outside of class folders left out",
        "1 dead link left out",
        "beside the splits, extra left out",
    )
    assert data.notes == expected


def test_train_alone_and_unknown_names_of_splits(tmp_path: Path) -> None:
    videos(tmp_path, *(f"train/{label}/{i}.mp4" for label in ("run", "walk") for i in range(5)))
    (tmp_path / "labels").mkdir()
    data = open_data(tmp_path)
    assert data.classes == ("run", "walk") and data.test is not None
    assert (len(data.train), len(data.val), len(data.test)) == (6, 2, 2)
    videos(tmp_path, "holdout/run/0.mp4", "holdout/walk/0.mp4")
    with pytest.raises(NasError, match="same classes in 'train' and 'holdout'; allowed: train, val and test"):
        open_data(tmp_path)


def test_a_class_with_the_word_of_a_split_may_have_clips_numbered_as_another(tmp_path: Path) -> None:
    videos(
        tmp_path,
        *(f"{name}/{i:04}/{frame}.png" for name in ("train_station", "bus") for i in range(4) for frame in range(3)),
    )
    data = open_data(tmp_path)
    assert data.classes == ("bus", "train_station") and len(data.train) == 4  # of 8, two and two held out


@pytest.mark.parametrize("names", [("train1", "train2"), ("val", "test"), ("train_a", "val_b")])
def test_folders_that_may_be_splits_are_no_classes(tmp_path: Path, names: tuple[str, str]) -> None:
    videos(tmp_path, *(f"{name}/{label}/{i}.mp4" for name in names for label in ("run", "walk") for i in range(3)))
    with pytest.raises(NasError, match=r"same classes in '\w+' and '\w+'; allowed: train, val and test"):
        open_data(tmp_path)


def test_classes_may_be_divided_into_splits(tmp_path: Path) -> None:
    videos(tmp_path, *(f"{label}/{split}/0.mp4" for label in ("run", "walk") for split in ("train", "val", "test")))
    data = open_data(tmp_path)
    assert data.classes == ("run", "walk") and data.test is not None
    assert (data.train.labels, data.val.labels, data.test.labels) == ([0, 1], [0, 1], [0, 1])
    videos(tmp_path, "walk/more/0.mp4")
    words = r"splits in the class folder 'run', and outside of such a folder 'walk/more/0.mp4'; allowed: all videos"
    with pytest.raises(NasError, match=words):
        open_data(tmp_path)


def test_videos_of_a_split_without_class_folders_are_missed(tmp_path: Path) -> None:
    videos(tmp_path, "train/run/0.mp4", "train/walk/0.mp4", "val/0.mp4", "val/1.mp4")
    with pytest.raises(NasError, match=r"val' holds no videos in class folders \(2 videos beside them, 0 dead links\)"):
        open_data(tmp_path)


def test_a_class_without_videos_is_said(tmp_path: Path) -> None:
    videos(tmp_path, *(f"{label}/{i}.mp4" for label in ("run", "walk") for i in range(3)), "jump/0.divx")
    assert open_data(tmp_path).notes == ("1 folder without videos left out (jump)",)


@pytest.mark.parametrize(
    "other", ["\N{ZERO WIDTH NO-BREAK SPACE}run", "run\N{ZERO WIDTH SPACE}", "\N{FULLWIDTH LATIN SMALL LETTER R}un"]
)
def test_labels_that_look_alike_are_refused(tmp_path: Path, other: str) -> None:
    videos(tmp_path, *(f"{label}/{i}.mp4" for label in ("run", other) for i in range(3)))
    with pytest.raises(NasError, match=r"differ in capitals, spaces or hidden signs alone; allowed: one spelling"):
        open_data(tmp_path)


def test_the_folder_one_stands_in_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "v1.0"
    videos(root, *(f"{label}/{i}.mp4" for label in ("run", "walk") for i in range(3)))
    monkeypatch.chdir(root)
    assert open_data(".").name == "v1.0"


def test_train_may_be_a_class(tmp_path: Path) -> None:
    videos(tmp_path, *(f"{label}/{i}.mp4" for label in ("bus", "train") for i in range(3)))
    assert open_data(tmp_path).classes == ("bus", "train")


def test_links_are_followed_once_and_never_upwards(tmp_path: Path) -> None:
    videos(tmp_path, *(f"mine/{label}/{i}.mp4" for label in ("run", "walk") for i in range(5)))
    videos(tmp_path, *(f"store/{i}.mp4" for i in range(5)), "other/x.mp4")
    for name, target in {"walk/more": "store", "walk/again": "store", "walk/up": "mine", "walk/top": ""}.items():
        (tmp_path / "mine" / name).symlink_to(tmp_path / target)
    (tmp_path / "store" / "loop").symlink_to(tmp_path / "mine" / "walk")
    data = open_data(tmp_path / "mine")
    assert data.test is not None
    assert Counter(data.train.labels + data.val.labels + data.test.labels) == {0: 5, 1: 10}
    (tmp_path / "mine" / "walk" / "sibling").symlink_to(tmp_path / "mine" / "run")
    with pytest.raises(NasError, match="has the labels 'run' and 'walk'"):
        open_data(tmp_path / "mine")
