"""The files that a trained network leaves the package in, a kind for each suffix.

A further kind is a function here, its line in `WRITERS` and its suffix in `nas.deployment.kinds`.
"""

from __future__ import annotations

import json
import subprocess  # nosec B404  # of words, without a shell
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nas.deployment.card import model_card
from nas.deployment.clips import Clips
from nas.deployment.kinds import SUFFIXES
from nas.deployment.programs import Run, described, from_frames, to_clips, write_onnx_file, write_program
from nas.deployment.shipped import load_weights
from nas.deployment.standalone import standalone
from nas.errors import NasError, brief
from nas.models.network import build
from nas.profiler.measured.measure import Measurement
from nas.resources import replacing
from nas.trained.folder import TrainedModel
from nas.weights.checkpoints import write_tensors

MOST = 1e-3  # of the largest logit: a difference beyond rounding, of a file that computes something else

# Runs a standalone file where this package cannot be imported, and prints its logits.
_RUNNER = """
import importlib.util, json, sys, torch
sys.modules["nas"] = None
path, weights, clips = sys.argv[1:]
spec = importlib.util.spec_from_file_location("network", path)
sys.modules["network"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
network = module.build_from_frames().eval()
module.load_weights(network.network, weights)
with torch.no_grad():
    print(json.dumps(network(module.read_safetensors(clips)["frames"]).tolist()))
"""


@dataclass(frozen=True)
class Options:
    """What files may hold besides.

    Attributes:
        with_preprocessing: `.pt2` and `.onnx` take uint8 frames instead of clips.
        latency: What a model card says of it; None where it was not measured.
    """

    with_preprocessing: bool = False
    latency: Measurement | None = None


Writer = Callable[[TrainedModel, Path, Options], Run | None]


@dataclass(frozen=True)
class Exported:
    """A file that was written and run.

    Attributes:
        path: The file.
        size: Its bytes.
        difference: The largest difference of its logits from those of the network in PyTorch, over
            the largest of these; None for a file that computes nothing.
    """

    path: Path
    size: int
    difference: float | None


def export(model: TrainedModel, path: Path, clips: Clips, options: Options = Options()) -> Exported:
    """Writes a network into a file, whole or not at all, and runs what was written.

    Args:
        model: On the CPU.
        path: With one of `nas.deployment.kinds.SUFFIXES`.
        clips: What the file is run on.
        options: What else it holds.

    Raises:
        NasError: Packages that are missing, a network that the exporter cannot
            write, or a file that computes something else.
    """
    write = WRITERS[path.suffix]
    with replacing(path) as draft:
        try:
            run = write(model, draft, options)
            difference = None if run is None else clips.largest_difference(run, _expected(model, options))
        except (NasError, OSError):
            raise
        except Exception as error:  # exporters raise types of many packages
            cause = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise NasError(
                f"model {model.name!r} cannot be written as {path.suffix} ({brief(cause[0], 200)}); allowed: another "
                f"of {', '.join(SUFFIXES)}"
            ) from error
        if difference is not None and not difference <= MOST:
            raise NasError(
                f"out {str(path)!r} would differ from PyTorch by {difference:.2g} of the largest logit on {clips.what};"
                f" allowed: up to {MOST:g}, so another of {', '.join(SUFFIXES)}"
            )
        size = draft.stat().st_size
    return Exported(path, size, difference)


def notes(model: TrainedModel) -> list[str]:
    """Where a network comes from, a line each."""
    return [f"{name}: {text}" for name, text in described(model).items() if name != "input"]


def _expected(model: TrainedModel, options: Options) -> Run:
    """The network in PyTorch, behind the way to its input that evaluation goes, or its own."""
    module = from_frames(model) if options.with_preprocessing else None

    @torch.no_grad()
    def run(frames_BTHWC: Tensor) -> Tensor:
        logits: Tensor = module(frames_BTHWC) if module else model.network(to_clips(model, frames_BTHWC))
        return logits

    return run


def _write_yaml(model: TrainedModel, path: Path, _: Options) -> None:
    model.network.architecture.save(path, notes(model))


def _write_weights(model: TrainedModel, path: Path, _: Options) -> Run:
    facts = described(model) | {"architecture": json.dumps(model.network.architecture.document())}
    write_tensors(path, model.network.state_dict(), facts)
    network = build(model.network.architecture).eval()
    load_weights(network, path)

    @torch.no_grad()
    def run(frames_BTHWC: Tensor) -> Tensor:
        logits: Tensor = network(to_clips(model, frames_BTHWC))
        return logits

    return run


def _write_standalone(model: TrainedModel, path: Path, _: Options) -> Run:
    record = model.record
    text = standalone(
        model.network.architecture, classes=record.classes, preprocessing=record.preprocessing, notes=notes(model)
    )
    path.write_text(text, encoding="utf-8")

    def run(frames_BTHWC: Tensor) -> Tensor:
        with tempfile.TemporaryDirectory() as folder:
            network, weights, clips = (Path(folder) / name for name in ("network.py", "weights", "clips"))
            network.write_text(text, encoding="utf-8")
            write_tensors(weights, model.network.state_dict())
            write_tensors(clips, {"frames": frames_BTHWC})
            done = subprocess.run(  # nosec B603  # this python, on the text that was just made
                [sys.executable, "-I", "-c", _RUNNER, str(network), str(weights), str(clips)],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            why = brief(done.stderr.strip()[-200:], 200)
            raise NasError(f"the standalone file does not run ({why}); allowed: .pt2 and .onnx")
        return torch.tensor(json.loads(done.stdout))

    return run


def _write_card(model: TrainedModel, path: Path, options: Options) -> None:
    path.write_text(model_card(model, options.latency), encoding="utf-8")


WRITERS: dict[str, Writer] = {
    ".yaml": _write_yaml,
    ".safetensors": _write_weights,
    ".pt2": lambda model, path, options: write_program(model, path, options.with_preprocessing),
    ".onnx": lambda model, path, options: write_onnx_file(model, path, options.with_preprocessing),
    ".py": _write_standalone,
    ".md": _write_card,
}
