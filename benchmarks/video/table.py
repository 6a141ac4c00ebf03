"""The table: networks of space `tiny`, trained on low-resolution far-infrared clips; see
`search_video.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import nas
from nas.architecture import Architecture
from nas.data.datasets import Clips
from nas.errors import NasError
from nas.models.network import build
from nas.profiler.measured.environment import Environment
from nas.resources import replacing
from nas.space import Label, SearchSpace
from nas.training.loop import Training, accuracy
from nas.training.recipe import Recipe

SPACE, CLASSES = "tiny", 7
DRAWN, BINS, DRAW_SEED = 1000, 8, 0
FRAMES, SIDE = 16, 16
GAIN, BACKGROUND = 3.0, 64.0  # of the shifted and stretched clips, in steps of uint8
HELD_OUT = 20170203
EPOCHS = 12
COUNT = 128
EVERY = 30  # networks, at least, that hold each of the operators, of COUNT

HERE = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("NAS_TEST_DATA") or HERE.parent.parent / "shared" / "data")
STORE = HERE.parent / "runs" / "search_video"
TABLE = HERE / "video_architectures.parquet"
COSTS = ("params", "macs", "bytes_moved", "inference_bytes", "step_bytes")
CURVES = ("accuracy", "loss", "seconds", "cpu_seconds")  # by epoch

# ----------------------------------------------------------------------------------------- networks


@dataclass(frozen=True)
class Network:
    """A network of the table: its hash at the input of the space, and its choices."""

    hash: str
    params: dict[str, Label]


def space() -> SearchSpace:
    return SearchSpace.load(SPACE).with_classes(CLASSES)


def proxy(architecture: Architecture) -> Architecture:
    return architecture.resized(FRAMES, (SIDE, SIDE))


def operators(architecture: Architecture) -> list[str]:
    return [layer.op for stage in architecture.stages for layer in stage.layers]


def networks(count: int) -> list[Network]:
    """The networks of the table in random order; those of a smaller count are among those of a
    larger one.

    Raises:
        NasError: There are not so many, or an operator is in too few of them.
    """
    tiny, rng = space(), np.random.default_rng(DRAW_SEED)
    drawn: dict[str, tuple[dict[str, Label], Architecture]] = {}
    for params in (tiny.sample_params(rng) for _ in range(DRAWN)):
        architecture = tiny.decode(params)
        drawn.setdefault(proxy(architecture).hash, (params, architecture))
    macs = np.log([nas.cost(architecture).macs for _, architecture in drawn.values()])
    bins = np.clip((BINS * (macs - macs.min()) / np.ptp(macs)).astype(int), 0, BINS - 1)
    cells: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for i, (_, architecture) in enumerate(drawn.values()):
        cells[int(bins[i]), operators(architecture)[0]].append(i)
    # One of every cell in turn: candidates by their place in the cell, then by cell.
    turns = sorted((place, cell, i) for cell, members in cells.items() for place, i in enumerate(members))
    chosen = [i for _, _, i in turns[:count]]
    if len(chosen) < count:
        raise NasError(f"networks {count} is more than are drawn; allowed: up to {len(turns)}")
    known = list(drawn.values())
    met = Counter(op for i in chosen for op in set(operators(known[i][1])))
    if min(met.values()) < EVERY * min(1.0, count / COUNT):
        raise NasError(f"an operator is in too few of the {count} networks: {dict(met)}")
    order = np.random.default_rng(DRAW_SEED).permutation(chosen)
    return [Network(known[i][1].hash, known[i][0]) for i in order]


# --------------------------------------------------------------------------------------------- data


def clips() -> tuple[Clips, Clips]:
    """Training clips and those of the day that is held out.

    Raises:
        NasError: The data set is not there.
    """
    path = DATA / "nagoya_fir16" / "clips_t16.npz"
    if not path.is_file():
        raise NasError(f"data {str(path)!r} does not exist; allowed: a folder with nagoya_fir16 as NAS_TEST_DATA")
    with np.load(path, allow_pickle=False) as arrays:
        heat, labels, days = arrays["x"].astype(np.float32), arrays["y"].astype(np.int64), arrays["group"]
    heat = BACKGROUND + GAIN * (heat - np.median(heat, axis=(1, 2, 3), keepdims=True))
    grey = heat.round().clip(0, 255).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=-1)
    held = days == HELD_OUT
    return Clips(pixels[~held], labels[~held]), Clips(pixels[held], labels[held])


def recipe(epochs: int) -> dict[str, Any]:
    """Every number that decides a training; the machine is what decides its seconds."""
    every = asdict(Recipe(epochs=epochs))
    training = {name: every[name] for name in ("epochs", "batch_size", "lr", "weight_decay", "clip_norm")}
    return {
        "space": SPACE,
        "classes": CLASSES,
        "drawn": DRAWN,
        "bins": BINS,
        "draw_seed": DRAW_SEED,
        "data": "nagoya_fir16/clips_t16.npz",
        "held_out_day": HELD_OUT,
        "gain": GAIN,
        "background": BACKGROUND,
        "flip": True,
        "frames": FRAMES,
        "size": [SIDE, SIDE],
        "seed": "first 8 digits of the hash as a number, plus the seed",
        "training": training,
    }


# ----------------------------------------------------------------------------------------- training

_shared: list[tuple[Clips, Clips]] = []


def start_worker() -> None:
    """Reads the data once per process, which ends when the process that started it is killed."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    _shared.append(clips())


