from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.data.check import check_data, strips
from nas.data.contact_sheet import draw_contact_sheet
from nas.data.datasets import Sampling, open_data
from nas.data.sample import CLASSES, write_sample, write_video
from nas.data.video import probe, read_view
from nas.errors import NasError

SAMPLING = Sampling(4, (16, 16))


def write_clips(root: Path) -> Path:
    """Two classes in train and val: one file is broken, one is in both splits, one has two labels,
    one has two frames, one another size and rate.
    """
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for label in ("run", "walk"):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                clip = rng.integers(0, 256, (6, 16, 16, 3), np.uint8)
                write_video(root / split / label / f"{i}.mp4", clip, 10)
    write_video(root / "train" / "run" / "2.mp4", np.zeros((2, 16, 16, 3), np.uint8), 10)
    write_video(root / "train" / "run" / "3.mp4", np.zeros((8, 32, 16, 3), np.uint8), 30)
    (root / "train" / "walk" / "3.mp4").write_bytes(b"")
    shutil.copy(root / "train" / "run" / "0.mp4", root / "val" / "run" / "0.mp4")
    shutil.copy(root / "train" / "run" / "1.mp4", root / "train" / "walk" / "1.mp4")
    return root


def test_what_a_data_set_holds_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    check = check_data(open_data(write_clips(tmp_path)), SAMPLING, 2, lambda *call: calls.append(call))
    assert calls[-1] == (12, 12)
    assert check.counts == {"train": {"run": 4, "walk": 4}, "val": {"run": 2, "walk": 2}}
    assert [(each.split, each.clip) for each in check.unreadable] == [("train", "walk/3.mp4")]
    assert "the file is empty" in check.unreadable[0].reason
    assert [sorted(each.clips) for each in check.same] == [
        [("train", "run", "run/0.mp4"), ("val", "run", "run/0.mp4")],
        [("train", "run", "run/1.mp4"), ("train", "walk", "walk/1.mp4")],
    ]
    figures = check.figures()
    assert figures["frames"] == {"min": 2, "median": 6, "max": 8}
    assert figures["sizes"] == {"16x16": 10, "16x32": 1}
    assert figures["frame_rates"] == {"10": 10, "30": 1}
    assert len(figures["codecs"]) == 1 and check.clips_per_second > 0
    assert check.warnings() == [
        "1 clip of equal content in several splits, such as 0.mp4 and 0.mp4",
        "1 clip of equal content under two labels, such as 1.mp4 and 1.mp4",
        "1 of 12 clips cannot be read",
        "12 % of train cannot be read, and a run stops at 5 %",
        "fewer than 10 clips in train: run, walk",
        "1 clip of fewer than 4 frames, which repeat",
    ]


def test_a_contact_sheet_has_a_strip_of_each_class(tmp_path: Path) -> None:
    data = open_data(write_clips(tmp_path / "clips"))
    found = list(strips(data, 24))
    assert [(name, strip.shape) for name, strip in found] == [("run", (24, 256, 3)), ("walk", (24, 256, 3))]
    draw_contact_sheet(found, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(NasError, match="lies in no folder"):
        draw_contact_sheet(found, tmp_path / "absent" / "sheet.png")
    with pytest.raises(NasError, match="would be empty"):
        draw_contact_sheet([], tmp_path / "sheet.png")


def test_clips_that_are_no_files_are_checked(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", clips=np.zeros((8, 6, 16, 12), np.uint8), labels=np.arange(8) % 2)
    check = check_data(open_data(tmp_path / "a.npz"), SAMPLING)
    assert check.figures()["sizes"] == {"12x16": 8} and check.figures()["codecs"] == {"array": 8}
    assert check.figures()["frames"] == {"min": 6, "median": 6, "max": 6}


def test_a_sample_is_a_data_set_with_subjects(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    path = write_sample(tmp_path / "new" / "clips", 5, lambda *call: calls.append(call))
    assert calls[-1] == (20, 20)
    data = open_data(path)
    assert data.classes == tuple(sorted(CLASSES))
    assert data.test is not None
    assert (data.val.groups, data.test.groups) == (["subject3"] * 4, ["subject4"] * 4)
    info = probe(path.parent / "approach" / "subject0_0.mp4")
    assert (info.frames, info.fps, info.height, info.width) == (32, 16.0, 64, 64)
    clips = [read_view(path.parent / name / "subject0_0.mp4", SAMPLING) for name in CLASSES]
    assert len({clip.tobytes() for clip in clips}) == 4
    with pytest.raises(NasError, match="is not empty; allowed: a new folder"):
        write_sample(path.parent)
    with pytest.raises(NasError, match="4 clips of a class are too few; allowed: at least 5"):
        write_sample(tmp_path / "more", 4)
