"""The folder of a trained network: `architecture.yaml`, `model.safetensors` and `model.json`.

Nothing in it names a machine, a user or an absolute path, so that it may be handed on.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor

from nas.architecture import Architecture, load
from nas.data.preprocessing import Preprocessing
from nas.documents import of_schema, read_json
from nas.errors import NasError, brief
from nas.models.network import Network, build
from nas.profiler.measured.device import resolve_device
from nas.resources import installed_version
from nas.trained.files import ARCHITECTURE, FILES, RECORD, WEIGHTS, WRITTEN, check_model, model_file
from nas.weights.checkpoints import load_state, write_tensors

if TYPE_CHECKING:
    from nas.trained.prediction import Prediction

SCHEMA = 1
_WRITING = ".model.writing"
_IGNORE_NEW_FIELDS = ConfigDict(extra="ignore")


@dataclass(frozen=True, config=_IGNORE_NEW_FIELDS)
class Figure:
    """A figure and what it was taken on.

    Attributes:
        value: Such as an accuracy, 0 to 1.
        clips: Number of clips behind it.
    """

    value: float
    clips: int


@dataclass(frozen=True, config=_IGNORE_NEW_FIELDS)
class Provenance:
    """Where a network comes from; names, never paths.

    Attributes:
        architecture: Name of the architecture file or published network.
        run: Name of the search's folder.
        trial: Number of the trial in it.
        data: Name of the data.
        recipe: Name of the recipe.
        init: Name of the weights that training began with.
        epochs: Passes over the data until these weights.
        seed: Of the training, and of a random split of the data: the same splits it again in the
            same way.
    """

    architecture: str | None = None
    run: str | None = None
    trial: int | None = None
    data: str | None = None
    recipe: str | None = None
    init: str | None = None
    epochs: float | None = None
    seed: int | None = None


def package_versions() -> dict[str, str]:
    """The versions of what decides a network's outputs: python, this package, torch, PyAV."""
    packages = ("video-nas", "torch", "av")
    return {"python": platform.python_version(), **{name: installed_version(name) for name in packages}}


@dataclass(frozen=True, config=_IGNORE_NEW_FIELDS)
class ModelRecord:
    """What `model.json` holds.

    Attributes:
        classes: Names, in the order of the network's outputs.
        preprocessing: How a video becomes the network's input.
        figures: By name, such as `validation accuracy`.
        provenance: Where the network comes from.
        versions: Of the packages that wrote it.
        clip_seconds: Median length of the videos that it was trained on; None where unknown.
        schema: Version of this form; a newer one is refused.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    preprocessing: Preprocessing
    figures: Mapping[str, Figure] = field(default_factory=dict)
    provenance: Provenance = Provenance()
    versions: Mapping[str, str] = field(default_factory=package_versions)
    clip_seconds: float | None = None
    schema: int = SCHEMA


_RECORD_TYPE = TypeAdapter(ModelRecord)


class TrainedModel:
    """A network with its weights, and all that is needed to use it.

    Attributes:
        network: In evaluation mode.
        record: Classes, preprocessing, figures and provenance.
        name: Of its folder, for messages and pictures.
    """

    def __init__(self, network: Network, record: ModelRecord, name: str = "model") -> None:
        """Takes a network as it is.

        Args:
            network: Any network of this package; brought into evaluation mode.
            record: What is said of it.
            name: For messages and pictures.

        Raises:
            NasError: The network has another number of outputs than there are classes, or takes
                other clips than the preprocessing gives.
        """
        architecture, preprocessing = network.architecture, record.preprocessing
        if architecture.num_classes != len(record.classes):
            raise NasError(
                f"model {name!r} has {architecture.num_classes} outputs and {len(record.classes)} classes; "
                "allowed: one output for each class"
            )
        given, taken = (preprocessing.frames, *preprocessing.size), architecture.input.shape.extent
        if given != taken and not architecture.takes_any_clip:
            raise NasError(
                f"model {name!r} is given clips of {_product(given)} and takes {_product(taken)}; "
                "allowed: frames, height and width of its architecture"
            )
        self.network, self.record, self.name = network.eval(), record, name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the network's outputs."""
        return self.record.classes

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def predict(self, video: str | Path, views: tuple[int, int] = (1, 1)) -> Prediction:
        """Predicts the class of a whole video; see `nas.trained.prediction.predict`."""
        from nas.trained.prediction import predict

        return predict(self, video, views)

    def predict_windows(
        self, video: str | Path | BinaryIO, length: float | None = None, step: float | None = None
    ) -> Iterator[Prediction]:
        """Predicts the class of windows that slide over a video; see
        `nas.trained.prediction.predict_windows`.
        """
        from nas.trained.prediction import predict_windows

        return predict_windows(self, video, length, step)

    def save(self, folder: str | Path) -> Path:
        """Writes the folder; see `save_model`."""
        return save_model(folder, self.network.architecture, self.network.state_dict(), self.record)


