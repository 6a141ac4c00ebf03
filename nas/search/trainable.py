"""A trial: one candidate trained as a proxy, a rung at a time, by an actor that stays warm for the next candidate."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from ray import tune

from nas.architecture import Architecture
from nas.data.datasets import Clips
from nas.models.network import build
from nas.training.loop import Recipe, Training, accuracy


@dataclass(frozen=True)
class ProxyData:
    """The decoded clips that all trials share."""

    train: Clips
    val: Clips
    test: Clips | None
    flip: bool


@dataclass(frozen=True)
class Proxy:
    """How a candidate is trained as a proxy: the same architecture at a smaller input, on fewer clips.

    Attributes:
        frames, size: Input of the proxy; windows and tubes are clipped to its smaller maps.
        rungs: Epochs after which it is evaluated and may be stopped; the last one ends it.
        train_clips, val_clips: At most so many clips.
        recipe: How it is trained.
        threads: CPU threads of a trial.
        device: cpu or cuda.
    """

    frames: int
    size: tuple[int, int]
    rungs: tuple[int, ...]
    train_clips: int
    val_clips: int
    recipe: Recipe
    threads: int
    device: str


class ProxyTrial(tune.Trainable):
    """Trains a candidate from rung to rung; `reset_config` takes the next candidate without a new process."""

    def setup(self, config: dict[str, Any], proxy: Proxy, data: ProxyData) -> None:  # type: ignore[override]
        """Builds the network of a config: `architecture` is a document, `index` its number in the search."""
        torch.set_num_threads(proxy.threads)
        self.proxy, self.data = proxy, data
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        proxy = self.proxy
        architecture = Architecture.parse(config["architecture"]).resized(proxy.frames, proxy.size)
        seed = proxy.recipe.seed + int(config["index"])
        torch.manual_seed(seed)
        self.torch_device = torch.device(proxy.device)
        self.model = build(architecture).to(self.torch_device)
        self.training = Training(
            self.model, self.data.train, proxy.size, replace(proxy.recipe, seed=seed), self.data.flip, self.torch_device
        )
        self.seconds = 0.0
        self.curve: list[float] = []

    def step(self) -> dict[str, Any]:
        """Trains to the next rung and evaluates there; what goes wrong is a result too, so that its reason is kept."""
        try:
            return self._train_to_rung()
        except (RuntimeError, ValueError) as error:
            return {"error": " ".join(str(error).split())[:500], "rung": len(self.curve), "last": True, "done": True}

    def _train_to_rung(self) -> dict[str, Any]:
        started = time.perf_counter()
        rung = len(self.curve)
        target = self.proxy.rungs[rung]
        loss = 0.0
        while self.training.epochs_done < target:
            loss = self.training.epoch()
        self.seconds += time.perf_counter() - started
        self.curve.append(accuracy(self.model, self.data.val, self.proxy.size, self.torch_device))
        result = {
            "rung": rung,
            "epochs": target,
            "loss": loss,
            "seconds": self.seconds,
            "accuracy": self.curve[-1],
            "curve": list(self.curve),
        }
        # Nothing is decided by the test clips, so they are only looked at where a trial may end.
        if self.data.test is not None:
            result["test_accuracy"] = accuracy(self.model, self.data.test, self.proxy.size, self.torch_device)
        last = len(self.curve) == len(self.proxy.rungs)
        return {**result, "last": last, "done": last}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Proxies keep no weights."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Proxies keep no weights."""
