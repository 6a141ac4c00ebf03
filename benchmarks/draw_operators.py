"""Draws what a cell of the map sees through each operator, for docs/operators_drawn.md.

    python benchmarks/draw_operators.py [--out docs/images/operators]

What is coloured is computed: the cells of the input on which the output at one cell depends, by the
gradients of the real layers with random weights; atoms, patterns and tubes are those of the layers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from nas.architecture.layers.d2plus1d import D2Plus1D
from nas.architecture.layers.factorized import Factorized
from nas.architecture.layers.joint_filter import JointFilter
from nas.architecture.layers.t2d import T2D
from nas.architecture.layers.tps import TPS
from nas.architecture.shape import UNIT_STRIDE, Shape
from nas.architecture.stems.tube import PAPER_TUBES
from nas.models.attention import window_attention
from nas.models.layers.d2plus1d import D2Plus1DModule, TOSABlock
from nas.models.layers.factorized import FactorizedBlock
from nas.models.layers.joint_filter import JointFilterConv
from nas.models.layers.t2d import T2DBlock
from nas.models.layers.tps import PATTERNS, TPSBlock

Cells = NDArray[np.bool_]
BLUE, ORANGE, GREEN, RED, GREY, PURPLE = "#3b7dd8", "#e08a1e", "#3f9b4f", "#c8322d", "#b8b8b8", "#8659b5"
WIDTH, HEADS = 32, 2
MAP, CELL = Shape(7, 7, 7, WIDTH), (3, 3, 3)  # frames, height, width


def seen(layer: Callable[[Tensor], Tensor], shape: Shape, cell: tuple[int, int, int]) -> Cells:
    """The cells (T, H, W) of the input that the output at a cell depends on."""
    x = torch.randn(1, *shape.extent, shape.channels, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0][cell].square().sum(), x)
    found: Cells = (gradient[0].abs().sum(-1) > 0).numpy()
    return found


def draw_box(axes: Any, low: Any, size: Any, color: str, alpha: float = 0.25) -> None:
    """A box in (time, width, height), the height pointing down as in a picture."""
    (t, y, x), (dt, dy, dx) = low, size
    corner = np.array([[i, j, k] for i in (t, t + dt) for j in (x, x + dx) for k in (y, y + dy)])
    sides = [[0, 1, 3, 2], [4, 5, 7, 6], [0, 1, 5, 4], [2, 3, 7, 6], [0, 2, 6, 4], [1, 3, 7, 5]]
    faces = Poly3DCollection(corner[np.array(sides)], facecolor=color, edgecolor=color, alpha=alpha, linewidth=0.4)
    axes.add_collection3d(faces)


def frame_axes(axes: Any, extent: tuple[int, int, int], title: str, ratio: tuple[float, float, float]) -> None:
    """Limits and names of a drawing in (time, width, height), and the edges of the whole map."""
    t, h, w = extent
    draw_box(axes, (0, 0, 0), extent, GREY, 0.04)
    axes.set(xlim=(0, t), ylim=(0, w), zlim=(h, 0), xticks=[], yticks=[], zticks=[])
    axes.set_xlabel("time", labelpad=-12)
    axes.set_ylabel("width", labelpad=-12)
    axes.set_zlabel("height", labelpad=-12)
    axes.set_box_aspect(ratio)
    axes.set_title(title, fontsize=9)
    axes.view_init(20, -60)


def draw_steps(steps: list[tuple[str, list[tuple[Cells, str]]]], cell: tuple[int, int, int], path: Path) -> None:
    """A panel per step: the cells that it reads, by colour, and in red the cell that it is for."""
    figure = plt.figure(figsize=(2.6 * len(steps), 2.9), layout="constrained")
    for i, (title, parts) in enumerate(steps):
        axes = figure.add_subplot(1, len(steps), i + 1, projection="3d")
        frame_axes(axes, parts[0][0].shape, title, (1, 1, 1))
        for cells, color in parts:
            if cells.all():
                draw_box(axes, (0, 0, 0), cells.shape, color, 0.4)
                continue
            for place in np.argwhere(cells):
                if tuple(place) != cell:
                    draw_box(axes, place + 0.08, (0.84,) * 3, color)
        draw_box(axes, np.array(cell) + 0.08, (0.84,) * 3, RED, 0.9)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Writes a figure without date and version, so that equal figures are equal files."""
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    print(path)


