"""Neighbourhoods: which edits there are, how far they lead, and the space that they make."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from nas.architecture import LAYERS, Architecture, ArchitectureError, D2Plus1D, load
from nas.architecture.edits import edited, edits_between, single_edits
from nas.cli.app import app
from nas.errors import NasError
from nas.profiler.computed.cost import cost
from nas.resources import resource_names
from nas.space import SearchSpace, SpaceError

TINY = Architecture.parse(
    {
        "name": "small",
        "input": {"frames": 4, "size": 32},
        "num_classes": 5,
        "stem": {"op": "conv", "kernel": [1, 3, 3], "stride": [1, 4, 4]},
        "stages": [{"width": 16, "downsample": {"op": "in_layer", "stride": [1, 2, 2]}, "layers": [{"op": "x3d"}]}],
    }
)


def test_the_edits_of_a_network_of_one_layer() -> None:
    """It carries a stride, so that convolutions alone may take its place; widths are multiples of
    4.
    """
    assert single_edits(TINY) == (
        "stages.0.depth=2",
        "stages.0.width=8",
        "stages.0.width=12",
        "stages.0.width=20",
        "stages.0.width=24",
        "stages.0.layers.0.op=d2plus1d",
        "stages.0.layers.0.op=joint_filter",
        "stages.0.layers.0.op=full3d",
        "stages.0.layers.0.op=r2plus1d",
        "stages.0.layers.0.op=e3d",
        "stages.0.layers.0.ratio=x0.5",
        "stages.0.layers.0.ratio=x0.75",
        "stages.0.layers.0.ratio=x1.25",
        "stages.0.layers.0.ratio=x1.5",
        "stages.0.layers.0.ratio=x2.0",
    )


def test_the_size_is_that_of_the_sets_of_edits() -> None:
    """Four things: 1 depth, 4 widths, 5 operators, 5 ratios. Up to two edits: 1, 15 and pairs of
    different things.
    """
    names = single_edits(TINY)
    pairs = [pair for pair in combinations(names, 2) if pair[0].split("=")[0] != pair[1].split("=")[0]]
    assert len(pairs) == 4 + 5 + 5 + 20 + 20 + 25
    assert SearchSpace.around(TINY, 1).size == 16
    assert SearchSpace.around(TINY, 2).size == 16 + len(pairs)
    assert SearchSpace.around(TINY, 9).size == 2 * 5 * 6 * 6


def test_edits_change_what_they_name() -> None:
    names = ["stages.0.layers.0.ratio=x1.5", "stages.0.depth=2", "stages.0.width=24"]
    document = edited(TINY, names)
    layer = {"op": "x3d", "expansion": 3.375, "kernel": 3, "temporal_kernel": 3, "excite": True}
    assert document["stages"][0] == {
        "width": 24,
        "downsample": {"op": "in_layer", "stride": [1, 2, 2]},
        "layers": [layer, layer],
    }
    assert {k: v for k, v in document.items() if k != "stages"} == {
        k: v for k, v in TINY.document().items() if k != "stages"
    }
    assert edited(TINY, names[::-1]) == document


def test_the_ratio_is_that_of_the_new_operator() -> None:
    """D(2+1)D has an expansion of 2, wherever the layer had one of 2.25; an added layer repeats
    both edits.
    """
    names = ("stages.0.depth=2", "stages.0.layers.0.op=d2plus1d", "stages.0.layers.0.ratio=x1.5")
    architecture = Architecture.parse(edited(TINY, names))
    assert architecture.stages[0].layers == (D2Plus1D(expansion=3.0), D2Plus1D(expansion=3.0))
    assert edits_between(TINY, architecture) == names
    attention = edited(load("vov3d_l"), ["stages.0.layers.0.ratio=x0.5", "stages.3.layers.1.op=t2d"])["stages"]
    assert attention[0]["layers"][0]["expansion"] == 1.0 and attention[3]["layers"][1]["mlp_ratio"] == 4.0


def test_a_deeper_stage_goes_on_alternating() -> None:
    """PST-T's third stage: channel shift, patch shift, channel shift and so on."""
    layers = edited(load("pst_t"), ["stages.2.depth=9"])["stages"][2]["layers"]
    assert [layer["shift"] for layer in layers] == ["channel", "patch"] * 4 + ["channel"]


