"""Decodes a split, or a part of it, into memory."""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from nas.data.sampling import MIDDLE, Sampling, View
from nas.data.source import Split
from nas.data.unreadable import Unreadable, check_unreadable
from nas.errors import NasError

T = TypeVar("T")

_AHEAD = 4  # clips per thread that are read before they are needed


@dataclass(frozen=True)
class Clips:
    """Decoded clips: `pixels` uint8 (N, T, H, W, 3), `labels` int64 (N,), and those that cannot be
    read and are not among them.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    unreadable: tuple[Unreadable, ...] = ()


def load_clips(
    split: Split,
    frames: int,
    size: tuple[int, int],
    *,
    limit: int | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Clips:
    """Decodes clips spread over the whole of each video; `load_split` with plain arguments.

    Args:
        split: what to read.
        frames: T, frames per clip.
        size: (height, width) of the clips.
        limit, seed, workers, progress: as `load_split` takes them.

    Returns:
        As `load_split`.

    Raises:
        NasError: as `load_split`.
    """
    return load_split(split, Sampling(frames, size), limit=limit, seed=seed, workers=workers, progress=progress)


def load_split(
    split: Split,
    sampling: Sampling,
    *,
    view: View = MIDDLE,
    name: str = "",
    limit: int | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Clips:
    """Decodes a split, or a part of it with the same mixture of classes, into memory.

    Args:
        split: what to read.
        sampling: frames, size, and how the clips are cut out of what was recorded.
        view: which part of each is read.
        name: train, val or test, for messages.
        limit: at most so many clips, one of each class first; a smaller limit reads a subset of a
            larger one's. None is all.
        seed: decides which clips a limit keeps.
        workers: threads that decode.
        progress: called with (clips read, clips to read) after each.

    Returns:
        Clips in the order of the split, without those that cannot be read, for which one warning is
        given.

    Raises:
        NasError: more of the clips cannot be read than `MOST_UNREADABLE`, or the split is empty.
    """
    chosen = _subset(split.labels, limit, seed)
    if not chosen:
        raise NasError(
            f"limit {limit} leaves none of the {len(split)} clips of the split; allowed: at least one of both"
        )

    def read(index: int) -> npt.NDArray[np.uint8] | NasError:
        try:
            return split.clip(index, sampling, view)
        except NasError as error:
            return error

    pixels = np.empty((len(chosen), sampling.frames, *sampling.size, 3), np.uint8)
    kept: list[int] = []
    failures: list[Unreadable] = []
    for done, (index, clip) in enumerate(zip(chosen, in_order(read, chosen, workers), strict=True), 1):
        if isinstance(clip, NasError):
            failures.append(Unreadable(name, split.clip_name(index), str(clip)))
        else:
            pixels[len(kept)] = clip
            kept.append(index)
        if progress is not None:
            progress(done, len(chosen))
    if failures:
        check_unreadable(failures, len(chosen))
        warnings.warn(
            f"{len(failures)} of {len(chosen)} clips cannot be read; the first: {failures[0].reason}", stacklevel=2
        )
    return Clips(pixels[: len(kept)], np.array([split.labels[i] for i in kept], np.int64), tuple(failures))


def in_order(read: Callable[[int], T], indices: Sequence[int], workers: int) -> Iterator[T]:
    """What a function gives for each index, in their order, from so many threads."""
    if workers <= 1:
        yield from map(read, indices)
        return
    with ThreadPoolExecutor(workers) as pool:
        # Few wait to be taken; all at once they would fill the memory a second time.
        waiting: deque[Future[T]] = deque()
        try:
            for index in indices:
                waiting.append(pool.submit(read, index))
                if len(waiting) > _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _subset(labels: list[int], limit: int | None, seed: int) -> list[int]:
    if limit is None or limit >= len(labels):
        return list(range(len(labels)))
    counts = Counter(labels)
    seen: Counter[int] = Counter()
    share = {}
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    for index in order:
        share[index] = seen[labels[index]] / counts[labels[index]]
        seen[labels[index]] += 1
    return sorted(sorted(order, key=share.__getitem__)[: max(limit, 0)])
