from __future__ import annotations

import contextlib
import csv
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest
from av.stream import Disposition
from av.video.stream import VideoStream

from nas.data.packets import read_packets, times_of
from nas.data.pictures import Pixels, Resizer
from nas.data.sampling import Sampling, View
from nas.data.video import _from_keyframes, _from_the_beginning, _open, _stamps, probe, read_view
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
    clip = read_view(path, Sampling(frames, (16, 16), stride), View(0.5 if start is None else start))
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
    clip = read_view(tmp_path / "v.mkv", Sampling(1, (16, 16)))
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
            read_view(tmp_path / name, Sampling(2, (8, 8)))


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/v.mp4", "data:video/mp4;base64,AAAA", "pipe:0", "tcp://127.0.0.1:9"]
)
def test_only_local_files_are_opened(name: str) -> None:
    with pytest.raises(NasError, match="the file does not exist"):
        read_view(name, Sampling(2, (8, 8)))


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
    """Takes some seconds: the 35 files are decoded whole, and once more for a clip."""
    seen, decoded_whole = 0, set()
    sampling = Sampling(8, (24, 32))
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
        every, stamps = _from_the_beginning(path, {*range(min(decoded, 60)), 10**6}, Resizer(sampling, 0.5))
        assert len(stamps) == decoded, path
        assert read_view(path, sampling).shape == (8, 24, 32, 3), path
        found = by_keyframes(path, set(every), Resizer(sampling, 0.5))
        if found is None:
            decoded_whole.add(path.name)
        else:
            assert all(np.array_equal(found[index], picture) for index, picture in every.items()), path
    assert seen == 35
    assert decoded_whole == {"test.avi"}


def test_a_damaged_file_gives_the_frames_that_decode(data_folder: Path) -> None:
    path = data_folder / "decode_zoo" / "decord" / "corrupted.mp4"  # 28 of 50 frames
    every = read_view(path, Sampling(28, (18, 32), 1), View(0.0))
    spread = read_view(path, Sampling(7, (18, 32)), View(0.0))
    assert np.array_equal(spread, every[::4])


def written(path: Path, codec: str, count: int, first: int = 0, **options: str) -> Path:
    """`count` frames of 48x32 at 25 a second, the i-th of grey 10 * i, shown from `first` on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 10 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = first + i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_zeros_behind_a_stream_leave_its_frames(tmp_path: Path) -> None:
    """As a disk that was full leaves them; FFmpeg gives up there."""
    path = written(tmp_path / "a.ts", "libx264", 20, preset="ultrafast", bf="0")
    path.write_bytes(path.read_bytes() + bytes(100_000))
    whole = _frames_of(path)
    assert 15 < len(whole) <= 20 and probe(path).frames == len(whole)
    clip = read_view(path, Sampling(3, (8, 8), 1), View(0.0))
    assert clip.mean((1, 2, 3)) == pytest.approx([0, 10, 20], abs=3)


def _frames_of(path: Path) -> list[int | None]:
    found = []
    with av.open(str(path)) as container, contextlib.suppress(av.error.FFmpegError):
        for frame in container.decode(video=0):
            found.append(frame.pts)  # what came before an error counts
    return found


def test_a_matrix_without_extent_turns_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4", "mpeg4", 3)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    data[start : start + 36] = bytes(36)
    path.write_bytes(data)
    info = probe(path)
    assert (info.width, info.height) == (48, 32)


def test_a_duration_is_that_of_the_frames(tmp_path: Path) -> None:
    """One counts from a quarter of an hour before the first frame, one is of the second half."""
    assert probe(written(tmp_path / "late.mkv", "ffv1", 10, 25 * 900)).duration == pytest.approx(0.4)
    path = written(tmp_path / "a.mpg", "mpeg2video", 10)
    path.write_bytes(2 * path.read_bytes())
    assert (probe(path).frames, probe(path).duration) == (20, pytest.approx(0.8))


def test_rotation_is_undone(data_folder: Path) -> None:
    path = data_folder / "decode_zoo" / "decord" / "video_90.mov"  # stored on its side
    upright = read_view(path, Sampling(1, (568, 320), 1), View(0.0))[0]
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
        ("derived", "it holds no picture"),
    ],
)
def test_files_that_cannot_be_read(data_folder: Path, file: str, reason: str) -> None:
    path = data_folder / "decode_zoo" / file
    with pytest.raises(NasError, match=reason) as caught:
        read_view(path, Sampling(8, (16, 16)))
    assert str(path) in str(caught.value)
    with pytest.raises(NasError, match=reason):
        probe(path)


def test_a_thousand_opens_of_the_zoo_leave_no_file_open(data_folder: Path) -> None:
    """Takes some seconds: 24 times every one of its 42 files, of which 7 are refused each time."""
    files, refused = [path for path, _ in zoo(data_folder)], 0
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(24):
        for path in files:
            try:
                read_view(path, Sampling(1, (8, 8), 1), View(0.0))
            except NasError:
                refused += 1
    assert (24 * len(files), refused) == (1008, 24 * 7)
    assert sorted(os.listdir("/proc/self/fd")) == before


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
        clips = [read_view(tmp_path / "v.mkv", sampling, view)[0] for view in views]
        assert clips[0].shape == (*sampling.size, 3)
        assert [clip.mean().round() for clip in clips] == [40, 120, 200]


def test_views_take_other_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", 20)

    def views(sampling: Sampling, *starts: float) -> list[list[int]]:
        clips = [read_view(path, sampling, View(start)) for start in starts]
        return [[round(value / 10) for value in clip.mean((1, 2, 3))] for clip in clips]

    assert views(Sampling(2, (8, 8), stride=4), 0, 0.5, 1) == [[0, 4], [8, 12], [15, 19]]
    assert views(Sampling(2, (8, 8)), 0.25, 0.75) == [[2, 12], [7, 17]]


def noisy(path: Path, codec: str, count: int = 40, *, container: dict[str, str] | None = None, **options: Any) -> Path:
    """A video of noise that drifts, so that no frame is like another, in groups of 10 frames."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (64, 64 + count, 3), np.uint8)
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=25, options=options if codec == "mjpeg" else {"g": "10", **options})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = 64, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(count):
            picture = np.ascontiguousarray(texture[:, i : i + 64])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    return path