def start_of(hash: str, seed: int) -> int:
    """The seed of all random numbers of a training."""
    return int(hash[:8], 16) + seed


def train(network: Network, seed: int, epochs: int, path: Path) -> dict[str, Any]:
    """Trains a network and writes what was seen."""
    start = start_of(network.hash, seed)
    architecture = space().decode(network.params)
    priced = nas.cost(architecture)  # at the input of the space
    torch.manual_seed(start)
    row: dict[str, Any] = {"hash": network.hash, "seed": seed, "choices": network.params}
    row |= {name: getattr(priced, name) for name in COSTS}
    row["curve"] = trained(build(proxy(architecture)), epochs, start)
    write(path, row)
    return row


def trained(model: torch.nn.Module, epochs: int, seed: int) -> dict[str, list[float]]:
    """Trains a network; by epoch what was seen, seconds being those of training alone, without
    evaluation.
    """
    train_clips, held = _shared[0]
    cpu, size = torch.device("cpu"), (SIDE, SIDE)
    training = Training(model, train_clips, size, Recipe(epochs=epochs, seed=seed), True, cpu)
    curve: dict[str, list[float]] = {name: [] for name in CURVES}
    for _ in range(epochs):
        began, busy = time.perf_counter(), time.process_time()
        curve["loss"].append(training.epoch())
        curve["seconds"].append(time.perf_counter() - began)
        curve["cpu_seconds"].append(time.process_time() - busy)
        curve["accuracy"].append(accuracy(model, held, size, cpu))
    return curve


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Writes JSON so that the file is whole or not there."""
    with replacing(path) as draft:
        draft.write_text(json.dumps(document) + "\n")


def hours(seconds: float) -> str:
    return f"{int(seconds // 3600)}h{int(seconds % 3600 // 60):02d}"


def check_recipe(store: Path, wanted: dict[str, Any]) -> None:
    """Keeps the recipe in the store; raises NasError if what is there was made by another one."""
    path = store / "recipe.json"
    if not path.exists():
        write(path, {"recipe": wanted, "machine": machine()})
    known = json.loads(path.read_text())["recipe"]
    differing = [name for name in wanted | known if wanted.get(name) != known.get(name)]
    if differing:
        raise NasError(f"store {str(store)!r} was made with another recipe: {', '.join(differing)} differ")


def machine() -> dict[str, Any]:
    found = Environment.here(torch.device("cpu"), threads=1)
    return {name: getattr(found, name) for name in ("cpu", "cores", "cpu_capability", "torch", "python", "threads")}


def table(options: argparse.Namespace) -> None:
    store: Path = options.store
    store.mkdir(parents=True, exist_ok=True)
    check_recipe(store, recipe(options.epochs))
    if options.collect:
        collect(store, options.out)
        return
    restore(store, options.out)
    chosen = networks(options.networks)
    jobs = [(network, seed) for seed in range(options.seeds) for network in chosen]
    waiting = [(n, seed, store / f"{n.hash}-{seed}.json") for n, seed in jobs]
    waiting = [job for job in waiting if not job[2].exists()]
    print(f"{len(jobs)} trainings, {len(jobs) - len(waiting)} of them in the store", flush=True)
    began = time.perf_counter()
    with ProcessPoolExecutor(options.workers, get_context("spawn"), start_worker) as pool:
        running = {pool.submit(train, n, seed, options.epochs, path): (n, seed) for n, seed, path in waiting}
        for done, future in enumerate(as_completed(running), 1):
            network, seed = running[future]
            if error := future.exception():
                print(f"{network.hash} seed {seed} failed: {error}", file=sys.stderr, flush=True)
                continue
            curve = future.result()["curve"]
            left = (time.perf_counter() - began) / done * (len(waiting) - done)
            print(
                f"{len(jobs) - len(waiting) + done}/{len(jobs)} {network.hash} seed {seed}: "
                f"{' '.join(f'{value:.3f}' for value in curve['accuracy'])}, "
                f"{sum(curve['cpu_seconds']):.0f} core-s of {sum(curve['seconds']):.0f} s, {hours(left)} left",
                flush=True,
            )
    collect(store, options.out)


def restore(store: Path, table: Path) -> None:
    """Puts what the table has and the store lacks into the store, so that a table cut short goes on
    anywhere.
    """
    if not table.exists():
        return
    frame = pd.read_parquet(table)
    epochs = sum(str(name).startswith("accuracy_") for name in frame)
    for row in frame.to_dict("records"):
        path = store / f"{row['hash']}-{row['seed']}.json"
        if not path.exists():
            curve = {name: [row[f"{name}_{i}"] for i in range(1, epochs + 1)] for name in CURVES}
            kept = {name: row[name] for name in ("hash", "seed", *COSTS)}
            write(path, kept | {"choices": json.loads(row["choices"]), "curve": curve})


def collect(store: Path, out: Path) -> None:
    """Writes the table and its recipe."""
    frame = gathered(store)
    frame.to_parquet(out, index=False, compression="zstd")
    out.with_suffix(".json").write_text(json.dumps(json.loads((store / "recipe.json").read_text()), indent=2) + "\n")
    count = frame["hash"].nunique()
    print(f"{out.name}: {len(frame)} trainings of {count} networks, {out.stat().st_size / 1e3:.0f} kB")


def gathered(store: Path) -> pd.DataFrame:
    """A row per training of the store; each is checked to give its network again.

    Raises:
        NasError: The store is empty, or choices of a row do not decode to its hash.
    """
    tiny, rows = space(), []
    for path in sorted(store.glob("*-*.json")):
        row = json.loads(path.read_text())
        architecture = tiny.decode(row["choices"])
        if architecture.hash != row["hash"]:
            raise NasError(f"{path.name}: its choices give network {architecture.hash}; allowed: {row['hash']}")
        curve = row.pop("curve")
        row |= {"choices": json.dumps(row["choices"]), "operators": " ".join(operators(architecture))}
        row |= {f"{name}_{i}": value for name in curve for i, value in enumerate(curve[name], 1)}
        timed = store / "latency" / f"{row['hash']}.json"
        rows.append(row | (json.loads(timed.read_text()) if timed.exists() else {}))
    if not rows:
        raise NasError(f"store {str(store)!r} holds no training; allowed: one that `table` has begun to fill")
    frame = pd.DataFrame(rows)
    return frame.astype({name: np.float32 for name in frame.columns if str(name).startswith(CURVES)})


@dataclass(frozen=True)
class Known:
    """The table as those who judge by it need it, nan where a seed is not trained yet.

    Attributes:
        networks: N of them, in the order of their hashes.
        log_macs: (N), log10 of multiply-adds at the input of the space.
        accuracy, core_seconds: (N, seeds, epochs).
    """

    networks: list[Network]
    log_macs: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    core_seconds: NDArray[np.float64]

    @property
    def final(self) -> NDArray[np.float64]:
        """(N): mean accuracy of the seeds after the last epoch."""
        mean: NDArray[np.float64] = np.nanmean(self.accuracy[:, :, -1], axis=1)
        return mean

    def describe(self) -> str:
        seeds = np.bincount((~np.isnan(self.accuracy[:, :, -1])).sum(1))
        counts = ", ".join(f"{count} of {seed} seed{'s' * (seed > 1)}" for seed, count in enumerate(seeds) if count)
        return f"{len(self.networks)} networks ({counts})"


def known(options: argparse.Namespace) -> Known:
    """Reads the table, or the store where that has more."""
    frame: pd.DataFrame | None = pd.read_parquet(options.out) if options.out.exists() else None
    if frame is None or len(list(options.store.glob("*-*.json"))) > len(frame):
        frame = gathered(options.store)
    hashes, seeds = sorted(frame["hash"].unique()), sorted(frame["seed"].unique())
    first = frame.drop_duplicates("hash").set_index("hash").loc[hashes]
    index = pd.MultiIndex.from_product([hashes, seeds])
    rows = frame.set_index(["hash", "seed"]).reindex(index)

    def by_epoch(name: str) -> NDArray[np.float64]:
        epochs = range(1, 1 + sum(column.startswith("accuracy_") for column in rows.columns))
        values = rows[[f"{name}_{epoch}" for epoch in epochs]].to_numpy(float)
        return values.reshape(len(hashes), len(seeds), -1)

    return Known(
        [Network(str(name), json.loads(choices)) for name, choices in first["choices"].items()],
        np.log10(first["macs"].to_numpy(float)),
        by_epoch("accuracy"),
        by_epoch("cpu_seconds"),
    )


def latency(options: argparse.Namespace) -> None:
    """Measures the networks of the store at the input of the space, one after the other."""
    folder: Path = options.store / "latency"
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for path in sorted(options.store.glob("*-*.json")):
        row = json.loads(path.read_text())
        found[row["hash"]] = row["choices"]
    tiny = space()
    waiting = {name: params for name, params in found.items() if not (folder / f"{name}.json").exists()}
    for done, (name, params) in enumerate(waiting.items(), 1):
        taken = nas.measure(
            tiny.decode(params),
            "cpu",
            threads=options.threads,
            max_seconds=options.max_seconds,
            patience=options.patience,
        )
        record = {
            "device": taken.device,
            "latency_ms": taken.latency_ms.median,
            "latency_iqr_ms": taken.latency_ms.iqr,
            "normalized_ms": taken.normalized_ms(),
            "peak_memory_bytes": taken.peak_memory_bytes,
            "latency_flags": "; ".join(taken.flags),
        }
        write(folder / f"{name}.json", record)
        flags = f", {record['latency_flags']}" if taken.flags else ""
        print(f"{done}/{len(waiting)} {name}: {taken.latency_ms.median:.2f} ms{flags}", flush=True)
    collect(options.store, options.out)
