"""What one timed run is: a forward or a training step of a target under given conditions, in torch
or ONNX Runtime.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from nas.errors import NasError
from nas.models.convolution import lay_out_channels_last
from nas.profiler.measured.device import Conditions
from nas.profiler.target import Input, Target

LEARNING_RATE = 1e-6  # so small that the weights stay what they are: diverging numbers would change the timing


def prepare(target: Target, conditions: Conditions, graph: Path | None = None) -> Callable[[], object]:
    """Builds model and inputs and returns one run of them, not yet called.

    Args:
        target: What runs.
        conditions: How it runs.
        graph: The file that `export` wrote, for ONNX Runtime.

    Raises:
        NasError: The target cannot be built.
    """
    if graph is not None:
        return _onnx_forward(target, conditions, graph)
    device, dtype = conditions.resolved, conditions.torch_dtype
    model = target.build(device).train(conditions.train is not None)
    stored = torch.float32 if conditions.autocast else dtype
    model = model.to(stored)
    args, kwargs = target.example(device, stored, conditions.batch)
    if conditions.channels_last_3d:
        lay_out_channels_last(model)
        args = tuple(_channels_last(tensor) for tensor in args)
        kwargs = {name: _channels_last(tensor) for name, tensor in kwargs.items()}
    call: Callable[..., Any] = torch.compile(model) if conditions.compile else model

    def forward() -> Any:
        with torch.autocast(device.type, dtype, enabled=conditions.autocast):
            return call(*args, **kwargs)

    if conditions.train is None:
        run = torch.inference_mode()(forward)
        return captured(run, device) if conditions.cuda_graph else run
    optimizer = getattr(torch.optim, conditions.train)(model.parameters(), lr=LEARNING_RATE)

    def step() -> None:
        # The mean square of all outputs, because a loss is known for no network in general and
        # costs next to nothing.
        outputs = [x for x in _tensors(forward()) if x.requires_grad]
        if not outputs:
            raise NasError(f"target {target.name!r} has no output to train; allowed: one that needs a gradient")
        torch.stack([x.float().square().mean() for x in outputs]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def captured(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Captures a run as a CUDA graph and returns its replay, which reads and writes the same
    tensors.
    """
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):  # libraries choose their kernels and take their workspaces
            run()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # A replay takes no memory: the peak of a graph is that of its capture, and not of building the
    # network, which may be larger.
    torch.cuda.reset_peak_memory_stats(device)
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def load_code(conditions: Conditions) -> None:
    """Runs something small under the same conditions, so that what this imports is no part of a
    network's memory.
    """
    if conditions.runtime == "onnx":
        import_module("onnxruntime")
    else:
        prepare(Target(None, f"{__name__}:_small", (Input((1, 8)),)), replace(conditions, batch=1))()


def _small() -> torch.nn.Module:
    return torch.nn.Linear(8, 8)


def export(target: Target, conditions: Conditions, graph: Path) -> None:
    """Writes a target as an ONNX file, with its inputs in the order of the target.

    Raises:
        NasError: The target cannot be exported, with the exporter's message.
    """
    args, kwargs = target.example(batch=conditions.batch)
    with target.naming_failures("ONNX export"):
        write_onnx(target.build(), args, graph, kwargs, one_file=False)


def write_onnx(
    module: torch.nn.Module,
    args: tuple[torch.Tensor, ...],
    path: Path,
    kwargs: Mapping[str, torch.Tensor] | None = None,
    *,
    one_file: bool = True,
    free: Mapping[int, str] | None = None,
    names: tuple[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a module in eval mode as an ONNX file, without a word of the exporter about itself or
    about this machine: it notes the lines of code behind every operator, with their whole paths.

    Args:
        module: What is exported.
        args: Of its forward.
        path: The file.
        kwargs: Of its forward.
        one_file: Whether the weights lie in the file, which ends at 2 GB, or may lie beside it.
        free: Names of those axes of the one argument that may have any length, by their number.
        names: Of its one input and its one output; the exporter's own unless given.
        metadata: Texts by name that the file holds.
    """
    inputs, outputs = ([names[0]], [names[1]]) if names else (None, None)
    with torch.inference_mode(), _quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            args,
            kwargs=dict(kwargs or {}),
            dynamo=True,
            verbose=False,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=({axis: torch.export.Dim(name) for axis, name in free.items()},) if free else None,
        )
        assert program is not None
        model = program.model
        nodes = list(model.graph.all_nodes())
        values = [*model.graph.inputs, *model.graph.initializers.values(), *(v for node in nodes for v in node.outputs)]
        notes = [each.metadata_props for each in nodes] + [each.metadata_props for each in values]
        for props in (model.metadata_props, model.graph.metadata_props, *notes):
            props.clear()
        model.metadata_props.update(metadata or {})
        program.save(path, external_data=not one_file)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hides what the exporter says on every export about torchvision's operators and torch's own
    old calls.
    """
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _onnx_forward(target: Target, conditions: Conditions, graph: Path) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = conditions.threads
    # Its threads spin after a run, in the way of the reference beside it.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    args, kwargs = target.example(batch=conditions.batch)
    names = [entry.name for entry in session.get_inputs()]
    tensors = [*args, *kwargs.values()]
    if len(names) != len(tensors):
        raise NasError(
            f"target {target.name!r} has {len(names)} inputs as ONNX; allowed: the {len(tensors)} that were given"
        )
    feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    return lambda: session.run(None, feed)


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last_3d) if tensor.ndim == 5 else tensor


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested sequences and mappings, such as the outputs of transformers."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for value in output:
            yield from _tensors(value)
