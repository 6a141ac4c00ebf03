"""How well cheaper trainings rank networks as full training does."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console

import nas
from nas.data.datasets import MIDDLE, Clips, Sampling, Split, VideoData, View
from nas.runs.planning import plan
from nas.runs.settings import Settings
from nas.trials.results import Assignment
from nas.trials.trainable import Proxy, ProxyData, ProxyTrial
from video import jobs
from video.page import markdown, publish
from video.ranking import interval, kendall, shown
from video.table import CLASSES, SPACE, Known, Network, clips, known, networks, space, start_of

CHOSEN = 24
EPOCHS = (1, 2, 3, 4, 6, 8, 12)  # of full training, after which its own accuracy is a proxy of its last
VIDEO_SIDE = 64  # of the clips as video files, which show a pixel of the sensor as a square
SEED = 2  # of proxies; the table has 0 and 1
FRESH = {"trials": 1, "time": None, "sampler": "pareto", "device": "cpu", "workers": 1, "gpus_per_trial": None}
Array = NDArray[np.float64]

# What differs from the default proxy of `nas search`: settings, and fields of the recipe.
PROXIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "half the clips": ({"train_clips": 256, "epochs": "default"}, {}),
    "half the clips, more epochs": ({"train_clips": 256}, {}),
    "twice the epochs": ({"epochs": 14}, {}),
    "batches of 8": ({}, {"batch_size": 8}),
    "16 px, more epochs": ({"proxy_size": 16}, {}),
}


@dataclass(frozen=True)
class ClipSplit(Split):
    """Clips of an array, read as their video files would be: pixels become squares, and are
    averaged to a size.
    """

    pixels: NDArray[np.uint8]

    @classmethod
    def of(cls, clips: Clips) -> ClipSplit:
        return cls(clips.labels.tolist(), [], clips.pixels)

    def clip(self, index: int, sampling: Sampling, view: View = MIDDLE, seed: int | None = None) -> NDArray[np.uint8]:
        clip = self.pixels[index]
        taken = clip[((np.arange(sampling.frames) + 0.5) * len(clip) / sampling.frames).astype(int)]
        squares = taken.repeat(VIDEO_SIDE // clip.shape[1], 1).repeat(VIDEO_SIDE // clip.shape[2], 2)
        images = torch.from_numpy(squares).permute(0, 3, 1, 2).float()
        resized = F.interpolate(images, sampling.size, mode="bilinear", antialias=True, align_corners=False)
        return resized.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def video_data() -> VideoData:
    """The clips of the table as a data set of `nas search`."""
    train, held = clips()
    names = tuple(str(number) for number in range(CLASSES))
    return VideoData("nagoya_fir16", names, ClipSplit.of(train), ClipSplit.of(held), None, flip=True)


def proxies() -> dict[str, Proxy]:
    """The proxies as `nas search` plans them for the data of the table."""
    data, found = video_data(), dict[str, Proxy]()
    common = {"space": SPACE, "budget": "100gflops", "data": "", "seed": 0, "measure_seconds": 1.0, **FRESH}
    common |= {"proxy_frames": None, "proxy_size": None, "epochs": None, "train_clips": 512, "val_clips": 256}
    for name, (settings, changes) in PROXIES.items():
        asked = common | settings
        if asked["epochs"] == "default":
            asked["epochs"] = found["default"].recipe.epochs
        # A plan opens files, and these clips are an array.
        with mock.patch.object(plan, "open_data", return_value=data):
            planned = plan.Plan.of(Settings.of(**asked), Console(quiet=True)).proxy
        found[name] = replace(planned, threads=1, recipe=replace(planned.recipe, seed=SEED, **changes))
    return found


def chosen(count: int) -> list[Network]:
    """One network of each of 24 parts of the table of equal number, by cost."""
    table, tiny, rng = networks(count), space(), np.random.default_rng(0)
    macs = [nas.cost(tiny.decode(network.params)).macs for network in table]
    return [table[int(rng.choice(part))] for part in np.array_split(np.argsort(macs, kind="stable"), CHOSEN)]


@cache
def proxy_data(proxy: Proxy) -> ProxyData:
    """Clips as a search reads them for its proxies."""
    return ProxyData.read(video_data(), proxy, seed=0, workers=1)


def train(network: Network, proxy: Proxy) -> dict[str, Any]:
    """Trains a network as a trial of a search does, to the last rung; core-seconds include
    evaluation at the rungs.
    """
    data = proxy_data(proxy)
    trial = ProxyTrial.__new__(ProxyTrial)  # without Ray
    config = Assignment(start_of(network.hash, 0), space().decode(network.params).document()).config()
    trial.setup(config, proxy, data)
    began, wall = time.process_time(), time.perf_counter()
    result = trial.step()
    while not result["done"]:
        result = trial.step()
    taken = {"core_seconds": time.process_time() - began, "wall_seconds": time.perf_counter() - wall}
    return {"accuracy": result["curve"][-1], "curve": result["curve"], "epochs": result["epochs"]} | taken


def folder_name(proxy: Proxy) -> str:
    """Of its results: a proxy that is planned otherwise is another one."""
    shape, recipe = "x".join(map(str, (proxy.frames, *proxy.size))), proxy.recipe
    return f"{shape}-epochs{recipe.epochs}-clips{proxy.train_clips}-batch{recipe.batch_size}-lr{recipe.lr:g}"


def ranks(table: Known, rows: list[int], proxy: Array, owners: list[int]) -> tuple[str, str]:
    """Tau of a proxy and the mean of all seeds, and of the proxy and one seed that it has no part
    in.

    Args:
        table: The table.
        rows: Networks that are compared.
        proxy: (rows, columns), accuracies of the proxy.
        owners: For each column, the seed of full training that it is part of; -1 if none.
    """
    final = table.accuracy[rows, :, -1]
    whole = ~np.isnan(final).any(1)
    pairs = [
        (proxy[whole, column], final[whole, seed])
        for column, own in enumerate(owners)
        for seed in range(final.shape[1])
        if seed != own
    ]
    return shown([(proxy[:, 0], table.final[rows])]), shown(pairs)


def compared(accuracy: Array, default: Array, final: Array) -> str:
    """By how much tau of a proxy is above that of the default, with its interval."""

    def gain(rows: NDArray[np.intp]) -> float:
        return kendall(accuracy[rows], final[rows]) - kendall(default[rows], final[rows])

    low, high = interval(gain, len(final))
    return f"{gain(np.arange(len(final))):+.2f} ({low:+.2f} to {high:+.2f})"


def honesty(options: argparse.Namespace) -> None:
    """Trains the proxies that are not in the store yet, and prints how every proxy ranks."""
    table, planned, networks = known(options), proxies(), chosen(options.networks)
    folders = {name: options.store / "honesty" / folder_name(proxy) for name, proxy in planned.items()}
    place = {network.hash: row for row, network in enumerate(table.networks)}
    networks = [network for network in networks if network.hash in place]
    work = [
        (folders[name] / f"{network.hash}.json", (network, planned[name])) for network in networks for name in PROXIES
    ]
    jobs.run(train, work, options.workers, options.minutes)
    some, everything = [place[network.hash] for network in networks], list(range(len(table.networks)))
    lines = []
    whole = table.core_seconds.sum(-1)
    for epoch in EPOCHS:
        share = np.nansum(table.core_seconds[:, :, :epoch]) / np.nansum(whole)
        at = table.accuracy[:, :, epoch - 1]
        seeds = list(range(at.shape[1]))
        cells = [cell for rows in (some, everything) for cell in ranks(table, rows, at[rows], seeds)]
        lines.append([f"epoch {epoch} of 12", f"{100 * share:.0f} %", str(len(some)), *cells, ""])
    accuracies: dict[str, Array] = {}
    for name, proxy in planned.items():
        done = [network for network in networks if (folders[name] / f"{network.hash}.json").exists()]
        results = [json.loads((folders[name] / f"{network.hash}.json").read_text()) for network in done]
        rows = [place[network.hash] for network in done]
        spent = np.array([result["core_seconds"] for result in results])
        share = spent.sum() / np.nanmean(whole[rows], axis=1).sum() if done else float("nan")
        accuracy = np.array([[result["accuracy"]] for result in results]).reshape(-1, 1)
        shape = f"{proxy.frames}x{proxy.size[0]}x{proxy.size[1]}, {proxy.recipe.epochs} epochs"
        clips = f"{min(proxy.train_clips, len(video_data().train))} clips, batches of {proxy.recipe.batch_size}"
        cost = f"{100 * share:.0f} %" if done else "-"
        accuracies[name] = accuracy[:, 0]
        comparable = name != "default" and len(accuracy) == len(accuracies["default"])
        more = compared(accuracy[:, 0], accuracies["default"], table.final[rows]) if comparable else ""
        title, taus = f"{name}: {shape}, {clips}", ranks(table, rows, accuracy, [-1])
        lines.append([title, cost, str(len(done)), *taus, "", "", more])
    header = ["proxy", "core-seconds", "networks", "tau with the mean", "with one seed"]
    header += ["whole table: tau with the mean", "with one seed", "tau with the mean, beyond the default's"]
    note = (
        f"{table.describe()}, of which {len(some)} of the {CHOSEN} are compared. With the mean: Kendall's tau-b "
        "between the proxy and the mean accuracy of all seeds after full training, of which an epoch of full training "
        "is a part. With one seed: with a training that the proxy has no part in, so that the line of epoch "
        f"{EPOCHS[-1]} is tau between seeds. In brackets the middle 90 % of bootstrap samples of networks."
    )
    publish(options, "honesty", f"{note}\n\n{markdown(header, lines)}")
