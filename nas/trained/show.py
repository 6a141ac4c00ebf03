"""Pictures of what a network learnt: its kernels, and what of a clip moved its answer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from nas.resources import replacing
from nas.trained.attribution import Explanation
from nas.trained.pictures import spread
from nas.trained.scores import Floats

_DPI = 150
_KERNELS = 64  # most that are drawn of a group
_FRAMES = 8  # of a clip that are drawn


def kernels_of(network: nn.Module) -> dict[str, dict[str, Tensor]]:
    """What the modules of a network say of themselves by their method `kernels`: by the path of the
    module, groups of kernels (N, C, kt, kh, kw) by their title.
    """
    found = {}
    for path, module in network.named_modules():
        if hasattr(module, "kernels"):
            groups: dict[str, Tensor] = module.kernels()
            found[path.removeprefix("parts.")] = {title: weight.detach().cpu() for title, weight in groups.items()}
    return found


def draw_kernels(network: nn.Module, folder: Path) -> list[Path]:
    """Draws the kernels of a network, a picture per module that has some.

    Kernels of one number per channel and frame are curves over time; others are pictures, in
    colours where they read colours, their frames from left to right, each on its own scale with
    zero in the middle. Of more than 64 the strongest are drawn, strongest first.

    Returns:
        The pictures.
    """
    paths = []
    for path, groups in kernels_of(network).items():
        figure = Figure(figsize=(10, 3.2 * len(groups)), dpi=_DPI, layout="constrained")
        for axes, (title, weight) in zip(
            figure.subplots(len(groups), squeeze=False)[:, 0], groups.items(), strict=True
        ):
            shown = weight[weight.flatten(1).norm(dim=1).argsort(descending=True, stable=True)[:_KERNELS]]
            extent = "x".join(map(str, weight.shape[2:]))
            count = f"{len(shown)} of {len(weight)}" if len(shown) < len(weight) else f"{len(weight)}"
            axes.set_title(f"{path}: {title}, {extent}, {count}", loc="left", fontsize=9, parse_math=False)
            if weight.shape[3:] == (1, 1):
                axes.plot(shown.mean(1)[:, :, 0, 0].T.numpy(), marker="o", ms=3)
                axes.set_xticks(range(shown.shape[2]))
                axes.set_xlabel("frame")
            else:
                axes.imshow(mosaic(shown), cmap="gray", vmin=0, vmax=1)
                axes.set_axis_off()
        paths.append(folder / f"kernels_{path.replace('.', '_')}.png")
        with replacing(paths[-1]) as draft:
            figure.savefig(draft, format="png")
    return paths


def mosaic(kernels: Tensor) -> Floats:
    """Kernels (N, C, kt, kh, kw) side by side in rows, their frames from left to right, a white
    line between them: (height, width, 3), 0 to 1.

    The largest magnitude of a kernel is 0 or 1, and zero is 0.5. Three channels are red, green and
    blue; of any other number the mean is grey.
    """
    count, channels, frames, height, width = kernels.shape
    if channels != 3:
        kernels = kernels.mean(1, keepdim=True).expand(-1, 3, -1, -1, -1)
    largest = kernels.abs().amax((1, 2, 3, 4), keepdim=True).clamp(min=1e-12)
    tiles = (0.5 + 0.5 * kernels / largest).permute(0, 3, 2, 4, 1).reshape(count, height, frames * width, 3)
    columns = max(1, math.ceil(math.sqrt(2.5 * count * height / (frames * width))))
    rows = math.ceil(count / columns)
    sheet = np.ones((rows * (height + 1) - 1, columns * (frames * width + 1) - 1, 3))
    for number, tile in enumerate(tiles.double().numpy()):
        top, left = number // columns * (height + 1), number % columns * (frames * width + 1)
        sheet[top : top + height, left : left + frames * width] = tile
    return sheet


def draw_attribution(explained: Explanation, folder: Path) -> Path:
    """Draws frames of a clip, the same with what moved the prediction over them, and each frame's
    share.

    Returns:
        The picture.
    """
    clip, shares = explained.clip, explained.shares
    shown = spread(len(clip), _FRAMES)
    figure = Figure(figsize=(1.5 * len(shown) + 1, 5), dpi=_DPI, layout="constrained")
    grid = figure.add_gridspec(3, len(shown), height_ratios=(2, 2, 1))
    for column, frame in enumerate(shown):
        for row in range(2):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(clip[frame])
            axes.set_axis_off()
            if row == 0:
                axes.set_title(f"frame {frame + 1}", fontsize=7)
            else:
                axes.imshow(shares[frame], cmap="inferno", alpha=0.65, vmin=0, vmax=shares.max())
    axes = figure.add_subplot(grid[2, :])
    axes.bar(range(1, len(clip) + 1), 100 * shares.sum((1, 2)), color="#0072b2")
    axes.set_xlabel("frame of the clip")
    axes.set_ylabel("share (%)")
    axes.spines[["top", "right"]].set_visible(False)
    title = f"{explained.video}: what moved {explained.label} ({100 * explained.probability:.1f} %)"
    figure.suptitle(title, x=0.01, ha="left", parse_math=False)
    path = folder / f"moved_{'_'.join(Path(explained.video).with_suffix('').parts)}.png"
    with replacing(path) as draft:
        figure.savefig(draft, format="png")
    return path