def attend_in(window: tuple[int, int, int]) -> Callable[[Tensor], Tensor]:
    """Self-attention in windows of a map, without projections."""
    return lambda x: window_attention(torch.stack((x, x, x), dim=-2), HEADS, window)


def t2d(path: Path) -> None:
    """The XY plane, then the planes of time of what came out, then both together."""
    block = T2DBlock(T2D(heads=HEADS), MAP, MAP, UNIT_STRIDE)
    nn.init.ones_(block.alpha)
    space = seen(attend_in(block.space), MAP, CELL)
    th, tw = (seen(attend_in(plane), MAP, CELL) for plane in block.planes)
    draw_steps(
        [
            ("1. attention on the XY plane", [(space, BLUE)]),
            ("2. on the TH and TW planes\nof what came out", [(th, ORANGE), (tw & ~th, GREEN)]),
            ("the layer as a whole", [(seen(block.attention, MAP, CELL), GREY)]),
        ],
        CELL,
        path,
    )


def tps(path: Path) -> None:
    """The pattern, and the cells of each frame that meet in the window of one frame."""
    shape, cell = Shape(9, 7, 7, WIDTH), (4, 4, 4)  # a patch that stays in its frame
    block = TPSBlock(TPS(heads=HEADS), shape, shape, UNIT_STRIDE)
    cells = seen(block, shape, cell)
    figure, axes = plt.subplots(1, 1 + shape.frames, figsize=(9, 1.5), layout="constrained")
    pattern = np.array(PATTERNS["3x3"])
    axes[0].imshow(pattern, cmap="coolwarm", vmin=-6, vmax=6)
    for (i, j), shift in np.ndenumerate(pattern):
        axes[0].text(j, i, f"{shift:+d}" if shift else "0", ha="center", va="center", fontsize=8)
    axes[0].set_title("frames that a\npatch moves", fontsize=8)
    for t, part in enumerate(axes[1:]):
        picture = np.where(cells[t], 1.0, 0.0)
        picture[cell[1], cell[2]] = 2.0 if t == cell[0] else picture[cell[1], cell[2]]
        colors = matplotlib.colors.ListedColormap(["#f2f2f2", BLUE, RED])
        part.imshow(picture, cmap=colors, vmin=0, vmax=2)
        part.set_title(f"frame t{t - cell[0]:+d}" if t != cell[0] else "frame t", fontsize=8)
        part.set_xticks(np.arange(-0.5, 7), [])
        part.set_yticks(np.arange(-0.5, 7), [])
        part.grid(color="white", linewidth=0.5)
        part.tick_params(length=0)
    axes[0].set(xticks=[], yticks=[])
    save(figure, path)


def tubes(path: Path) -> None:
    """Where the four tubes of TubeViT lie in a clip; each box becomes one token."""
    clip = Shape(32, 224, 224, 3)
    figure = plt.figure(figsize=(10, 2.9), layout="constrained")
    for i, tube in enumerate(PAPER_TUBES):
        axes = figure.add_subplot(1, 4, i + 1, projection="3d")
        kernel, stride = ("x".join(map(str, each)) for each in (tube.kernel, tube.stride))
        frame_axes(axes, clip.extent, f"{kernel}, every {stride}\n{tube.tokens(clip)} tokens", (1.2, 1, 1))
        starts = (
            range(o, n - k + 1, s)
            for o, n, k, s in zip(tube.offset, clip.extent, tube.kernel, tube.stride, strict=True)
        )
        for place in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3):
            draw_box(axes, place, tube.kernel, (BLUE, ORANGE, GREEN, PURPLE)[i], 0.3)
    save(figure, path)


