from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from nas.data.sampling import Sampling, View
from nas.data.video import _decode, probe, read_clip
from nas.errors import NasError


def write_video(path: Path, count: int, height: int = 32, width: int = 48) -> Path:
    """Frame i is grey of value 10 * i, losslessly coded."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((height, width), 10 * i, np.uint8), format="gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown(path: Path, frames: int, stride: int | None, start: float | None) -> list[int]:
    clip = read_clip(path, Sampling(frames, (16, 16), stride), View(0.5 if start is None else start))
    return [round(value / 10) for value in clip.mean((1, 2, 3))]


@pytest.mark.parametrize(
    ("frames", "stride", "start", "expected"),
    [
        (4, 1, 0.0, [0, 1, 2, 3]),
        (4, 1, 1.0, [16, 17, 18, 19]),
        (4, 1, None, [8, 9, 10, 11]),
        (4, 3, 0.0, [0, 3, 6, 9]),
        (4, None, None, [2, 7, 12, 17]),
        (4, None, 0.0, [0, 5, 10, 15]),
        (4, None, 1.0, [5, 10, 15, 19]),
        (4, 9, None, [2, 7, 12, 17]),  # 28 frames do not fit: spread evenly
    ],
)
def test_which_frames(
    tmp_path: Path, frames: int, stride: int | None, start: float | None, expected: list[int]
) -> None:
    assert shown(write_video(tmp_path / "v.mkv", 20), frames, stride, start) == expected


def test_short_video_repeats_frames(tmp_path: Path) -> None:
    assert shown(write_video(tmp_path / "v.mkv", 2), 6, 1, None) == [0, 0, 0, 1, 1, 1]


def test_probe(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "v.mkv", 20))
    assert (info.frames, info.fps, info.height, info.width) == (20, 10.0, 32, 48)
    assert info.duration == pytest.approx(2.0)


def test_resize_covers_then_crops_the_centre(tmp_path: Path) -> None:
    picture = np.zeros((32, 64), np.uint8)
    picture[:, 16:48] = 200  # the middle square
    with av.open(str(tmp_path / "v.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "gray"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())
    clip = read_clip(tmp_path / "v.mkv", Sampling(1, (16, 16)))
    assert clip.shape == (1, 16, 16, 3)
    assert (np.abs(clip[0, :, 1:-1].astype(int) - 200) <= 2).all()


@pytest.mark.parametrize("movflags", ["frag_keyframe", "frag_every_frame", "frag_keyframe+empty_moov", "+faststart"])
def test_fragments_are_counted(tmp_path: Path, movflags: str) -> None:
    """20 frames in fragments of 5, or of 1; a header has those of the first fragment."""
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w", options={"movflags": movflags}) as container:
        stream = container.add_stream("mpeg4", rate=10, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 10 * i, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert probe(path).frames == 20
    assert shown(path, 4, None, None) == [2, 7, 12, 17]
    assert shown(path, 5, 1, 1.0) == [15, 16, 17, 18, 19]


@pytest.mark.parametrize("name", ["2024-05-01T12:30:00.mkv", "http:a.mkv", "concat:a|b.mkv", "a%03d #1?.mkv", "-i.mkv"])
def test_names_are_no_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_video(tmp_path / "v.mkv", 3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert shown(Path(name), 3, 1, 0.0) == [0, 1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nv.mkv\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile v.mkv\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
)
def test_a_file_that_names_others_is_refused(tmp_path: Path, text: str) -> None:
    write_video(tmp_path / "v.mkv", 3)
    for name in ("list.m3u8", "list.mp4"):
        (tmp_path / name).write_text(text)
        with pytest.raises(NasError, match=r"no format of video|Invalid data"):
            read_clip(tmp_path / name, Sampling(2, (8, 8)))


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/v.mp4", "data:video/mp4;base64,AAAA", "pipe:0", "tcp://127.0.0.1:9"]
)
def test_only_local_files_are_opened(name: str) -> None:
    with pytest.raises(NasError, match="the file does not exist"):
        read_clip(name, Sampling(2, (8, 8)))


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    def write(path: Path, with_video: bool) -> Path:
        with av.open(str(path), "w") as container:
            cover = container.add_stream("png", rate=1)
            cover.width, cover.height, cover.pix_fmt = 16, 16, "rgb24"
            cover.disposition = Disposition.attached_pic
            streams = [cover]
            if with_video:
                streams.append(container.add_stream("mpeg4", rate=10))
                streams[1].width, streams[1].height, streams[1].pix_fmt = 32, 32, "yuv420p"
            for number, stream in enumerate(streams):
                for i in range(6 if number else 1):
                    grey = np.full((stream.height, stream.width, 3), 10 * i, np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
                container.mux(stream.encode())
        return path

    assert shown(write(tmp_path / "both.mp4", True), 3, 1, 0.0) == [0, 1, 2]
    with pytest.raises(NasError, match="no video stream"):
        probe(write(tmp_path / "cover.mp4", False))


def zoo(data_folder: Path) -> list[tuple[Path, dict[str, str]]]:
    with open(data_folder / "decode_zoo" / "zoo.csv") as stream:
        return [(data_folder / "decode_zoo" / row["file"], row) for row in csv.DictReader(stream)]


def test_every_file_of_the_zoo_that_decodes(data_folder: Path) -> None:
    seen = 0
    for path, row in zoo(data_folder):
        if not row["decoded"]:
            continue
        seen += 1
        info, decoded = probe(path), int(row["decoded"])
        assert info.frames == (int(row["hdr_frames"]) or decoded), path
        turned = row["rotation"] in ("90", "-90")
        width, height = (row["h"], row["w"]) if turned else (row["w"], row["h"])
        assert (info.width, info.height) == (int(width), int(height)), path
        assert info.fps == pytest.approx(float(row["avg_fps"]), abs=0.01), path
        assert _decode(path, {10**6}, Sampling(8, (24, 32)), 0.5)[1] == decoded, path
        assert read_clip(path, Sampling(8, (24, 32))).shape == (8, 24, 32, 3), path
    assert seen == 35


def test_a_damaged_file_gives_the_frames_that_decode(data_folder: Path) -> None:
    path = data_folder / "decode_zoo" / "decord" / "corrupted.mp4"  # 28 of 50 frames
    every = read_clip(path, Sampling(28, (18, 32), 1), View(0.0))
    spread = read_clip(path, Sampling(7, (18, 32)), View(0.0))
    assert np.array_equal(spread, every[::4])


def test_rotation_is_undone(data_folder: Path) -> None:
    path = data_folder / "decode_zoo" / "decord" / "video_90.mov"  # stored on its side
    upright = read_clip(path, Sampling(1, (568, 320), 1), View(0.0))[0]
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    difference = np.abs(upright.astype(int) - np.rot90(stored, -1))
    assert difference.mean() < 1


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("torchcodec/nasa_13013.mp4.audio.mp3", "no video stream"),
        ("torchcodec/sine_mono_s16.wav", "no video stream"),
        ("derived/audio_only.mp4", "no video stream"),
        ("derived/zero_length.mp4", "the file is empty"),
        ("derived/nasa_first_half.mp4", "Invalid data"),
        ("derived/text_named.mp4", "Invalid data"),
        ("derived/git_lfs_pointer.mpg", "git LFS pointer"),
        ("derived/absent.mp4", "does not exist"),
        ("derived", "folder"),
    ],
)
def test_files_that_cannot_be_read(data_folder: Path, file: str, reason: str) -> None:
    path = data_folder / "decode_zoo" / file
    with pytest.raises(NasError, match=reason) as caught:
        read_clip(path, Sampling(8, (16, 16)))
    assert str(path) in str(caught.value)
    with pytest.raises(NasError, match=reason):
        probe(path)


def test_the_zoo_holds_no_other_broken_file(data_folder: Path) -> None:
    assert sum(not row["decoded"] for _, row in zoo(data_folder)) == 7


@pytest.mark.parametrize(("width", "height"), [(96, 32), (32, 96)])
def test_three_crops_lie_along_the_longer_side(tmp_path: Path, width: int, height: int) -> None:
    """Thirds of grey 40, 120 and 200."""
    picture = np.repeat(np.array([40, 120, 200], np.uint8), 32)[None].repeat(32, 0)
    with av.open(str(tmp_path / "v.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        upright = np.ascontiguousarray(picture if width > height else picture.T)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(upright, format="gray")))
        container.mux(stream.encode())
    views = [View(place=place) for place in (0, 0.5, 1)]
    for sampling in (Sampling(1, (32, 32)), Sampling(1, (24, 24), cover=(32, 32))):
        clips = [read_clip(tmp_path / "v.mkv", sampling, view)[0] for view in views]
        assert clips[0].shape == (*sampling.size, 3)
        assert [clip.mean().round() for clip in clips] == [40, 120, 200]


def test_views_take_other_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", 20)

    def views(sampling: Sampling, *starts: float) -> list[list[int]]:
        clips = [read_clip(path, sampling, View(start)) for start in starts]
        return [[round(value / 10) for value in clip.mean((1, 2, 3))] for clip in clips]

    assert views(Sampling(2, (8, 8), stride=4), 0, 0.5, 1) == [[0, 4], [8, 12], [15, 19]]
    assert views(Sampling(2, (8, 8)), 0.25, 0.75) == [[2, 12], [7, 17]]
