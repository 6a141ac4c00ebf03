"""Clips on their way to the device of a training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas.data.clips import Clips
from nas.training import feed
from nas.training.feed import Feed, fits_beside, moved

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def clips() -> Clips:
    """Five clips of 2 frames of 3x4 pixels, 72 bytes each; they cannot be written to, as those that
    trials share.
    """
    pixels = np.arange(5 * 72, dtype=np.int64).reshape(5, 2, 3, 4, 3).astype(np.uint8)
    pixels.flags.writeable = False
    return Clips(pixels, np.array([3, 1, 4, 1, 5]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("resident", [False, True])
def test_batches_are_the_clips_at_their_places(resident: bool) -> None:
    found = Feed(clips(), CPU, resident=resident)
    chosen = torch.tensor([4, 0])
    assert torch.equal(found.pixels(chosen), torch.from_numpy(clips().pixels[[4, 0]]))
    assert found.labels(chosen).tolist() == [5, 3]


def test_resident_clips_are_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they fit; what goes to the device with each batch are the two numbers of its clips, and
    two labels.
    """
    monkeypatch.setattr(feed, "fits_beside", lambda clips, device: True)
    found, sent = Feed(clips(), CPU), []

    def moved(x: torch.Tensor, device: torch.device) -> torch.Tensor:
        sent.append(x.numel())
        return x

    monkeypatch.setattr(feed, "moved", moved)
    found.pixels(torch.tensor([4, 0]))
    found.labels(torch.tensor([4, 0]))
    assert sent == [2, 2]


@pytest.mark.parametrize(("memory", "share", "fits"), [(7200, 1.0, True), (7199, 1.0, False), (14_400, 0.25, False)])
def test_clips_take_a_twentieth_of_what_a_process_may_have(
    memory: int, share: float, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The five clips are 360 bytes, a twentieth of 7200."""
    properties = type("Properties", (), {"total_memory": memory})
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: properties)
    monkeypatch.setattr("torch.cuda.get_per_process_memory_fraction", lambda device: share)
    assert fits_beside(clips(), GPU) is fits
    assert not fits_beside(clips(), CPU)


def test_what_goes_to_a_gpu_is_pinned_and_not_waited_for() -> None:
    """A fake, as memory is pinned with a GPU alone."""
    steps: list[object] = []

    class Fake:
        def pin_memory(self) -> Fake:
            steps.append("pinned")
            return self

        def to(self, device: torch.device, non_blocking: bool = False) -> Fake:
            steps.append((device.type, non_blocking))
            return self

    for device in ("cuda", "cpu"):
        moved(Fake(), torch.device(device))  # type: ignore[arg-type]
    assert steps == ["pinned", ("cuda", True), ("cpu", True)]
