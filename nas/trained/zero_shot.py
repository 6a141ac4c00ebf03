"""Classes by vectors: those that a network was trained with, or others that it never saw.

A network whose head is `similarity` scores a clip's features against one vector per class. The
vectors come from a file, such as the embeddings that a text encoder gives the classes' names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas.data.source import listed
from nas.errors import NasError, brief, message_of
from nas.models.heads import ClassVectors
from nas.models.network import Network, build
from nas.resources import replacing
from nas.trained.folder import TrainedModel
from nas.weights.checkpoints import write_tensors

NAMES = "names"  # in the metadata of the file: a JSON list
VECTORS = "parts.head.classifier.weight"
_FORM = "a safetensors file of one tensor (classes, D), its names as a JSON list in the metadata or in FILE.json"


@dataclass(frozen=True)
class NamedVectors:
    """A vector for each of some classes.

    Attributes:
        source: Where they come from, for messages.
        names: K different names.
        vectors: float32 (K, D), none of them zero.
    """

    source: str
    names: tuple[str, ...]
    vectors: Tensor

    def of(self, classes: Sequence[str]) -> NamedVectors:
        """Those of some classes, in their order.

        Raises:
            NasError: One has no vector.
        """
        missing = set(classes) - set(self.names)
        if missing:
            raise NasError(
                f"classes {self.source} lack {listed(missing)}; allowed: a vector for each class of the data, and "
                f"others (it has {listed(self.names)})"
            )
        rows = [self.names.index(name) for name in classes]
        return NamedVectors(self.source, tuple(classes), self.vectors[rows])


def read_class_vectors(path: str | Path) -> NamedVectors:
    """Reads vectors of classes; nothing in the file is executed.

    Args:
        path: A safetensors file of one floating-point tensor (K, D), whose metadata `names` is a
            JSON list of K names, or beside which `PATH.json` holds it.

    Raises:
        NasError: The file cannot be read, or is not of this form.
    """
    where = f"classes {brief(str(path), 200)}"
    try:
        with safe_open(path, "pt") as file:
            keys, metadata = list(file.keys()), file.metadata() or {}
            vectors = file.get_tensor(keys[0]) if len(keys) == 1 else torch.empty(0)
        beside = Path(f"{path}.json")
        text = metadata.get(NAMES) or (beside.read_text(encoding="utf-8") if beside.is_file() else "[]")
        names = json.loads(text)
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise NasError(f"{where} cannot be read ({message_of(error)}); allowed: {_FORM}") from None
    if vectors.ndim != 2 or not vectors.is_floating_point():
        raise NasError(f"{where} holds {len(keys)} tensors ({brief(keys)}); allowed: {_FORM}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) != len(vectors):
        raise NasError(f"{where} has {len(vectors)} vectors and the names {brief(names)}; allowed: {_FORM}")
    if len(set(names)) < len(names):
        raise NasError(f"{where} names a class twice ({brief(sorted(names))}); allowed: different names")
    vectors = vectors.float()
    lengths = vectors.norm(dim=1)
    if not (lengths.isfinite() & (lengths > 0)).all():
        first = names[int((~(lengths.isfinite() & (lengths > 0))).nonzero()[0])]
        raise NasError(f"{where}: the vector of {first!r} is zero or not finite; allowed: directions")
    return NamedVectors(str(path), tuple(names), vectors)


def write_class_vectors(path: str | Path, names: Sequence[str], vectors: Tensor) -> None:
    """Writes vectors (K, D) of K classes in the form that `read_class_vectors` reads."""
    with replacing(Path(path)) as draft:
        write_tensors(draft, {"vectors": vectors}, {NAMES: json.dumps(list(names))})


def set_classes(network: Network, vectors: NamedVectors) -> None:
    """Gives a network the vectors of its classes, in their order.

    Raises:
        NasError: Its head is not `similarity`, or of another dimension or number of classes.
    """
    classifier = getattr(network.parts["head"], "classifier", None)
    if not isinstance(classifier, ClassVectors):
        raise NasError(
            f"head {network.architecture.head.op!r} takes no vectors of classes ({vectors.source}); "
            "allowed: head: {op: similarity, dimension: D}"
        )
    if classifier.weight.shape != vectors.vectors.shape:
        raise NasError(
            f"classes {vectors.source} are {list(vectors.vectors.shape)} vectors and the network takes "
            f"{list(classifier.weight.shape)}; allowed: the number of classes and the dimension of its head"
        )
    classifier.weight.copy_(vectors.vectors)


def with_classes(model: TrainedModel, vectors: NamedVectors) -> TrainedModel:
    """The same network with other classes.

    Raises:
        NasError: As `set_classes`.
    """
    network = build(model.network.architecture.resized(num_classes=len(vectors.names)), device=model.device)
    state = {name: value for name, value in model.network.state_dict().items() if name != VECTORS}
    set_classes(network, vectors)
    network.load_state_dict(state, strict=False)
    return TrainedModel(network, replace(model.record, classes=vectors.names), model.name)
