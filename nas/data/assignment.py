"""Which clips are held out for val and test. Pure: arrays in, arrays out.

Shapes: N clips, G groups, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

HELD_OUT = 0.2  # share of the clips in val, and in test
SEARCHED = 20_000  # steps after which an assignment of groups that has every class counts as not there

_FREE = -1
_TEST, _VAL, _TRAIN = range(3)
_NAMES = ("test", "val", "train")

Ints = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]


def assign_clips(labels: Sequence[str], seed: int, with_test: bool = True) -> list[str]:
    """Holds out a random fifth of the clips of each class for val, and another for test.

    A class of one clip is train only, one of two has no test. The order of `labels` counts: callers
    that want a split which does not depend on it sort first.

    Args:
        labels: Class of each clip, (N,).
        seed: Decides which.
        with_test: Whether there is a test split.

    Returns:
        `train`, `val` or `test` for each clip, (N,).
    """
    rng = np.random.default_rng(seed)
    assigned = np.full(len(labels), "train", object)
    of_class = np.array(labels, object)
    for label in sorted(set(labels)):
        members = rng.permutation(np.flatnonzero(of_class == label))
        held = max(1, round(HELD_OUT * len(members)))
        val = held if len(members) > 1 else 0
        test = held if with_test and len(members) > 2 else 0
        assigned[members[:val]] = "val"
        assigned[members[val : val + test]] = "test"
    names: list[str] = assigned.tolist()
    return names


def assign_groups(labels: Sequence[str], groups: Sequence[str], with_test: bool = True) -> list[str]:
    """Holds out whole groups, so that no group is in two splits.

    Each split gets every class where that can be: a class in one group is train only, one in two
    groups is in train and val. Where the groups do not allow all of that, train keeps every class,
    and val lacks fewer classes at the expense of test. Within that, groups are held out from the
    last in the order of their names, while they bring the counts of the classes nearer to a fifth
    of all. Neither the order of the clips nor any randomness counts.

    Args:
        labels: Class of each clip, (N,).
        groups: Group of each clip, (N,).
        with_test: Whether there is a test split; there is none below four groups.

    Returns:
        `train`, `val` or `test` for each clip, (N,); `train` for all where no group can be held
        out.
    """
    names, group_of = np.unique(np.array(groups), return_inverse=True)
    classes, class_of = np.unique(np.array(labels), return_inverse=True)
    counts = np.zeros((len(names), len(classes)), np.intp)
    np.add.at(counts, (group_of, class_of), 1)
    holds = counts > 0
    of_class = holds.sum(0)
    required = np.stack([(of_class > 2) & (with_test and len(names) > 3), of_class > 1, of_class > 0])
    held_out = (_TEST, _VAL) if with_test and len(names) > 3 else (_VAL,)
    free = np.full(len(names), _FREE)
    owner = _fill(counts, free, held_out)
    if (required & ~_covered(holds, owner)).any():
        owner = _fill(counts, _most_covered(holds, required), held_out)
    return [_NAMES[split] for split in owner[group_of]]


def _covered(holds: Bools, owner: Ints) -> Bools:
    """Which split has which class, (3, C)."""
    return np.stack([holds[owner == split].any(0) for split in (_TEST, _VAL, _TRAIN)])


def _fill(counts: Ints, owner: Ints, held_out: Sequence[int]) -> Ints:
    """Gives the groups that are free, (G,), to the splits to hold out, and the rest to train.

    A group is held out if it brings a class that the split lacks or brings the counts nearer to
    their targets, and if enough groups of its classes are left for the splits after it.
    """
    owner, holds = owner.copy(), counts > 0
    target = HELD_OUT * counts.sum(0)
    for split in held_out:
        taken = counts[owner == split].sum(0)
        left = holds[owner == _FREE].sum(0)
        missing_later = (~_covered(holds, owner)[split + 1 :]).sum(0)
        for group in reversed(np.flatnonzero(owner == _FREE)):
            if (left - 1 < missing_later)[holds[group]].any():
                continue
            more = taken + counts[group]
            if (holds[group] & (taken == 0)).any() or abs(more - target).sum() < abs(taken - target).sum():
                owner[group], taken, left = split, more, left - holds[group]
    owner[owner == _FREE] = _TRAIN
    return owner


def _most_covered(holds: Bools, required: Bools) -> Ints:
    """Few groups that give the splits the classes that they should have: all, or else all of train
    and as many of val, then of test, as are found one by one.
    """
    steps = iter(range(SEARCHED))
    found = _cover(holds, required, steps)
    if found is not None:
        return found
    wanted = required.copy()
    wanted[[_TEST, _VAL]] = False
    owner = np.full(len(holds), _FREE)
    for split in (_VAL, _TEST):
        for label in np.flatnonzero(required[split]):
            wanted[split, label] = True
            found = _cover(holds, wanted, steps)
            if found is None:
                wanted[split, label] = False
            else:
                owner = found
    return owner


def _cover(holds: Bools, wanted: Bools, steps: Iterator[int]) -> Ints | None:
    """Groups that give each split the classes wanted of it, (3, C); None where there are none or
    the steps run out.

    Depth first, at each step the class that has fewest groups to spare.
    """
    owner = np.full(len(holds), _FREE)

    def choices() -> Iterator[tuple[int, int]] | None:
        missing = wanted & ~_covered(holds, owner)
        if not missing.any():
            return None
        spare = np.where(missing.any(0), holds[owner == _FREE].sum(0) - missing.sum(0), len(holds))
        label = spare.argmin()
        if spare[label] < 0:
            return iter(())
        split = int(missing[:, label].argmax())
        candidates = np.flatnonzero((owner == _FREE) & holds[:, label])[::-1]
        gains = (holds[candidates] & missing[split]).sum(1)
        return iter([(int(group), split) for group in candidates[np.argsort(-gains, kind="stable")]])

    open_choices, chosen = [choices()], list[int]()
    while open_choices[-1] is not None:
        if next(steps, None) is None:
            return None
        choice = next(open_choices[-1], None)
        if choice is not None:
            owner[choice[0]] = choice[1]
            chosen.append(choice[0])
            open_choices.append(choices())
        else:
            open_choices.pop()
            if not chosen:
                return None
            owner[chosen.pop()] = _FREE
    return owner
