"""The choices of a neighbourhood are those of the day on which it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import optuna
import pytest
from torch import nn

from nas.architecture import LAYERS, Architecture, LayerConfig
from nas.architecture.edits import single_edits
from nas.architecture.registry import ENVIRONMENT, register_operator
from nas.space import SearchSpace, SpaceError

BASE = Architecture.parse(
    {
        "name": "small",
        "input": {"frames": 4, "size": 32},
        "stem": {"op": "conv"},
        "stages": [{"width": 8, "layers": [{"op": "full3d"}]}],
    }
)


class Later(LayerConfig):
    op: Literal["later"] = "later"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "")
    monkeypatch.setattr(LAYERS, "_outside", {})


def test_a_stored_neighbourhood_keeps_its_choices_when_an_operator_comes(registry: None, tmp_path: Path) -> None:
    space = SearchSpace.around(BASE, 2).with_classes(7)
    space.save(tmp_path / "space.yaml")
    register_operator(Later, nn.Identity)
    again = SearchSpace.load(tmp_path / "space.yaml")
    assert again.holes == space.holes and again.document["choices"] == list(again.holes[1].values)
    new = SearchSpace.around(BASE, 2)
    assert "stages.0.layers.0.op=later" in new.holes[1].values
    changed = new.decode({"edits": 1, "edit.0": "stages.0.layers.0.op=later"})
    with pytest.raises(SpaceError, match="another network"):
        again.params_of(changed.resized(num_classes=7))
    # What Optuna said of a study that was resumed with more choices.
    study = optuna.create_study()
    study.ask().suggest_categorical("edit.0", space.holes[1].values)
    with pytest.raises(ValueError, match="dynamic value space"):
        study.ask().suggest_categorical("edit.0", new.holes[1].values)
    study.ask().suggest_categorical("edit.0", again.holes[1].values)


def test_a_document_of_before_has_the_choices_of_today(registry: None) -> None:
    document = {key: value for key, value in SearchSpace.around(BASE, 2).document.items() if key != "choices"}
    assert SearchSpace.from_document(document, "old").holes[1].values == single_edits(BASE)


def test_a_choice_of_an_operator_that_is_not_registered_is_named(registry: None) -> None:
    register_operator(Later, nn.Identity)
    document = SearchSpace.around(BASE, 2).document
    LAYERS._outside.clear()
    with pytest.raises(SpaceError, match=r"^choices.\d+: 'stages.0.layers.0.op=later' is no edit of small in this"):
        SearchSpace.from_document(document, "run")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([], r"^choices: \[\] are no edits; allowed"),
        ("all", r"^choices: 'all' are no edits; allowed"),
        (["stages.0.depth=2", 3], r"^choices.1: 3 is no edit of small .* allowed: names such as 'stages.0.depth=2'"),
        (["stages.0.depth=2"] * 2, r"^choices.1: 'stages.0.depth=2' stands there twice; allowed: different edits"),
    ],
)
def test_wrong_choices(choices: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace.from_document({"around": BASE.document(), "edits": 2, "choices": choices}, "wrong")
