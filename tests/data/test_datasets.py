from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from nas.data import datasets
from nas.data.datasets import MIDDLE, Sampling, Split, VideoData, VideoSplit, View, load_split, open_data
from nas.data.motion import CLASSES
from nas.errors import NasError

Pixels = npt.NDArray[np.uint8]


def write_video(path: Path, grey: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for _ in range(3):
            picture = np.full((16, 16, 3), grey, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    with path.open("ab") as file:  # no two hold the same
        file.write(str(path).encode())


def write_csv(folder: Path, rows: list[str], header: str = "path,label", videos: bool = True) -> Path:
    """A CSV file and the videos it names."""
    for row in rows if videos else []:
        write_video(folder / row.split(",")[0], grey=100)
    path = folder / "clips.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def names(split: Split | None) -> list[str]:
    assert isinstance(split, VideoSplit)
    return [path.stem for path in split.paths]


def test_motion() -> None:
    data = open_data("motion")
    assert data.classes == CLASSES
    assert data.test is not None
    assert (len(data.train), len(data.val), len(data.test)) == (4096, 512, 512)
    assert data.chance == pytest.approx(1 / 12)
    assert not data.flip
    assert data.describe() == "motion: 12 classes, 4096 train, 512 val, 512 test clips"
    assert max(Counter(data.val.labels).values()) == 43  # 512 = 12 * 42 + 8


def test_motion_clips_differ_between_splits_seeds_and_draws() -> None:
    clips = [
        split.clip(0, Sampling(4, (16, 16)), seed=draw).tobytes()
        for data in (open_data("motion"), open_data("motion", seed=1), open_data("motion:0.9"))
        for split in (data.train, data.val, data.test)
        for draw in (None, 0, 1)
        if split is not None
    ]
    assert len(set(clips)) == 27
    assert open_data("motion").train.clip(0, Sampling(4, (16, 16))).tobytes() == clips[0]


def test_data_can_be_sent_to_another_process() -> None:
    data = open_data("motion")
    assert pickle.loads(pickle.dumps(data)) == data


@pytest.mark.parametrize("spec", ["motion:2", "motion:", "motion:hard", "motion:nan", "/does/not/exist", "moton"])
def test_unknown_data(spec: str) -> None:
    with pytest.raises(NasError, match=spec):
        open_data(spec)


def test_folder_of_classes_is_split_within_classes(tmp_path: Path) -> None:
    for name in ("run", "sit"):
        for i in range(10):
            write_video(tmp_path / name / f"{name}{i}.avi")
    (tmp_path / "run" / "notes.txt").write_text("not a video")
    data = open_data(tmp_path)
    assert data.classes == ("run", "sit")
    assert data.flip and not open_data(tmp_path, flip=False).flip
    assert Counter(data.train.labels) == {0: 6, 1: 6}
    assert Counter(data.val.labels) == {0: 2, 1: 2}
    everything = names(data.train) + names(data.val) + names(data.test)
    assert len(everything) == len(set(everything)) == 20
    assert names(open_data(tmp_path).val) == names(data.val)
    assert names(open_data(tmp_path, seed=1).val) != names(data.val)


def test_folder_with_split_folders(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("validation", 1)):
        for name in ("run", "sit"):
            for i in range(count):
                write_video(tmp_path / split / name / f"{split}{i}.avi")
    data = open_data(tmp_path)
    assert names(data.train) == ["train0", "train1", "train0", "train1"]
    assert names(data.val) == ["validation0", "validation0"]
    assert data.test is None


def test_split_column_wins_over_groups(tmp_path: Path) -> None:
    rows = ["a.avi,x,train,1", "b.avi,y,Train,1", "c.avi,x,validation,1", "d.avi,y,test,1"]
    data = open_data(write_csv(tmp_path, rows, "file,label,split,group"))
    assert (names(data.train), names(data.val), names(data.test)) == (["a", "b"], ["c"], ["d"])
    assert data.val.groups == ["1"]


@pytest.mark.parametrize(
    ("sizes", "val", "test"),
    [
        ({"g1": 2, "g2": 2}, {"g2"}, set()),
        ({"g1": 2, "g2": 2, "g3": 2}, {"g3"}, set()),
        ({"g1": 2, "g2": 2, "g3": 2, "g4": 2}, {"g3"}, {"g4"}),
        ({f"g{i}": 2 for i in range(10)}, {"g6", "g7"}, {"g8", "g9"}),  # 4 of 20 clips each
        ({"g1": 20, "g2": 2, "g3": 2, "g4": 2}, {"g2"}, {"g3", "g4"}),  # 4 of 26 is nearer to 5.2 than 2
    ],
)
def test_whole_groups_are_held_out(tmp_path: Path, sizes: dict[str, int], val: set[str], test: set[str]) -> None:
    rows = [f"{group}_{i}.avi,{'xy'[i % 2]},{group}" for group, count in sizes.items() for i in range(count)]
    data = open_data(write_csv(tmp_path, rows, "path,label,group"))
    assert set(data.val.groups) == val
    assert (set(data.test.groups) if data.test else set()) == test
    assert set(data.train.groups) == set(sizes) - val - test
    assert all(name.split("_")[0] == group for name, group in zip(names(data.train), data.train.groups, strict=True))


def test_groups_are_held_out_by_class(tmp_path: Path) -> None:
    """Days of {x, y}, {x, y}, {x} and {y}: neither val nor test is of one class."""
    rows = ["a.avi,x,1", "b.avi,y,1", "c.avi,x,2", "d.avi,y,2", "e.avi,x,3", "f.avi,y,4"]
    data = open_data(write_csv(tmp_path, rows, "path,label,group"))
    assert (names(data.train), names(data.val), names(data.test)) == (["a", "b"], ["c", "d"], ["e", "f"])
    assert data.describe() == ("clips: 2 classes, 2 train, 2 val, 2 test clips; val holds out 2; test holds out 3, 4")


def test_a_split_that_lacks_a_class_says_so(tmp_path: Path) -> None:
    data = open_data(write_csv(tmp_path, ["a.avi,x,1", "b.avi,x,2", "c.avi,y,3"], "path,label,group"))
    assert data.describe() == "clips: 2 classes, 2 train, 1 val clips; val holds out 2; val lacks y"


def test_groups_that_splits_share_are_not_called_held_out(tmp_path: Path) -> None:
    rows = [
        *("a.avi,x,train,person0", "b.avi,y,train,person1", "c.avi,x,val,person0", "d.avi,y,val,person2"),
        *("e.avi,x,test,person2", "f.avi,y,test,person3"),
    ]
    assert open_data(write_csv(tmp_path, rows, "path,label,split,group")).describe() == (
        "clips: 2 classes, 2 train, 2 val, 2 test clips; val holds out person2; val shares person0 with train; "
        "test holds out person3; test shares person2 with val"
    )


def test_each_file_counts_once(tmp_path: Path) -> None:
    """Also by another name: a link, a hard link, a path with `..`."""
    for i in range(8):
        write_video(tmp_path / f"{i}.avi")
    (tmp_path / "link.avi").symlink_to(tmp_path / "0.avi")
    (tmp_path / "hard.avi").hardlink_to(tmp_path / "1.avi")
    again = ["link.avi,0", "hard.avi,1", f"../{tmp_path.name}/2.avi,0", f"{tmp_path / '3.avi'},1", "3.avi,1"]
    data = open_data(write_csv(tmp_path, [f"{i}.avi,{i % 2}" for i in range(8)] + again, videos=False))
    assert sorted(names(data.train) + names(data.val) + names(data.test)) == [str(i) for i in range(8)]
    assert data.describe() == "clips: 2 classes, 4 train, 2 val, 2 test clips; 5 repeated files left out"


def test_a_file_of_two_splits_is_not_trained_on(tmp_path: Path) -> None:
    rows = ["a.avi,x,train", "b.avi,y,train", "c.avi,x,train", "c.avi,x,val", "d.avi,y,val", "d.avi,y,test"]
    data = open_data(write_csv(tmp_path, rows, "path,label,split"))
    assert (names(data.train), names(data.val), names(data.test)) == (["a", "b"], ["c"], ["d"])
    assert data.describe().endswith("1 file of train and val in val only; 1 file of val and test in test only")


def test_a_train_list_with_test_only_has_val_held_out_of_it(tmp_path: Path) -> None:
    rows = [f"{i}.avi,{'xy'[i % 2]},{'train' if i < 10 else 'test'}" for i in range(12)]
    data = open_data(write_csv(tmp_path, rows, "path,label,split"))
    assert (Counter(data.train.labels), Counter(data.val.labels)) == ({0: 4, 1: 4}, {0: 1, 1: 1})
    assert names(data.test) == ["10", "11"]
    assert data.notes == ("val is a part of what was given as train",)


def test_a_random_split_does_not_hang_on_the_order_of_a_list(tmp_path: Path) -> None:
    rows = [f"{i:02}.avi,{'xyz'[i % 3]}" for i in range(30)]
    first = open_data(write_csv(tmp_path, rows), seed=4)
    second = open_data(write_csv(tmp_path, rows[::-1], videos=False), seed=4)
    assert first == second


def test_a_new_source_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Grey(Split):
        def clip(self, index: int, sampling: Sampling, view: View = MIDDLE, seed: int | None = None) -> Pixels:
            return np.full((sampling.frames, *sampling.size, 3), self.labels[index], np.uint8)

    class Greys:
        forms = "`greys`"

        def accepts(self, spec: str) -> bool:
            return spec == "greys"

        def open(self, spec: str, seed: int, flip: bool | None, allow_outside: bool) -> VideoData:
            return VideoData(spec, ("dark", "light"), Grey([0, 1], []), Grey([1], []), None, bool(flip))

    monkeypatch.setattr(datasets, "SOURCES", (Greys(), *datasets.SOURCES))
    data = open_data("greys")
    assert data.describe() == "greys: 2 classes, 2 train, 1 val clips; val lacks dark"
    assert load_split(data.train, Sampling(2, (4, 4))).pixels[:, 0, 0, 0, 0].tolist() == [0, 1]
    with pytest.raises(NasError, match="allowed: `greys`, `motion`"):
        open_data("grey")


def test_small_classes_go_to_train_first(tmp_path: Path) -> None:
    data = open_data(write_csv(tmp_path, ["a.avi,x", "b.avi,y", "c.avi,y", "d.avi,z", "e.avi,z", "f.avi,z"]))
    assert Counter(data.train.labels) == {0: 1, 1: 1, 2: 1}
    assert Counter(data.val.labels) == {1: 1, 2: 1}
    assert data.test is not None and data.test.labels == [2]


def test_integer_labels_are_in_numeric_order(tmp_path: Path) -> None:
    assert open_data(write_csv(tmp_path, [f"{i}.avi,{(9, 10)[i % 2]}" for i in range(4)])).classes == ("9", "10")


def test_kinetics_list_alone(tmp_path: Path) -> None:
    for name in ("my clip 1.avi", "b.avi", "c.avi"):
        write_video(tmp_path / name)
    (tmp_path / "k_train_list.txt").write_text("my clip 1.avi 0\nb.avi 1\n\nc.avi 1\n")
    data = open_data(tmp_path / "k_train_list.txt")
    assert data.classes == ("0", "1")
    assert data.train.labels == [0, 1] and data.val.labels == [1]
    assert sorted(names(data.train) + names(data.val)) == ["b", "c", "my clip 1"]


def test_kinetics_list_with_its_sibling(tmp_path: Path) -> None:
    for name in ("my clip 1.avi", "b.avi", "c.avi"):
        write_video(tmp_path / name)
    for suffix in (".txt", ".csv"):
        (tmp_path / f"train{suffix}").write_text(f"my clip 1.avi 0\n{tmp_path / 'b.avi'} 1\n")
        (tmp_path / f"val{suffix}").write_text("c.avi 1\n")
        data = open_data(tmp_path / f"train{suffix}")
        assert (names(data.train), names(data.val), data.test) == (["my clip 1", "b"], ["c"], None)
        assert data.val.labels == [1]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("video,class", ["a.avi,x"], "has the columns video, class; allowed: `path`"),
        ("", [], "holds no row; allowed: `path`"),
        ("path,label", [], "fewer than two classes"),
        ("path,label", ["a.avi,x", "b.avi,x"], "fewer than two classes: only 'x'"),
        ("path,label", ["a.avi,x", ",y"], "row 2: the path is empty"),
        ("path,label", ["a.avi,x", "b.avi"], "row 2: the label is empty"),
        ("path,label,split", ["a.avi,x,train", "b.avi,y,dev"], "'dev' is not train, val or test"),
        (
            "path,label,split",
            ["a.avi,x,train", "b.avi,y,test"],
            "one clip of each of its 1 classes, so none can be held out",
        ),
        ("path,label,split", ["a.avi,x,train", "b.avi,y,val"], "1 classes have no clip in train; the first: 'y'"),
        ("path,label,group", ["a.avi,x,g", "b.avi,y,g"], "has one group, 'g'"),
        ("path,label,group", ["a.avi,x,g", "b.avi,y,h"], "none of its 2 groups can be held out.*'g' for one"),
        ("path,label", ["a.avi,x", "b.avi,y", "a.avi,y"], "a.avi' has the labels 'x' and 'y'; allowed: one"),
        ("path,label,group", ["a.avi,x,g", "b.avi,y,g", "a.avi,x,h"], "a.avi' has the groups 'g' and 'h'"),
        ("path,label", ["a.avi,1", "b.avi,01"], "labels '(1|01)' and '(1|01)' are one number"),
    ],
)
def test_bad_csv(tmp_path: Path, header: str, rows: list[str], message: str) -> None:
    for name in ("a.avi", "b.avi"):
        (tmp_path / name).touch()
    with pytest.raises(NasError, match=message):
        open_data(write_csv(tmp_path, rows, header, videos=False))


