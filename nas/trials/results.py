"""What passes between the driver of a search and its trials, and what is kept of a trial.

An `Assignment` goes to a trial as Ray's config, a `Report` comes back as Ray's result, and a
`TrialResult` stands in the journal as JSON. Searchers, schedulers and trainables know these types
alone; their dictionaries are made and read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

STUDY = "study.log"  # the journal of a run, in its folder

State = Literal["finished", "stopped", "failed"]
# Why a training failed: memory ran out, its loss was no number, an exception, it took longer than
# a training may, or its process ended whenever it was tried.
Failure = Literal["memory", "diverged", "error", "timeout", "lost"]


@dataclass(frozen=True)
class Assignment:
    """What a trial is to train.

    Attributes:
        index: The candidate's number in the search.
        architecture: Its document.
        costs: What it is compared by beside accuracy, less is better.
        seed: Of the training; by default the recipe's plus the index.
    """

    index: int
    architecture: Mapping[str, Any]
    costs: tuple[float, ...] = ()
    seed: int | None = None

    def config(self) -> dict[str, Any]:
        """The assignment as Ray passes it to a trial."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Reads a trial's config."""
        return cls(int(config["index"]), config["architecture"], tuple(config["costs"]), config["seed"])


@dataclass(frozen=True)
class Report:
    """What a trial says at a rung, or when it cannot go on.

    Attributes:
        curve: Validation accuracy at every rung that it passed.
        reached: Epochs trained at each of them.
        losses: Mean of every epoch.
        last: Whether the training came to its end.
        epochs: Trained so far.
        seconds: Of training so far, without evaluation.
        test_accuracy: After the last epoch; None without test clips.
        node: Where it was trained, by Ray's name.
        peak_bytes: The most that tensors occupied on a GPU so far; None on a CPU.
        error: Why it cannot be trained, in one line.
        failure: The kind of that.
        violation: Of the memory for a trial: what it needs more, as a share of what there is.
        val_called, test_called: The number of the class that each clip was called after the last
            epoch of a training that came to its end.
    """

    curve: tuple[float, ...] = ()
    reached: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    last: bool = True
    epochs: int | None = None
    seconds: float | None = None
    test_accuracy: float | None = None
    node: str | None = None
    peak_bytes: int | None = None
    error: str | None = None
    failure: Failure | None = None
    violation: float | None = None
    val_called: tuple[int, ...] = ()
    test_called: tuple[int, ...] = ()

    @property
    def called(self) -> dict[str, tuple[int, ...]]:
        """What the clips of each split were called, of those that there are."""
        both = {"val": self.val_called, "test": self.test_called}
        return {split: called for split, called in both.items() if called}

    @property
    def accuracy(self) -> float | None:
        """Validation accuracy after the last epoch."""
        return self.curve[-1] if self.curve else None

    def to_ray(self) -> dict[str, Any]:
        """The report as Ray's result."""
        return {**_known(self), "done": self.last}

    @classmethod
    def of(cls, result: Mapping[str, Any] | None) -> Self | None:
        """Reads Ray's result of a trial; None where the trial has not said anything yet."""
        if not result or not ("curve" in result or "error" in result):
            return None
        return cls(**_fields_in(cls, result))

    def result(self) -> TrialResult:
        """What is kept of a trial whose last report this is."""
        if self.error is not None:
            return TrialResult("failed", error=self.error, failure=self.failure, violation=self.violation)
        return TrialResult(
            "finished" if self.last else "stopped",
            accuracy=self.accuracy,
            test_accuracy=self.test_accuracy,
            epochs=self.epochs,
            seconds=self.seconds,
            curve=self.curve,
            reached=self.reached,
            losses=tuple(float(f"{loss:.4g}") for loss in self.losses),
            node=self.node,
            peak_bytes=self.peak_bytes,
        )


@dataclass(frozen=True)
class TrialResult:
    """What became of a candidate.

    Attributes:
        state: `finished` at its last epoch, `stopped` at a rung, or `failed`.
        accuracy: On validation, after the last epoch trained; None if it failed.
        test_accuracy, epochs, seconds, curve, reached, losses, node, peak_bytes, error, failure,
            violation: As of its last `Report`, losses to four digits.
    """

    state: State
    accuracy: float | None = None
    test_accuracy: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    curve: tuple[float, ...] = ()
    reached: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    node: str | None = None
    peak_bytes: int | None = None
    error: str | None = None
    failure: Failure | None = None
    violation: float | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no accuracy."""
        return self.state == "failed"

    def document(self) -> dict[str, Any]:
        """The result as the journal keeps it, in JSON."""
        return _known(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Reads a result of the journal, also one that an earlier version wrote."""
        return cls(**_fields_in(cls, document))


def _fields_in(kind: type[Report | TrialResult], document: Mapping[str, Any]) -> dict[str, Any]:
    """What a document says of the fields of a type; JSON has lists for tuples."""
    given = {field.name: document[field.name] for field in fields(kind) if field.name in document}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _known(values: Report | TrialResult) -> dict[str, Any]:
    """The fields that say something, in JSON's types."""
    known = {name: value for name, value in asdict(values).items() if value is not None and value != ()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in known.items()}
