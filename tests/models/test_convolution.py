"""Convolution of maps whose channels are the last axis, and where its kernels lie."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nas.models.convolution import Conv, placed


class Mixed(nn.Module):
    """Parameters of five, four and one dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv(4, 6, (3, 3, 3), bias=True)
        self.coefficients = nn.Parameter(torch.randn(2, 3, 4, 5))


@pytest.mark.parametrize(("device", "strides"), [("cuda:0", (108, 1, 36, 12, 4)), ("cpu", (108, 27, 9, 3, 1))])
def test_kernels_are_laid_out_as_the_device_of_a_training_wants_them(
    device: str, strides: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """(6, 4, 3, 3, 3) on a GPU with its 4 channels side by side, as cuDNN takes them uncopied."""
    moved: list[torch.device] = []
    monkeypatch.setattr(nn.Module, "to", lambda self, device: moved.append(device))
    model = Mixed()
    kernel, before = model.conv.weight, {name: value.clone() for name, value in model.state_dict().items()}
    assert placed(model, torch.device(device)) is model and moved == [torch.device(device)]
    assert model.conv.weight is kernel and kernel.stride() == strides
    assert model.coefficients.stride() == (60, 20, 5, 1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
