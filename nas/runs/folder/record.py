"""`run.json`: what a run was asked for, what was decided before anything was trained, and how far
it has come.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    computed_field,
)
from pydantic.dataclasses import dataclass

from nas.documents import of_schema, read_json
from nas.errors import NasError, brief
from nas.limits.metrics import ACCURACY
from nas.limits.objectives import DEFAULT_COST
from nas.limits.pace import Pace
from nas.resources import replacing
from nas.runs.settings import Settings

RECORD = "run.json"
# In the order in which a run goes through them.
PLANNING, READING, GROWING = "planning", "reading clips", "measuring layers"
TRAINING, CONTROL, CONFIRMING, BASELINES = "training", "random control", "confirming", "published networks"
MEASURING, REPORTING = "measuring", "reporting"
PHASES = (PLANNING, READING, GROWING, TRAINING, CONTROL, CONFIRMING, BASELINES, MEASURING, REPORTING)
SCHEMA = 1  # of the form of a run folder
_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0)]
_KEEP_WHAT_IS_KNOWN = ConfigDict(extra="ignore")


def _none_if_unreadable(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """What another version wrote is left out: the rest of the run can still be shown."""
    try:
        return read(value)
    except ValidationError:
        return None


@dataclass(frozen=True, config=_KEEP_WHAT_IS_KNOWN)
class ClipShape:
    """Frames of a clip, and its height and width."""

    frames: int
    size: tuple[int, int]


@dataclass(frozen=True, config=_KEEP_WHAT_IS_KNOWN)
class ProxyRecord(ClipShape):
    """How every candidate was trained.

    Attributes:
        epochs: Of a training that is not stopped.
        rungs: Epochs after which a training is judged.
        recipe: `nas.training.recipe.Recipe`, by field.
    """

    epochs: int
    rungs: tuple[int, ...] = ()
    recipe: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, config=_KEEP_WHAT_IS_KNOWN)
class Counts:
    """How many candidates were proposed, and what became of them. Those that were `unreached` are
    inside the budget and below the floor, or would take too long to train.
    """

    proposed: _Count
    rejected: _Count
    duplicates: _Count
    trained: _Count
    stopped_early: _Count
    failed: _Count
    unreached: _Count = 0


@dataclass(frozen=True, config=_KEEP_WHAT_IS_KNOWN)
class RunRecord:
    """What `run.json` holds. What the run has not come to yet, or another version did not write, is
    None or empty.

    Attributes:
        schema: The number of the form of the run folder; a newer one is refused.
        space: Name of the search space.
        budget: Its limits, as text.
        data: Name of the data: the last part of its path.
        data_description: The data in a sentence.
        doubts: What makes accuracies on it doubtful; see `nas.data.doubts`.
        classes: Names of the classes, in the order of the networks' outputs.
        chance: Accuracy of guessing.
        clips: How many clips a proxy has of `train`, `val` and `test`.
        proxy: How candidates were trained.
        pace: How fast a trial trained when the run was planned.
        memory_factor: Memory of a training on a GPU, over what is computed for it, as measured when
            the run was planned; None on a CPU.
        ceiling: Multiply-adds beyond which a training would have taken too long; None for none.
        target: The clip that costs, latency and memory are of.
        workers: Trainings at a time.
        device: The machine, by name.
        objectives: What the front is of, by the names of `nas.limits.objectives`.
        versions: Of the packages that decide results.
        counts: How many candidates were proposed, trained and lost.
        searched: Whether the search, and its control, came to their end.
        spent_s: Seconds spent by the search (`training`) and its control (`random control`).
        step_s: Seconds of all trainings in training steps and evaluation.
        slot_s: Seconds that there were for them: workers times time.
        wall_s: Seconds of the whole run, all its sessions together.
        phases_s: Seconds of each phase in all sessions, by the names in `PHASES`.
        front_of: How many trials were known when the front was measured.
        settings: What was asked for; None where another version wrote settings that this one does
            not know.
    """

    schema: int = SCHEMA
    space: str | None = None
    budget: str | None = None
    data: str | None = None
    data_description: str | None = None
    doubts: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    chance: Annotated[float, Field(ge=0, le=1)] | None = None
    clips: Mapping[str, _Count] = field(default_factory=dict)
    proxy: Annotated[ProxyRecord | None, WrapValidator(_none_if_unreadable)] = None
    pace: Annotated[Pace | None, WrapValidator(_none_if_unreadable)] = None
    memory_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    ceiling: float | None = None
    target: Annotated[ClipShape | None, WrapValidator(_none_if_unreadable)] = None
    workers: int | None = None
    device: str | None = None
    objectives: tuple[str, ...] = (ACCURACY, DEFAULT_COST)
    versions: Mapping[str, str] = field(default_factory=dict)
    counts: Annotated[Counts | None, WrapValidator(_none_if_unreadable)] = None
    searched: bool = False
    spent_s: Mapping[str, _Seconds] = field(default_factory=dict)
    step_s: _Seconds = 0.0
    slot_s: _Seconds = 0.0
    wall_s: _Seconds = 0.0
    phases_s: Mapping[str, _Seconds] = field(default_factory=dict)
    front_of: _Count | None = None
    settings: Annotated[Settings | None, WrapValidator(_none_if_unreadable)] = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def trials(self) -> int | None:
        """Networks that were to be trained."""
        return self.settings.trials if self.settings else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def time_s(self) -> float | None:
        """Seconds that there were to train."""
        return self.settings.time if self.settings else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def seed(self) -> int | None:
        """Of proposals, data and training."""
        return self.settings.seed if self.settings else None

    def spending(self, phase: str, seconds: float) -> RunRecord:
        """The record with the seconds of a phase that has ended, or was cut off, added to it."""
        return replace(self, phases_s={**self.phases_s, phase: self.phases_s.get(phase, 0.0) + seconds})

    def document(self) -> dict[str, Any]:
        """The record as JSON holds it."""
        return dict(_ADAPTER.dump_python(self, mode="json"))

    def shown(self) -> dict[str, Any]:
        """The document as a report shows it: paths by their last part, since a report is passed on
        and the folders of its author are not.
        """
        document = self.document()
        if self.settings:
            document["settings"] = self.settings.without_folders()
        return document


_ADAPTER = TypeAdapter(RunRecord)


def read_record(folder: Path) -> RunRecord:
    """Reads the record of a run folder, also one that an earlier version wrote.

    Raises:
        NasError: No such file, or it is not the record of a run, or one of a newer version.
    """
    path = folder / RECORD
    if not path.is_file():
        raise NasError(f"{str(folder)!r} is not a run: it has no run.json; allowed: a folder of `nas search`")
    document = read_json("record", path)
    if not isinstance(document, dict):
        raise NasError(f"{str(path)!r} holds a {type(document).__name__}; allowed: an object of settings")
    of_schema(document, SCHEMA, f"record {str(path)!r}")
    try:
        return _ADAPTER.validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise NasError(
            f"{str(path)!r} holds {name} {brief(first['input'])}; allowed: the run.json of `nas search`"
        ) from None


def write_record(record: RunRecord, folder: Path) -> None:
    """Writes the record of a run folder, whole or not at all."""
    with replacing(folder / RECORD) as draft:
        draft.write_text(json.dumps(record.document(), indent=2) + "\n", encoding="utf-8")


def workers_busy(step_s: float, slot_s: float) -> str:
    """How well workers were used, as a sentence: the start of Ray is none of their time.

    Args:
        step_s: Seconds of all trainings in training steps and evaluation.
        slot_s: Seconds that there were for them, above zero.
    """
    share = 100 * step_s / slot_s
    return f"Once Ray had started the first process, workers spent {share:.0f} % of the time in training and evaluation"
