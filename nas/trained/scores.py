"""What a test says of a classifier. Pure: arrays in, figures out.

Shapes: N clips, K classes, M bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 15

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def standard_error(share: float, clips: float) -> float:
    """Standard error of a share of correct answers out of `clips`, sqrt(p (1 - p) / n); nan when
    the number of clips is unknown.
    """
    return math.sqrt(share * (1 - share) / clips) if clips > 0 else math.nan


@dataclass(frozen=True)
class Share:
    """A share of clips.

    Attributes:
        value: 0 to 1.
        standard_error: sqrt(value (1 - value) / clips): that of independent clips, so too small
            where several clips come from one recording.
        clips: How many it is a share of.
    """

    value: float
    standard_error: float
    clips: int

    @classmethod
    def of(cls, hits: Bools) -> Share | None:
        """The share of true among (N,) answers; None where there are none."""
        if not len(hits):
            return None
        return cls.of_value(float(hits.mean()), len(hits))

    @classmethod
    def of_value(cls, value: float, clips: int) -> Share:
        """The share `value`, 0 to 1, of so many clips, at least one."""
        return cls(value, standard_error(value, clips), clips)

    def __str__(self) -> str:
        if self.value in (0, 1):  # a standard error of zero would claim to know what a few clips cannot tell
            return f"{100 * self.value:.0f} % of {self.clips}"
        return f"{100 * self.value:.1f} ± {100 * self.standard_error:.1f} %"


@dataclass(frozen=True)
class ClassScores:
    """Of one class.

    Attributes:
        name: Of the class.
        accuracy: Of its clips, those that are called so (recall); None where it has no clip.
        precision: Of the clips that are called so, those that are of it; None where none is.
        mistaken_for: The class that its other clips are most often taken for; None where all are
            right.
    """

    name: str
    accuracy: Share | None
    precision: Share | None
    mistaken_for: str | None


@dataclass(frozen=True)
class Scores:
    """What the probabilities of a test say.

    Attributes:
        top1: Clips whose most probable class is theirs.
        top5: Clips whose class is among the five most probable; None up to five classes.
        class_mean: Mean of the accuracies of the classes that have clips.
        calibration_error: See `calibration_error`.
        per_class: One per class, in their order.
        confusion: Clips of class (row) that are called (column), (K, K).
    """

    top1: Share
    top5: Share | None
    class_mean: float
    calibration_error: float
    per_class: tuple[ClassScores, ...]
    confusion: Ints

    @classmethod
    def of(cls, probabilities: Floats, labels: Ints, classes: Sequence[str]) -> Scores:
        """Scores of probabilities (N, K) against labels (N,), at least one clip."""
        predicted = probabilities.argmax(1)
        confusion = confusion_matrix(labels, predicted, len(classes))
        per_class = []
        for k, name in enumerate(classes):
            mistakes = np.where(np.arange(len(classes)) == k, 0, confusion[k])
            per_class.append(
                ClassScores(
                    name,
                    Share.of(predicted[labels == k] == k),
                    Share.of(labels[predicted == k] == k),
                    classes[int(mistakes.argmax())] if mistakes.any() else None,
                )
            )
        top1 = Share.of(in_top(probabilities, labels, 1))
        assert top1
        accuracies = [each.accuracy.value for each in per_class if each.accuracy]
        return cls(
            top1,
            Share.of(in_top(probabilities, labels, 5)) if len(classes) > 5 else None,
            sum(accuracies) / len(accuracies),
            calibration_error(probabilities, labels),
            tuple(per_class),
            confusion,
        )


def in_top(probabilities: Floats, labels: Ints, count: int) -> Bools:
    """Whether the label of each clip is among its `count` most probable classes, (N,); of equal
    ones the first counts as the more probable.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    found: Bools = (order == labels[:, None]).any(1)
    return found


def confusion_matrix(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """How many clips of each class (row) are called which class (column), (K, K)."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def calibration_error(probabilities: Floats, labels: Ints, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al., On calibration of modern neural networks, equation
    3).

    A clip's confidence is its highest probability, and falls into bin m of M where
    (m - 1) / M < confidence <= m / M. The error is the sum over bins of
    (clips in it / N) |accuracy in it - mean confidence in it|.

    Returns:
        0 (calibrated) to 1.
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = [abs(float((right[number == m] - confidence[number == m]).sum())) for m in range(bins)]
    return sum(gaps) / len(labels)
