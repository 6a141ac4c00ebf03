"""Exact cost of an architecture or of any module, computed before anything is trained or measured.

Multiply-adds are those of convolutions, linear layers and attention products, as the video papers
count. Everything else that computes is in a column of its own; `nas.profiler.computed.operations`
says what is counted. Activation memory is what autograd keeps of one float32 clip for the backward
pass, each storage once, parameters and buffers not included. The peaks are the most bytes that live
at one time, clip included and parameters not, of an inference and of a training pass; the latter
includes the gradients of the parameters.

An architecture's cost is the sum over its parts of what the part's own code does; parts that
compute the same are traced once per process. All that two neighbours share is the map between them,
which is kept once if either wants it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache, cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from nas.architecture import Architecture, LayerConfig, Operator, Part, Shape, load
from nas.errors import NasError
from nas.models.network import Network, adds_stem_tokens, build, build_part, part_inputs
from nas.profiler.computed.operations import Work
from nas.profiler.computed.tracing import Trace, Uninitialised, trace

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


def cost(what: Architecture | nn.Module | str | Path, *args: Any, **kwargs: Any) -> Cost:
    """Prices an architecture at its own input, one clip in float32, or any module with any inputs.

    Args:
        what: An architecture, its path or the name of a reference network; or a module on any
            device, of which nothing is changed.
        args, kwargs: The module's inputs: real, fake or meta tensors, nested as it takes them.

    Returns:
        The cost; that of an architecture equals that of its network.

    Raises:
        NasError: The module refuses the inputs, or what it does depends on numbers of its
            activations.
    """
    if isinstance(what, nn.Module):
        return ModuleCost.of(what, args, kwargs)
    if args or kwargs:
        raise NasError("an architecture says itself what goes in; allowed: inputs for modules only")
    if not isinstance(what, Architecture):
        what = load(what)
    parts = what.parts()
    if any(adds_stem_tokens(part) for part in parts):  # one map goes to many layers
        model, shape = build(what, device="meta"), what.input.shape
        return GatedCost.of(model, (torch.empty(1, shape.channels, *shape.extent, device="meta"),), {})
    return PartsCost.of(parts)


# -------------------------------------------------------------------------------------------- parts


@dataclass(frozen=True, slots=True)
class Record:
    """What one part costs in inference wherever it stands.

    Attributes:
        input_bytes: Of the map that goes in.
        inference_peak: Most bytes that live while it runs, its input included.
        parameter_bytes: Of its parameters.
        work: Of every operator.
    """

    macs: int
    params: int
    elementwise: int
    bytes_moved: int
    input_bytes: int
    inference_peak: int
    parameter_bytes: int
    work: tuple[Work, ...]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one part costs in training wherever it stands.

    Attributes:
        input_bytes, output_bytes: Sizes of the maps that go in and out.
        keeps_input, keeps_output: Whether its backward pass needs them.
        saved_bytes: What else that needs.
        held_bytes: What else lives between its forward and its backward pass.
        forward_peak: Most bytes that live while it runs, its input included.
        backward_peak: The same backward, where its input ends as soon as it lets go.
        backward_peak_beside: The same without its input, where the part before keeps that.
        gradient_bytes: What lives after its backward pass: gradients of its parameters, with what
            they are views of.
    """

    input_bytes: int
    output_bytes: int
    keeps_input: bool
    keeps_output: bool
    saved_bytes: int
    held_bytes: int
    forward_peak: int
    backward_peak: int
    backward_peak_beside: int
    gradient_bytes: int


Kind = tuple[Operator, Shape, Shape, tuple[int, int, int], bool]  # all that a part's cost depends on


def kind_of(part: Part) -> Kind:
    return part.config, part.input, part.output, part.stride, part.path == "stem"


def _example(kind: Kind, batch: int = 1) -> tuple[nn.Module, Tensor]:
    config, shape_in, shape_out, stride, entry = kind
    part = Part("stem" if entry else "part", config, shape_in, shape_out, stride)
    with torch.device("meta"), Uninitialised():  # type: ignore[no-untyped-call]
        module = build_part(part)
        x, *_ = part_inputs(part, partial(torch.empty, requires_grad=not entry), batch)
    return module, x


@cache
def record(kind: Kind) -> Record:
    """Traces a part in inference, once per process."""
    module, x = _example(kind)
    inference = trace(module, (x,), part=True)
    work = tuple(work for _, work in inference.calls)
    return Record(
        **_totals(work),
        params=sum(p.numel() for p in module.parameters()),
        input_bytes=_only(inference.inputs)[1],
        inference_peak=_peak(inference.log),
        parameter_bytes=sum(p.nbytes for p in module.parameters()),
        work=work,
    )


