"""Videos, folders and lists made by the hundred, each against the plainest reading of it."""

from __future__ import annotations

import random
from pathlib import Path

import av
import av.error
import numpy as np
import pytest

from nas.data.datasets import VideoData, VideoSplit, open_data
from nas.data.sampling import Sampling
from nas.data.video import probe, read_view
from nas.errors import NasError

CONTAINERS = {  # ending: codecs
    "mp4": ("libx264", "mpeg4"),
    "mov": ("libx264", "mjpeg", "png"),
    "mkv": ("libx264", "ffv1", "mpeg4", "libvpx"),
    "webm": ("libvpx", "libvpx-vp9"),
    "avi": ("mpeg4", "mjpeg", "ffv1"),
    "ts": ("libx264", "mpeg2video"),
    "mpg": ("mpeg1video", "mpeg2video"),
    "flv": ("libx264", "flv"),
}
FORMATS = {"mjpeg": "yuvj420p", "png": "rgb24"}
MOVFLAGS = (
    "write_colr",
    "+faststart",
    "frag_keyframe",
    "frag_every_frame",
    "frag_keyframe+empty_moov",
    "frag_keyframe+default_base_moof",
)
NAMES = ("a b", "12:30:05", "é", "%03d", "-f", 'it\'s "so"', "a#1?x=2&y", "[x](y)", "100%", "~", "data:,x")


def write_video(path: Path, draw: random.Random) -> None:
    """A video whose frames differ in brightness, of a drawn codec, length and arrangement."""
    ending = path.suffix[1:].lower()
    codec = draw.choice(CONTAINERS[ending])
    count, options = draw.randint(1, 24), {}
    if codec in ("libx264", "mpeg4", "mpeg1video", "mpeg2video"):
        options = {"g": str(draw.choice((1, 5, 12))), "bf": str(draw.choice((0, 2)))}
    if codec == "libx264":
        options |= {"preset": "ultrafast"}
    arrangement = {"movflags": draw.choice(MOVFLAGS)} if ending in ("mp4", "mov") else {}
    with av.open(f"file:{path}", "w", options=arrangement) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = draw.choice(((32, 32), (48, 32)))
        stream.pix_fmt = FORMATS.get(codec, "yuv420p")
        for i in range(count):
            grey = np.full((stream.height, stream.width, 3), 10 * i + 8, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())


def brightness(path: Path) -> list[tuple[int | None, float]]:
    """Of every frame that a plain decode gives, when it is shown and how bright its middle is."""
    found = []
    try:
        with av.open(f"file:{path}") as container:
            for frame in container.decode(video=0):
                left = (frame.width - 32) // 2
                found.append((frame.pts, float(frame.to_ndarray(format="rgb24")[:, left : left + 32].mean())))
    except av.error.FFmpegError:
        pass
    return found


def in_parts(stamps: list[int | None], frames: int) -> list[int]:
    """The frame in the middle of each part: by count, or by time where one is out of place, as
    after a gap.
    """
    places = [(i + 0.5) * len(stamps) / frames for i in range(frames)]
    known = [stamp for stamp in stamps if stamp is not None]
    if 1 < len(known) == len(stamps):
        times = [(stamp - known[0]) / ((known[-1] - known[0]) / (len(known) - 1)) for stamp in known]
        if max(abs(time - i) for i, time in enumerate(times)) > 0.5:
            return [max(i for i, time in enumerate(times) if time <= place) for place in places]
    return [int(place) for place in places]


