"""Decoded clips kept in files, so that the next run reads them instead of the videos.

A clip is a `.npy` file whose name is a digest of the video's path, size and time of change, of how
it was cut out and of the view. Files are written whole under a name of their own and read as arrays
without objects, so that any number of processes may share a folder. What was used longest ago goes
first where they are more than a limit.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.data.kinds import CACHE_GB
from nas.data.records import VideoSplit
from nas.data.sampling import MIDDLE, Sampling, View
from nas.data.source import SPLITS, Split, VideoData
from nas.errors import NasError

_KEPT = 0.9  # of the limit, after old clips have been removed
_LOOKED = 64  # clips that are written between two looks at how many bytes there are
_FORMAT = "1"  # of the digest: another one where equal requests give other pixels

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ClipCache:
    """A folder of decoded clips.

    Attributes:
        folder: Made where there is none.
        limit: Bytes that it may hold.
    """

    folder: Path
    limit: int
    _written: list[int] = field(default_factory=list, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise NasError(f"cache of {self.limit} bytes is not allowed; allowed: at least 1")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NasError(f"cache {str(self.folder)!r} cannot be made: {error.strerror}; allowed: a folder") from None

    def name(self, path: Path, sampling: Sampling, view: View) -> str:
        """The digest of a request; raises OSError where there is no such file."""
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        states = [(file.name, found.st_size, found.st_mtime_ns) for file in files for found in (file.stat(),)]
        request = (_FORMAT, os.path.abspath(path), states, sampling, view)
        return hashlib.blake2b(repr(request).encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()

    def get(self, name: str, shape: tuple[int, ...]) -> Pixels | None:
        """A clip, mapped into memory, or None where it is not there whole."""
        file = self._file(name)
        try:
            found: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        with suppress(OSError):  # of a folder that may only be read
            os.utime(file)
        return found if found.shape == shape and found.dtype == np.uint8 else None

    def put(self, name: str, clip: Pixels) -> None:
        """Keeps a clip; a disk that is full or read only is no error, as it is read anyway."""
        file = self._file(name)
        draft = file.with_name(f".{name}.{os.getpid()}.{threading.get_ident()}")
        try:
            file.parent.mkdir(exist_ok=True)
            with draft.open("wb") as stream:
                np.save(stream, clip, allow_pickle=False)
            os.replace(draft, file)
        except OSError:
            draft.unlink(missing_ok=True)
            return
        self._written.append(clip.nbytes)
        if len(self._written) % _LOOKED == 1 or sum(self._written[-_LOOKED:]) > self.limit * (1 - _KEPT):
            self.trim()

    def trim(self) -> None:
        """Removes what was used longest ago, where there is more than the limit."""
        found = sorted(self._files())
        total = sum(size for _, size, _ in found)
        if total <= self.limit:
            return
        for _, size, file in found:
            if total <= _KEPT * self.limit:
                break
            file.unlink(missing_ok=True)
            total -= size

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """When each clip was used last, its bytes, and its file."""
        for file in self.folder.glob(f"??/{'?' * 40}.npy"):  # as `_file` names them: no other file is removed
            try:
                state = file.stat()
            except OSError:  # another process removed it
                continue
            yield state.st_mtime_ns, state.st_size, file

    def _file(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.npy"


@dataclass(frozen=True)
class CachedSplit(Split):
    """A split of videos whose clips come from a cache, where they are in it. Clips that start at
    random are not kept.
    """

    split: VideoSplit
    cache: ClipCache

    def clip_name(self, index: int) -> str:
        return self.split.clip_name(index)

    def seconds(self, index: int) -> float | None:
        return self.split.seconds(index)

    def clip(self, index: int, sampling: Sampling, view: View = MIDDLE, seed: int | None = None) -> Pixels:
        if seed is not None:
            return self.split.clip(index, sampling, view, seed)
        try:
            name = self.cache.name(self.split.paths[index], sampling, view)
        except OSError:
            return self.split.clip(index, sampling, view)
        found = self.cache.get(name, (sampling.frames, *sampling.size, 3))
        if found is None:
            found = self.split.clip(index, sampling, view)
            self.cache.put(name, found)
        return found


def cached(data: VideoData, folder: str | Path | None, gigabytes: float = CACHE_GB) -> VideoData:
    """The data set with clips of videos from a cache; what is drawn by formula or lies in an array
    stays as it is.

    Args:
        data: The data set.
        folder: Of the cache; None is none.
        gigabytes: 10^9 bytes that it may hold.

    Raises:
        NasError: The folder cannot be made.
    """
    if folder is None:
        return data
    cache = ClipCache(Path(folder).expanduser(), round(gigabytes * 10**9))
    splits: dict[str, Any] = {}
    for name in SPLITS:
        split = getattr(data, name)
        if isinstance(split, VideoSplit):
            splits[name] = CachedSplit(split.labels, split.groups, split, cache)
    return replace(data, **splits)
