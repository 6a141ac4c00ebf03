"""Networks as programs of other runtimes, and how to run one of each."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.deployment.shipped import FromFrames
from nas.errors import NasError
from nas.profiler.measured.execution import write_onnx
from nas.trained.folder import TrainedModel

LARGEST_ONNX = 1_900_000_000  # bytes of weights: a file of the format ends at two gigabytes
FREE = ("batch", "height", "width")  # axes of frames; a clip has the first alone
Run = Callable[[Tensor], Tensor]  # uint8 frames (B, T, H, W, 3) to logits (B, classes)


def from_frames(model: TrainedModel) -> FromFrames:
    """The network behind what makes its input of uint8 frames, in evaluation mode on its device."""
    how = model.record.preprocessing
    return FromFrames(model.network, how.size, how.resized, how.mean, how.std).to(model.device).eval()


def to_clips(model: TrainedModel, frames_BTHWC: Tensor) -> Tensor:
    """What the network takes of frames, as evaluation and prediction make it."""
    return model.record.preprocessing.network_input(frames_BTHWC)


def described(model: TrainedModel) -> dict[str, str]:
    """What a file says of its network, in JSON by name; no path is among it."""
    record = model.record
    facts: dict[str, Any] = {
        "name": model.name,
        "classes": record.classes,
        "input": asdict(record.preprocessing),
        "figures": {name: asdict(figure) for name, figure in record.figures.items()},
        "provenance": {name: value for name, value in asdict(record.provenance).items() if value is not None},
        "versions": dict(record.versions),
    }
    return {name: json.dumps(value) for name, value in facts.items()}


def write_program(model: TrainedModel, path: Path, with_preprocessing: bool) -> Run:
    """Writes a network for `torch.export.load`, for any batch, and with preprocessing for frames of
    any height and width.

    Returns:
        What the file computes. It is read back from the bytes that are about to be written and
        never from the disk: reading unpickles.
    """
    module, example, free = _exported(model, with_preprocessing)
    shapes = ({axis: torch.export.Dim(name) for axis, name in free.items()},)
    with torch.no_grad():
        program = torch.export.export(module, (example,), dynamic_shapes=shapes)
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes if isinstance(graph, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # whole paths of this machine
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=described(model))
    path.write_bytes(buffer.getvalue())
    buffer.seek(0)
    loaded = torch.export.load(buffer).module()

    @torch.no_grad()
    def run(frames_BTHWC: Tensor) -> Tensor:
        logits: Tensor = loaded(frames_BTHWC if with_preprocessing else to_clips(model, frames_BTHWC))
        return logits

    return run


def write_onnx_file(model: TrainedModel, path: Path, with_preprocessing: bool) -> Run:
    """Writes a network as ONNX, with what it is in the metadata.

    Returns:
        What ONNX Runtime computes of the file.

    Raises:
        NasError: The packages for it are not installed, or the network is too large for one file.
    """
    need_onnx("out .onnx")
    size = sum(value.nbytes for value in model.network.state_dict().values())
    if size > LARGEST_ONNX:
        raise NasError(f"model {model.name!r} has weights of {size:,} bytes; allowed: .pt2, or less than 2 GB as ONNX")
    module, example, free = _exported(model, with_preprocessing)
    names = ("frames" if with_preprocessing else "clips", "logits")
    write_onnx(module, (example,), path, free=free, names=names, metadata=described(model))
    session = onnx_session(path)
    return lambda frames: session(frames if with_preprocessing else to_clips(model, frames))


def need_onnx(what: str) -> None:
    """Refuses what needs packages of the extra `onnx` where one is missing.

    Raises:
        NasError: With `what` needs them.
    """
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise NasError(f"{what} needs {' and '.join(missing)}; allowed once installed: pip install 'video-nas[onnx]'")


def onnx_session(path: Path, threads: int = 0) -> Run:
    """A function of one tensor that ONNX Runtime computes on the CPU.

    Args:
        path: The file.
        threads: As many as there are cores if 0.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads spin after a run, in the way of what is timed in turn with it.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()

    def run(x: Tensor) -> Tensor:
        (logits,) = session.run(None, {entry.name: x.contiguous().numpy()})
        return torch.from_numpy(logits)

    return run


def _exported(model: TrainedModel, with_preprocessing: bool) -> tuple[nn.Module, Tensor, dict[int, str]]:
    """A module, an example of its input, and the axes of it that are free."""
    how = model.record.preprocessing
    if not with_preprocessing:
        return model.network, torch.randn(2, 3, how.frames, *how.size), {0: FREE[0]}
    # Sizes that stand nowhere else, so that nothing takes them for those of the network.
    height, width = how.resized_height + 3, how.resized_width + 7
    frames = torch.randint(0, 256, (2, how.frames, height, width, 3), dtype=torch.uint8)
    return from_frames(model), frames, {0: FREE[0], 2: FREE[1], 3: FREE[2]}