def test_missing_videos_are_counted(tmp_path: Path) -> None:
    path = write_csv(tmp_path, ["a.avi,x", "b.avi,y", "c.avi,y"], videos=False)
    (tmp_path / "a.avi").touch()
    with pytest.raises(NasError, match=r"2 of its 3 videos do not exist \(first .*b\.avi"):
        open_data(path)


def test_other_bad_input(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="holds no videos"):
        open_data(tmp_path)
    (tmp_path / "list.txt").write_text("onlyapath\n")
    with pytest.raises(NasError, match="line 1: 'onlyapath' is not a path and a label"):
        open_data(tmp_path / "list.txt")
    (tmp_path / "v.mp4").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(NasError, match="is not text"):
        open_data(tmp_path / "v.mp4")
    with pytest.raises(NasError, match="seed -1"):
        open_data("motion", seed=-1)


@pytest.mark.parametrize("workers", [1, 3])
def test_load_clips(workers: int) -> None:
    split = open_data("motion").val
    calls: list[tuple[int, int]] = []
    clips = load_split(
        split, Sampling(4, (16, 20)), limit=100, workers=workers, progress=lambda *call: calls.append(call)
    )
    assert clips.pixels.shape == (100, 4, 16, 20, 3)
    assert clips.pixels.dtype == np.uint8 and clips.labels.dtype == np.int64
    assert calls == [(i, 100) for i in range(1, 101)]
    assert set(np.bincount(clips.labels)) == {8, 9}  # 100 = 12 * 8 + 4
    again = load_split(split, Sampling(4, (16, 20)), limit=100)
    assert np.array_equal(clips.pixels, again.pixels)


