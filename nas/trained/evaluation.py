"""A trained network tested on labelled clips: its scores, and the folder that takes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.clips import in_order
from nas.data.sampling import Sampling
from nas.data.source import Split, VideoData, listed
from nas.data.unreadable import Unreadable, check_unreadable, write_unreadable
from nas.errors import NasError
from nas.profiler.measured.measure import Measurement
from nas.resources import csv_cell, replacing
from nas.trained import pictures
from nas.trained.folder import TrainedModel
from nas.trained.passes import Pixels, mean_probabilities, read_views
from nas.trained.scores import Floats, Ints, Scores, Share

WORST = 12  # clips whose thumbnails are shown


@dataclass(frozen=True)
class Result:
    """What the probabilities of one way to look at the clips say.

    Attributes:
        views: Clips in time and crops in space that are averaged, (1, 1) for one.
        probabilities: (N, K).
        scores: Of them.
    """

    views: tuple[int, int]
    probabilities: Floats
    scores: Scores

    @property
    def name(self) -> str:
        """`1x1`, `3x3`."""
        return "x".join(map(str, self.views))


@dataclass(frozen=True)
class Evaluation:
    """A network tested on a split of a data set.

    Attributes:
        model: Name of the network.
        data: Name of the data.
        split: `val` or `test`.
        classes: In the order of the probabilities.
        clips: What each clip that was read is called, (N,).
        labels: Class of each, (N,).
        results: Of the single view; then of the views that were asked for, if more.
        unreadable: Clips that could not be read.
        worst: Of the clips whose class is least probable in the last result, the place among
            `clips` and the frames of their middle view, uint8 (T, H, W, 3).
        latency: Of one clip, where it was measured.
    """

    model: str
    data: str
    split: str
    classes: tuple[str, ...]
    clips: tuple[str, ...]
    labels: Ints
    results: tuple[Result, ...]
    unreadable: tuple[Unreadable, ...]
    worst: tuple[tuple[int, Pixels], ...]
    latency: Measurement | None = None

    def with_latency(self, latency: Measurement) -> Evaluation:
        """The same with a measurement beside it."""
        return replace(self, latency=latency)

    def document(self) -> dict[str, Any]:
        """What `evaluation.json` holds: all but the pixels and the table of clips."""
        return {
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "clips": len(self.clips),
            "unreadable": len(self.unreadable),
            "results": [
                {
                    "views": result.name,
                    "top1": asdict(result.scores.top1),
                    "top5": asdict(result.scores.top5) if result.scores.top5 else None,
                    "class_mean": result.scores.class_mean,
                    "calibration_error": result.scores.calibration_error,
                    "per_class": [asdict(each) for each in result.scores.per_class],
                }
                for result in self.results
            ],
            "latency": self.latency.to_dict() if self.latency else None,
        }

    def write(self, folder: str | Path) -> list[Path]:
        """Writes `evaluation.json`, `confusion.csv`, `confusion.png`, `classes.csv`, `clips.csv`
        and `worst_clips.png`, of the last result; and `unreadable.csv`, if a clip was.

        Returns:
            The files.

        Raises:
            NasError: The folder cannot be written.
        """
        folder, result = Path(folder), self.results[-1]
        writers: dict[str, Callable[[Path], None]] = {
            "evaluation.json": lambda path: _write_json(path, self.document()),
            "confusion.csv": lambda path: _write_csv(path, self._confusion(result)),
            "classes.csv": lambda path: _write_csv(path, _class_rows(result.scores)),
            "clips.csv": lambda path: _write_csv(path, self._clip_rows(result)),
            "confusion.png": lambda path: pictures.confusion(result.scores.confusion, self.classes, path),
            "worst_clips.png": lambda path: pictures.contact_sheet(self._captions(result), path),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, write in writers.items():
                with replacing(folder / name) as draft:
                    write(draft)
            write_unreadable(folder, self.unreadable)
        except OSError as error:
            raise NasError(f"out {str(folder)!r} cannot be written ({error.strerror}); allowed: a folder") from None
        return [folder / name for name in writers]

    def _confusion(self, result: Result) -> Iterator[Sequence[object]]:
        yield ("class", *self.classes)
        for name, row in zip(self.classes, result.scores.confusion.tolist(), strict=True):
            yield (name, *row)

    def _clip_rows(self, result: Result) -> Iterator[Sequence[object]]:
        yield ("clip", "class", "predicted", "probability of class", "probability of predicted")
        for name, label, row in zip(self.clips, self.labels, result.probabilities, strict=True):
            called = int(row.argmax())
            yield (name, self.classes[label], self.classes[called], float(row[label]), float(row[called]))

    def _captions(self, result: Result) -> Iterator[tuple[str, Pixels]]:
        for index, pixels in self.worst:
            row, label = result.probabilities[index], self.labels[index]
            called = int(row.argmax())
            own, other = f"{self.classes[label]} {row[label]:.2f}", f"{self.classes[called]} {row[called]:.2f}"
            caption = f"{self.clips[index]}\n{own}, called {other}"
            yield caption, pixels


def _class_rows(scores: Scores) -> Iterator[Sequence[object]]:
    yield ("class", "clips", "accuracy", "standard error", "precision", "mistaken for")
    for each in scores.per_class:
        accuracy = each.accuracy or Share(float("nan"), float("nan"), 0)
        precision = each.precision.value if each.precision else float("nan")
        yield (each.name, accuracy.clips, accuracy.value, accuracy.standard_error, precision, each.mistaken_for or "")


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(map(csv_cell, row) for row in rows)


def evaluate(
    model: TrainedModel,
    data: VideoData,
    *,
    split: str = "val",
    views: tuple[int, int] = (1, 1),
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Tests a network on the clips of a split.

    Args:
        model: The network.
        data: With the classes of the network, in any order.
        split: Which clips: `val` or `test`.
        views: Clips in time and crops in space whose probabilities are averaged, besides a single
            view; see `nas.data.preprocessing.Preprocessing.views`.
        workers: Threads that decode while the network runs.
        progress: Called with (clips done, clips to do) after each.

    Raises:
        NasError: Other classes, no such split, views that there are not, or too many clips that
            cannot be read.
    """
    part = chosen_split(data, split)
    labels = labels_of(model, data, part)
    preprocessing = model.record.preprocessing
    sampling = preprocessing.evaluation
    ways = {way: preprocessing.views(*way) for way in ((1, 1), views)}

    def read(index: int) -> list[Pixels] | NasError:
        try:
            return [read_views(lambda view: part.clip(index, sampling, view), each) for each in ways.values()]
        except NasError as error:
            return error

    kept: list[int] = []
    rows: list[list[Floats]] = []
    unreadable: list[Unreadable] = []
    for index, pixels in enumerate(in_order(read, range(len(part)), workers)):
        if isinstance(pixels, NasError):
            unreadable.append(Unreadable(split, part.clip_name(index), str(pixels)))
        else:
            kept.append(index)
            rows.append([mean_probabilities(model, each) for each in pixels])
        if progress is not None:
            progress(index + 1, len(part))
    check_unreadable(unreadable, len(part))
    of_clips = labels[kept]
    results = []
    for number, way in enumerate(ways):
        probabilities = np.stack([row[number] for row in rows])
        results.append(Result(way, probabilities, Scores.of(probabilities, of_clips, model.classes)))
    return Evaluation(
        model.name,
        data.name,
        split,
        model.classes,
        tuple(part.clip_name(index) for index in kept),
        of_clips,
        tuple(results),
        tuple(unreadable),
        _worst(part, kept, results[-1].probabilities, of_clips, sampling),
    )


