"""What is kept of each epoch of a training: a table, and the same as TensorBoard event files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Self

from pydantic.dataclasses import dataclass

from nas.resources import replacing


@dataclass(frozen=True)
class CurveRow:
    """One epoch.

    Attributes:
        epoch: From 1.
        steps: Steps taken until its end.
        loss: Mean of its steps.
        rate: Learning rate of its last step, of parameters with factor 1.
        accuracy: On the validation clips at its end.
        clips_per_second: Trained in the time of all steps, on images too; evaluation not counted.
        seconds: Of the whole training until its end, all sessions together.
        image_loss, image_accuracy: Of the second head, where images are trained on as well.
    """

    epoch: int
    steps: int
    loss: float
    rate: float
    accuracy: float
    clips_per_second: float
    seconds: float
    image_loss: float | None = None
    image_accuracy: float | None = None

    @property
    def score(self) -> float:
        """What epochs are compared by: the accuracy, or the mean of those of both heads."""
        return self.accuracy if self.image_accuracy is None else (self.accuracy + self.image_accuracy) / 2


class Events:
    """TensorBoard event files: what was written after the step that a training goes on from is
    crossed out.
    """

    def __init__(self, folder: Path, steps_done: int) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=steps_done + 1 if steps_done else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add(self, row: CurveRow) -> None:
        """Writes the figures of an epoch at its last step."""
        for name in ("loss", "rate", "accuracy", "clips_per_second", "image_loss", "image_accuracy"):
            value = getattr(row, name)
            if value is not None:
                self._writer.add_scalar(name, value, row.steps)
        self._writer.flush()


def write_curve(path: Path, curve: Sequence[CurveRow]) -> None:
    """Writes a row per epoch as CSV, without the columns that are empty."""
    text = io.StringIO()
    names = [field.name for field in fields(CurveRow)]
    names = [name for name in names if any(getattr(row, name) is not None for row in curve)]
    writer = csv.DictWriter(text, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(asdict(row) for row in curve)
    with replacing(path) as draft:
        draft.write_text(text.getvalue(), encoding="utf-8")