def by_keyframes(path: Path, wanted: set[int], resize: Resizer) -> dict[int, Pixels] | None:
    with _open(path) as (container, stream):
        return _from_keyframes(container, stream, read_packets(path, container, stream), wanted, resize)


def assert_exact(path: Path) -> bool:
    """Whether frames are found from keyframes, which must then be those of a full decode."""
    resize = Resizer(Sampling(1, (32, 32)), 0.5)
    every, stamps = _from_the_beginning(path, set(range(10**4)), resize)
    count, found = len(stamps), []
    asked = ({count // 2}, {count - 1}, set(range(count // 3, count // 2 + 1)), set(range(0, count, 7)), set(every))
    for wanted in asked:
        pictures = by_keyframes(path, wanted, resize)
        found.append(pictures is not None)
        if pictures is not None:
            assert set(pictures) == wanted
            for index, picture in pictures.items():
                assert np.array_equal(picture, every[index]), (path, index)
    return all(found)


X264: dict[str, Any] = {"preset": "veryfast", "bf": "3"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


@pytest.mark.parametrize(
    ("name", "codec", "container", "options"),
    [
        ("closed.mp4", "libx264", {}, X264 | {"x264-params": "b-pyramid=normal:scenecut=0"}),
        ("open.mp4", "libx264", {}, X264 | {"x264-params": "open-gop=1:scenecut=0"}),
        ("open.mkv", "libx264", {}, X264 | {"x264-params": "open-gop=1:scenecut=0"}),
        ("fragments.mp4", "libx264", FRAGMENTS, X264),
        ("tiny_fragments.mp4", "libx264", {"movflags": "frag_every_frame"}, X264),
        ("transport.ts", "libx264", {}, X264),
        ("flash.flv", "libx264", {}, X264),
        ("hevc.mp4", "libx265", {}, {"preset": "ultrafast", "x265-params": "log-level=none:keyint=10:open-gop=1"}),
        ("vp9.webm", "libvpx-vp9", {}, {"deadline": "realtime", "cpu-used": "8"}),
        ("vp8.webm", "libvpx", {}, {"deadline": "realtime", "cpu-used": "8"}),
        ("mpeg4.mp4", "mpeg4", {}, {"bf": "2"}),
        ("mpeg4.avi", "mpeg4", {}, {}),
        ("mjpeg.avi", "mjpeg", {}, {}),
        ("lossless.mkv", "ffv1", {}, {}),
    ],
)
def test_frames_from_keyframes_are_those_of_a_full_decode(
    tmp_path: Path, name: str, codec: str, container: dict[str, str], options: dict[str, Any]
) -> None:
    path = tmp_path / name
    try:
        noisy(path, codec, container=container, **options)
    except av.error.FFmpegError:
        noisy(path, codec, container=container)
    assert assert_exact(path)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("refresh.mkv", "libx264", X264 | {"x264-params": "intra-refresh=1:keyint=10"}),
        ("refresh.ts", "libx264", X264 | {"x264-params": "intra-refresh=1:keyint=10"}),
        ("b_frames.avi", "mpeg4", {"bf": "2"}),
        ("program.mpg", "mpeg2video", {"bf": "2"}),
    ],
)
def test_where_keyframes_are_not_exact_all_is_decoded(
    tmp_path: Path, name: str, codec: str, options: dict[str, Any]
) -> None:
    path = noisy(tmp_path / name, codec, **options)
    assert_exact(path)
    every = read_view(path, Sampling(len(_stamps(path)), (32, 32), 1), View(0.0))
    assert np.array_equal(read_view(path, Sampling(4, (32, 32), 1), View(1.0)), every[-4:])


def test_an_edit_list_hides_frames(tmp_path: Path) -> None:
    """A copy from the frame 13 on keeps the keyframe 10 and says that three are not shown."""
    source = noisy(tmp_path / "source.mp4", "libx264", **X264)
    path = tmp_path / "edited.mp4"
    with av.open(str(source)) as whole, av.open(str(path), "w") as copy:
        video = whole.streams.video[0]
        stream = copy.add_stream_from_template(video)
        assert video.time_base
        whole.seek(int(13 / 25 / video.time_base), stream=video)
        for packet in whole.demux(video):
            if packet.size and packet.pts is not None and packet.dts is not None and video.time_base:
                shift = int(13 / 25 / video.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                copy.mux(packet)
    resize = Resizer(Sampling(1, (32, 32)), 0.5)
    every, _ = _from_the_beginning(source, set(range(40)), resize)
    edited, _ = _from_the_beginning(path, set(range(40)), resize)
    assert len(edited) == 27
    assert all(np.array_equal(picture, every[13 + index]) for index, picture in edited.items())
    assert assert_exact(path)


def test_frames_of_a_variable_rate_are_taken_by_time(tmp_path: Path) -> None:
    """Frames 0 to 9 are shown at 0, 1, 2, .. 9 s and 10 to 19 at 12, 15, .. 39 s: 39 / 19 s apart
    in the mean.
    """
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "gray"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16), 10 * i, np.uint8), format="gray")
            frame.pts, frame.time_base = 1000 * (i if i < 10 else 12 + 3 * (i - 10)), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    # Quarters of 20 * 39 / 19 = 41.05 s begin at 0, 10.3, 20.5 and 30.8 s.
    assert shown(path, 4, None, 0.0) == [0, 9, 12, 16]
    # A stride of 4 is 8.2 s.
    assert shown(path, 4, 4, 0.0) == [0, 8, 11, 14]


def test_rates_that_count_as_constant() -> None:
    assert times_of([0, 33, 67, 100, 133]) is None  # 30 frames a second in milliseconds
    assert times_of([0, None, 2]) is None
    assert times_of([0, 2, 1]) is None
    assert times_of([7]) is None
    found = times_of([10, 20, 30, 70])
    assert found is not None and found.tolist() == [0, 0.5, 1, 3]


def test_no_file_stays_open(tmp_path: Path) -> None:
    """Takes a second or more, as files are opened 1,100 times."""
    path = write_video(tmp_path / "v.mkv", 3, 16, 16)
    (tmp_path / "cut.mp4").write_bytes(path.read_bytes()[:300])
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1000):
        read_view(path, Sampling(2, (8, 8)), View(number / 1000))
        if number % 10 == 0:
            with pytest.raises(NasError):
                read_view(tmp_path / "cut.mp4", Sampling(2, (8, 8)))
    assert len(os.listdir("/proc/self/fd")) == before
