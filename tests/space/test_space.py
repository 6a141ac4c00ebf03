"""Search spaces: filling, drawing, mutation, encoding, architectures as points, files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from space_documents import D2PLUS1D, JOINT, MIXED, SHIPPED, T2D, choice, document, enumerated, space

from nas.architecture import Architecture, ArchitectureError
from nas.errors import NasError
from nas.space import Params, SearchSpace, SpaceError

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
    s, rng = SearchSpace.load("hybrid"), np.random.default_rng(3)
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
