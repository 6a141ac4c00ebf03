"""What a user would not expect of labels: sentences without full stop, for a data set's notes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from nas.units import plural, whole


def odd_labels(classes: Sequence[str]) -> list[str]:
    """Of numbers: where they begin, what is missing between them, leading zeros. Of names: those
    that differ in case, spaces or quotes only.

    Args:
        classes: The labels, each once, in order.
    """
    numbers = [number for label in classes if (number := whole(label)) is not None]
    if len(numbers) == len(classes):
        notes = []
        if numbers[0] != 0:
            notes.append(f"labels begin at {numbers[0]}, which is the first class of the network")
        missing = numbers[-1] - numbers[0] + 1 - len(numbers)
        if missing:
            notes.append(f"{plural(missing, 'number')} between the labels {numbers[0]} and {numbers[-1]} have no clip")
        if any(re.match(r"-?0\d", label) for label in classes):
            notes.append("labels are numbers with leading zeros, which they keep")
        return notes
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for label in classes:
        alike[re.sub(r"[\s\"'_-]+", "", label).casefold()].append(label)
    return [
        f"the labels {', '.join(map(repr, names))} differ in case, spaces or quotes only"
        for names in alike.values()
        if len(names) > 1
    ]
