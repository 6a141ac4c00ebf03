"""A picture of a data set: a strip of frames of a clip of each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas.errors import NasError
from nas.resources import replacing

MOST = 60  # classes in one picture
_DPI = 100


def draw_contact_sheet(strips: Sequence[tuple[str, npt.NDArray[np.uint8]]], path: Path) -> None:
    """Draws strips below each other, each with its name, to a PNG file.

    Args:
        strips: Name and uint8 (H, W, 3) of each, of one size; those behind the first `MOST` are
            left out.
        path: The file, which is replaced.

    Raises:
        NasError: The folder does not exist, or there are no strips.
    """
    from matplotlib.figure import Figure

    if not path.parent.is_dir():
        raise NasError(f"sheet {str(path)!r} lies in no folder; allowed: a file of a folder that exists")
    if not strips:
        raise NasError(f"sheet {str(path)!r} would be empty, as no clip can be read; allowed: clips that can be read")
    shown = strips[:MOST]
    height, width, _ = shown[0][1].shape
    figure = Figure((width / _DPI, len(shown) * (height + 24) / _DPI), dpi=_DPI, layout="tight")
    for place, (name, strip) in enumerate(shown, 1):
        axes = figure.add_subplot(len(shown), 1, place)
        axes.imshow(strip)
        axes.set_title(name.replace("$", r"\$"), loc="left", fontsize=9)
        axes.axis("off")
    with replacing(path) as draft:
        figure.savefig(draft, format="png")
