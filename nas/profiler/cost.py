"""Exact cost of an architecture or of any module, computed before anything is trained or measured.

Multiply-adds are those of convolutions, linear layers and attention products, as the video papers count. Everything
else that computes is in a column of its own; `nas.profiler.operations` says what is counted. Activation memory is what
autograd keeps of one float32 clip for the backward pass, each storage once, parameters and buffers not included. The
peaks are the most bytes that live at one time, clip included and parameters not, of an inference and of a training
pass; the latter includes the gradients of the parameters.

An architecture's cost is the sum over its parts of what the part's own code does; parts that compute the same are
traced once per process. All that two neighbours share is the map between them, which is kept once if either wants it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from nas.architecture import Architecture, Config, LayerConfig, Part, Shape
from nas.errors import NasError
from nas.models.network import adds_stem_tokens, build, build_part
from nas.profiler.tracing import Tally, Trace, trace

STATES = {"sgd": 0, "momentum": 1, "adamw": 2}  # numbers that an optimizer keeps for one parameter


@dataclass(frozen=True, slots=True)
class LayerCost:
    """A row of the cost table: one part of an architecture, or one module.

    Attributes:
        path: Where the part stands in the file, or the module's name.
        op: Its operator, or its type.
        shape: Shape that comes out: frames x height x width x channels of a part.
        macs, params, elementwise, bytes_moved: As in `Cost`.
        activation_bytes: Kept for backward inside, plus the output if it or its successor keeps that.
        inference_bytes: The most bytes that live while it runs in inference, those of the whole network.
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


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """A row of the table by ATen operator: calls, and sums over them."""

    op: str
    calls: int
    macs: int
    elementwise: int
    bytes_moved: int


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass, of one clip if of an architecture.

    Attributes:
        macs: Multiply-adds of convolutions, matrix and attention products.
        params: Trainable and other parameters.
        elementwise: Operations of everything else.
        bytes_moved: Read and written by all operators, each on its own.
        activation_bytes: Kept for backward in training mode.
        inference_bytes: Peak of an inference pass, clip included, parameters not.
        step_bytes: Peak of a forward and backward pass, clip and gradients included, parameters not.
        parameter_bytes: Of the parameters, and of those that are trained.
        layers, operators: The same by part or module, and by operator.
        unknown: Calls of operators that nobody has stated the work of; their bytes are counted, nothing else is.
    """

    macs: int
    params: int
    elementwise: int
    bytes_moved: int
    activation_bytes: int
    inference_bytes: int
    step_bytes: int
    parameter_bytes: int
    layers: tuple[LayerCost, ...]
    operators: tuple[OperatorCost, ...]
    unknown: dict[str, int]

    @property
    def intensity(self) -> float:
        """Multiply-adds and other operations per byte moved."""
        return (self.macs + self.elementwise) / self.bytes_moved if self.bytes_moved else 0.0

    def training_bytes(self, optimizer: str = "adamw") -> int:
        """Memory of a training step of one input: parameters, what the optimizer keeps, and the step's peak.

        Raises:
            NasError: An optimizer that is not known.
        """
        if optimizer not in STATES:
            raise NasError(f"optimizer {optimizer!r} is unknown; allowed: {', '.join(STATES)}")
        return self.step_bytes + (1 + STATES[optimizer]) * self.parameter_bytes


def cost(what: Architecture | nn.Module, *args: Any, **kwargs: Any) -> Cost:
    """Prices an architecture at its own input, one clip in float32, or any module with any inputs.

    Args:
        what: An architecture, or a module on any device; nothing of it is changed.
        args, kwargs: The module's inputs: real, fake or meta tensors, nested as it takes them.

    Returns:
        The cost; that of an architecture equals that of its network.

    Raises:
        NasError: The module refuses the inputs, or what it does depends on numbers of its activations.
    """
    if isinstance(what, nn.Module):
        return _module_cost(what, args, kwargs)
    if args or kwargs:
        raise NasError("an architecture says itself what goes in; allowed: inputs for modules only")
    parts = what.parts()
    if any(adds_stem_tokens(part) for part in parts):  # one map goes to many layers
        return _gated_cost(what)
    return _compose(parts, [_record(p.config, p.input, p.output, p.stride, p.path == "stem") for p in parts])


# ---------------------------------------------------------------------------------------------------- parts


@dataclass(frozen=True, slots=True)
class Record:
    """What one part costs wherever it stands.

    Attributes:
        input_bytes, output_bytes: Sizes of the maps that go in and out.
        keeps_input, keeps_output: Whether its backward pass needs them.
        saved_bytes: What else that needs.
        held_bytes: What else lives between its forward and its backward pass.
        inference_peak, forward_peak: Most bytes that live while it runs, its input included.
        backward_peak: The same backward, where its input ends as soon as it lets go.
        backward_peak_beside: The same without its input, where the part before keeps that.
        parameter_bytes: Of its parameters.
        gradient_bytes: What lives after its backward pass: gradients of its parameters, with what they are views of.
        operators, unknown: Sums by operator, and those that nobody knows.
    """

    macs: int
    params: int
    elementwise: int
    bytes_moved: int
    input_bytes: int
    output_bytes: int
    keeps_input: bool
    keeps_output: bool
    saved_bytes: int
    held_bytes: int
    inference_peak: int
    forward_peak: int
    backward_peak: int
    backward_peak_beside: int
    parameter_bytes: int
    gradient_bytes: int
    operators: tuple[tuple[str, Tally], ...]
    unknown: tuple[tuple[str, int], ...]


@cache
def _record(config: Config, shape_in: Shape, shape_out: Shape, stride: tuple[int, int, int], entry: bool) -> Record:
    with torch.device("meta"):
        module = build_part(Part("part", config, shape_in, shape_out, stride))
        if entry:
            x = torch.empty(1, shape_in.channels, *shape_in.extent).permute(0, 2, 3, 4, 1)
        else:
            x = torch.empty(1, *shape_in.stored, shape_in.channels, requires_grad=True)
    inference = trace(module, (x,), part=True)
    step = trace(module, (x,), training=True, backward=True, part=True)
    source, sink = _only(step.inputs), _only(step.outputs)
    keeps_input, keeps_output = source[0] in step.saved, sink[0] in step.saved
    ends = {source[0], sink[0]}
    live = sum(n for _, n in step.log[: step.turn])
    alone = [(number, n) for number, n in step.log if number != source[0]]
    turn = sum(1 for number, _ in step.log[: step.turn] if number != source[0])
    return Record(
        **_totals(inference.forward.values()),
        params=sum(p.numel() for p in module.parameters()),
        input_bytes=source[1],
        output_bytes=sink[1],
        keeps_input=keeps_input,
        keeps_output=keeps_output,
        saved_bytes=sum(n for number, (n, _) in step.saved.items() if number not in ends),
        held_bytes=live - keeps_input * source[1] - keeps_output * sink[1],
        inference_peak=_peak(inference.log),
        forward_peak=_peak(step.log[: step.turn]),
        backward_peak=_peak(step.log, step.turn),
        backward_peak_beside=_peak(alone, turn),
        parameter_bytes=sum(p.nbytes for p in module.parameters()),
        gradient_bytes=sum(n for _, n in step.log),
        operators=_by_operator(inference),
        unknown=tuple(inference.unknown.items()),
    )


def _only(storages: dict[int, int]) -> tuple[int, int]:
    (storage,) = storages.items()
    return storage


def _peak(log: Sequence[tuple[int, int]], begin: int = 0) -> int:
    """The most bytes that live at one time from a position on."""
    return max(list(accumulate((n for _, n in log), initial=0))[begin:])


def _totals(tallies: Iterable[Tally]) -> dict[str, int]:
    rows = list(tallies)
    return {name: sum(getattr(row, name) for row in rows) for name in ("macs", "elementwise", "bytes_moved")}


def _by_operator(result: Trace) -> tuple[tuple[str, Tally], ...]:
    sums: dict[str, Tally] = defaultdict(Tally)
    for (_, name), tally in result.forward.items():
        sums[name].merge(tally)
    return tuple(sums.items())


def _compose(parts: Sequence[Part], records: Sequence[Record]) -> Cost:
    """Sums, and peaks over the parts in the order in which they run.

    In inference only a part's input and what it makes itself live, beside the clip. In training all that earlier parts
    hold lives too, and in the backward pass the gradients of later parameters.
    """
    last = len(records) - 1
    kept = [r.keeps_output or (k < last and records[k + 1].keeps_input) for k, r in enumerate(records)]
    clip = records[0].input_bytes
    earlier, later = clip, sum(record.gradient_bytes for record in records)
    logits = 0 if kept[last] else records[last].output_bytes  # whoever computes the loss keeps them
    inference = step = 0
    rows = []
    sums: dict[str, Tally] = defaultdict(Tally)
    unknown: dict[str, int] = defaultdict(int)
    for k, (part, record) in enumerate(zip(parts, records, strict=True)):
        later -= record.gradient_bytes
        own = record.input_bytes if k == 0 else 0  # the clip lives throughout
        alive = clip - own + record.inference_peak
        inference = max(inference, alive)
        beside = k == 0 or records[k - 1].keeps_output
        backward = record.backward_peak_beside if beside else record.backward_peak
        if k > 0 and beside:
            backward += record.input_bytes
        step = max(step, earlier - own + record.forward_peak, earlier + later + backward + logits)
        earlier += record.held_bytes + (kept[k - 1] * records[k - 1].output_bytes if k else 0)
        op = getattr(part.config, "op", "")
        saved = record.saved_bytes + kept[k] * record.output_bytes
        if k == 0:
            saved += record.keeps_input * record.input_bytes
        rows.append(
            LayerCost(
                part.path,
                op if isinstance(part.config, LayerConfig) else f"{part.path.split('.')[-1]}:{op}",
                str(part.output),
                record.macs,
                record.params,
                record.elementwise,
                record.bytes_moved,
                saved,
                alive,
            )
        )
        for name, tally in record.operators:
            sums[name].merge(tally)
        for name, calls in record.unknown:
            unknown[name] += calls
    return Cost(
        macs=sum(row.macs for row in rows),
        params=sum(row.params for row in rows),
        elementwise=sum(row.elementwise for row in rows),
        bytes_moved=sum(row.bytes_moved for row in rows),
        activation_bytes=sum(row.activation_bytes for row in rows),
        inference_bytes=inference,
        step_bytes=step,
        parameter_bytes=sum(record.parameter_bytes for record in records),
        layers=tuple(rows),
        operators=_operators(sums),
        unknown=dict(unknown),
    )


def _operators(sums: dict[str, Tally]) -> tuple[OperatorCost, ...]:
    rows = [OperatorCost(name, t.calls, t.macs, t.elementwise, t.bytes_moved) for name, t in sums.items()]
    return tuple(sorted(rows, key=lambda row: (-row.macs, -row.elementwise, -row.bytes_moved, row.op)))


# --------------------------------------------------------------------------------------------- whole modules


def _module_cost(module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> Cost:
    inference = trace(module, args, kwargs)
    step = trace(module, args, kwargs, training=True, backward=True)
    kinds = {name: type(part).__name__ for name, part in module.named_modules()}
    own = {name: sum(p.numel() for p in part.parameters(recurse=False)) for name, part in module.named_modules()}
    tallies: dict[str, list[Tally]] = defaultdict(list)
    for (path, _), tally in inference.forward.items():
        tallies[path].append(tally)
    saved: dict[str, int] = defaultdict(int)
    for nbytes, path in step.saved.values():
        saved[path] += nbytes
    peaks = _peaks_by_path(inference)
    rows = tuple(
        LayerCost(
            path=path,
            op=kind,
            shape=inference.shapes.get(path, ""),
            **_totals(tallies[path]),
            params=own[path],
            activation_bytes=saved[path],
            inference_bytes=peaks.get(path, 0),
        )
        for path, kind in kinds.items()
        if tallies[path] or saved[path] or own[path]
    )
    parameters = list(module.parameters())
    return Cost(
        **_totals(inference.forward.values()),
        params=sum(p.numel() for p in parameters),
        activation_bytes=sum(n for n, _ in step.saved.values()),
        inference_bytes=_peak(inference.log),
        step_bytes=_peak(step.log),
        parameter_bytes=sum(p.nbytes for p in parameters),
        layers=rows,
        operators=_operators(dict(_by_operator(inference))),
        unknown=dict(inference.unknown),
    )


def _gated_cost(architecture: Architecture) -> Cost:
    """A network whose layers take the map of the stem as well, traced whole; rows are those of its parts."""
    model = build(architecture, device="meta")
    shape = architecture.input.shape
    figures = _module_cost(model, (torch.empty(1, shape.channels, *shape.extent, device="meta"),), {})
    rows = []
    for part in architecture.parts():
        inside = f"parts.{part.path.replace('.', '_')}"
        found = [row for row in figures.layers if row.path == inside or row.path.startswith(f"{inside}.")]
        op = getattr(part.config, "op", "")
        rows.append(
            LayerCost(
                path=part.path,
                op=op if isinstance(part.config, LayerConfig) else f"{part.path.split('.')[-1]}:{op}",
                shape=str(part.output),
                inference_bytes=max(row.inference_bytes for row in found),
                **{
                    name: sum(getattr(row, name) for row in found)
                    for name in ("macs", "params", "elementwise", "bytes_moved", "activation_bytes")
                },
            )
        )
    return Cost(**{**{f: getattr(figures, f) for f in figures.__dataclass_fields__}, "layers": tuple(rows)})


def _peaks_by_path(result: Trace) -> dict[str, int]:
    """The most bytes that live while each module runs."""
    live = list(accumulate((n for _, n in result.log), initial=0))
    peaks: dict[str, int] = {}
    ends = [position for position, _ in result.marks[1:]] + [len(result.log)]
    for (begin, path), end in zip(result.marks, ends, strict=True):
        peaks[path] = max(peaks.get(path, 0), *live[begin : end + 1])
    return peaks