def joint_filter(path: Path) -> None:
    """The atoms that a layer begins with, and a kernel that random coefficients make of them."""
    conv = JointFilterConv(WIDTH, WIDTH, UNIT_STRIDE, JointFilter())
    times, places = conv.temporal_atoms.detach().numpy(), conv.spatial_atoms.detach().numpy()
    kernel = conv.weight()[0, 0].detach().numpy()
    figure, axes = plt.subplots(1, 1 + len(places) + 1 + len(kernel), figsize=(11, 1.5), layout="constrained")
    for atom in times:
        axes[0].plot(range(-(len(atom) // 2), len(atom) // 2 + 1), atom, marker=".")
    axes[0].set_title("temporal atoms", fontsize=8)
    axes[0].tick_params(labelsize=6)
    pictures = [*places, None, *kernel]
    names = [*(f"spatial atom {i + 1}" for i in range(len(places))), "", *(f"frame t{t - 1:+d}" for t in range(3))]
    names[-2] = "frame t"
    for part, picture, name in zip(axes[1:], pictures, names, strict=True):
        part.set_axis_off()
        if picture is None:
            part.text(0.5, 0.5, "a kernel\nmade of\nthem:", ha="center", va="center", fontsize=9)
            continue
        part.imshow(picture, cmap="RdBu", vmin=-abs(picture).max(), vmax=abs(picture).max())
        part.set_title(name, fontsize=8)
    save(figure, path)


def d2plus1d(path: Path) -> None:
    """The two depthwise convolutions, and what blocks of one, three and five modules see."""
    config = D2Plus1D()
    module = D2Plus1DModule(WIDTH, WIDTH, UNIT_STRIDE, False, config).eval()
    steps = [
        ("depthwise, in space", [(seen(module.space, MAP, CELL), BLUE)]),
        ("then depthwise, in time", [(seen(module.time, MAP, CELL), ORANGE)]),
    ]
    shape, cell = Shape(13, 13, 13, WIDTH), (6, 6, 6)
    large = []
    for count in (1, 3, 5):
        block = TOSABlock(D2Plus1D(modules=count), shape, shape, UNIT_STRIDE).eval()
        nn.init.ones_(block.norm.weight)
        for part in block.tosa:
            part.excite = nn.Identity()  # a gate by the mean of the map: a little of everything
        large.append(seen(block, shape, cell))
    figure = plt.figure(figsize=(11, 2.9), layout="constrained")
    for i, (title, parts) in enumerate(steps):
        axes = figure.add_subplot(1, 5, i + 1, projection="3d")
        frame_axes(axes, MAP.extent, title, (1, 1, 1))
        for place in np.argwhere(parts[0][0]):
            draw_box(axes, place + 0.08, (0.84,) * 3, parts[0][1])
        draw_box(axes, np.array(CELL) + 0.08, (0.84,) * 3, RED, 0.9)
    for i, cells in enumerate(large):
        axes = figure.add_subplot(1, 5, i + 3, projection="3d")
        low, high = np.argwhere(cells).min(0), np.argwhere(cells).max(0) + 1
        size = "x".join(map(str, high - low))
        frame_axes(axes, shape.extent, f"{2 * i + 1} module{'s' if i else ''}: {size} cells", (1, 1, 1))
        draw_box(axes, low, high - low, GREY)
        draw_box(axes, cell, (1, 1, 1), RED, 0.9)
    save(figure, path)


def factorized(path: Path) -> None:
    """The attentions of each variant, in their order."""
    time, space = (seen(attend_in(window), MAP, CELL) for window in ((MAP.frames, 1, 1), (1, MAP.height, MAP.width)))
    joint = FactorizedBlock(Factorized(heads=HEADS, variant="joint"), MAP, MAP, UNIT_STRIDE)
    draw_steps(
        [
            ("divided:\ntime, then space", [(time, ORANGE), (space, BLUE)]),
            ("self_attention:\nspace, then time", [(space, BLUE), (time, ORANGE)]),
            ("dot_product: half of the\nheads each, at once", [(time, ORANGE), (space, BLUE)]),
            ("joint: all cells", [(seen(joint, MAP, CELL), GREY)]),
        ],
        CELL,
        path,
    )


DRAWINGS = {
    "t2d": t2d,
    "tps": tps,
    "sparse_tube": tubes,
    "joint_filter": joint_filter,
    "d2plus1d": d2plus1d,
    "factorized": factorized,
}


def main() -> None:
    """Draws all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/operators"), help="folder to write")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        torch.manual_seed(0)
        draw(out / f"{name}.png")


if __name__ == "__main__":
    main()
