"""Published networks beside the pick: cut to its multiply-adds, and trained as proxies as it was.

`baselines.csv` of a run folder has a row per training, written when it ends, and
`baselines/NAME.yaml` the network that was trained; `baselines/answers.jsonl` has what they called
each clip, with the seed of the training in the place of a candidate's number.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nas.architecture import Architecture, load
from nas.architecture.scaling import largest
from nas.errors import NasError
from nas.profiler.computed.cost import cost
from nas.resources import append_line, whole_lines
from nas.runs.confirm import OVERHEAD
from nas.trials.results import Report

BASELINES = "baselines.csv"
FOLDER = "baselines"
SEED_OFFSET = 500_000  # of their seeds, beside those of candidates and of their repetitions


@dataclass(frozen=True)
class Baseline:
    """A published network in the size of the pick.

    Attributes:
        name: As `nas list` has it.
        architecture: At the input of the search, with the classes of the data.
        macs: Multiply-adds of a clip.
        params: Parameters.
        share: Its parameters, of those of the whole network.
    """

    name: str
    architecture: Architecture
    macs: int
    params: int
    share: float


@dataclass(frozen=True)
class BaselineTraining:
    """One training of a baseline. The fields are the columns of the file.

    Attributes:
        name: As `nas list` has it.
        hash: Of the architecture that was trained.
        repeat: 0, 1, 2, ... for its seeds.
        seed: Of the training.
        accuracy: On validation.
        test_accuracy: None without test clips.
        epochs, seconds: Of the training.
        macs, params, share: As `Baseline` has them.
    """

    name: str
    hash: str
    repeat: int
    seed: int
    accuracy: float
    test_accuracy: float | None
    epochs: int | None
    seconds: float | None
    macs: int
    params: int
    share: float


_COLUMNS = tuple(field.name for field in fields(BaselineTraining))
_ROWS = TypeAdapter(list[BaselineTraining])


@dataclass(frozen=True)
class Planned:
    """A training that is to be done.

    Attributes:
        baseline: Of what.
        repeat: 0, 1, 2, ... for its seeds.
        seed: Of the training.
        seconds: How long it is expected to take.
    """

    baseline: Baseline
    repeat: int
    seed: int
    seconds: float

    @property
    def label(self) -> str:
        """What it is of, for lines of progress."""
        return f"{self.baseline.name} seed {self.repeat + 1}"

    @property
    def figures(self) -> dict[str, Any]:
        """The same for events."""
        return {"baseline": self.baseline.name, "repeat": self.repeat}


def cut_to(macs: float, names: Sequence[str], like: Architecture) -> list[Baseline]:
    """Returns published networks with as much of their width and depth as a number of multiply-adds
    allows; without those of which the least is too much.

    Args:
        macs: Multiply-adds of a clip, at the input of the search.
        names: Of published networks.
        like: A network with the input and the classes of the search.
    """
    found = []
    for name in names:
        base = load(name).resized(like.input.frames, like.input.size, like.num_classes)
        cut = largest(base, lambda network: cost(network).macs <= macs)
        if cut is not None:
            priced = cost(cut)
            found.append(Baseline(name, cut, priced.macs, priced.params, priced.params / cost(base).params))
    return found


def trainings(
    baselines: Sequence[Baseline], seeds: int, seed: int, seconds: float, done: Collection[tuple[str, int]] = ()
) -> list[Planned]:
    """The trainings of baselines, in the order in which they count: each with its first seed, then
    each with the next.

    Args:
        baselines: What to train.
        seeds: How many of each.
        seed: Of the search.
        seconds: That a whole training of the pick took.
        done: (hash, repeat) of those that are known.
    """
    return [
        Planned(baseline, repeat, seed + SEED_OFFSET + repeat * len(baselines) + place, OVERHEAD * seconds)
        for repeat in range(seeds)
        for place, baseline in enumerate(baselines)
        if (baseline.architecture.hash, repeat) not in done
    ]


def training_of(planned: Planned, report: Report) -> BaselineTraining:
    """What is written down of a training that came to its end, with an accuracy."""
    assert report.accuracy is not None
    baseline = planned.baseline
    return BaselineTraining(
        name=baseline.name,
        hash=baseline.architecture.hash,
        repeat=planned.repeat,
        seed=planned.seed,
        accuracy=report.accuracy,
        test_accuracy=report.test_accuracy,
        epochs=report.epochs,
        seconds=report.seconds,
        macs=baseline.macs,
        params=baseline.params,
        share=baseline.share,
    )


def append_training(folder: Path, training: BaselineTraining) -> None:
    """Writes down a training, safely on the disk when this returns."""
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(asdict(training).values())
    append_line(folder / BASELINES, row.getvalue(), header=",".join(_COLUMNS))


def read_trainings(folder: Path) -> list[BaselineTraining]:
    """The trainings of baselines of a run; none without the file.

    Raises:
        NasError: The file has other columns, or a value that its column cannot have.
    """
    path = folder / BASELINES
    lines = whole_lines(path)
    try:
        rows = [{key: cell or None for key, cell in row.items()} for row in csv.DictReader(lines)]
        return _ROWS.validate_python(rows)
    except ValidationError as error:
        (first, *_) = error.errors()
        raise NasError(
            f"{str(path)!r} has a row whose {first['loc'][-1]} is not allowed ({first['msg']}); allowed: the columns "
            f"{', '.join(_COLUMNS)}"
        ) from None
