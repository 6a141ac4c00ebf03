"""Cost of an architecture as the sum over its parts, each traced once per process.

All that two neighbours share is the map between them, which is kept once if either wants it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas.architecture import ArchitectureError, LayerConfig, Operator, Part, Shape
from nas.models.network import build_part, part_inputs
from nas.profiler.computed.effects import when_forgotten
from nas.profiler.computed.operations import Work
from nas.profiler.computed.results import Cost, LayerCost, OperatorCost, operator_rows, peak, totals, unknown_operators
from nas.profiler.computed.tracing import trace

aten = torch.ops.aten


class Uninitialised(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Skips what only writes numbers into tensors of the meta device, which has none: modules are
    built faster.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in _INITIALISATIONS and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


_INITIALISATIONS = {
    aten.normal_,
    aten.uniform_,
    aten.fill_,
    aten.zero_,
    aten.erfinv_,
    aten.mul_,
    aten.add_,
    aten.clamp_,
}


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


def _part(kind: Kind) -> Part:
    config, shape_in, shape_out, stride, entry = kind
    return Part("stem" if entry else "part", config, shape_in, shape_out, stride)


@lru_cache(maxsize=64)  # the parts of an architecture are traced in inference, then in training
def _module(kind: Kind) -> nn.Module:
    with torch.device("meta"), Uninitialised():  # type: ignore[no-untyped-call]
        return build_part(_part(kind))


when_forgotten(_module.cache_clear)


def _example(kind: Kind, batch: int = 1) -> tuple[nn.Module, Tensor]:
    make = partial(torch.empty, device="meta", requires_grad=not kind[-1])
    x, *_ = part_inputs(_part(kind), make, batch)
    return _module(kind), x


@cache
def record(kind: Kind) -> Record:
    """Traces a part in inference, once per process.

    Raises:
        ArchitectureError: A tensor of it would have more numbers than torch can count.
    """
    try:
        module, x = _example(kind)
        inference = trace(module, (x,), part=True)
    except (RuntimeError, TypeError) as error:
        if "verflow" not in str(error):
            raise
        raise ArchitectureError(
            kind[0].op, f"from {kind[1]} to {kind[2]} is too large to be counted; allowed: smaller sizes and ratios"
        ) from None
    work = tuple(work for _, work in inference.calls)
    return Record(
        **totals(work),
        params=sum(p.numel() for p in module.parameters()),
        input_bytes=_only(inference.inputs)[1],
        inference_peak=peak(inference.log),
        parameter_bytes=sum(p.nbytes for p in module.parameters()),
        work=work,
    )


when_forgotten(record.cache_clear)


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
        forward_peak=peak(step.log[: step.turn]),
        backward_peak=peak(step.log, step.turn),
        backward_peak_beside=peak(alone, turn),
        gradient_bytes=sum(n for _, n in step.log),
    )


when_forgotten(_step_record.cache_clear)


def _only(storages: dict[int, int]) -> tuple[int, int]:
    (storage,) = storages.items()
    return storage


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
                part_label(part),
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
        return operator_rows(work for record in self.records for work in record.work)

    @cached_property
    def unknown(self) -> dict[str, int]:
        return unknown_operators(work for record in self.records for work in record.work)


def part_label(part: Part) -> str:
    op = getattr(part.config, "op", "")
    return op if isinstance(part.config, LayerConfig) else f"{part.path.split('.')[-1]}:{op}"