def test_stages_that_cannot_change_width_change_together() -> None:
    """ViViT's temporal transformer has the width of its spatial one; 12 heads divide both."""
    base = load("vivit_b_m2")
    assert [name for name in single_edits(base) if "width" in name] == [
        f"stages.0.width={width}" for width in (384, 576, 960, 1152)
    ]
    document = edited(base, ["stages.0.width=576"])
    assert [stage["width"] for stage in document["stages"]] == [576, 576]
    assert Architecture.parse(document).hash != base.hash


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["stages.0.width=8", "stages.0.width=12"], "stages.0.width: is edited twice"),
        (["stages.2.depth=3", "stages.2.layers.4.op=x3d"], "stages.2.layers.4.op: is of a layer that depth 3 removes"),
        (
            ["stages.0.layers.0.op=full3d", "stages.0.layers.0.ratio=x2.0"],
            "stages.0.layers.0.ratio: has no meaning for the new operator 'full3d'",
        ),
    ],
)
def test_edits_that_contradict_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        edited(load("vov3d_l"), names)


def differences(a: Any, b: Any) -> int:
    """Fields of stages that differ, told without the names of edits: widths, depths, and layers
    that stay.
    """
    count = 0
    for old, new in zip(a["stages"], b["stages"], strict=True):
        count += (old["width"] != new["width"]) + (len(old["layers"]) != len(new["layers"]))
        count += sum(x != y for x, y in zip(old["layers"], new["layers"], strict=False))
    return count


def choices_of(base: Architecture) -> dict[str, list[str]]:
    """The single edits by the thing that they edit."""
    choices: dict[str, list[str]] = {}
    for name in single_edits(base):
        choices.setdefault(name.partition("=")[0], []).append(name)
    return choices


