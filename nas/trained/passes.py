"""From the pixels of one video to its class probabilities: the one way that evaluation and
prediction take, so that both give the same digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from nas.data.sampling import View
from nas.trained.folder import TrainedModel
from nas.trained.scores import Floats

AT_A_TIME = 16  # views that pass the network together

Pixels = npt.NDArray[np.uint8]


def read_views(read: Callable[[View], Pixels], views: Sequence[View]) -> Pixels:
    """All views of one video, uint8 (V, T, H, W, 3)."""
    return np.stack([read(view) for view in views])


def mean_probabilities(model: TrainedModel, pixels_VTHWC: Pixels) -> Floats:
    """Class probabilities of a video: the mean over its views of the softmax of the logits.

    Only views of one video pass together, because a network's digits depend on how many clips are
    in a batch.

    Args:
        model: The network.
        pixels_VTHWC: Its views, at the size of the network's input.

    Returns:
        float64 (K,).
    """
    clips = torch.from_numpy(np.ascontiguousarray(pixels_VTHWC))
    total = torch.zeros(len(model.classes), dtype=torch.float64)
    with torch.inference_mode():
        for first in range(0, len(clips), AT_A_TIME):
            part = clips[first : first + AT_A_TIME].to(model.device)
            batch = model.record.preprocessing.network_input(part)
            total += model.network(batch).double().softmax(1).sum(0).cpu()
    probabilities: Floats = (total / len(clips)).numpy()
    return probabilities
