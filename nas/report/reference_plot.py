"""Latency of the reference networks against their multiply-adds, a picture per device."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd

# Names start with their family; Okabe and Ito's palette, told apart by colour-blind readers.
FAMILIES = {
    "t2d": "#0072B2",
    "davit": "#0072B2",
    "pst": "#56B4E9",
    "tubevit": "#CC79A7",
    "vov3d": "#D55E00",
    "joint": "#E69F00",
    "vivit": "#009E73",
    "timesformer": "#009E73",
}
OTHER = "#8C8C8C"


def draw_references(table: pd.DataFrame, device: str, path: Path) -> None:
    """Draws one device's table, both axes logarithmic, with a line of equal speed through the
    median network.
    """
    figure, axes = plt.subplots(figsize=(9, 6), dpi=120)
    gmacs, ms = table["macs"] / 1e9, table["latency_ms"]
    speed = (gmacs / ms).median()
    ends = pd.Series([gmacs.min() / 1.5, gmacs.max() * 1.5])
    axes.plot(ends, ends / speed, color="#CCCCCC", linewidth=1, zorder=1)
    axes.annotate(
        f"{1e3 * speed:.3g} GMACs/s", (ends[1], ends[1] / speed), ha="right", va="top", color=OTHER, fontsize=8
    )
    colours = [FAMILIES.get(name.split("_")[0], OTHER) for name in table["network"]]
    axes.scatter(gmacs, ms, c=colours, s=28, zorder=2)
    right = True
    for name, x, y in sorted(zip(table["network"], gmacs, ms, strict=True), key=lambda point: point[1:]):
        # Neighbours in cost have their names on different sides.
        axes.annotate(
            name,
            (x, y),
            xytext=(5, -2) if right else (-5, -2),
            textcoords="offset points",
            ha="left" if right else "right",
            fontsize=7,
        )
        right = not right
    axes.set(xscale="log", yscale="log", xlabel="GMACs per clip", ylabel="Latency (ms), median", title=device)
    axes.grid(alpha=0.25, which="both", linewidth=0.5)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