@pytest.mark.parametrize("seed", range(8))
def test_videos_are_read_as_a_plain_decode_reads_them(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(20):
        ending = draw.choice(list(CONTAINERS))
        path = tmp_path / f"{draw.choice(NAMES)}{number}.{draw.choice((ending, ending.upper()))}"
        write_video(path, draw)
        if draw.random() < 0.25:  # a copy that was cut off
            data = path.read_bytes()
            path.write_bytes(data[: draw.randint(len(data) // 2, len(data))])
        shown = brightness(path)
        frames = draw.choice((1, 4, 7))
        if not shown:
            with pytest.raises(NasError, match="Cannot read video"):
                read_view(path, Sampling(frames, (16, 16)))
            continue
        indices = in_parts([stamp for stamp, _ in shown], frames)
        found = read_view(path, Sampling(frames, (16, 16))).mean((1, 2, 3))
        assert found == pytest.approx([shown[i][1] for i in indices], abs=4), path  # frames are 10 apart
        assert probe(path).frames >= len(shown), path


def clips_by_split(data: VideoData) -> dict[str, dict[Path, str]]:
    """Class of each video, by its real path."""
    found = {}
    for name, split in (("train", data.train), ("val", data.val), ("test", data.test)):
        if split is not None:
            assert isinstance(split, VideoSplit)
            pairs = zip(split.paths, split.labels, strict=True)
            found[name] = {path.resolve(): data.classes[label] for path, label in pairs}
            assert len(found[name]) == len(split)
    return found


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(str(path).encode())
    return path.resolve()


@pytest.mark.parametrize("seed", range(60))
def test_folders_are_read_as_they_were_made(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    root, store = tmp_path / "data", tmp_path / "store"
    names = {
        "train": draw.choice(("train", "Train", "TRAINING", "train_set")),
        "val": draw.choice(("val", "Val", "valid", "validation")),
        "test": draw.choice(("test", "Testing")),
    }
    splits = draw.choice(((), ("train", "val"), ("train", "val", "test")))
    classes = draw.sample([*NAMES, "run", "Walk", "10", "9"], draw.randint(2, 4))
    expected: dict[str, dict[Path, str]] = {split: {} for split in splits or ("all",)}
    for split, clips in expected.items():
        part = root / names[split] if splits else root
        for label in classes:
            for i in range(draw.randint(3, 5)):
                ending = draw.choice(("mp4", "MP4", "avi", "WebM"))
                deep = draw.choice(("", "deep", "deep/er"))
                clips[put(part / label / deep / f"{draw.choice(NAMES)}{i}.{ending}")] = label
            if draw.random() < 0.3:  # clips elsewhere, in a folder that is linked, once or twice
                clips[put(store / split / label / "linked.mp4")] = label
                (part / label / "link").symlink_to(store / split / label)
                if draw.random() < 0.5:
                    (part / label / "again").symlink_to(store / split / label)
            if draw.random() < 0.2:
                (part / label / "loop").symlink_to(draw.choice((root, part, part / label, tmp_path)))
            if draw.random() < 0.3:
                put(part / label / draw.choice(("._0.mp4", ".DS_Store", "notes.txt", ".hidden/x.mp4")))
        if draw.random() < 0.3:
            put(part / draw.choice(("__MACOSX/run/x.mp4", ".git/x.mp4", "annotations/a.json", "README.md")))
    found = clips_by_split(open_data(root, seed=seed))
    if splits:
        assert found == expected
    else:
        assert set(found) == {"train", "val", "test"}
        assert {path: label for clips in found.values() for path, label in clips.items()} == expected["all"]
        assert sum(map(len, found.values())) == len(expected["all"])


@pytest.mark.parametrize("seed", range(120))
def test_lists_are_read_as_they_were_written(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    delimiter = draw.choice((",", ";", "\t", "|", " "))
    head = draw.random() < 0.5
    columns = draw.choice((["path", "label"], ["label", "file"], ["path", "frames", "label", "split"])) if head else []
    if head and delimiter == " ":
        columns = ["path", "label"]
    labels = draw.choice((["1", "2"], ["01", "02", "10"], ["sit down", "run"], ["café", "naïve"], ["x;y", "x,y"]))
    expected: dict[Path, tuple[str, str]] = {}
    lines = [delimiter.join(columns)] if head else []
    for i in range(3 * len(labels) * 2):
        name = f"{draw.choice(('', 'sub/'))}{draw.choice(NAMES)}{i}.mp4".replace('"', "'")
        record = {"path": name, "file": name, "label": labels[i % len(labels)], "frames": str(i)}
        record["split"] = ("train", "Train", "validation")[i // len(labels) % 3]
        values = [record[column] for column in columns or ("path", "label")]
        plain = delimiter != " " and not any(delimiter in value for value in values) and draw.random() < 0.7
        lines.append(delimiter.join(values if plain else [f'"{value}"' for value in values]))
        expected[put(tmp_path / name)] = (record["label"], record["split"])
        if draw.random() < 0.1:
            lines.append(draw.choice(("", "  ", lines[-1])))  # nothing, or the same again
    ending = draw.choice(("\n", "\r\n", "\r"))
    encoding = draw.choice(("utf-8", "utf-8-sig", "cp1252", "utf-16"))
    path = tmp_path / draw.choice(("list.txt", "list.csv", "videos.tsv"))
    path.write_bytes((ending.join(lines) + draw.choice(("", ending))).encode(encoding))
    found = clips_by_split(open_data(path, seed=seed))
    assert {each: label for clips in found.values() for each, label in clips.items()} == {
        each: label for each, (label, _) in expected.items()
    }
    if "split" in columns:
        assert set(found["val"]) == {each for each, (_, split) in expected.items() if split == "validation"}
