"""What a cost says: figures, a row for each part or module, a row for each operator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from typing import Any

from nas.errors import NasError
from nas.profiler.computed.operations import Work

STATES = {"sgd": 0, "momentum": 1, "adamw": 2}  # numbers that an optimizer keeps for one parameter


@dataclass(frozen=True, slots=True)
class LayerCost:
    """A row of the cost table: one part of an architecture, or one module.

    Attributes:
        path: Where the part stands in the file, or the module's name.
        op: Its operator, or its type.
        shape: Shape that comes out: frames x height x width x channels of a part.
        macs, params, elementwise, bytes_moved: As in `Cost`.
        activation_bytes: Kept for backward inside, plus the output if it or its successor keeps
            that.
        inference_bytes: The most bytes that live while it runs in inference, those of the whole
            network.
    """

    path: str
    op: str
    shape: str
    macs: int
    params: int
    elementwise: int
    bytes_moved: int
    activation_bytes: int
    inference_bytes: int


@dataclass(slots=True)
class OperatorCost:
    """A row of the table by ATen operator: calls, and sums over them."""

    op: str
    calls: int = 0
    macs: int = 0
    elementwise: int = 0
    bytes_moved: int = 0

    def add(self, work: Work | OperatorCost, calls: int = 1) -> None:
        self.calls += calls
        self.macs += work.macs
        self.elementwise += work.elementwise
        self.bytes_moved += work.bytes_moved


@dataclass(frozen=True, eq=False)
class Cost(ABC):
    """Cost of one forward pass, of one clip if of an architecture.

    What concerns training is traced when it is first asked for.

    Attributes:
        macs: Multiply-adds of convolutions, matrix and attention products.
        params: Parameters, trained or not.
        elementwise: Operations of everything else.
        bytes_moved: Read and written by all operators, each on its own.
        inference_bytes: Peak of an inference pass, inputs included, parameters not.
        parameter_bytes: Of the parameters.
    """

    macs: int
    params: int
    elementwise: int
    bytes_moved: int
    inference_bytes: int
    parameter_bytes: int

    @property
    @abstractmethod
    def activation_bytes(self) -> int:
        """Kept for backward in training mode, each storage once."""

    @property
    @abstractmethod
    def step_bytes(self) -> int:
        """Peak of a forward and backward pass, inputs and gradients included, parameters not."""

    @property
    @abstractmethod
    def layers(self) -> tuple[LayerCost, ...]:
        """A row for every part of an architecture, or for every module that does or has something
        itself.
        """

    @property
    @abstractmethod
    def operators(self) -> tuple[OperatorCost, ...]:
        """A row for every ATen operator, the most multiply-adds first."""

    @property
    @abstractmethod
    def unknown(self) -> dict[str, int]:
        """Calls of operators whose work nobody has stated; their bytes are counted, nothing else
        is.
        """

    @property
    def intensity(self) -> float:
        """Multiply-adds and other operations per byte moved."""
        return (self.macs + self.elementwise) / self.bytes_moved if self.bytes_moved else 0.0

    def step_peak(self, batch: int) -> int:
        """`step_bytes` of so many such inputs: exact for an architecture's parts, a bound for what
        is one piece.
        """
        return batch * self.step_bytes

    def training_bytes(self, optimizer: str = "adamw", batch: int = 1) -> int:
        """Memory of a training step: parameters, what the optimizer keeps, and the step's peak.

        Args:
            optimizer: One of `STATES`.
            batch: How many such inputs it takes.

        Raises:
            NasError: An optimizer that is not known.
        """
        if optimizer not in STATES:
            raise NasError(f"optimizer {optimizer!r} is unknown; allowed: {', '.join(STATES)}")
        return self.step_peak(batch) + (1 + STATES[optimizer]) * self.parameter_bytes

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain numbers, lists and mappings."""
        return {
            **{item.name: getattr(self, item.name) for item in fields(Cost)},
            "activation_bytes": self.activation_bytes,
            "step_bytes": self.step_bytes,
            "training_bytes": {name: self.training_bytes(name) for name in STATES},
            "intensity": self.intensity,
            "layers": [asdict(row) for row in self.layers],
            "operators": [asdict(row) for row in self.operators],
            "unknown": self.unknown,
        }


def peak(log: Sequence[tuple[int, int]], begin: int = 0) -> int:
    """The most bytes that live at one time from a position on."""
    return max(list(accumulate((n for _, n in log), initial=0))[begin:])


def totals(works: Iterable[Work | LayerCost]) -> dict[str, int]:
    rows = list(works)
    return {name: sum(getattr(row, name) for row in rows) for name in ("macs", "elementwise", "bytes_moved")}


def operator_rows(works: Iterable[Work]) -> tuple[OperatorCost, ...]:
    rows: dict[str, OperatorCost] = {}
    for work in works:
        if work.macs or work.elementwise or work.bytes_moved or not work.known:
            rows.setdefault(work.name, OperatorCost(work.name)).add(work)
    return tuple(sorted(rows.values(), key=lambda row: (-row.macs, -row.elementwise, -row.bytes_moved, row.op)))


def unknown_operators(works: Iterable[Work]) -> dict[str, int]:
    return dict(Counter(work.name for work in works if not work.known))
