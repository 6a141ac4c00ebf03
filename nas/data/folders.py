"""Folders of videos: a folder per class, or `train` and `val` folders of them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from nas.data.kinds import ARRAY_SUFFIXES, CLIP_SUFFIXES, PICTURE_SUFFIXES, VIDEO_SUFFIXES, has_suffix, holds_frames
from nas.data.records import Record, outside, video_data
from nas.data.source import VideoData, listed
from nas.errors import NasError
from nas.units import plural

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# What systems leave on disks and in archives, in lower case.
_NO_DATA = frozenset(
    {"#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recycle", "__macosx", "__pycache__", "lost+found"}
    | {"node_modules", "system volume information"}
)


def split_named(name: str) -> str | None:
    """`train`, `val` or `test` for the usual names of a split, such as `Training` or `val_set`."""
    return _SPLIT_WORDS.get(re.sub(r"[\s_-]*(set)?$", "", name.strip().lower()))


def named_alike(train: str, names: Iterable[str]) -> dict[str, str]:
    """The names that are that of a train split but for this word, each with the split that stands
    in its place: `clips_val.csv` beside `clips_train.csv`.
    """
    found: dict[str, str] = {}
    for word in re.finditer("train(ing)?", train, re.IGNORECASE):
        before, after = re.escape(train[: word.start()]), re.escape(train[word.end() :])
        pattern = re.compile(f"{before}([a-z]+){after}", re.IGNORECASE)
        for name in names:
            match = pattern.fullmatch(name)
            if match and (split := split_named(match[1])):
                found.setdefault(name, split)
    return found


class FolderSource:
    """A folder of class folders, or of `train` and `val` (and `test`) folders of them, whose names
    may be longer by what they share, such as `clips_train` and `clips_val`; or of class folders
    each of which has such folders.

    A clip is a file with the ending of a video at any depth of a class folder, or a folder of
    pictures in it; pictures beside videos are none. Links are followed,
    those out of the folder too, since a link is made on this machine and not by what is read; they
    are counted in a note. Hidden files and folders are not looked at. Beside folders of splits,
    others are no classes.
    """

    forms: ClassVar[str] = "a folder with a folder per class"

    def accepts(self, spec: str) -> bool:
        return os.path.isdir(os.path.expanduser(spec))

    def check(self, spec: str) -> None:
        """Looks for one video, at any depth.

        Raises:
            NasError: There is none, or a folder cannot be read.
        """
        path = Path(os.path.expanduser(spec))
        if not any(_is_video(file) for file in _listing(path)) and not any(
            next(_videos(folder, path), None) for folder in _folders(path)
        ):
            raise _no_videos(path, 0, 0)

    def open(self, spec: str, seed: int, flip: bool | None, allow_outside: bool) -> VideoData:
        path = Path(os.path.expanduser(spec))  # pathlib raises for users that there are not
        records, notes = _read_folder(path)
        return video_data(path, records, seed, flip, notes)


def _read_folder(root: Path) -> tuple[list[Record], list[str]]:
    """The videos of a folder, and sentences on what of it is not used.

    Raises:
        NasError: There are no videos, a folder cannot be read, or a split has a name that is none.
    """
    parts = _parts(root)
    records: list[Record] = []
    without: list[str] = []
    loose = lost = 0
    for split, part in parts:
        around, before = sum(_is_video(file) and file.is_file() for file in _listing(part)), len(records)
        loose += around
        classes = _folders(part)
        divided = {} if split else _splits_inside(root, classes)
        for folder in classes:
            empty = True
            for own, place in divided.get(folder, [(split, folder)]):
                for file in _videos(place, part):
                    if file.exists():
                        records.append(Record(file, _label(folder), own))
                        empty = False
                    else:
                        lost += 1
            without += [folder.name] * empty
        if len(records) == before and around and split != "test":
            raise _no_videos(part, around, lost)
    if not records:
        raise _no_videos(root, loose, lost)
    labels = {record.label for record in records}
    if len(labels) == 1 and parts == [(None, root)]:
        (wrapper,) = (folder for folder in _folders(root) if _label(folder) in labels)
        inner = [folder.name for folder in _folders(wrapper)]
        if len(inner) > 1:
            raise NasError(
                f"data {str(root)!r} holds one folder with videos, {wrapper.name!r}, in which there are "
                f"{listed(inner)}; allowed: a folder of classes or of splits, such as {str(wrapper)!r}"
            )
    used = {part for _, part in parts}
    others = [] if (None, root) in parts else [each for each in _folders(root) if each not in used]
    unused = [folder.name for folder in others if next(_videos(folder, root), None)]
    notes = [f"{plural(loose, 'video')} outside of class folders left out"] * (loose > 0)
    notes += [f"{plural(lost, 'dead link')} left out"] * (lost > 0)
    notes += [f"{plural(len(without), 'folder')} without videos left out ({listed(without)})"] * bool(without)
    beside = {record.path.parent for record in records if has_suffix(record.path, VIDEO_SUFFIXES | ARRAY_SUFFIXES)}
    covers = sum(has_suffix(file, PICTURE_SUFFIXES) for folder in beside for file in _listing(folder))
    notes += [f"{plural(covers, 'picture')} beside videos left out"] * (covers > 0)
    linked = len(outside(root, records))
    notes += [f"{plural(linked, 'video')} outside of the folder, by links"] * (linked > 0)
    notes += [f"beside the splits, {listed(unused)} left out"] * bool(unused)
    return records, notes


def _no_videos(folder: Path, loose: int, lost: int) -> NasError:
    suffixes = ", ".join(sorted(CLIP_SUFFIXES))
    return NasError(
        f"data {str(folder)!r} holds no videos in class folders ({plural(loose, 'video')} beside them, "
        f"{plural(lost, 'dead link')}); allowed: a folder per class with folders of pictures, or files of {suffixes}"
    )


def _parts(root: Path) -> list[tuple[str | None, Path]]:
    """The folders whose folders are classes, each with its split: those of splits, or the root."""
    folders = _folders(root)
    if splits := _splits_among(folders):
        return [*splits]
    train = [folder for folder in folders if split_named(folder.name) == "train"]
    for folder in folders:
        words = re.findall("[a-z]+", folder.name.lower())
        if _SPLIT_WORDS.keys().isdisjoint(words) or any(map(_is_video, _listing(folder))):
            continue
        if not split_named(folder.name) and any(map(_is_clip, _folders(folder))):
            continue  # a class such as `train_station`, whose clips may be numbered as those of any other
        classes = {each.name for each in _folders(folder)}
        others = [each for each in folders if each != folder and next(_videos(each, root), None)]
        if folder in train and len(classes) > 1 and all(other in train for other in others):
            return [(None, folder) for folder in train]
        for other in others:
            if classes & {each.name for each in _folders(other)}:
                raise NasError(
                    f"data {str(root)!r} has folders of the same classes in {folder.name!r} and {other.name!r}; "
                    "allowed: train, val and test as names of such folders"
                )
    return [(None, root)]


def _splits_among(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """The folders that are those of splits, if train and another are there."""
    names = [folder.name for folder in folders]
    plain = {name: split for name in names if (split := split_named(name))}
    # A class may have such a longer name: then videos lie in the folder itself.
    longer = (named_alike(folder.name, names) for folder in folders if not any(map(_is_video, _listing(folder))))
    for found in (plain, *longer):
        if "train" in found.values() and len(set(found.values())) > 1:
            return [(found[folder.name], folder) for folder in folders if folder.name in found]
    return []


def _splits_inside(root: Path, classes: Sequence[Path]) -> dict[Path, list[tuple[str | None, Path]]]:
    """The folders of splits in each class folder, if that is how the data is divided.

    Raises:
        NasError: A class has such folders, and there are videos outside of one.
    """
    divided = {folder: _splits_among(_folders(folder)) for folder in classes}
    example = next((folder.name for folder, splits in divided.items() if splits), None)
    if example is None:
        return {}
    for folder, splits in divided.items():
        inside = {file for _, place in splits for file in _videos(place, root)}
        if stray := next((file for file in _videos(folder, root) if file not in inside), None):
            raise NasError(
                f"data {str(root)!r} has folders of splits in the class folder {example!r}, and outside of such a "
                f"folder {str(stray.relative_to(root))!r}; allowed: all videos of all classes in them, or none"
            )
    return {folder: [*splits] for folder, splits in divided.items()}


def _label(folder: Path) -> str:
    name = os.fsencode(folder.name)
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = name.decode("cp1252", "replace")
    return unicodedata.normalize("NFC", text)


def _is_video(file: Path) -> bool:
    return has_suffix(file, CLIP_SUFFIXES) and not file.is_dir()


def _folders(folder: Path) -> list[Path]:
    return [child for child in _listing(folder) if child.is_dir()]


def _is_clip(folder: Path) -> bool:
    """Whether a folder holds the pictures of a clip."""
    return holds_frames([child for child in _listing(folder) if _is_video(child)])


def _listing(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, in the order of names."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise NasError(f"folder {str(folder)!r} cannot be read: {error.strerror}; allowed: readable folders") from None
    return [folder / name for name in names if not name.startswith(".") and name.lower() not in _NO_DATA]


def _videos(folder: Path, part: Path) -> Iterator[Path]:
    """Files with the ending of a clip, dead links with one, and folders of pictures, at any depth
    below a folder.

    Each folder is entered once, however many links lead to it; those around it, `part` and what
    that lies in, never.
    """
    around = part.resolve()
    entered = {_identity(each) for each in (around, *around.parents)}
    pending = [folder]
    while pending:
        here = pending.pop()
        if (identity := _identity(here)) in entered:
            continue
        entered.add(identity)
        children = _listing(here)
        files = [child for child in children if _is_video(child)]
        if holds_frames(files):
            yield from [here] if here != folder else files
        else:  # beside videos, pictures are their covers
            yield from (file for file in files if not has_suffix(file, PICTURE_SUFFIXES))
        pending += reversed([child for child in children if child.is_dir()])


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