def step_record(kind: Kind, batch: int = 1) -> StepRecord:
    """Traces a part forward and backward on so many clips, once per process."""
    return _step_record(kind, batch)


@cache
def _step_record(kind: Kind, batch: int) -> StepRecord:
    module, x = _example(kind, batch)
    step = trace(module, (x,), training=True, backward=True, part=True)
    source, sink = _only(step.inputs), _only(step.outputs)
    keeps_input, keeps_output = source[0] in step.saved, sink[0] in step.saved
    live = sum(n for _, n in step.log[: step.turn])
    alone = [(number, n) for number, n in step.log if number != source[0]]
    turn = sum(1 for number, _ in step.log[: step.turn] if number != source[0])
    return StepRecord(
        input_bytes=source[1],
        output_bytes=sink[1],
        keeps_input=keeps_input,
        keeps_output=keeps_output,
        saved_bytes=sum(n for number, (n, _) in step.saved.items() if number not in (source[0], sink[0])),
        held_bytes=live - keeps_input * source[1] - keeps_output * sink[1],
        forward_peak=_peak(step.log[: step.turn]),
        backward_peak=_peak(step.log, step.turn),
        backward_peak_beside=_peak(alone, turn),
        gradient_bytes=sum(n for _, n in step.log),
    )


def _only(storages: dict[int, int]) -> tuple[int, int]:
    (storage,) = storages.items()
    return storage


def _peak(log: Sequence[tuple[int, int]], begin: int = 0) -> int:
    """The most bytes that live at one time from a position on."""
    return max(list(accumulate((n for _, n in log), initial=0))[begin:])


def _totals(works: Iterable[Work | LayerCost]) -> dict[str, int]:
    rows = list(works)
    return {name: sum(getattr(row, name) for row in rows) for name in ("macs", "elementwise", "bytes_moved")}


def _operators(works: Iterable[Work]) -> tuple[OperatorCost, ...]:
    rows: dict[str, OperatorCost] = {}
    for work in works:
        if work.macs or work.elementwise or work.bytes_moved or not work.known:
            rows.setdefault(work.name, OperatorCost(work.name)).add(work)
    return tuple(sorted(rows.values(), key=lambda row: (-row.macs, -row.elementwise, -row.bytes_moved, row.op)))


def _unknown(works: Iterable[Work]) -> dict[str, int]:
    return dict(Counter(work.name for work in works if not work.known))


@dataclass(frozen=True, eq=False)
class PartsCost(Cost):
    """Cost of an architecture, put together from the records of its parts.

    In inference only a part's input and what it makes itself live, beside the clip. In training all
    that earlier parts hold lives too, and in the backward pass the gradients of later parameters.
    """

    parts: Sequence[Part]
    records: Sequence[Record]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Self:
        records = [record(kind_of(part)) for part in parts]
        summed = zip(
            *[(r.macs, r.params, r.elementwise, r.bytes_moved, r.parameter_bytes) for r in records], strict=True
        )
        macs, params, elementwise, bytes_moved, parameter_bytes = map(sum, summed)
        return cls(macs, params, elementwise, bytes_moved, max(cls._alive(records)), parameter_bytes, parts, records)

    @staticmethod
    def _alive(records: Sequence[Record]) -> list[int]:
        """The most bytes that live while each part runs in inference."""
        clip = records[0].input_bytes
        return [records[0].inference_peak, *(clip + r.inference_peak for r in records[1:])]

    @cached_property
    def _steps(self) -> list[StepRecord]:
        return [step_record(kind_of(part)) for part in self.parts]

    @cached_property
    def _kept(self) -> list[bool]:
        """Whether the map behind each part is kept for the backward pass."""
        following = [step.keeps_input for step in self._steps[1:]] + [False]
        return [step.keeps_output or wanted for step, wanted in zip(self._steps, following, strict=True)]

    @cached_property
    def _saved(self) -> list[int]:
        saved = [
            step.saved_bytes + kept * step.output_bytes for step, kept in zip(self._steps, self._kept, strict=True)
        ]
        saved[0] += self._steps[0].keeps_input * self._steps[0].input_bytes
        return saved

    @property
    def activation_bytes(self) -> int:
        return sum(self._saved)

    @cached_property
    def step_bytes(self) -> int:
        return self.step_peak(1)

    def step_peak(self, batch: int) -> int:
        steps, kept = [step_record(kind_of(part), batch) for part in self.parts], self._kept
        logits = 0 if kept[-1] else steps[-1].output_bytes  # whoever computes the loss keeps them
        earlier = steps[0].input_bytes  # the clip lives throughout
        later = sum(step.gradient_bytes for step in steps)
        peak = 0
        for k, step in enumerate(steps):
            later -= step.gradient_bytes
            forward, backward = step.forward_peak, step.backward_peak
            if k == 0:
                forward, backward = forward - step.input_bytes, step.backward_peak_beside
            elif steps[k - 1].keeps_output:
                backward = step.backward_peak_beside + step.input_bytes
            peak = max(peak, earlier + forward, earlier + later + backward + logits)
            earlier += step.held_bytes + (kept[k - 1] * steps[k - 1].output_bytes if k else 0)
        return peak

    @cached_property
    def layers(self) -> tuple[LayerCost, ...]:
        return tuple(
            LayerCost(
                part.path,
                _label(part),
                str(part.output),
                record.macs,
                record.params,
                record.elementwise,
                record.bytes_moved,
                saved,
                alive,
            )
            for part, record, saved, alive in zip(
                self.parts, self.records, self._saved, self._alive(self.records), strict=True
            )
        )

    @cached_property
    def operators(self) -> tuple[OperatorCost, ...]:
        return _operators(work for record in self.records for work in record.work)

    @cached_property
    def unknown(self) -> dict[str, int]:
        return _unknown(work for record in self.records for work in record.work)


