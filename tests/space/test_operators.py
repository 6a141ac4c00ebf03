"""Operators of a space named once, places that choose among them, and spaces that extend others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

from nas.architecture import LAYERS, AttentionConfig, LayerConfig
from nas.architecture.registry import ENVIRONMENT, register_operator
from nas.errors import NasError
from nas.space import SearchSpace, SpaceError

OPERATORS: dict[str, Any] = {
    "t2d": {"variant": {"choice": ["shared", "fused"]}, "window": [8, 8, 8]},
    "d2plus1d": {"modules": {"choice": [1, 3]}},
    "factorized": {"heads": 3},
}


class Mixing(AttentionConfig):
    op: Literal["mixing"] = "mixing"


class Plain(LayerConfig):
    op: Literal["plain"] = "plain"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "")
    monkeypatch.setattr(LAYERS, "_outside", {})
    register_operator(Mixing, nn.Identity)
    register_operator(Plain, nn.Identity)


def document(*layers: Any, **more: Any) -> dict[str, Any]:
    """Maps of 8x16x16 cells with 24 channels."""
    return {
        "input": {"frames": 8, "size": 64},
        "stem": {"op": "conv", "stride": [1, 4, 4]},
        "stages": [{"width": 24, "layers": list(layers)}],
        "operators": OPERATORS,
        **more,
    }


def holes(space: SearchSpace) -> dict[str, tuple[Any, ...]]:
    return {hole.name.removeprefix("stages.0.layers."): hole.values for hole in space.holes}


def test_the_short_form_is_the_choice_written_out() -> None:
    short = document({"operators": "all", "set": {"heads": {"choice": [1, 2]}, "t2d.window": None}})
    heads = {"choice": [1, 2]}
    written = [
        {"op": "t2d", "heads": heads, "variant": {"choice": ["shared", "fused"]}, "window": None},
        {"op": "d2plus1d", "modules": {"choice": [1, 3]}},
        {"op": "factorized", "heads": heads},
    ]
    a, b = SearchSpace.from_document(short, "a"), SearchSpace.from_document(document({"choice": written}), "b")
    assert (a.holes, a.size) == (b.holes, b.size) and a.size == 2 * 2 + 2 + 2
    assert [a.sample(seed) for seed in range(5)] == [b.sample(seed) for seed in range(5)]


def test_a_list_of_names_is_a_part_of_them_in_that_order() -> None:
    space = SearchSpace.from_document(document({"operators": ["factorized", "d2plus1d"]}), "part")
    assert holes(space) == {"0.op": ("factorized", "d2plus1d"), "0.d2plus1d.modules": (1, 3)}


def test_what_is_of_one_operator_wins_over_what_is_of_all() -> None:
    changes = {"t2d.heads": 4, "heads": {"choice": [1, 2]}}
    space = SearchSpace.from_document(document({"operators": ["t2d", "factorized"], "set": changes}), "one")
    assert holes(space) == {
        "0.op": ("t2d", "factorized"),
        "0.t2d.variant": ("shared", "fused"),
        "0.factorized.heads": (1, 2),
    }


def test_an_operator_of_a_third_party_gets_the_heads_of_its_place(registered: None, tmp_path: Path) -> None:
    SearchSpace.from_document(document({"operators": "all", "set": {"heads": {"choice": [1, 2]}}}), "base").save(
        tmp_path / "base.yaml"
    )
    (tmp_path / "mine.yaml").write_text(f"extends: {tmp_path}/base.yaml\noperators: {{mixing: {{}}, plain: {{}}}}\n")
    space = SearchSpace.load(tmp_path / "mine.yaml")
    assert holes(space)["0.op"] == ("t2d", "d2plus1d", "factorized", "mixing", "plain")
    assert holes(space)["0.mixing.heads"] == (1, 2)
    assert space.decode({"stages.0.layers.0.op": "plain"}).operators == {"plain": 1}
    # A run stores the whole document: it does not need the space that was extended.
    space.save(tmp_path / "run.yaml")
    (tmp_path / "base.yaml").unlink()
    assert SearchSpace.load(tmp_path / "run.yaml").holes == space.holes


@pytest.mark.parametrize(("name", "layers"), [("hybrid", 4), ("conv", 4), ("swin", 8), ("tiny", 2), ("vit", 1)])
def test_one_line_makes_an_operator_one_of_every_shipped_space(name: str, layers: int, registered: None) -> None:
    before = SearchSpace.load(name)
    space = SearchSpace.from_document({"extends": name, "operators": {"mixing": {"mlp_ratio": 2, "heads": 8}}}, "mine")
    old = {hole.name: hole.values for hole in before.holes}
    new = {hole.name: hole.values for hole in space.holes}
    places = {key for key in old if new[key] != old[key]}
    assert len({key.partition(".layers.")[0] for key in places}) == layers
    assert all(new[key] == (*old[key], "mixing") for key in places)
    assert all(".mixing." in key for key in new.keys() - old.keys())


def test_other_keys_and_operators_take_the_place_of_those_of_the_extended_space() -> None:
    changed = {"extends": "tiny", "num_classes": 3, "operators": {"tps": {"window": 8, "heads": 1}}}
    space, tiny = SearchSpace.from_document(changed, "mine"), SearchSpace.load("tiny")
    assert space.sample(0).num_classes == 3
    assert space.with_classes(5).sample(0).num_classes == 5
    ops = next(hole for hole in space.holes if hole.name == "stages.0.layers.0.op")
    assert ops == next(hole for hole in tiny.holes if hole.name == "stages.0.layers.0.op")
    assert "stages.0.layers.0.tps.window" not in {hole.name for hole in space.holes}


ALL = {"operators": "all"}
HEADS = {"heads": 1}
BAD: dict[str, tuple[Any, str]] = {
    "no operators": (document(ALL, operators={}), r"layers.0.operators: 'all' is not in the document's operators;"),
    "operators of no mapping": (document(ALL, operators=["t2d"]), r"^operators: \['t2d'\] names no layers; allowed"),
    "a layer of no mapping": (document(ALL, operators={"t2d": 3}), r"^operators.t2d: 3 is no layer; allowed"),
    "an unknown operator": (document(ALL, operators={"t3d": {}}), r"^operators.t3d: is unknown; allowed: t2d, tps"),
    "another op": (document(ALL, operators={"t2d": {"op": "tps"}}), r"^operators.t2d.op: 'tps' stands under another"),
    "an operator that is not listed": (
        document({"operators": ["t2d", "tps"], "set": HEADS}),
        r"stages.0.layers.0.operators: \['t2d', 'tps'\] is not in .* allowed: all, or a list of t2d, d2plus1d, fact",
    ),
    "an empty list": (document({"operators": []}), r"layers.0.operators: \[\] is not in"),
    "words": (document({"operators": "some"}), r"layers.0.operators: 'some' is not in"),
    "changes of no mapping": (
        document({**ALL, "set": [1]}),
        r"layers.0.set: \[1\] changes nothing; allowed:",
    ),
    "a field of none": (
        document({**ALL, "set": {"haeds": 1}}),
        r"layers.0.set.haeds: is a field of no operator here; allowed: FIELD or OPERATOR.FIELD of t2d, d2plus1d, fact",
    ),
    "a field of another": (document({**ALL, "set": {"d2plus1d.heads": 1}}), r"set.d2plus1d.heads: is a field of no"),
    "the op": (document({**ALL, "set": {"t2d.op": "tps"}}), r"set.t2d.op: is a field of no operator here"),
    "another key": (
        document({**ALL, "width": 3}),
        r"layers.0.width: stands beside 'operators'; allowed: 'operators' with set",
    ),
    "extending nothing": ({"extends": "hybird"}, r"search space 'hybird' is neither a file nor a known name"),
    "extending with nothing": ({"extends": "tiny", "operators": [1]}, r"^operators: \[1\] names no layers"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_refused_with_the_place(what: str) -> None:
    data, message = BAD[what]
    with pytest.raises(NasError, match=message) as refused:
        SearchSpace.from_document(data, "test")
    assert "allowed" in str(refused.value) or "one of" in str(refused.value)


def test_spaces_that_extend_each_other_or_list_nothing_are_refused(tmp_path: Path) -> None:
    circle = tmp_path / "circle.yaml"
    circle.write_text(f"extends: {circle}")
    with pytest.raises(SpaceError, match=r"^extends: .*circle.yaml' is the 11th space; allowed: no circle of spaces"):
        SearchSpace.load(circle)
    plain = {"input": {"frames": 8, "size": 64}, "stem": {"op": "conv"}, "stages": [{"width": 8, "layers": []}]}
    (tmp_path / "plain.yaml").write_text(str(plain))
    mine = {"extends": str(tmp_path / "plain.yaml"), "operators": {"full3d": {}}}
    with pytest.raises(SpaceError, match=r"plain.yaml' names no operators; allowed: a space with a mapping"):
        SearchSpace.from_document(mine, "mine")