def chosen_split(data: VideoData, name: str) -> Split:
    """The split of a data set that clips are tested of.

    Raises:
        NasError: Not `val` or `test`, or the data set has none.
    """
    found = {"val": data.val} | ({} if data.test is None else {"test": data.test})
    if name not in found:
        raise NasError(f"split {name!r} is not in data {data.name!r}; allowed: {', '.join(found)}")
    return found[name]


def labels_of(model: TrainedModel, data: VideoData, split: Split) -> Ints:
    """The labels of a split as the network numbers the classes, (N,).

    Raises:
        NasError: The data has other classes.
    """
    other, lacking = set(data.classes) - set(model.classes), set(model.classes) - set(data.classes)
    if other or lacking:
        parts = [f"has {listed(other)}"] * bool(other) + [f"lacks {listed(lacking)}"] * bool(lacking)
        raise NasError(
            f"data {data.name!r} {' and '.join(parts)}, whose classes are not those of model {model.name!r}; "
            f"allowed: its {len(model.classes)} classes ({listed(model.classes)})"
        )
    number = {name: i for i, name in enumerate(model.classes)}
    order = np.array([number[name] for name in data.classes], np.int64)
    labels: Ints = order[np.array(split.labels, np.int64)]
    return labels


def _worst(
    split: Split, kept: Sequence[int], probabilities: Floats, labels: Ints, sampling: Sampling
) -> tuple[tuple[int, Pixels], ...]:
    order = np.argsort(probabilities[np.arange(len(labels)), labels], kind="stable")[:WORST]
    return tuple((int(place), split.clip(kept[place], sampling)) for place in order)
