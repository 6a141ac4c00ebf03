from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.assignment import assign_clips, assign_groups

GROUPINGS = st.lists(st.sets(st.sampled_from("ABC"), min_size=1), min_size=2, max_size=6)


def clips_of(groups: list[set[str]] | list[str], each: int = 1) -> tuple[list[str], list[str]]:
    """Labels and groups of clips: `each` of every class of every group."""
    pairs = [(label, f"g{i}") for i, classes in enumerate(groups) for label in sorted(classes) for _ in range(each)]
    return [label for label, _ in pairs], [group for _, group in pairs]


def classes_by_split(labels: list[str], splits: list[str]) -> dict[str, set[str]]:
    return {name: {a for a, b in zip(labels, splits, strict=True) if b == name} for name in set(splits)}


def test_days_of_some_of_the_classes() -> None:
    """Days with classes {A, B}, {A, B}, {A}, {B}: the last two together are the test."""
    labels, groups = clips_of(["AB", "AB", "A", "B"])
    by_group = dict(zip(groups, assign_groups(labels, groups), strict=True))
    assert by_group == {"g0": "train", "g1": "val", "g2": "test", "g3": "test"}


def test_groups_of_one_class_each() -> None:
    """As UCF101's: 25 groups of each class, of which a fifth is 5."""
    labels = [label for label in "ABC" for _ in range(25 * 4)]
    groups = [f"{label}_g{i // 4:02}" for label in "ABC" for i in range(25 * 4)]
    splits = dict(zip(groups, assign_groups(labels, groups), strict=True))
    for label in "ABC":
        of_class = [splits[f"{label}_g{i:02}"] for i in range(25)]
        assert of_class == ["train"] * 15 + ["val"] * 5 + ["test"] * 5


def test_a_search_finds_what_taking_the_last_groups_misses() -> None:
    """The last group, {C}, brings C to test, where {A, B, C} and {B, C, D} would follow for the
    rest; what is left is {A}, {A, B, D} and {B, C, D}, no two sets of all classes.
    """
    labels, names = clips_of(["A", "ABD", "BCD", "BCD", "ABC", "C"])
    assert list(classes_by_split(labels, assign_groups(labels, names)).values()) == [set("ABCD")] * 3


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (["A", "B"], {"train": set("AB")}),  # nothing can be held out
        (["AB"], {"train": set("AB")}),
        (["A", "A", "B"], {"train": set("AB"), "val": {"A"}}),
        (["AB", "AC"], {"train": set("ABC")}),
        (["AB", "AB", "A", "A"], {"train": set("AB"), "val": set("AB"), "test": {"A"}}),
    ],
)
def test_where_groups_are_too_few(groups: list[str], expected: dict[str, set[str]]) -> None:
    labels, names = clips_of(groups)
    assert classes_by_split(labels, assign_groups(labels, names)) == expected


@settings(max_examples=300, deadline=None, derandomize=True)
@given(GROUPINGS, st.integers(1, 3), st.booleans())
def test_every_class_is_in_every_split_where_groups_allow_it(groups: list[set[str]], each: int, test: bool) -> None:
    labels, names = clips_of(groups, each)
    splits = assign_groups(labels, names, test)
    of_group = dict(zip(names, splits, strict=True))
    assert [of_group[name] for name in names] == splits  # no group is in two splits
    classes, found = set(labels), classes_by_split(labels, splits)
    assert found["train"] == classes
    kinds = ("train", "val", "test") if test and len(groups) > 3 else ("train", "val")
    assert set(found) <= set(kinds)

    def possible(kinds: tuple[str, ...]) -> bool:
        for choice in product(kinds, repeat=len(groups)):
            held = {kind: set[str]() for kind in kinds}
            for kind, group in zip(choice, groups, strict=True):
                held[kind] |= group
            if all(each == classes for each in held.values()):
                return True
        return False

    if any(found.get(kind) != classes for kind in kinds):
        assert not possible(kinds)
    if found.get("val") != classes:
        assert not possible(("train", "val"))
    # A class of at least two groups of which one holds nothing else can be held out.
    if any(len(group) == 1 and sum(group <= other for other in groups) > 1 for group in groups):
        assert found["val"]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(GROUPINGS, st.randoms(use_true_random=False))
def test_the_order_of_clips_does_not_change_which_groups_are_held_out(
    groups: list[set[str]], shuffle: random.Random
) -> None:
    clips = list(zip(*clips_of(groups, 2), strict=True))
    shuffled = shuffle.sample(clips, len(clips))
    held = [
        dict(zip((b for _, b in order), assign_groups([a for a, _ in order], [b for _, b in order]), strict=True))
        for order in (clips, shuffled)
    ]
    assert held[0] == held[1]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from("ABC"), min_size=1, max_size=40), st.integers(0, 2**32))
def test_clips_are_held_out_by_class(labels: list[str], seed: int) -> None:
    splits = assign_clips(labels, seed)
    assert splits == assign_clips(labels, seed)
    for label in set(labels):
        of_class = [split for name, split in zip(labels, splits, strict=True) if name == label]
        held = max(1, round(len(of_class) / 5))
        assert of_class.count("val") == (held if len(of_class) > 1 else 0)
        assert of_class.count("test") == (held if len(of_class) > 2 else 0)
        assert "train" in of_class
    assert "test" not in assign_clips(labels, seed, with_test=False)


def test_splits_do_not_hang_on_the_hash_seed() -> None:
    program = (
        "from nas.data.assignment import *\n"
        "labels = [c for c in 'zebra' for _ in range(8)]\n"
        "print(assign_clips(labels, 3), assign_groups(labels, [f'{i % 7}' for i in range(40)]))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(printed) == 1 and "test" in printed.pop()


def test_large_sets_are_fast_and_a_class_in_few_groups_is_in_train() -> None:
    """400 classes of 30 groups of one class each, and one class with two groups."""
    labels = [f"c{i:03}" for i in range(400) for _ in range(30)] + ["rare", "rare"]
    groups = [f"{label}_g{i}" for i, label in enumerate(labels)]
    found = classes_by_split(labels, assign_groups(labels, groups))
    assert found["train"] == found["val"] == set(labels)
    assert found["test"] == set(labels) - {"rare"}
