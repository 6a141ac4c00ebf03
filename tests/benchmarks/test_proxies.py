"""Searches with proxies that are replayed: what rungs spend and what is judged."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)  # its scripts import each other
    return importlib.import_module("video.proxies")


def test_a_rung_spends_less_and_may_cost_the_best(proxies: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four networks of 1 multiply-add and three epochs; the last begins slowest and ends best.

    They are trained in order. Judged after one epoch, the first two go on as there is nothing to be
    compared with, the third is better than both, and the fourth is worse than all: it is stopped.
    """
    monkeypatch.setattr(proxies, "MOST", 4)
    monkeypatch.setattr(proxies.np.random, "default_rng", lambda seed: InOrder())
    curves = np.array([[0.2, 0.3, 0.4], [0.25, 0.3, 0.3], [0.3, 0.4, 0.5], [0.1, 0.5, 0.9]])
    rows = SimpleNamespace(
        log_macs=np.zeros(4), mean=1 - curves[:, -1], whole=0.9, volume=lambda some: max(curves[some, -1])
    )
    accuracy = curves[:, None, :]
    none, judged = (proxies.shares(rows, accuracy, steps, False, 0, [3.0, 99.0]) for steps in ((3,), (1, 3)))
    assert none == [(1, pytest.approx(40), pytest.approx(400 / 9)), (4, pytest.approx(90), pytest.approx(100))]
    assert judged == [(1, pytest.approx(40), pytest.approx(400 / 9)), (4, pytest.approx(50), pytest.approx(500 / 9))]


class InOrder:
    """Numbers that are not random."""

    def integers(self, end: int) -> int:
        return 0

    def permutation(self, count: int) -> list[int]:
        return list(range(count))