def test_a_smaller_limit_reads_a_subset() -> None:
    split = open_data("motion").val
    few, more = (load_split(split, Sampling(2, (8, 8)), limit=limit, seed=5) for limit in (20, 60))
    assert {clip.tobytes() for clip in few.pixels} < {clip.tobytes() for clip in more.pixels}
    assert set(few.labels.tolist()) == set(range(12))


def test_a_limit_of_none_is_refused() -> None:
    with pytest.raises(NasError, match=r"^limit 0 leaves none of the \d+ clips of the split; allowed: at least one"):
        load_split(open_data("motion").val, Sampling(2, (8, 8)), limit=0)


def test_unreadable_videos_are_dropped_with_one_warning(tmp_path: Path) -> None:
    """1 of 20 is the most that may be."""
    rows = [f"{i}.avi,{'xy'[i % 2]},{'train' if i < 20 else 'val'}" for i in range(22)]
    data = open_data(write_csv(tmp_path, rows, "path,label,split"))
    (tmp_path / "1.avi").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 of 20 clips cannot be read; the first: .*1\.avi.*empty") as caught:
        clips = load_split(data.train, Sampling(2, (16, 16)), name="train")
    assert len(caught) == 1
    assert clips.labels.tolist() == [0, *[i % 2 for i in range(2, 20)]]
    assert len(clips.pixels) == 19
    assert np.abs(clips.pixels.astype(int) - 100).max() < 8
    assert [(each.split, each.clip) for each in clips.unreadable] == [("train", f"{tmp_path.name}/1.avi")]
    (tmp_path / "4.avi").write_bytes(b"no video")
    message = r"2 of 20 clips of train cannot be read: .*1\.avi': the file is empty; .*4\.avi.*; allowed: up to 5 %"
    with pytest.raises(NasError, match=message):
        load_split(data.train, Sampling(2, (16, 16)), name="train")


def test_nagoya(data_folder: Path) -> None:
    data = open_data(data_folder / "nagoya_fir16" / "mp4.csv")
    assert data.classes == ("falling", "lie", "sit", "sitdown", "stand", "standup", "walk")
    assert data.test is not None
    # 54 clips of each class, 6 of each subject and class: days of 2, 2, 2 and 3 subjects.
    assert (len(data.train), len(data.val), len(data.test)) == (168, 84, 126)
    assert data.describe() == (
        "mp4: 7 classes, 168 train, 84 val, 126 test clips; val holds out 20170209; test holds out 20170210"
    )
    clips = load_split(data.val, Sampling(8, (32, 32)), workers=2)
    assert clips.pixels.shape == (84, 8, 32, 32, 3)
    assert np.bincount(clips.labels).tolist() == [12] * 7
    # A clip moves: its frames are not all alike.
    assert (clips.pixels.astype(int).std(1).max((1, 2, 3)) > 5).mean() > 0.9


def test_the_median_length_is_that_of_the_videos(clips_folder: Path) -> None:
    assert open_data(clips_folder).train.median_seconds() == pytest.approx(2.0)
    assert open_data("motion").train.median_seconds() is None
