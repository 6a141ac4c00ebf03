"""A plain network and one that `nas search` finds, trained alike on nagoya_fir16, each day held out
in turn.

    OMP_NUM_THREADS=1 nice python benchmarks/nagoya.py [--out runs/nagoya] [--seeds 2] [--table]

Data: 2520 far-infrared clips, 16 frames of 16x16 pixels of a camera under the ceiling, 7 actions of
9 people on 4 days (Kawashima et al., AVSS 2017), less the median of their clip. No person is on two
days. For each day in turn: `nas search` on the three others (two to train proxies, the last of them
to judge), then trainings of both networks on the three by `benchmarks/nagoya/recipe.yaml`, by what
`nas train` runs. What is reported is the accuracy of the last weights on the day that is held out:
no epoch is chosen by it. One thread; what was done is kept after each step, and the same command
goes on.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

import nas
from nas.architecture import Architecture, load
from nas.data import datasets
from nas.data.sampling import MIDDLE, Sampling, View
from nas.data.source import Split, VideoData
from nas.errors import NasError
from nas.runs.folder.record import RECORD
from nas.runs.folder.run import Run
from nas.trained.plan import Plan, TrainSettings
from nas.trained.train import resume, train

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("NAS_TEST_DATA") or HERE.parent.parent / "shared" / "data") / "nagoya_fir16"
SIDE, GAIN, BACKGROUND = 16, 1.6, 64.0
DAYS = (20170203, 20170206, 20170209, 20170210)
# Of each search; the limit keeps a training of what is found below ten minutes on two cores.
SEARCH: dict[str, Any] = {
    "budget": "100mflops",
    "trials": 16,
    "epochs": 5,
    "train_clips": 512,
    "val_clips": 256,
    "confirm_seeds": 0,
}
FIELDS = ("network", "day", "seed", "accuracy", "best", "gmacs", "params", "cpu_seconds", "operators")


class ClipSplit(Split):
    """Clips of an array; a size beyond theirs repeats their borders."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64], days: NDArray[np.int64]) -> None:
        super().__init__(labels.tolist(), [str(day) for day in days])
        object.__setattr__(self, "pixels", pixels)

    pixels: NDArray[np.uint8]

    def clip(self, index: int, sampling: Sampling, view: View = MIDDLE, seed: int | None = None) -> NDArray[np.uint8]:
        clip = self.pixels[index]
        taken = clip[((np.arange(sampling.frames) + view.start) * len(clip) / sampling.frames).astype(int)]
        room_y, room_x = (size - SIDE for size in sampling.size)
        if min(room_y, room_x) < 0:
            raise NasError(f"clips of {sampling.size} are smaller than {SIDE} pixels; allowed: from that")
        planes = torch.from_numpy(taken).permute(0, 3, 1, 2).float()
        border = (room_x // 2, room_x - room_x // 2, room_y // 2, room_y - room_y // 2)
        padded = F.pad(planes, border, mode="replicate").permute(0, 2, 3, 1)
        return padded.to(torch.uint8).numpy()


class NagoyaSource:
    """`nagoya:DAY` holds a day out; `nagoya-search:DAY` leaves it away and holds out another."""

    forms: ClassVar[str] = "`nagoya:DAY`, `nagoya-search:DAY`"

    def accepts(self, spec: str) -> bool:
        return spec.startswith(("nagoya:", "nagoya-search:"))

    def open(self, spec: str, seed: int, flip: bool | None, allow_outside: bool) -> VideoData:
        kind, _, text = spec.partition(":")
        pixels, labels, days, names = read()
        away = days == int(text)
        held = away
        if kind == "nagoya-search":
            held = days == max(day for day in DAYS if day != int(text))
        kept = ~held & ~away
        train, val = (ClipSplit(pixels[part], labels[part], days[part]) for part in (kept, held))
        return VideoData(spec.replace(":", "-"), names, train, val, None, flip=True)


def read() -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Pixels (N, T, H, W, 3), labels, days, and the names of the classes.

    Raises:
        NasError: The data set is not there.
    """
    path = DATA / "clips_t16.npz"
    if not path.is_file():
        raise NasError(f"data {str(path)!r} does not exist; allowed: a folder with nagoya_fir16 as NAS_TEST_DATA")
    with np.load(path, allow_pickle=False) as arrays:
        heat, labels, days = (arrays[name] for name in ("x", "y", "group"))
        names = tuple(map(str, arrays["classes"]))
    shifted = BACKGROUND + GAIN * (heat.astype(np.float32) - np.median(heat, axis=(1, 2, 3), keepdims=True))
    grey = shifted.round().clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1), labels.astype(np.int64), days.astype(np.int64), names


def append_row(results: Path, fields: Sequence[str], row: Mapping[str, object]) -> None:
    """Adds a row to a CSV file, and prints it."""
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, fields)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)


def found(day: int, out: Path) -> Architecture:
    """The most accurate network of the search that did not see a day."""
    folder = out / f"search-{day}"
    if (folder / RECORD).is_file() and Run(folder).record.searched:
        return Run(folder).pick("accuracy")
    shutil.rmtree(folder, ignore_errors=True)
    run = nas.search(
        HERE / "nagoya" / "space.yaml",
        data=f"nagoya-search:{day}",
        out=folder,
        workers=1,
        device="cpu",
        measure_seconds=0.1,
        proxy_frames=16,
        proxy_size=16,
        quiet=True,
        **SEARCH,
    )
    return run.pick("accuracy")


def trained(network: str, architecture: Architecture, day: int, seed: int, out: Path) -> dict[str, object]:
    """Trains a network, or goes on with it, and says how good it became."""
    folder = out / f"{network}-{day}-{seed}"
    busy = time.process_time()
    if (folder / "training" / "settings.json").is_file():
        resume(folder, say=lambda text: None)
    else:
        settings = TrainSettings(
            data=f"nagoya:{day}",
            out=str(folder),
            recipe=str(HERE / "nagoya" / "recipe.yaml"),
            resize=(SIDE, SIDE),
            seed=seed,
            device="cpu",
            threads=1,
            source=(network, None, None),
        )
        train(Plan.of(settings, architecture), say=lambda text: None)
    with (folder / "curves.csv").open() as file:
        curve = [float(row["accuracy"]) for row in csv.DictReader(file)]
    priced = nas.cost(architecture)
    return {
        "network": network,
        "day": day,
        "seed": seed,
        "accuracy": curve[-1],
        "best": max(curve),
        "gmacs": priced.macs / 1e9,
        "params": priced.params,
        "cpu_seconds": round(time.process_time() - busy),
        "operators": " ".join(layer.op for stage in architecture.stages for layer in stage.layers),
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    """The trainings that are done."""
    if not path.is_file():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def table(rows: list[dict[str, str]]) -> str:
    """Accuracy by day and seed in per cent, and each network's mean with its standard error."""
    lines = ["| network | " + " | ".join(f"{day}" for day in DAYS) + " | mean ± error | trainings |"]
    lines.append("|---" * (len(DAYS) + 3) + "|")
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        cells = [
            ", ".join(f"{100 * float(row['accuracy']):.1f}" for row in own if row["day"] == str(day)) or "-"
            for day in DAYS
        ]
        scores = np.array([float(row["accuracy"]) for row in own])
        error = f" ± {100 * scores.std(ddof=1) / np.sqrt(len(scores)):.1f}" if len(scores) > 1 else ""
        lines.append(f"| {network} | {' | '.join(cells)} | {100 * scores.mean():.1f}{error} | {len(scores)} |")
    lines += ["", "| network | day | operators | GMACs | parameters | CPU seconds |", "|---|---|---|---|---|---|"]
    for row in rows:
        if row["seed"] == "0":
            figures = f"{float(row['gmacs']):.3f} | {row['params']} | {row['cpu_seconds']}"
            lines.append(f"| {row['network']} | {row['day']} | {row['operators']} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/nagoya"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print what is there, train nothing")
    asked = parser.parse_args()
    results = asked.out / "results.csv"
    datasets.SOURCES = (NagoyaSource(), *datasets.SOURCES)
    if not asked.table:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        asked.out.mkdir(parents=True, exist_ok=True)
        for seed in range(asked.seeds):
            for day in DAYS:
                for network in ("plain", "found"):
                    done = {(row["network"], row["day"], row["seed"]) for row in rows_of(results)}
                    if (network, str(day), str(seed)) in done:
                        continue
                    plain = HERE / "nagoya" / "plain.yaml"
                    architecture = load(plain) if network == "plain" else found(day, asked.out)
                    row = trained(network, architecture, day, seed, asked.out)
                    append_row(results, FIELDS, row)
    print(table(rows_of(results)))


if __name__ == "__main__":
    main()