def _label(part: Part) -> str:
    op = getattr(part.config, "op", "")
    return op if isinstance(part.config, LayerConfig) else f"{part.path.split('.')[-1]}:{op}"


# ------------------------------------------------------------------------------------ whole modules


@dataclass(frozen=True, eq=False)
class ModuleCost(Cost):
    """Cost of any module with some inputs."""

    module: nn.Module
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    inference: Trace

    @classmethod
    def of(cls, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Self:
        inference = trace(module, args, kwargs)
        parameters = list(module.parameters())
        return cls(
            **_totals(work for _, work in inference.calls),
            params=sum(p.numel() for p in parameters),
            inference_bytes=_peak(inference.log),
            parameter_bytes=sum(p.nbytes for p in parameters),
            module=module,
            args=args,
            kwargs=kwargs,
            inference=inference,
        )

    @cached_property
    def _saved(self) -> dict[str, int]:
        saved: dict[str, int] = defaultdict(int)
        for nbytes, path in trace(self.module, self.args, self.kwargs, training=True).saved.values():
            saved[path] += nbytes
        return saved

    @property
    def activation_bytes(self) -> int:
        return sum(self._saved.values())

    @cached_property
    def step_bytes(self) -> int:
        return _peak(trace(self.module, self.args, self.kwargs, training=True, backward=True).log)

    @cached_property
    def modules(self) -> tuple[LayerCost, ...]:
        """A row for every module that does or has something itself, in the order of their names."""
        works: dict[str, list[Work]] = defaultdict(list)
        for path, work in self.inference.calls:
            works[path].append(work)
        alive = _peaks_by_path(self.inference)
        rows = []
        for path, part in self.module.named_modules():
            params = sum(p.numel() for p in part.parameters(recurse=False))
            if works[path] or params or self._saved.get(path):
                rows.append(
                    LayerCost(
                        path=path,
                        op=type(part).__name__,
                        shape="x".join(map(str, self.inference.shapes.get(path, ()))),
                        **_totals(works[path]),
                        params=params,
                        activation_bytes=self._saved.get(path, 0),
                        inference_bytes=alive.get(path, 0),
                    )
                )
        return tuple(rows)

    @property
    def layers(self) -> tuple[LayerCost, ...]:
        return self.modules

    @cached_property
    def operators(self) -> tuple[OperatorCost, ...]:
        return _operators(work for _, work in self.inference.calls)

    @cached_property
    def unknown(self) -> dict[str, int]:
        return _unknown(work for _, work in self.inference.calls)


class GatedCost(ModuleCost):
    """A network whose layers take the map of the stem as well, traced whole; rows are those of its
    parts.
    """

    @property
    def layers(self) -> tuple[LayerCost, ...]:
        rows = []
        assert isinstance(self.module, Network)
        for part in self.module.architecture.parts():
            inside = f"parts.{part.path.replace('.', '_')}"
            found = [row for row in self.modules if f"{row.path}.".startswith(f"{inside}.")]
            rows.append(
                LayerCost(
                    path=part.path,
                    op=_label(part),
                    shape=str(part.output),
                    **_totals(found),
                    params=sum(row.params for row in found),
                    activation_bytes=sum(row.activation_bytes for row in found),
                    inference_bytes=max(row.inference_bytes for row in found),
                )
            )
        return tuple(rows)


def _peaks_by_path(result: Trace) -> dict[str, int]:
    """The most bytes that live while each module runs."""
    live = list(accumulate((n for _, n in result.log), initial=0))
    peaks: dict[str, int] = {}
    ends = [position for position, _ in result.marks[1:]] + [len(result.log)]
    for (begin, path), end in zip(result.marks, ends, strict=True):
        peaks[path] = max(peaks.get(path, 0), *live[begin : end + 1])
    return peaks
