"""Latency of the reference networks against their multiply-adds, a picture per device."""

from __future__ import annotations

from collections import Counter
from itertools import cycle
from pathlib import Path

import pandas as pd

# The palette of Okabe and Ito, which colour-blind readers can tell apart, without black and yellow.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_OTHER = "#8C8C8C"


def family_colours(networks: list[str]) -> list[str]:
    """A colour for each network: families, which are the first words of names, have one each, the
    largest first; a network without relatives is grey, and so are families beyond the palette.
    """
    families = [name.split("_")[0] for name in networks]
    shared = [family for family, count in Counter(families).most_common() if count > 1]
    colours = dict(zip(shared, _COLOURS, strict=False))
    return [colours.get(family, _OTHER) for family in families]


def draw_references(table: pd.DataFrame, device: str, path: Path) -> None:
    """Draws one device's table, both axes logarithmic, with a line of equal speed through the
    median network.

    Args:
        table: `network`, `macs` and `latency_ms`, a row per network.
        device: The title.
        path: A PNG file to write.
    """
    # A figure that pyplot does not know is drawn by Agg and goes with its last reference.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=120, layout="tight")
    axes = figure.add_subplot()
    gmacs, ms = table["macs"] / 1e9, table["latency_ms"]
    speed = (gmacs / ms).median()
    ends = [gmacs.min() / 1.5, gmacs.max() * 1.5]
    axes.plot(ends, [end / speed for end in ends], color="#CCCCCC", linewidth=1, zorder=1)
    last = (ends[1], ends[1] / speed)
    axes.annotate(f"{1e3 * speed:.3g} GMACs/s", last, ha="right", va="top", color=_OTHER, fontsize=8)
    axes.scatter(gmacs, ms, c=family_colours(list(table["network"])), s=28, zorder=2)
    points = sorted(zip(table["network"], gmacs, ms, strict=True), key=lambda point: point[1:])
    # Neighbours in cost have their names on different sides.
    for (name, x, y), (side, room) in zip(points, cycle((("left", 5), ("right", -5)))):
        axes.annotate(name, (x, y), (room, -2), textcoords="offset points", ha=side, fontsize=7, parse_math=False)
    axes.set(xscale="log", yscale="log", xlabel="GMACs per clip", ylabel="Latency (ms), median")
    axes.set_title(device, parse_math=False)
    axes.grid(alpha=0.25, which="both", linewidth=0.5)
    figure.savefig(path)
