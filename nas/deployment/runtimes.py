"""What runs a trained network: PyTorch, as it is and compiled, ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from nas.deployment.programs import onnx_session
from nas.trained.folder import TrainedModel

EAGER, COMPILED, ONNX, OPENVINO = "torch", "compiled", "ONNX Runtime", "OpenVINO"
# What must be installed for each, beside torch; all but torch read the ONNX file.
NEEDED = {
    EAGER: (),
    COMPILED: (),
    ONNX: ("onnx", "onnxscript", "onnxruntime"),
    OPENVINO: ("onnx", "onnxscript", "onnxruntime", "openvino"),
}
FROM_FILE = (ONNX, OPENVINO)
ON_GPU = (EAGER, COMPILED)

Run = Callable[[Tensor], Tensor]  # clips (B, 3, T, H, W), float32, to logits (B, classes) on the CPU


def missing(runtime: str) -> list[str]:
    """The packages that a runtime needs and that are not installed."""
    return [package for package in NEEDED[runtime] if find_spec(package) is None]


def runtime_version(runtime: str) -> str:
    """The version of an installed runtime."""
    return version({ONNX: "onnxruntime", OPENVINO: "openvino"}.get(runtime, "torch"))


def runner(runtime: str, model: TrainedModel, graph: Path | None, threads: int) -> Run:
    """A function that runs a network.

    Args:
        runtime: One of `NEEDED`, installed.
        model: On the device where PyTorch computes; the others compute on the CPU.
        graph: Its ONNX file, for those of `FROM_FILE`.
        threads: Of the CPU.

    Raises:
        Exception: What the runtime raises where it cannot run the network.
    """
    if runtime in FROM_FILE:
        assert graph is not None
        return onnx_session(graph, threads) if runtime == ONNX else _openvino(graph, threads)
    call = torch.compile(model.network) if runtime == COMPILED else model.network

    @torch.inference_mode()
    def run(clips_BCTHW: Tensor) -> Tensor:
        logits: Tensor = call(clips_BCTHW.to(model.device)).cpu()
        return logits

    return run


def _openvino(graph: Path, threads: int) -> Run:
    import openvino

    # Left alone it computes in bfloat16 where the processor can.
    how = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(str(graph), "CPU", how)

    def run(clips_BCTHW: Tensor) -> Tensor:
        return torch.from_numpy(compiled([clips_BCTHW.contiguous().numpy()])[0].copy())

    return run
