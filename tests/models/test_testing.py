"""The checks of an operator: those of the package pass, and one that is wrong does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from torch import Tensor, nn

from nas.architecture import LAYERS, Factorized, Full3D, LayerConfig, register_operator
from nas.architecture.registry import ENVIRONMENT
from nas.models.testing import check_operator


@pytest.mark.parametrize("kind", [Factorized, Full3D], ids=lambda kind: kind.op_name())
def test_operators_of_the_package_pass(kind: type[LayerConfig]) -> None:
    """On tokens and class tokens, and with a stride; test_robustness.py has more of all of them."""
    check_operator(kind)


class Plain(LayerConfig):
    op: Literal["plain"] = "plain"


class Halving(nn.Module):
    """Gives every second frame, which nothing announces."""

    def __init__(self, *_: object) -> None:
        super().__init__()

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        return x_BTHWC[:, ::2]


class Unused(nn.Module):
    """Has a parameter that takes part in nothing."""

    def __init__(self, *_: object) -> None:
        super().__init__()
        self.extra = nn.Linear(2, 2)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        return 2 * x_BTHWC


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is forgotten behind it."""
    monkeypatch.setenv(ENVIRONMENT, "")
    monkeypatch.setattr(LAYERS, "_outside", {})
    yield


def test_a_map_of_another_size_is_noticed() -> None:
    register_operator(Plain, Halving)
    with pytest.raises(AssertionError, match=r"3x5x7x32 gives \[2, 2, 5, 7, 32\]; expected \[2, 3, 5, 7, 32\]"):
        check_operator(Plain)


def test_a_parameter_without_a_gradient_is_noticed() -> None:
    register_operator(Plain, Unused)
    with pytest.raises(AssertionError, match=r"extra.weight gets no gradient"):
        check_operator(Plain)
