"""Clips of NumPy files: source: one file with all clips and labels; and files with one clip each.

Nothing is unpickled. What an `.npz` holds uncompressed, and every `.npy`, is mapped into memory and
read where it is needed; what is compressed is unpacked once in a process.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from nas.data.folders import split_named
from nas.data.records import Record, split_data
from nas.data.sampling import MIDDLE, Sampling, View
from nas.data.source import Split, VideoData
from nas.errors import NasError, brief, message_of
from nas.units import whole

# Names that real files use, in the order in which they are looked for.
NAMES = {
    "clips": ("clips", "x", "videos", "video", "data", "frames", "images"),
    "labels": ("labels", "label", "y", "targets"),
    "groups": ("groups", "group"),
    "split": ("split", "splits"),
    "classes": ("classes", "class_names"),
    "offset": ("offset", "offsets"),
    "length": ("length", "lengths"),
}
_SHAPES = "uint8 (N, T, H, W) or (N, T, H, W, C) with 1, 3 or 4 channels"

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ArraySplit(Split):
    """Clips of one array. A seed shifts which frames they are.

    Attributes:
        path, name: Of the file, and of the array in it.
        first, length: Of each clip, the first row of the array and how many rows there are. None is
            a row per clip.
    """

    path: Path
    name: str
    rows: list[int]
    length: list[int] | None

    def clip_name(self, index: int) -> str:
        return f"{self.path.name}[{self.rows[index]}]"

    def clip(self, index: int, sampling: Sampling, view: View = MIDDLE, seed: int | None = None) -> Pixels:
        if seed is not None:
            view = replace(view, start=float(np.random.default_rng([seed, index]).random()))
        array, row = read_array(self.path, self.name), self.rows[index]
        if self.length is not None:
            return cut(array[row : row + self.length[index]], sampling, view)
        clip = array[row]
        return cut(clip[None] if is_picture(array) else clip, sampling, view)


class ArraySource:
    """An `.npz` file with the arrays `clips` and `labels`, and optionally `groups`, `split` and
    `classes`.

    Clips are uint8 (N, T, H, W) or (N, T, H, W, C); clips of different lengths lie behind each
    other in `frames` (F, H, W) or (F, H, W, C), with `offset` and `length` of each. Labels are
    numbers, into `classes` where there are some, or text. Other usual names of these arrays are
    found too, see `NAMES`.
    """

    forms: ClassVar[str] = "an .npz file with the arrays `clips` and `labels`"

    def accepts(self, spec: str) -> bool:
        return spec.lower().endswith(".npz") and os.path.isfile(os.path.expanduser(spec))

    def open(self, spec: str, seed: int, flip: bool | None, allow_outside: bool) -> VideoData:
        path = Path(os.path.expanduser(spec))  # pathlib raises for users that there are not
        where = f"data {str(path)!r}"
        found = _Found.of(path)
        array = read_array(path, found.name("clips"))
        length = found.numbers("length") if found.has("offset") and found.has("length") else None
        least = 4 if length is None else 3
        if array.dtype != np.uint8 or array.ndim < least or not _has_colours(array, least):
            raise NasError(f"{where} has clips of {array.dtype} {array.shape}; allowed: {_SHAPES}")
        rows = found.numbers("offset") if length is not None else list(range(len(array)))
        labels, notes = _labels(where, found)
        columns = {"labels": labels, "split": found.texts("split"), "groups": found.texts("groups")}
        for name, values in columns.items():
            if values is not None and len(values) != len(rows):
                raise NasError(f"{where} has {len(values)} {name} of {len(rows)} clips; allowed: one of each clip")
        if length is not None:
            _check_rows(where, rows, length, len(array))
        splits, groups = columns["split"], columns["groups"]
        records = []
        for i, label in enumerate(labels):
            split = None if splits is None else split_named(splits[i])
            if splits is not None and split is None:
                raise NasError(f"{where}, clip {i}: split {splits[i]!r} is not train, val or test; allowed: these")
            records.append(Record(path, label, split, None if groups is None else groups[i], i))

        def make(part: Sequence[Record], classes: Sequence[str]) -> ArraySplit:
            return ArraySplit(
                [classes.index(record.label) for record in part],
                [record.group for record in part if record.group is not None],
                path,
                found.name("clips"),
                [rows[record.number] for record in part],
                None if length is None else [length[record.number] for record in part],
            )

        return split_data(path, records, seed, flip, notes, make)


def read_array_clip(path: Path, sampling: Sampling, view: View) -> Pixels:
    """Reads a clip of a file that holds it alone; raises NasError as `open_array_clip`."""
    return cut(open_array_clip(path), sampling, view)


def open_array_clip(path: Path) -> npt.NDArray[np.uint8]:
    """The array of a file that holds one clip, uint8 (T, H, W) or (T, H, W, C).

    Raises:
        NasError: The file cannot be read, or holds another array.
    """
    name = "" if path.suffix.lower() == ".npy" else _Found.of(path).name("clips")
    array = read_array(path, name)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or not len(array) or not _has_colours(array, 3):
        raise NasError(
            f"Cannot read clip {str(path)!r}: it is {array.dtype} {array.shape}; "
            "allowed: uint8 (T, H, W) or (T, H, W, C) with 1, 3 or 4 channels"
        )
    return array


def cut(clip: npt.NDArray[Any], sampling: Sampling, view: View) -> Pixels:
    """A clip of an array of frames.

    Args:
        clip: uint8 (T, H, W), or (T, H, W, C) with 1 channel (grey), 3 (RGB) or 4 (RGBA).
        sampling, view: Which part of it.
    """
    from av.video.frame import VideoFrame

    from nas.data.pictures import Resizer

    resize = Resizer(sampling, view.place)
    indices = sampling.indices(view.start, len(clip))
    pictures = {}
    for index in set(indices):
        picture = clip[index][..., 0] if clip.ndim == 4 and clip.shape[-1] == 1 else clip[index]
        kind = "gray" if picture.ndim == 2 else "rgb24"
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture[..., :3] if kind != "gray" else picture), kind)
        pictures[index] = resize(frame)
    return np.stack([pictures[index] for index in indices])


def read_array(path: Path, name: str) -> npt.NDArray[Any]:
    """An array of a file, mapped into memory where it is not compressed.

    Args:
        path: An `.npy` or `.npz` file.
        name: Of the array in an `.npz`.

    Raises:
        NasError: The file cannot be read, or the array holds Python objects.
    """
    try:
        return _array(str(path), name, os.stat(path).st_mtime_ns)
    except Exception as error:  # of a damaged file zip, zlib and NumPy raise a dozen kinds
        raise _unreadable(path, error) from None


@lru_cache(maxsize=8)
def _array(path: str, name: str, _changed: int) -> npt.NDArray[Any]:
    if not name:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]  # type: ignore[no-any-return]
    with open(path, "rb") as file:
        file.seek(member.header_offset + 26)
        name_and_extra = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
        file.seek(member.header_offset + 30 + name_and_extra)
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        order: Literal["F", "C"] = "F" if fortran else "C"
        return np.memmap(path, dtype, "r", file.tell(), shape, order) if np.prod(shape) else np.empty(shape, dtype)


@dataclass(frozen=True)
class _Found:
    """The names of the arrays of a file, by what they are here."""

    path: Path
    names: Mapping[str, str]
    all: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> _Found:
        try:
            with zipfile.ZipFile(path) as archive:
                members = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        except Exception as error:  # as above
            raise _unreadable(path, error) from None
        lower = {name.lower(): name for name in members}
        names = {what: next((lower[name] for name in known if name in lower), "") for what, known in NAMES.items()}
        if not names["clips"] and len(members) == 1:
            names["clips"] = members[0]
        return cls(path, names, tuple(members))

    def has(self, what: str) -> bool:
        return bool(self.names[what])

    def name(self, what: str) -> str:
        if not self.has(what):
            raise NasError(
                f"data {str(self.path)!r} has the arrays {', '.join(self.all) or 'none'}, of which none is the {what}; "
                f"allowed: one called {', '.join(NAMES[what])}"
            )
        return self.names[what]

    def values(self, what: str) -> npt.NDArray[Any]:
        found = read_array(self.path, self.name(what))
        return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found

    def numbers(self, what: str) -> list[int]:
        values = self.values(what)
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise NasError(
                f"data {str(self.path)!r} has {what} of {values.dtype} {values.shape}; allowed: whole numbers (N,)"
            )
        return [int(value) for value in values]

    def texts(self, what: str) -> list[str] | None:
        """The values as text, or None where there are none."""
        if not self.has(what):
            return None
        values = self.values(what)
        if values.ndim != 1 or values.dtype.kind not in "iuSU":
            raise NasError(
                f"data {str(self.path)!r} has {what} of {values.dtype} {values.shape}; "
                "allowed: text or whole numbers (N,)"
            )
        found = values.tolist()
        return [(each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each)).strip() for each in found]


def _labels(where: str, found: _Found) -> tuple[list[str], list[str]]:
    """The class of each clip by name, and sentences on what a user would not expect."""
    found.name("labels")
    labels, classes = found.texts("labels") or [], found.texts("classes")
    numbers = [number for label in labels if (number := whole(label)) is not None]
    if classes is None or len(numbers) < len(labels):
        return labels, []
    if len(set(classes)) < len(classes):
        raise NasError(f"{where} has a class twice among {brief(classes)}; allowed: each once")
    first = 1 if numbers and min(numbers) == 1 and max(numbers) == len(classes) else 0
    wrong = [number for number in numbers if not first <= number < len(classes) + first]
    if wrong:
        raise NasError(f"{where} has the label {wrong[0]} of {len(classes)} classes; allowed: numbers of the classes")
    notes = ["labels begin at 1, which is the first of the classes"] * first
    empty = len(classes) - len(set(numbers))
    notes += [f"{empty} of its {len(classes)} classes have no clip and are left out"] * (empty > 0)
    return [classes[number - first] for number in numbers], notes


def _check_rows(where: str, rows: Iterable[int], length: Iterable[int], count: int) -> None:
    for i, (row, frames) in enumerate(zip(rows, length, strict=False)):
        if row < 0 or frames < 1 or row + frames > count:
            raise NasError(
                f"{where}, clip {i}: frames {row} to {row + frames} of {count}; allowed: at least one, and inside"
            )


def is_picture(array: npt.NDArray[Any]) -> bool:
    """Whether an array (N, H, W, 3) holds colour pictures: videos three pixels wide are none."""
    return array.ndim == 4 and array.shape[-1] == 3


def _has_colours(array: npt.NDArray[Any], grey: int) -> bool:
    return array.ndim == grey or (array.ndim == grey + 1 and array.shape[-1] in (1, 3, 4))


def _unreadable(path: Path, error: BaseException) -> NasError:
    reason = getattr(error, "strerror", None) or message_of(error) or type(error).__name__
    reason = "it holds Python objects, which are not read" if "pickle" in reason or "object" in reason else reason
    return NasError(f"Cannot read arrays of {str(path)!r}: {reason}; allowed: an .npy or .npz file of numbers and text")
