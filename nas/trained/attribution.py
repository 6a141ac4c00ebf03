"""Which frames and places moved a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.video import read_view
from nas.trained.folder import TrainedModel
from nas.trained.passes import Pixels, mean_probabilities
from nas.trained.scores import Floats

_SMOOTHED = 8  # parts of a side that smoothing is one of


def gradient_times_input(network: nn.Module, clip_BCTHW: Tensor, label: int) -> Tensor:
    """How much each place of a clip adds to a class's logit, to first order: gradient times input,
    summed over channels (Shrikumar et al., Learning important features, section 2.2).

    The input is on the network's scale, so that the mean colour of the preprocessing counts as
    nothing shown.

    Args:
        network: In evaluation mode; its parameters need no gradients.
        clip_BCTHW: One clip.
        label: Number of the class.

    Returns:
        (T, H, W); for a network that is linear they add up to the logit without its bias.
    """
    clip = clip_BCTHW.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(network(clip)[0, label], clip)
    return (gradient * clip).detach()[0].sum(0)


@dataclass(frozen=True)
class Explanation:
    """What moved the prediction of a clip.

    Attributes:
        video: Its name, with that of its folder.
        label: The class that was moved.
        probability: Of that class.
        clip: uint8 (T, H, W, 3), as the network saw it.
        shares: float64 (T, H, W), the share of each frame and place; their sum is 1.
    """

    video: str
    label: str
    probability: float
    clip: Pixels
    shares: Floats


def explain(model: TrainedModel, video: str | Path, label: str | None = None) -> Explanation:
    """Finds which frames and places of the middle view of a video moved its prediction.

    Args:
        model: The network.
        video: A file.
        label: One of the classes; the predicted one by default.

    Raises:
        NasError: The video cannot be read.
    """
    preprocessing = model.record.preprocessing
    clip = read_view(video, preprocessing.evaluation)
    probabilities = mean_probabilities(model, clip[None])
    number = int(probabilities.argmax()) if label is None else model.classes.index(label)
    batch = preprocessing.network_input(torch.from_numpy(clip)[None].to(model.device))
    moved = gradient_times_input(model.network, batch, number)
    return Explanation(
        "/".join(part for part in Path(video).parts[-2:] if part.strip("/.")),
        model.classes[number],
        float(probabilities[number]),
        clip,
        smoothed_shares(moved),
    )


def smoothed_shares(moved_THW: Tensor) -> Floats:
    """Magnitudes whose sum is 1, of values that are averaged over a square of an eighth of the
    shorter side; all equal where all values are zero.
    """
    moved = moved_THW.double().cpu()
    side = max(1, min(moved.shape[1:]) // _SMOOTHED) // 2 * 2 + 1
    smooth = F.avg_pool2d(moved[:, None], side, stride=1, padding=side // 2, count_include_pad=False)[:, 0].abs()
    total = smooth.sum()
    shares: Floats = (smooth / total if total > 0 else torch.full_like(smooth, 1 / smooth.numel())).numpy()
    return shares
