"""The registry of data sources, and `open_data`, which opens what a user names."""

from __future__ import annotations

import os
from pathlib import Path

from nas.data.arrays import ArraySource, ArraySplit
from nas.data.clips import Clips, load_clips, load_split
from nas.data.folders import FolderSource
from nas.data.lists import ListSource
from nas.data.motion import MotionSource, MotionSplit
from nas.data.records import VideoSplit
from nas.data.sampling import MIDDLE, Sampling, View
from nas.data.source import Source, Split, VideoData
from nas.errors import NasError, brief

__all__ = [
    "MIDDLE",
    "SOURCES",
    "ArraySplit",
    "Clips",
    "MotionSplit",
    "Sampling",
    "Source",
    "Split",
    "VideoData",
    "VideoSplit",
    "View",
    "check_source",
    "find_source",
    "load_clips",
    "load_split",
    "open_data",
]

SOURCES: tuple[Source, ...] = (
    MotionSource(),
    FolderSource(),
    ArraySource(),
    ListSource(),
)
"""The first that accepts what the user wrote opens it."""


def open_data(spec: str | Path, *, seed: int = 0, flip: bool | None = None, allow_outside: bool = False) -> VideoData:
    """Opens a data set; no video is decoded.

    The first of these that applies says which clips go where: train/val/test folders, a `split`
    column, or `train` and `val` list files; a `group` column, from which whole groups are held out,
    never clips of a group that is trained on; else a random 60/20/20 split within each class. Where
    there is a test but no val, val is held out of train. Each file counts once, whatever links lead
    to it. `VideoData.describe` says what was left out.

    Args:
        spec: What one of `SOURCES` accepts; their docstrings say how each reads it. `motion` or
            `motion:DIFFICULTY`; a folder of class folders, or of `train` and `val` (and `test`)
            folders of them; an .npz file; a CSV file or a list of paths and labels.
        seed: Of the motion clips, or of a random split.
        flip: Whether clips may be mirrored; None is True for videos and False for `motion`. False
            suits data where left and right are classes.
        allow_outside: Whether a list may name videos outside of its folder, by whole paths, `..` or
            links. A list that somebody else wrote could name any video of this machine.

    Raises:
        NasError: Unknown name, wrong file, videos that are missing or lie outside, fewer than two
            classes, a class that train lacks, or groups of which none can be held out.
    """
    text = str(spec)
    if seed < 0:
        raise NasError(f"seed {seed} is not allowed; allowed: whole numbers from 0")
    return find_source(text).open(text, seed, flip, allow_outside)


def check_source(spec: str) -> None:
    """Refuses what is no data, and a folder in which there is no video, without opening anything.

    It is for commands that have much to load before they open the data.

    Raises:
        NasError: No source accepts it, or the folder holds none.
    """
    source = find_source(spec)
    if isinstance(source, FolderSource):
        source.check(spec)


def find_source(spec: str) -> Source:
    """The first source that accepts what the user wrote; nothing is opened.

    Raises:
        NasError: None does.
    """
    for source in SOURCES:
        if source.accepts(spec):
            return source
    there = "is no file and no folder" if os.path.lexists(spec) else "does not exist"
    raise NasError(f"data {brief(spec, 200)} {there}; allowed: {', '.join(source.forms for source in SOURCES)}")
