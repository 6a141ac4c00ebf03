"""What a training needs to go on as if it had never stopped, as one file.

Weights, the moving average, the optimizer's moments, the schedule, the order of the clips, and all
random numbers to come. The file is a safetensors file whose metadata holds the plain values as
JSON: one file is written whole or not at all, so tensors and values are always of the same step.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas.errors import NasError
from nas.resources import replacing
from nas.training.loop import Training
from nas.weights.checkpoints import write_tensors

DOCUMENT = "state"  # in the metadata
Document = TypeVar("Document")


@dataclass(frozen=True)
class Progress:
    """Where a training is; see `Training` for the values.

    Attributes:
        labels: Fingerprint of the training clips: of their labels in order, and of their shape; and
            of images beside them.
        stills_taken: How many images of their order were read.
    """

    steps: int
    total_steps: int
    position: float
    pace: float
    steps_done: int
    step_in_epoch: int
    epochs_done: int
    labels: str
    stills_taken: int = 0


def progress_of(training: Training) -> Progress:
    """The plain values of a training's state."""
    return Progress(
        steps=training.steps,
        total_steps=training.total_steps,
        position=training.position,
        pace=training.pace,
        steps_done=training.steps_done,
        step_in_epoch=training.step_in_epoch,
        epochs_done=training.epochs_done,
        labels=_fingerprint(training),
        stills_taken=training.stills.taken if training.stills is not None else 0,
    )


def tensors_of(training: Training) -> dict[str, Tensor]:
    """The tensors of a training's state, on their devices; all workers call it at the same step."""
    tensors = {f"model.{name}": value for name, value in training.model.state_dict().items()}
    if training.average is not None:
        tensors |= {f"average.{name}": value for name, value in training.average.state_dict().items()}
    for index, values in training.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": v for name, v in values.items() if isinstance(v, Tensor)}
    tensors |= {
        "order": training.order,
        "epoch_loss": training.epoch_loss,
        "random.clips": training.generator.get_state(),
    }
    if training.stills is not None:
        tensors |= {"stills.order": training.stills.order, "stills.loss": training.stills.loss}
    for rank, state in enumerate(training.workers.gathered(torch.get_rng_state())):
        tensors[_random("torch", rank)] = state
    if training.device.type == "cuda":
        for rank, state in enumerate(training.workers.gathered(torch.cuda.get_rng_state(training.device))):
            tensors[_random("cuda", rank)] = state
    return tensors


def restore(training: Training, tensors: dict[str, Tensor], progress: Progress, where: str) -> None:
    """Puts a training, just made with the same arguments, into a state.

    Args:
        training: Its network, optimizer and random numbers are overwritten, torch's own too.
        tensors: As `tensors_of` gave them.
        progress: As `progress_of` gave it.
        where: Name of the state, for messages.

    Raises:
        NasError: Another network, other clips or another batch.
    """
    if progress.labels != _fingerprint(training) or progress.steps != training.steps:
        raise NasError(
            f"{where} is of other training clips than the {len(training.clips.labels)} that are there now; allowed: "
            "the data that the training was started with"
        )
    try:
        training.model.load_state_dict(_under(tensors, "model."))
        if training.average is not None:
            training.average.load_state_dict(_under(tensors, "average."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimizer.").items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        groups = training.optimizer.state_dict()["param_groups"]
        training.optimizer.load_state_dict({"state": state, "param_groups": groups})
        _lay_out_as_parameters(training.optimizer)
        training.order = tensors["order"]
        training.epoch_loss = tensors["epoch_loss"].to(training.device)
        if training.stills is not None:
            training.stills.order, training.stills.taken = tensors["stills.order"], progress.stills_taken
            training.stills.loss = tensors["stills.loss"].to(training.device)
        training.generator.set_state(tensors["random.clips"])
        torch.set_rng_state(tensors[_random("torch", training.workers.rank)])
        on_gpu = _random("cuda", training.workers.rank)
        if training.device.type == "cuda" and on_gpu in tensors:
            torch.cuda.set_rng_state(tensors[on_gpu], training.device)
    except (RuntimeError, KeyError, ValueError) as error:
        raise NasError(f"{where} is of another network or recipe ({error}); allowed: those it was begun with") from None
    for name in ("total_steps", "position", "pace", "steps_done", "step_in_epoch", "epochs_done"):
        setattr(training, name, getattr(progress, name))


def _lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Gives moments, which a file holds contiguous, the layout of their parameters, which fused
    kernels rely on.
    """
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                values[name] = torch.empty_like(parameter).copy_(value)


def write_state(path: Path, tensors: dict[str, Tensor], document: Any) -> None:
    """Writes tensors and a dataclass as one file, whole or not at all."""
    plain = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    with replacing(path) as draft:
        write_tensors(draft, plain, {DOCUMENT: json.dumps(asdict(document))})


def read_state(path: Path, kind: type[Document]) -> tuple[dict[str, Tensor], Document]:
    """Reads what `write_state` wrote.

    Args:
        path: The file.
        kind: The dataclass of the document.

    Raises:
        NasError: No such file, it is damaged, or another version wrote it.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(DOCUMENT, "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, TypeAdapter(kind).validate_json(text)
    except FileNotFoundError:
        raise NasError(f"state {str(path)!r} does not exist; allowed: a training that has begun") from None
    except (OSError, SafetensorError, ValidationError, ValueError):
        raise NasError(f"state {str(path)!r} cannot be read; allowed: one that this version wrote") from None


def _random(kind: str, rank: int) -> str:
    """The name of the random numbers to come of a worker, such as dropout's."""
    return f"random.{kind}.{rank}" if rank else f"random.{kind}"


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _fingerprint(training: Training) -> str:
    parts = [training.clips] if training.stills is None else [training.clips, training.stills.clips]
    text = b"".join(clips.labels.tobytes() + str(clips.pixels.shape).encode() for clips in parts)
    return sha256(text).hexdigest()[:16]
