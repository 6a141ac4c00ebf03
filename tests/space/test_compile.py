"""From a document to holes: names, labels, sizes, and documents that are refused with the place."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from space_documents import D2PLUS1D, JOINT, MIXED, T2D, choice, document, enumerated, space

from nas.space import Label, SearchSpace, SpaceError

# --------------------------------------------------------------------------- names, labels and size


def test_names_are_paths_with_the_labels_of_chosen_options() -> None:
    holes = {hole.name: hole.values for hole in space(MIXED, width=choice(24, 48)).holes}
    layer: dict[str, tuple[Label, ...]] = {
        "op": ("t2d", "d2plus1d", "joint_filter"),
        "t2d.heads": (1, 2, 3),
        "t2d.window": (None, "8x8x8"),
        "d2plus1d.modules": (1, 3),
    }
    expected: dict[str, tuple[Label, ...]] = {"stages.0.width": (24, 48), "stages.0.layers.repeat": (1, 2)}
    expected |= {f"stages.0.layers.{i}.{name}": values for i in range(2) for name, values in layer.items()}
    assert holes == expected
    assert list(holes) == list(expected)


def test_repeats_inside_a_list_are_named_by_their_entry_and_spliced() -> None:
    layers = [JOINT, {"repeat": choice(0, 2), "layer": D2PLUS1D}, {"op": "full3d", "temporal_kernel": choice(1, 3)}]
    s = space(layers)
    assert [hole.name for hole in s.holes] == [
        "stages.0.layers.1.repeat",
        "stages.0.layers.1.0.modules",
        "stages.0.layers.1.1.modules",
        "stages.0.layers.2.temporal_kernel",
    ]
    assert s.size == (1 + 2**2) * 2
    assert s.decode({"stages.0.layers.1.repeat": 0, "stages.0.layers.2.temporal_kernel": 1}).operators == {
        "joint_filter": 1,
        "full3d": 1,
    }
    longest = {name: 1 for name in [hole.name for hole in s.holes]} | {"stages.0.layers.1.repeat": 2}
    ops = [layer.op for layer in s.decode(longest).stages[0].layers]
    assert ops == ["joint_filter", "d2plus1d", "d2plus1d", "full3d"]


def test_labels() -> None:
    s = space(
        [
            choice({"op": "tps", "heads": 1}, {"op": "tps", "heads": 2}),  # equal ops: by position
            {"op": "tps", "heads": 3, "window": choice([4, 4], [8, 8]), "cyclic": choice(False, True)},
            {
                "op": "sparse_tube",
                "heads": 3,
                "tubes": choice(
                    [{"kernel": [2, 2, 2], "stride": [2, 2, 2]}],
                    [{"kernel": [2, 2, 2], "stride": choice([2, 2, 2], [4, 2, 2])}],
                ),
            },
        ],
        downsample=choice(None, {"op": "conv", "stride": [1, 2, 2]}),
    )
    assert {hole.name: hole.values for hole in s.holes} == {
        "stages.0.downsample.op": (None, "conv"),
        "stages.0.layers.0": ("0", "1"),
        "stages.0.layers.1.window": ("4x4", "8x8"),
        "stages.0.layers.1.cyclic": (False, True),
        "stages.0.layers.2.tubes": ('[{"kernel":[2,2,2],"stride":[2,2,2]}]', "1"),
        "stages.0.layers.2.tubes.1.0.stride": ("2x2x2", "4x2x2"),
    }
    assert s.size == 2 * 2 * 2 * 2 * (1 + 2)


def test_the_root_may_be_a_choice_of_documents() -> None:
    two = choice({"name": "a", **document([JOINT])}, {"name": "b", **document([D2PLUS1D])})
    s = SearchSpace.from_document(two, "two")
    assert [hole.name for hole in s.holes] == ["name", "b.stages.0.layers.0.modules"]
    assert s.size == 1 + 2
    assert s.decode({"name": "b", "b.stages.0.layers.0.modules": 3}).name == "b"
    unnamed = SearchSpace.from_document(choice(document([JOINT]), document([D2PLUS1D])), "two")
    assert [hole.name for hole in unnamed.holes] == ["root", "1.stages.0.layers.0.modules"]


@pytest.mark.parametrize(
    ("layers", "stage", "size"),
    [
        ([JOINT], {}, 1),
        ([JOINT], {"width": choice(24, 48)}, 2),
        ([T2D], {"width": choice(24, 48)}, 2 * 3 * 2),
        ([choice(T2D, D2PLUS1D, JOINT)], {}, 6 + 2 + 1),
        ([choice(T2D, JOINT), choice(JOINT, D2PLUS1D)], {}, (6 + 1) * (1 + 2)),
        ({"repeat": 3, "layer": choice(T2D, JOINT)}, {}, 7**3),
        ({"repeat": choice(1, 2, 4), "layer": choice(T2D, JOINT)}, {}, 7 + 7**2 + 7**4),
        ({"repeat": {"range": [2, 6, 2]}, "layer": D2PLUS1D}, {}, 2**2 + 2**4 + 2**6),
        (choice([JOINT], {"repeat": 2, "layer": D2PLUS1D}), {}, 1 + 2**2),
        ({"repeat": choice(1, 60), "layer": choice(T2D, D2PLUS1D, JOINT)}, {}, 9 + 9**60),  # beyond any float
    ],
)
def test_sizes_worked_out_by_hand(layers: Any, stage: dict[str, Any], size: int) -> None:
    assert space(layers, **stage).size == size


def small_holes() -> st.SearchStrategy[dict[str, Any]]:
    """Layers with holes, of which repetition makes at most some hundred combinations."""
    some = st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=2, unique=True)
    values = some.map(lambda options: {"choice": options})
    layer = st.one_of(
        st.builds(lambda heads: {"op": "t2d", "heads": heads}, values),
        st.builds(lambda t, s: {"op": "joint_filter", "temporal_atoms": t, "spatial_atoms": s}, values, values),
        st.just({"op": "full3d"}),
    )
    distinct = st.lists(layer, min_size=1, max_size=3, unique_by=lambda one: str(one["op"]))
    chosen = st.one_of(layer, distinct.map(lambda options: {"choice": options}))
    return st.builds(lambda count, one: {"repeat": {"choice": count}, "layer": one}, some, chosen)


@settings(max_examples=25, deadline=None)
@given(small_holes())
def test_size_is_the_number_of_assignments_and_encoding_tells_them_apart(layers: dict[str, Any]) -> None:
    s = space(layers)
    everything = list(itertools.islice(enumerated(s), 1001))
    assert len(everything) == min(s.size, 1001)
    assert len({tuple(params.items()) for params in everything}) == len(everything)
    codes = [s.encode(params) for params in everything]
    assert len({code.shape for code in codes}) == 1
    assert len({code.tobytes() for code in codes}) == len(codes)


# ------------------------------------------------------------------------------------ bad documents

WIDTH, LAYERS = "stages.0.width: ", "stages.0.layers"
ITSELF: list[Any] = []
ITSELF.append(ITSELF)

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "empty choice": (document([JOINT], width=choice()), WIDTH + r"choice \[\] has no options"),
    "choice of no list": (document([JOINT], width={"choice": 24}), WIDTH + "choice 24 has no options"),
    "equal options": (document([JOINT], width=choice(24, 48, 24)), WIDTH + "choice has two options 24"),
    "equal numbers": (document([JOINT], width=choice(24, 24.0)), WIDTH + "choice has two options 24.0"),
    "key beside choice": (
        document([JOINT], width={**choice(24), "default": 24}),
        "stages.0.width.default: stands beside 'choice'; allowed: 'choice' alone",
    ),
    "range beside choice": (
        document([JOINT], width={**choice(24), "range": [1, 2, 1]}),
        "stages.0.width.range: stands beside 'choice'",
    ),
    "key beside range": (
        document([JOINT], width={"range": [8, 16, 8], "log": True}),
        "stages.0.width.log: stands beside 'range'",
    ),
    "key beside repeat": (
        document({"repeat": 2, "layer": JOINT, "share": True}),
        LAYERS + ".share: stands beside 'repeat'; allowed: 'repeat' with layer",
    ),
    "repeat without layer": (document({"repeat": 2}), LAYERS + ".layer: is missing beside 'repeat'"),
    "two numbers": (document([JOINT], width={"range": [8, 16]}), WIDTH + r"range \[8, 16\] is not understood"),
    "words in a range": (document([JOINT], width={"range": ["a", 1, 1]}), WIDTH + "range .* is not understood"),
    "booleans in a range": (document([JOINT], width={"range": [False, 1, 1]}), WIDTH + "range .* is not understood"),
    "infinite range": (document([JOINT], width={"range": [1, float("inf"), 1]}), WIDTH + "range .* is not understood"),
    "range backwards": (document([JOINT], width={"range": [16, 8, 8]}), WIDTH + r"range \[16, 8, 8\] is empty"),
    "step zero": (document([JOINT], width={"range": [8, 16, 0]}), WIDTH + "range .* is empty"),
    "range off its end": (document([JOINT], width={"range": [8, 20, 8]}), WIDTH + "range .* misses its last value"),
    "long range": (document([JOINT], width={"range": [1, 10**9, 1]}), WIDTH + "range .* has 1000000000 values"),
    "range of very large numbers": (
        document([JOINT], width={"range": [1, 10**400, 1]}),
        WIDTH + r"range \[1, 10+.* is not understood",
    ),
    "range of very small steps": (
        document([JOINT], width={"range": [0, 1, 1e-300]}),
        WIDTH + r"range \[0, 1, 1e-300\] has 10+1 values; allowed: at most 1000",
    ),
    "words in repeat": (document({"repeat": "two", "layer": JOINT}), LAYERS + ".repeat: 'two' is no count"),
    "negative repeat": (document({"repeat": -1, "layer": JOINT}), LAYERS + ".repeat: -1 is no count"),
    "true repeat": (document({"repeat": True, "layer": JOINT}), LAYERS + ".repeat: True is no count"),
    "long repeat": (document({"repeat": choice(1, 10**9), "layer": JOINT}), LAYERS + ".repeat: .* 0 to 100"),
    "list in repeat": (document({"repeat": [1, 2], "layer": JOINT}), LAYERS + r".repeat: \[1, 2\] is no count"),
    "not a number": (document([JOINT], width=choice(24, float("nan"))), r"stages.0.width.nan: nan is no value"),
    "object": (document([JOINT], width=object()), WIDTH + "<object .* is no value; allowed: mappings"),
    "number as key": (document([{**JOINT, 3: 1}]), LAYERS + ".0.3: is no key; allowed: words"),
    "document in itself": (document(ITSELF), "nests more than 40 levels"),
    "misspelt key of one option": (
        document([choice(JOINT, {"op": "t2d", "heads": 3, "varient": "fused"})]),
        LAYERS + ".0.varient: unknown key; allowed: op, heads",
    ),
    "misspelt value of one option": (
        document({"repeat": choice(1, 2), "layer": choice(JOINT, {**T2D, "variant": choice("shared", "fusde")})}),
        LAYERS + ".0.variant: 'fusde' is not allowed",
    ),
    "nothing that can be built": (
        document([{"op": "t2d", "heads": choice(5, 7)}]),
        "'test': 1000 combinations were tried and none can be built.* does not divide the width 24",
    ),
    "repeats of repeats": (
        document({"repeat": 100, "layer": {"repeat": 100, "layer": {"repeat": 100, "layer": JOINT}}}),
        r"comes after 50,000 values, what repeats stand for included; allowed: up to 50,000",
    ),
    "few of many layers": (
        document({"repeat": 100, "layer": {"op": "t2d", "heads": choice(5, 7)}}),
        "'test': 1000 combinations were tried",
    ),
    # 100,000 layers in all, of 200 a network
    "few of very many layers": (
        {
            **document([]),
            "stages": 2 * [{"width": 24, "layers": {"repeat": 100, "layer": {"op": "t2d", "heads": choice(5, 7)}}}],
        },
        "'test': 500 combinations were tried and none can be built",
    ),
    "refused and without choice": (document([{"op": "t2d", "heads": 5}]), "5 does not divide the width 24"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_documents_are_refused_with_the_place(what: str) -> None:
    data, message = BAD[what]
    with pytest.raises(SpaceError, match=message) as refused:
        SearchSpace.from_document(data, "test")
    assert "allowed" in str(refused.value)


@pytest.mark.parametrize("data", [None, 3, "text", [], [1], {}])
def test_what_is_no_document_is_refused(data: Any) -> None:
    with pytest.raises(SpaceError, match="allowed"):
        SearchSpace.from_document(data, "test")


@pytest.mark.parametrize(("key", "meant"), [("choise", "choice"), ("ranges", "range"), ("operator", "operators")])
def test_a_misspelt_hole_is_named(key: str, meant: str) -> None:
    with pytest.raises(SpaceError, match=rf"^stages.0.width.{key}: is no key; allowed: '{meant}' for a hole"):
        SearchSpace.from_document({"stages": [{"width": {key: [8, 16]}}]}, "mine")


def test_as_many_values_as_a_document_may_have_are_a_space() -> None:
    within = document({"repeat": 100, "layer": {"op": "t2d", "heads": 1, "mlp_ratio": choice(*range(1, 101))}})
    assert SearchSpace.from_document(within, "test").size == 100**100
    with pytest.raises(SpaceError, match=r"^stages.4.layers.\d+.mlp_ratio.\d+: comes after 50,000 values"):
        SearchSpace.from_document({**within, "stages": 5 * within["stages"]}, "test")


def test_only_leaves_the_values_that_it_lists() -> None:
    given = {
        **document(MIXED),
        "only": {"stages.0.layers.repeat": [1], "stages.0.layers.0.op": ["t2d", "joint_filter"]},
    }
    made = SearchSpace.from_document(given, "test")
    # One layer: 6 of t2d, and the joint filter.
    assert made.size == 7 and {hole.name.split(".")[3] for hole in made.holes} == {"repeat", "0"}


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (["stages"], r"only: \['stages'\] keeps nothing; allowed: a mapping from holes to lists of their values"),
        (
            {"stages.0.layers.0.opp": ["t2d"]},
            "only.stages.0.layers.0.opp: is no hole of the space; allowed: names such",
        ),
        ({"stages.0.layers.repeat": []}, r"only.stages.0.layers.repeat: \[\] leaves no value; allowed: a list of 1, 2"),
        ({"stages.0.layers.repeat": [5]}, "only.stages.0.layers.repeat: 5 is no value of the hole; allowed: 1, 2"),
    ],
)
def test_only_of_what_is_not_there_is_refused(only: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace.from_document({**document(MIXED), "only": only}, "test")
