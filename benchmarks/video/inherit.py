"""Whether a changed network may begin with the weights of what it was changed from."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import nas
from nas.models.network import build
from nas.space import SearchSpace
from video import jobs
from video.page import markdown, publish
from video.ranking import interval, kendall, shown
from video.table import EPOCHS, Network, operators, proxy, space, start_of, trained

PARENTS, CHILDREN = 4, 4
PARENT_EPOCHS, SHORT_EPOCHS = 6, 3
MOST_MACS = 250e6  # of parents and children at the input of the space; the median of `tiny` is about 300e6
DRAW_SEED = 1


def families(parents: int, children: int) -> list[tuple[Network, list[Network]]]:
    """Parents, no two with the same first operator, each with networks that differ from it by one
    mutation.
    """
    tiny, rng = space(), np.random.default_rng(DRAW_SEED)
    found: list[tuple[Network, list[Network]]] = []
    firsts: set[str] = set()
    while len(found) < parents:
        params = tiny.sample_params(rng)
        architecture = tiny.decode(params)
        first = operators(architecture)[0]
        if first in firsts or nas.cost(architecture).macs > MOST_MACS:
            continue
        firsts.add(first)
        parent = Network(architecture.hash, params)
        # Random numbers of its own, so that the first of many children are those of few.
        found.append((parent, _children(tiny, parent, children, np.random.default_rng((DRAW_SEED, len(found))))))
    return found


def _children(tiny: SearchSpace, parent: Network, count: int, rng: np.random.Generator) -> list[Network]:
    children: list[Network] = []
    seen = {proxy(tiny.decode(parent.params)).hash}
    while len(children) < count:
        params = tiny.mutate(parent.params, rng)
        architecture = tiny.decode(params)
        same = proxy(architecture).hash
        if same not in seen and nas.cost(architecture).macs <= MOST_MACS:
            seen.add(same)
            children.append(Network(architecture.hash, params))
    return children


def inherited(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """The state of a network with what it can take from another's, and what share of its numbers
    that is.

    A tensor takes from the one of the same name, as far as they overlap in every dimension.
    """
    state, taken = {name: tensor.clone() for name, tensor in own.items()}, 0
    for name, tensor in state.items():
        other = given.get(name)
        if other is not None and other.ndim == tensor.ndim:
            part = tuple(slice(0, min(a, b)) for a, b in zip(tensor.shape, other.shape, strict=True))
            tensor[part] = other[part]
            taken += tensor[part].numel()
    return state, taken / sum(tensor.numel() for tensor in state.values())


def train_parent(network: Network, weights: Path) -> dict[str, Any]:
    start = start_of(network.hash, 0)
    torch.manual_seed(start)
    model = build(proxy(space().decode(network.params)))
    curve = trained(model, PARENT_EPOCHS, start)
    torch.save(model.state_dict(), weights)
    return {"hash": network.hash, "choices": network.params, "curve": curve}


def train_child(network: Network, parent: Network, weights: Path) -> dict[str, Any]:
    """Trains a child three times: shortly from scratch and from its parent's weights, and in full
    from scratch.
    """
    architecture, start = proxy(space().decode(network.params)), start_of(network.hash, 0)
    given = torch.load(weights, weights_only=True)
    found: dict[str, Any] = {"hash": network.hash, "parent": parent.hash, "choices": network.params}
    # Full training has a seed of its own: what it shares with the short ones is the network alone.
    for name, epochs, seed in (
        ("scratch", SHORT_EPOCHS, start),
        ("inherited", SHORT_EPOCHS, start),
        ("full", EPOCHS, start + 1),
    ):
        torch.manual_seed(seed)
        model = build(architecture)
        if name == "inherited":
            state, found["share"] = inherited(model.state_dict(), given)
            model.load_state_dict(state)
        found[name] = trained(model, epochs, seed)
    return found


def inherit(options: argparse.Namespace) -> None:
    """Trains what is not in the store yet, and prints accuracy and tau of both ways."""
    folder: Path = options.store / "inherit"
    drawn = families(options.parents, options.children)
    began = time.time()
    parents = [(folder / f"{p.hash}.json", (p, folder / f"{p.hash}.pt")) for p, _ in drawn]
    jobs.run(train_parent, parents, options.workers, options.minutes)
    minutes = None if options.minutes is None else max(0.0, options.minutes - (time.time() - began) / 60)
    # By turns, so that what is cut short has children of every parent.
    work = [
        (folder / f"{parent.hash}-{child.hash}.json", (child, parent, folder / f"{parent.hash}.pt"))
        for turn in range(options.children)
        for parent, child in ((parent, children[turn]) for parent, children in drawn)
        if (folder / f"{parent.hash}.json").exists()
    ]
    jobs.run(train_child, work, options.workers, minutes)
    results = [json.loads(path.read_text()) for path, _ in work if path.exists()]
    if not results:
        print("no child is trained yet")
        return
    last = {name: np.array([r[name]["accuracy"][-1] for r in results]) for name in ("scratch", "inherited", "full")}
    family = np.unique([result["parent"] for result in results], return_inverse=True)[1].astype(float)
    lines = []
    for name, title in (("scratch", "from scratch"), ("inherited", "from the parent's weights")):
        pairs = [(last[name], last["full"])]
        taus = shown(pairs), shown(pairs, family)
        lines.append([f"{SHORT_EPOCHS} epochs {title}", f"{last[name].mean():.3f}", *taus])
    lines.append([f"{EPOCHS} epochs from scratch", f"{last['full'].mean():.3f}", "", ""])
    gain = last["inherited"] - last["scratch"]
    low, high = interval(lambda rows: float(gain[rows].mean()), len(gain))
    worse, better = interval(
        lambda rows: (
            kendall(last["inherited"][rows], last["full"][rows]) - kendall(last["scratch"][rows], last["full"][rows])
        ),
        len(gain),
    )
    spent = sum(sum(r[name]["cpu_seconds"]) for r in results for name in last)
    note = (
        f"{len(results)} children of {len(set(family))} parents, {spent / 60:.0f} core-minutes of training beside the "
        f"parents'; a child took {100 * np.mean([r['share'] for r in results]):.0f} % of its numbers from its parent. "
        f"In accuracy after {SHORT_EPOCHS} epochs that gains {gain.mean():+.3f} ({low:+.3f} to {high:+.3f}), "
        f"in tau {worse:+.2f} to {better:+.2f} (90 %)."
    )
    header = ["training", "mean accuracy", "tau with full training (90 %)", "of children of the same parent"]
    publish(options, "inherit", f"{note}\n\n{markdown(header, lines)}")