def spread_edits(base: Architecture, count: int) -> list[str]:
    """Edits of so many different things all over the file: the largest depths, middle values of the
    rest, and of a layer its operator or its ratio.
    """
    choices = choices_of(base)
    things = [thing for thing in choices if not thing.endswith(".ratio") or f"{thing[:-6]}.op" not in choices]
    chosen = [choices[things[i * len(things) // count]] for i in range(count)]
    return [names[-1] if ".depth=" in names[0] else names[len(names) // 2] for names in chosen]


@pytest.mark.parametrize("name", ["vov3d_l", "pst_t", "t2d_b16", "tubevit_b", "timesformer_b", "x3d_l", "davit_t2d_t"])
def test_every_number_of_edits_decodes_and_is_told_again(name: str) -> None:
    base = load(name)
    space, rng = SearchSpace.around(base, 6), np.random.default_rng(0)
    for count in range(7):
        names = spread_edits(base, count)
        params: dict[str, Any] = {"edits": count, **{f"edit.{i}": edit for i, edit in enumerate(names)}}
        architecture = space.decode(params)
        assert 0 < differences(base.document(), architecture.document()) <= count or not count
        again = space.params_of(architecture)
        assert again["edits"] == count and set(again.values()) == set(params.values())
        assert space.encode(params).shape == space.encode(again).shape
        mutated = space.decode(space.mutate(params, rng))
        assert edits_between(base, mutated) is not None
        assert space.decode(space.sample_params(rng)).input == base.input
    assert cost(architecture).macs > 0


MIXED = Architecture.parse(
    {
        "input": {"frames": 4, "size": 32},
        "stem": {"op": "conv", "stride": [1, 4, 4]},
        "stages": [
            {"width": 16, "layers": [{"op": "x3d"}, {"op": "t2d", "heads": 2}]},
            {
                "width": 24,
                "downsample": {"op": "conv", "stride": [1, 2, 2]},
                "layers": [{"op": "factorized", "heads": 3}, {"op": "full3d"}],
            },
        ],
    }
)


def contradict(first: str, second: str) -> bool:
    """Whether one edits a layer that the other removes, or the ratio of an operator without one."""
    for one, other in ((first, second), (second, first)):
        if one in ("stages.0.depth=1", "stages.1.depth=1") and other.startswith(f"{one[:9]}layers.1."):
            return True
        thing, _, new = one.partition("=")
        if thing.endswith(".op") and other.startswith(f"{thing[:-3]}.ratio"):
            return LAYERS.find(new).ratio is None  # type: ignore[union-attr]
    return False


def test_what_two_edits_make_tells_the_two() -> None:
    """Every pair of things, each with its first and its last value."""
    ends = [{names[0], names[-1]} for names in choices_of(MIXED).values()]
    pairs = [pair for a, b in combinations(ends, 2) for pair in product(sorted(a), sorted(b))]
    refused = 0
    for pair in pairs:
        if contradict(*pair):
            with pytest.raises(ArchitectureError, match=r"is of a layer that depth|has no meaning for"):
                edited(MIXED, pair)
            refused += 1
            continue
        found = edits_between(MIXED, Architecture.parse(edited(MIXED, pair)))
        assert found is not None and set(found) == set(pair), pair
    # 11 things: two depths, two widths, four operators, three ratios (full3d has none).
    assert len(pairs) == 4 * 55 and 0 < refused < 20


@pytest.mark.parametrize("name", resource_names("search_spaces/reference"))
def test_every_single_edit_can_be_built(name: str) -> None:
    base = load(name)
    for edit in single_edits(base)[::7]:
        Architecture.parse(edited(base, [edit]))


def test_other_networks_are_no_neighbours() -> None:
    space = SearchSpace.around(load("vov3d_l"), 2)
    with pytest.raises(SpaceError, match=r"another network.* up to 2 edits of vov3d_l"):
        space.params_of(load("vov3d_m").resized(16, 224))
    three = ["stages.0.depth=2", "stages.1.depth=3", "stages.0.width=36"]
    far = Architecture.parse(edited(load("vov3d_l"), three))
    with pytest.raises(SpaceError, match=r"3 edits away.* up to 2 edits of vov3d_l"):
        space.params_of(far)
    assert space.params_of(load("vov3d_l")) == {"edits": 0}


@pytest.mark.parametrize("edits", [0, -1, 21, 2.5, True, None])
def test_numbers_of_edits_that_are_none(edits: Any) -> None:
    with pytest.raises(SpaceError, match=r"edits: .* is no number of edits; allowed: 1 to 20"):
        SearchSpace.from_document({"around": TINY.document(), "edits": edits}, "wrong")


def test_a_wrong_architecture_is_named() -> None:
    with pytest.raises(SpaceError, match=r"around.stages.0.width: 0 is not allowed"):
        SearchSpace.from_document(
            {"around": {**TINY.document(), "stages": [{"width": 0, "layers": []}]}, "edits": 2}, "x"
        )
    with pytest.raises(SpaceError, match="stands beside 'around'"):
        SearchSpace.from_document({"around": TINY.document(), "edits": 2, "stem": {}}, "x")


def test_it_is_saved_and_has_other_classes(tmp_path: Path) -> None:
    space = SearchSpace.around(TINY, 3).with_classes(7)
    space.save(tmp_path / "space.yaml")
    again = SearchSpace.load(tmp_path / "space.yaml")
    assert again.sample(3) == space.sample(3) and again.sample(3).num_classes == 7


def test_commands(tmp_path: Path) -> None:
    TINY.save(tmp_path / "mine.yaml")
    shown = CliRunner().invoke(
        app, ["space", "--around", str(tmp_path / "mine.yaml"), "--edits", "2", "--samples", "3"]
    )
    assert shown.exit_code == 0 and "around-small: at most 95 networks" in shown.stdout
    dry = ["search", "--around", str(tmp_path / "mine.yaml"), "--edits", "2", "--dry-run"]
    planned = CliRunner().invoke(app, dry)
    assert planned.exit_code == 0 and "Searching space around-mine (at most 95 networks)" in planned.stdout
    for wrong, message in (
        (["search", "hybrid", "--around", "vov3d_l"], "space 'hybrid' stands beside --around vov3d_l"),
        (["search", "--edits", "3"], "edits 3 are of no network"),
        (["space", "--around", "vov3d"], "architecture 'vov3d' is neither a file nor a known name"),
        (["space", "--around", ""], "architecture '' is neither a file nor a known name"),
        (["search", "--around", "", "--dry-run"], "architecture '' is neither a file nor a known name"),
        (["search", "--around", "x" * 5000, "--dry-run"], "is neither a file nor a known name"),
    ):
        failed = CliRunner().invoke(app, wrong)
        assert isinstance(failed.exception, NasError) and message in str(failed.exception)
