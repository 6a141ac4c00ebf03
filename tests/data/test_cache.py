from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nas.data.cache import CachedSplit, ClipCache, cached
from nas.data.datasets import Sampling, VideoData, VideoSplit, View, load_split, open_data
from nas.data.sample import write_sample
from nas.errors import NasError

SAMPLING = Sampling(2, (8, 8))
BYTES = 2 * 8 * 8 * 3 + 128  # of a file: the clip, and what NumPy writes before it


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample") / "clips", 5)


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def test_clips_are_decoded_once(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = open_data(sample)
    data = cached(plain, tmp_path / "cache")
    expected = load_split(plain.train, SAMPLING).pixels
    assert np.array_equal(load_split(data.train, SAMPLING, workers=2).pixels, expected)
    assert len(files(tmp_path)) == len(plain.train)
    assert all(file.stat().st_size == BYTES for file in files(tmp_path))
    monkeypatch.setattr(VideoSplit, "clip", lambda *_: pytest.fail("decoded again"))
    assert np.array_equal(load_split(data.train, SAMPLING).pixels, expected)
    assert isinstance(data.train.clip(0, SAMPLING), np.memmap)
    assert data.train.clip_name(0) == plain.train.clip_name(0)
    assert pickle.loads(pickle.dumps(data)) == data


def test_other_requests_and_changed_files_are_other_clips(sample: Path, tmp_path: Path) -> None:
    cache, path = ClipCache(tmp_path, 10**9), sample.parent / "approach" / "subject0_0.mp4"
    names = {cache.name(path, SAMPLING, View()), cache.name(path, SAMPLING, View(0.1))}
    names |= {cache.name(path, each, View()) for each in (Sampling(3, (8, 8)), Sampling(2, (8, 8), 1))}
    os.utime(path, ns=(0, 0))
    names.add(cache.name(path, SAMPLING, View()))
    assert len(names) == 5
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0.png").write_bytes(b"a")
    before = cache.name(tmp_path / "frames", SAMPLING, View())
    (tmp_path / "frames" / "1.png").write_bytes(b"b")
    assert cache.name(tmp_path / "frames", SAMPLING, View()) != before


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path, 10 * BYTES)
    clip = np.zeros((2, 8, 8, 3), np.uint8)
    names = [f"{number:040}" for number in range(10)]
    for number, name in enumerate(names):
        cache.put(name, clip)
        os.utime(tmp_path / name[:2] / f"{name}.npy", (number, number))
    assert cache.get(names[0], clip.shape) is not None  # which is now the one used last
    cache.put("f" * 40, clip)
    cache.trim()
    assert [file.stem for file in files(tmp_path)] == [names[0], *names[3:], "f" * 40]


def test_a_clip_that_is_not_whole_is_decoded_again(sample: Path, tmp_path: Path) -> None:
    data = cached(open_data(sample), tmp_path)
    expected = data.val.clip(0, SAMPLING).copy()
    (file,) = files(tmp_path)
    for content in (b"", file.read_bytes()[:200], pickle.dumps([1])):
        file.write_bytes(content)
        assert np.array_equal(data.val.clip(0, SAMPLING), expected)
    np.save(file, np.zeros((1, 8, 8, 3), np.uint8))
    assert np.array_equal(data.val.clip(0, SAMPLING), expected)


def test_several_processes_share_a_folder(sample: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from nas.data.datasets import *; from nas.data.cache import *\n"
        "data = cached(open_data(sys.argv[1]), sys.argv[2])\n"
        "print(int(load_split(data.val, Sampling(2, (8, 8)), workers=2).pixels.sum(dtype=int)))"
    )
    arguments = [sys.executable, "-c", program, str(sample), str(tmp_path)]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = {process.communicate()[0] for process in running}
    assert sums == {f"{int(load_split(open_data(sample).val, SAMPLING).pixels.sum(dtype=int))}\n"}
    assert len(files(tmp_path)) == len(open_data(sample).val) == len(list(tmp_path.rglob("*.*")))


def test_what_needs_no_cache_is_left_as_it_is(tmp_path: Path) -> None:
    data = open_data("motion")
    assert cached(data, tmp_path) == data and cached(data, None) is data


def test_folders_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NasError, match=r"cache '.*file' cannot be made: File exists; allowed: a folder"):
        ClipCache(tmp_path / "file", 1)
    with pytest.raises(NasError, match="cache of 0 bytes is not allowed"):
        ClipCache(tmp_path, 0)


def test_random_starts_are_not_kept(sample: Path, tmp_path: Path) -> None:
    data: VideoData = cached(open_data(sample), tmp_path)
    assert isinstance(data.train, CachedSplit)
    data.train.clip(0, SAMPLING, seed=3)
    assert files(tmp_path) == []
