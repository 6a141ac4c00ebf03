from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nas.architecture import Architecture, Shape, SimilarityHead
from nas.data.preprocessing import Preprocessing
from nas.errors import NasError
from nas.models.heads import SimilarityPool
from nas.models.network import build
from nas.trained.folder import ModelRecord, TrainedModel, load_model
from nas.trained.zero_shot import NamedVectors, read_class_vectors, set_classes, with_classes, write_class_vectors

DIMENSION = 6


def model() -> TrainedModel:
    torch.manual_seed(0)
    document = {
        "input": {"frames": 2, "size": 8},
        "num_classes": 2,
        "stem": {"op": "conv", "stride": [1, 4, 4]},
        "stages": [{"width": 8, "layers": [{"op": "full3d"}]}],
        "head": {"op": "similarity", "dimension": DIMENSION},
    }
    return TrainedModel(build(Architecture.parse(document)), ModelRecord(("a", "b"), Preprocessing.of_input(2, (8, 8))))


def vectors(*names: str) -> NamedVectors:
    return NamedVectors("words", names, torch.randn(len(names), DIMENSION, generator=torch.Generator().manual_seed(1)))


def test_logits_are_the_scaled_cosine() -> None:
    """A projection that copies two channels: of the mean (3, 4) the cosines are .6, .8 and -.6."""
    head = SimilarityPool(SimilarityHead(dimension=2), Shape(1, 1, 1, 2), Shape(1, 1, 1, 3, grid=False))
    head.norm = torch.nn.Identity()  # type: ignore[assignment]
    with torch.no_grad():
        head.projection.weight.copy_(torch.eye(2))
        head.classifier.weight.copy_(torch.tensor([[5.0, 0], [0, 0.1], [-1, 0]]))
        logits = head(torch.tensor([3.0, 4.0]).view(1, 1, 1, 1, 2))
        assert (0.07 * logits).flatten().tolist() == pytest.approx([0.6, 0.8, -0.6])
        head.scale.fill_(math.log(1000))
        assert head(torch.tensor([3.0, 4.0]).view(1, 1, 1, 1, 2))[0, 0].item() == pytest.approx(60)


def test_vectors_are_kept_with_the_state_and_not_trained(tmp_path: Path) -> None:
    trained = model()
    set_classes(trained.network, vectors("a", "b"))
    assert "parts.head.classifier.weight" in trained.network.state_dict()
    assert not any(name.startswith("parts.head.classifier") for name, _ in trained.network.named_parameters())
    trained.save(tmp_path)
    loaded = load_model(tmp_path, "cpu").network.state_dict()["parts.head.classifier.weight"]
    assert torch.equal(loaded, vectors("a", "b").vectors)


def test_other_classes_are_scored_by_the_same_features() -> None:
    trained, clip = model(), torch.randn(1, 3, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    others = vectors("c", "d", "e")
    zero_shot = with_classes(trained, others)
    assert zero_shot.classes == ("c", "d", "e") and trained.classes == ("a", "b")
    with torch.inference_mode():
        swapped = zero_shot.network(clip)
        # The class whose vector is the old one of `a` gets the logit that `a` had.
        same = NamedVectors("words", ("x", "y"), trained.network.state_dict()["parts.head.classifier.weight"])
        assert torch.equal(with_classes(trained, same).network(clip), trained.network(clip))
    assert swapped.shape == (1, 3)


def test_vectors_are_read_as_written(tmp_path: Path) -> None:
    write_class_vectors(tmp_path / "v.safetensors", ["a", "ü"], torch.eye(2, 3))
    read = read_class_vectors(tmp_path / "v.safetensors")
    assert read.names == ("a", "ü") and torch.equal(read.vectors, torch.eye(2, 3))
    assert torch.equal(read.of(["ü", "a"]).vectors, torch.eye(2, 3).flip(0))
    with pytest.raises(NasError, match=r"v\.safetensors lack walk; allowed: a vector for each class"):
        read.of(["a", "walk"])


def test_names_may_lie_beside_the_file(tmp_path: Path) -> None:
    save_file({"embeddings": torch.eye(2)}, tmp_path / "v.safetensors")
    (tmp_path / "v.safetensors.json").write_text('["a", "b"]')
    assert read_class_vectors(tmp_path / "v.safetensors").names == ("a", "b")


@pytest.mark.parametrize(
    ("tensors", "names", "message"),
    [
        ({"v": torch.eye(2)}, ["a"], "has 2 vectors and the names"),
        ({"v": torch.eye(2)}, {"a": 1}, "has 2 vectors and the names"),
        ({"v": torch.eye(2)}, ["a", "a"], "names a class twice"),
        ({"v": torch.zeros(2, 2)}, ["a", "b"], "the vector of 'a' is zero"),
        ({"v": torch.full((1, 2), math.nan)}, ["a"], "the vector of 'a' is zero or not finite"),
        ({"v": torch.ones(2)}, ["a", "b"], "holds 1 tensors"),
        ({"v": torch.eye(2), "w": torch.eye(2)}, ["a", "b"], "holds 2 tensors"),
        ({"v": torch.eye(2, dtype=torch.int64)}, ["a", "b"], "holds 1 tensors"),
    ],
)
def test_files_of_another_form(tmp_path: Path, tensors: dict[str, torch.Tensor], names: object, message: str) -> None:
    save_file(tensors, tmp_path / "v.safetensors", {"names": json.dumps(names)})
    with pytest.raises(NasError, match=message):
        read_class_vectors(tmp_path / "v.safetensors")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "torn").write_bytes(b"\x08\x00\x00")
    for name in ("torn", "none"):
        with pytest.raises(NasError, match=r"cannot be read .*allowed: a safetensors file"):
            read_class_vectors(tmp_path / name)


def test_networks_that_take_no_such_vectors(model_folder: Path) -> None:
    with pytest.raises(NasError, match=r"head 'mean' takes no vectors of classes .*similarity"):
        with_classes(load_model(model_folder), vectors("c", "d"))
    short = NamedVectors("words", ("c", "d"), torch.eye(2))
    with pytest.raises(NasError, match=r"are \[2, 2\] vectors and the network takes \[2, 6\]"):
        with_classes(model(), short)