def save_model(
    folder: str | Path, architecture: Architecture, state: Mapping[str, Tensor], record: ModelRecord
) -> Path:
    """Writes a trained network into a folder, whole or not at all; a network that is there already
    is replaced, other files of the folder stay.

    Args:
        folder: Made if it does not exist.
        architecture: What the network was built from.
        state: The weights by name, from any device.
        record: What `model.json` holds.

    Returns:
        The folder.

    Raises:
        NasError: The folder cannot be written.
    """
    folder = Path(folder)
    writing = folder / _WRITING
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _finish(folder)
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir()
        architecture.save(writing / ARCHITECTURE)
        write_tensors(writing / WEIGHTS, state)
        text = json.dumps(_RECORD_TYPE.dump_python(record, mode="json"), indent=2, ensure_ascii=False)
        (writing / RECORD).write_text(text + "\n", encoding="utf-8")
        # From this rename on the new network counts: `model_file` finds its files.
        os.replace(writing, folder / WRITTEN)
        _finish(folder)
    except OSError as error:
        raise NasError(
            f"model {str(folder)!r} cannot be written ({error.strerror}); allowed: a folder with room for it"
        ) from None
    return folder


def _finish(folder: Path) -> None:
    """Moves the files of a network that was written, and not yet moved, to their places."""
    written = folder / WRITTEN
    if written.is_dir():
        for name in FILES:
            if (written / name).exists():
                os.replace(written / name, folder / name)
        written.rmdir()


def weights_file(folder: str | Path) -> Path:
    """The file of the weights in the folder of a trained network."""
    return model_file(Path(folder), WEIGHTS)


def load_model(path: str | Path, device: str = "auto") -> TrainedModel:
    """Reads a trained network; nothing in its folder is executed.

    Args:
        path: A folder that `nas train` or `save_model` wrote.
        device: Where the network is put: auto, cpu, cuda or cuda:0.

    Returns:
        The network in evaluation mode, with its classes and preprocessing.

    Raises:
        NasError: No such folder, a file of it is missing, torn, or of a newer version, or the
            weights are of another network.
    """
    folder = Path(path)
    name = brief(str(path), 200)
    check_model(folder)
    record = _read_record(model_file(folder, RECORD))
    architecture = load(model_file(folder, ARCHITECTURE))
    network = build(architecture, device="cpu")
    _fill(network, load_state(weights_file(folder)), name)
    return TrainedModel(network.to(resolve_device(device)), record, folder.resolve().name)


def _read_record(path: Path) -> ModelRecord:
    where = f"model file {str(path)!r}"
    data = read_json("model file", path)
    of_schema(data, SCHEMA, where)
    try:
        return _RECORD_TYPE.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        field_name = ".".join(str(part) for part in first["loc"]) or "the document"
        raise NasError(
            f"{where}: {field_name} is {brief(first['input'])} ({first['msg']}); allowed: what `nas train` writes"
        ) from None


def _fill(network: Network, state: Mapping[str, Tensor], name: str) -> None:
    """Fills all of a network; raises NasError where names or shapes are not those of its own."""
    own = network.state_dict()
    other = [
        key for key in {**own, **state} if key not in own or key not in state or own[key].shape != state[key].shape
    ]
    if other:
        raise NasError(
            f"model {name}: {len(other)} tensors of {WEIGHTS} and of the network in {ARCHITECTURE} differ "
            f"(first {brief(other[0])}); allowed: the weights of that network"
        )
    network.load_state_dict(dict(state))


def _product(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))
