"""Search spaces: names and counts of holes, drawing, mutation, encoding, bad input, and the spaces
that ship.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import Architecture, ArchitectureError
from nas.errors import NasError
from nas.space import Hole, Label, Params, SearchSpace, SpaceError

SHIPPED = ("hybrid", "conv", "swin", "vit", "tiny")


def document(layers: Any, **stage: Any) -> dict[str, Any]:
    """A document with one stage: a 16x16 map of 8 frames and width 24 unless the stage says
    otherwise.
    """
    return {
        "input": {"frames": 8, "size": 64},
        "stem": {"op": "conv", "stride": [1, 4, 4]},
        "stages": [{"width": 24, **stage, "layers": layers}],
    }


def space(layers: Any, **stage: Any) -> SearchSpace:
    return SearchSpace.from_document(document(layers, **stage), "test")


def choice(*options: Any) -> dict[str, Any]:
    return {"choice": list(options)}


T2D = {"op": "t2d", "heads": choice(1, 2, 3), "window": choice(None, [8, 8, 8])}
D2PLUS1D = {"op": "d2plus1d", "modules": {"range": [1, 3, 2]}}
JOINT = {"op": "joint_filter"}
MIXED = {"repeat": choice(1, 2), "layer": choice(T2D, D2PLUS1D, JOINT)}  # (6 + 2 + 1) + (6 + 2 + 1)^2 = 90


def enumerated(space: SearchSpace) -> Iterator[Params]:
    """Every assignment, by walking a counter through the values of the holes that are asked for."""
    path: list[int] = []
    while True:
        asked: list[Hole] = []

        def choose(hole: Hole, asked: list[Hole] = asked) -> Label:
            asked.append(hole)
            if len(path) < len(asked):
                path.append(0)
            return hole.values[path[len(asked) - 1]]

        yield space.complete(choose)[0]
        while path and path[-1] == len(asked[len(path) - 1].values) - 1:
            path.pop()
        if not path:
            return
        path[-1] += 1


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


# ----------------------------------------------------------------------------- filling and decoding


def test_complete_asks_for_active_holes_in_order_and_decode_gives_the_same() -> None:
    s = space(MIXED)
    wanted: Params = {
        "stages.0.layers.repeat": 2,
        "stages.0.layers.0.op": "t2d",
        "stages.0.layers.0.t2d.heads": 3,
        "stages.0.layers.0.t2d.window": "8x8x8",
        "stages.0.layers.1.op": "joint_filter",
    }
    params, architecture = s.complete(lambda hole: wanted[hole.name])
    assert list(params.items()) == list(wanted.items())
    assert architecture == Architecture.parse(
        document([{"op": "t2d", "heads": 3, "window": [8, 8, 8]}, {"op": "joint_filter"}])
    )
    assert s.decode(wanted) == architecture


def test_values_come_back_as_the_space_writes_them() -> None:
    s = space([D2PLUS1D])
    params, _ = s.complete(lambda hole: 3.0)
    assert params == {"stages.0.layers.0.modules": 3}
    assert type(params["stages.0.layers.0.modules"]) is int


def test_decimal_ranges_are_exact_and_reach_their_end() -> None:
    (hole,) = space([{"op": "d2plus1d", "expansion": {"range": [0.1, 0.5, 0.1]}}]).holes
    assert hole.values == (0.1, 0.2, 0.3, 0.4, 0.5)
    (hole,) = space([JOINT], width={"range": [16, 48, 16]}).holes
    assert hole.values == (16, 32, 48)
    assert all(type(value) is int for value in hole.values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages.0.layers.0.op": None}, r"'stages.0.layers.0.op' is None; allowed: 't2d', 'd2plus1d', 'joint_filter'"),
        ({"stages.0.layers.0.t2d.heads": 4}, r"'stages.0.layers.0.t2d.heads' is 4; allowed: 1, 2, 3"),
        ({"stages.0.layers.0.t2d.heads": [1]}, r"heads' is \[1\]; allowed: 1, 2, 3"),
        ({"stages.0.depth": 1}, r"'stages.0.depth' \(value 1\) is unknown; allowed: stages.0.layers.repeat, "),
        (
            {"stages.0.layers.0.d2plus1d.modules": 1},
            r"'stages.0.layers.0.d2plus1d.modules' \(value 1\) has no meaning beside the others; allowed: ",
        ),
    ],
)
def test_wrong_parameters_are_refused(change: dict[str, Any], message: str) -> None:
    params: Params = {
        "stages.0.layers.repeat": 1,
        "stages.0.layers.0.op": "t2d",
        "stages.0.layers.0.t2d.heads": 1,
        "stages.0.layers.0.t2d.window": None,
    }
    s = space(MIXED)
    s.decode(params)
    for function in (s.decode, s.encode, lambda given: s.mutate(given, np.random.default_rng(0))):
        with pytest.raises(SpaceError, match=message):
            function({**params, **change})


def test_a_missing_parameter_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"'stages.0.layers.repeat' is missing; allowed: 1, 2"):
        space(MIXED).decode({})


# ------------------------------------------------------------------------------------------ drawing


def test_combinations_that_the_architecture_refuses_are_drawn_again() -> None:
    s = space([{"op": "t2d", "heads": choice(5, 8)}], width=choice(16, 25))
    first: Params = {"stages.0.width": 16, "stages.0.layers.0.heads": 8}
    second: Params = {"stages.0.width": 25, "stages.0.layers.0.heads": 5}
    good = [first, second]
    rng = np.random.default_rng(0)
    assert s.size == 4
    samples = [s.sample_params(rng) for _ in range(40)]
    assert [params for params in good if params in samples] == good
    assert all(params in good for params in samples)
    assert all(s.crossover(first, second, rng) in good for _ in range(20))
    with pytest.raises(ArchitectureError, match="8 does not divide the width 25"):
        s.decode({"stages.0.width": 25, "stages.0.layers.0.heads": 8})
    # One change alone leads to no valid neighbour here.
    with pytest.raises(SpaceError, match=r"1000 combinations were tried .* does not divide the width"):
        s.mutate(first, rng)


def test_samples_are_uniform_over_the_values_of_a_hole() -> None:
    rng, s = np.random.default_rng(0), space(MIXED)
    ops = [s.sample_params(rng)["stages.0.layers.0.op"] for _ in range(900)]
    for op in ("t2d", "d2plus1d", "joint_filter"):
        assert abs(ops.count(op) - 300) < 60  # 4 standard deviations of 14


def test_a_seed_gives_the_same_sample_in_every_process() -> None:
    code = "from nas.space import SearchSpace; print(SearchSpace.load('tiny').sample(7).hash)"
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    tiny = SearchSpace.load("tiny")
    assert run.stdout.strip() == tiny.sample(7).hash
    assert tiny.sample(7).hash != tiny.sample(8).hash
    assert tiny.sample(7) == tiny.decode(tiny.sample_params(np.random.default_rng(7)))


def is_inside(name: str, changed: str) -> bool:
    """Whether a hole exists because of the value of another one: below an op, or a repetition."""
    return name.startswith(changed.removesuffix("op").removesuffix("repeat"))


@pytest.mark.parametrize("name", ["hybrid", "tiny", "vit"])
def test_mutation_changes_exactly_one_hole(name: str) -> None:
    s, rng = SearchSpace.load(name), np.random.default_rng(1)
    before = s.sample_params(rng)
    for _ in range(40):
        after = s.mutate(before, rng)
        s.decode(after)
        changed = [key for key in before.keys() & after.keys() if before[key] != after[key]]
        assert len(changed) == 1
        others = before.keys() ^ after.keys()
        # At the root of vit everything below comes and goes.
        assert changed == ["name"] or all(is_inside(key, changed[0]) for key in others)
        before = after


def test_a_space_without_holes_has_one_architecture_and_nothing_to_mutate() -> None:
    s = space([JOINT])
    assert (s.size, s.holes, s.sample_params(np.random.default_rng(0))) == (1, (), {})
    assert s.sample(0) == Architecture.parse(document([JOINT]))
    assert s.encode({}).shape == (0,)
    with pytest.raises(SpaceError, match="'test' has nothing to change"):
        s.mutate({}, np.random.default_rng(0))


def test_crossover_takes_every_value_from_a_parent_and_mixes_them() -> None:
    s, rng = SearchSpace.load("hybrid"), np.random.default_rng(2)
    a, b = s.sample_params(rng), s.sample_params(rng)
    children = [s.crossover(a, b, rng) for _ in range(40)]
    for child in children:
        s.decode(child)
        assert all(value in [parent[key] for parent in (a, b) if key in parent] for key, value in child.items())
    width = "stages.2.width"
    assert a[width] != b[width]
    assert {child[width] for child in children} == {a[width], b[width]}
    assert s.crossover(a, a, rng) == a


# ----------------------------------------------------------------------------------------- encoding


def test_encoding_worked_out_by_hand() -> None:
    s = space([choice(T2D, D2PLUS1D)], width=choice(48, 24, 96))
    path = "stages.0.layers.0"
    # width: active, rank; op: t2d, d2plus1d; heads: active, rank; window: none, 8x8x8; modules:
    # active, rank
    t2d: Params = {"stages.0.width": 48, f"{path}.op": "t2d", f"{path}.t2d.heads": 3, f"{path}.t2d.window": "8x8x8"}
    assert s.encode(t2d).tolist() == [1, 0.5, 1, 0, 1, 1, 0, 1, 0, 0]
    d2plus1d: Params = {"stages.0.width": 24, f"{path}.op": "d2plus1d", f"{path}.d2plus1d.modules": 1}
    assert s.encode(d2plus1d).tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 1, 0]
    assert s.encode(t2d).dtype == np.float32


# ---------------------------------------------------------------------------------------- params_of


@pytest.mark.parametrize("name", SHIPPED)
def test_params_of_inverts_decode(name: str) -> None:
    s, rng = SearchSpace.load(name), np.random.default_rng(3)
    for _ in range(20):
        params = s.sample_params(rng)
        assert s.params_of(s.decode(params)) == params


def test_params_of_sees_through_defaults_names_and_pairs() -> None:
    s = space({"repeat": choice(1, 2), "layer": choice({"op": "tps", "heads": 3, "window": choice(4, 7)}, JOINT)})
    explicit = [{"op": "tps", "heads": 3, "window": [7, 7], "mlp_ratio": 4}, {"op": "joint_filter", "kernel": 3}]
    architecture = Architecture.parse({"name": "x", **document(explicit), "input": {"frames": 8, "size": [64, 64]}})
    params = s.params_of(architecture)
    assert params == {
        "stages.0.layers.repeat": 2,
        "stages.0.layers.0.op": "tps",
        "stages.0.layers.0.tps.window": 7,
        "stages.0.layers.1.op": "joint_filter",
    }
    assert s.decode(params).canonical() == architecture.canonical()


def test_params_of_finds_the_length_of_repeats_that_follow_each_other() -> None:
    either = choice(D2PLUS1D, JOINT)
    s = space([{"repeat": choice(0, 1, 2), "layer": D2PLUS1D}, {"repeat": choice(1, 2), "layer": either}])
    three = [{"op": "d2plus1d", "modules": 1}] * 2 + [{"op": "joint_filter"}]
    params = s.params_of(Architecture.parse(document(three)))
    assert [layer.op for layer in s.decode(params).stages[0].layers] == ["d2plus1d", "d2plus1d", "joint_filter"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([{"op": "tps", "heads": 3}], "stages.0.layers.0.op: 'tps' is not in the space; allowed: 't2d', 'd2plus1d'"),
        ([{"op": "t2d", "heads": 4}], "stages.0.layers.0.heads: 4 is not in the space; allowed: 1, 2, 3"),
        ([{"op": "d2plus1d", "modules": 1, "kernel": 5}], r"layers.0.kernel: 5 .* allowed: 3 \(the default\)"),
        (
            [JOINT, {"op": "t2d", "heads": 1, "window": [2, 2, 2]}],
            r"layers.1.window: \[2, 2, 2\] .* allowed: one of None .*, '8x8x8'",
        ),
        ([JOINT] * 3, r"stages.0.layers: 3 is not in the space; allowed: 1, 2 repeated entries"),
    ],
)
def test_params_of_names_the_place_that_differs(layers: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        space(MIXED).params_of(Architecture.parse(document(layers)))


def test_params_of_needs_the_input_of_the_space() -> None:
    s = space([JOINT])
    other = Architecture.parse(document([JOINT])).resized(frames=4)
    with pytest.raises(SpaceError, match=r"input\.frames: 4 is not in the space; allowed: 8"):
        s.params_of(other)
    assert s.params_of(other.resized(frames=8)) == {}


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
        "stages.0.width.default: stands beside 'choice'; allowed there: nothing",
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
        LAYERS + ".share: stands beside 'repeat'; allowed there: layer",
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


# ------------------------------------------------------------------------------------------ files


def test_saved_spaces_load_as_they_were(tmp_path: Path) -> None:
    s = SearchSpace.load("vit")
    s.save(tmp_path / "copy.yaml")
    again = SearchSpace.load(tmp_path / "copy.yaml")
    assert (again.name, again.holes, again.size, again.document) == ("copy", s.holes, s.size, s.document)


def test_a_document_that_changes_later_does_not_change_the_space(tmp_path: Path) -> None:
    data = document([JOINT], width=choice(24, 48))
    s = SearchSpace.from_document(data, "test")
    data["stages"][0]["width"]["choice"].append(96)
    s.save(tmp_path / "a.yaml")
    assert SearchSpace.load(tmp_path / "a.yaml").size == 2


def test_with_classes_replaces_the_number_in_every_document_of_the_root() -> None:
    two = choice({"name": "a", **document([JOINT])}, {"name": "b", **document([D2PLUS1D]), "num_classes": 9})
    s = SearchSpace.from_document(two, "two").with_classes(7)
    assert [s.decode(params).num_classes for params in enumerated(s)] == [7, 7, 7]
    assert (s.name, s.size) == ("two", 3)
    assert space([JOINT]).with_classes(7).sample(0).num_classes == 7


def test_a_python_tag_in_a_file_is_refused_and_not_executed(tmp_path: Path) -> None:
    path, proof = tmp_path / "evil.yaml", tmp_path / "proof"
    path.write_text(f"choice: [!!python/object/apply:os.system ['touch {proof}']]\n")
    with pytest.raises(NasError, match=r"search space .* is not YAML"):
        SearchSpace.load(path)
    assert not proof.exists()


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NasError, match=r"search space 'hybird' .* one of conv, hybrid, swin, tiny, vit"):
        SearchSpace.load("hybird")


# ----------------------------------------------------------------------------- the spaces that ship


HOLES = {  # of the names and values of all holes, in order, and of the size
    "hybrid": "c4050b44bf786c42",
    "conv": "8a7a7223ea354246",
    "swin": "ab1182190f463f74",
    "vit": "240963c9c6d90bd7",
    "tiny": "5a817f3081e1a7e7",
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_run_of_the_first_version_finds_the_holes_that_its_trials_are_stored_with(name: str) -> None:
    s = SearchSpace.load(name)
    listed: list[Any] = [[hole.name, list(hole.values)] for hole in s.holes]
    text = json.dumps([*listed, str(s.size)])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == HOLES[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_combination_of_a_shipped_space_can_be_built(name: str) -> None:
    s, rng = SearchSpace.load(name), np.random.default_rng(0)
    known = {hole.name: hole.values for hole in s.holes}
    assert len(known) == len(s.holes)
    hashes = set()
    for _ in range(1000):
        # `complete`, and not `sample`, which would draw again
        params, architecture = s.complete(lambda hole: hole.values[int(rng.integers(len(hole.values)))])
        assert params.keys() <= known.keys()
        hashes.add(architecture.hash)
    assert len(hashes) > 990


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("hybrid", {"t2d", "tps", "factorized", "sparse_tube", "d2plus1d", "joint_filter"}),
        ("tiny", {"t2d", "tps", "factorized", "sparse_tube", "d2plus1d", "joint_filter"}),
        ("conv", {"d2plus1d", "x3d", "joint_filter", "r2plus1d", "full3d"}),
    ],
)
def test_every_layer_of_these_chooses_among_these_operators(name: str, operators: set[str]) -> None:
    choices = [hole for hole in SearchSpace.load(name).holes if hole.name.endswith(".op") and ".layers." in hole.name]
    assert choices
    assert all(set(hole.values) == operators for hole in choices)


@pytest.mark.parametrize("name", ["hybrid", "tiny", "conv"])
def test_the_cheapest_and_the_largest_corner_resize_to_a_proxy_input(name: str) -> None:
    s = SearchSpace.load(name)
    for _, architecture in (s.complete(lambda hole: hole.values[0]), s.complete(lambda hole: hole.values[-1])):
        assert architecture.resized(frames=4, size=32).input.frames == 4
