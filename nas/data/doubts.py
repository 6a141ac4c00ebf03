"""What makes the accuracies of a data set doubtful, told without decoding a clip."""

from __future__ import annotations

from pathlib import Path

from nas.data.duplicates import same_content
from nas.data.records import VideoSplit
from nas.data.source import SPLITS, VideoData, listed
from nas.units import plural


def doubts(data: VideoData) -> tuple[str, ...]:
    """Sentences without full stop on what is in a data set twice: files and groups in several
    splits, files of equal content in several splits, under two labels or in one split.
    """
    return (*data.doubts, *_shared_groups(data), *_equal_files(data))


def _shared_groups(data: VideoData) -> list[str]:
    """Who or what was recorded for a split and for one before it."""
    groups = {name: set(split.groups) for name in SPLITS if (split := getattr(data, name)) is not None}
    names = list(groups)
    return [
        f"{name} shares {plural(len(both), 'group')} with {other}: {listed(both)}"
        for place, name in enumerate(names)
        for other in names[:place]
        if (both := groups[name] & groups[other])
    ]


def _equal_files(data: VideoData) -> list[str]:
    splits = {name: getattr(data, name) for name in SPLITS}
    owner: dict[Path, tuple[str, int]] = {}
    for name, split in splits.items():
        if isinstance(split, VideoSplit):
            owner |= {path: (name, label) for path, label in zip(split.paths, split.labels, strict=True)}
    across_splits, two_labels, within = list[list[Path]](), list[list[Path]](), list[list[Path]]()
    for group in same_content(owner):
        labels, places = {owner[path][1] for path in group}, {owner[path][0] for path in group}
        if len(labels) > 1:
            two_labels.append(group)
        if len(places) > 1:
            across_splits.append(group)
        if len(labels) == len(places) == 1:
            within.append(group)
    kinds = ((across_splits, "in several splits"), (two_labels, "under two labels"), (within, "twice in one split"))
    return [
        f"{plural(len(groups), 'clip')} of equal content {where}, such as {groups[0][0].name} and {groups[0][1].name}"
        for groups, where in kinds
        if groups
    ]
