"""Images beside clips, and images before clips, on nagoya_fir16.

    OMP_NUM_THREADS=1 nice python benchmarks/images.py joint [--out runs/images] [--seeds 0 1]
    OMP_NUM_THREADS=1 nice python benchmarks/images.py init [--out runs/images] [--seeds 0 1]
    python benchmarks/images.py table [--out runs/images]

A still is the middle frame of a clip, with the class of the clip: what shows of an action in a
posture. One day is held out, as in `benchmarks/nagoya.py`; no person is on two days. `joint` trains
one network on clips and stills in turn (`nas train --images`), and beside it two networks of its
size, one on each, with as many steps. `init` trains a small ViT on the stills and begins video
networks with it (`nas train --init`), beside the same networks from scratch. What is reported is
the accuracy of the last weights (their moving average) on the day that is held out. One thread;
what was done is kept after each training, and the same command goes on.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from nagoya import DAYS, SIDE, ClipSplit, NagoyaSource, append_row, rows_of
from numpy.typing import NDArray

from nas.architecture import Architecture
from nas.data import datasets
from nas.data.sampling import MIDDLE, Sampling, View
from nas.data.source import Split, VideoData
from nas.trained.plan import Plan, TrainSettings
from nas.trained.train import resume, train

HERE = Path(__file__).resolve().parent
FRAMES, WIDTH, DEPTH = 8, 48, 3
EPOCHS = {"joint": 20, "init": 8, "stills": 20}
FIELDS = ("experiment", "network", "start", "day", "seed", "clips", "stills", "first", "params", "cpu_seconds")
PATCHES = {"op": "patch", "size": [1, 4, 4], "position": "spatial"}
TUBES = {
    "op": "tube",
    "tubes": [
        {"kernel": [4, 4, 4], "stride": [4, 4, 4]},
        {"kernel": [8, 2, 2], "stride": [8, 4, 4], "offset": [0, 1, 1]},
        {"kernel": [2, 8, 8], "stride": [4, 8, 8]},
        {"kernel": [1, 4, 4], "stride": [8, 4, 4]},
    ],
}
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tubes": (TUBES, {"op": "factorized", "variant": "joint"}),
    "t2d": (PATCHES, {"op": "t2d"}),
    "tps": (PATCHES, {"op": "tps", "window": 4}),
    "factorized": (PATCHES, {"op": "factorized", "variant": "divided"}),
}
IMAGE_NETWORKS = ("stills", "tube stills")  # with learned positions, and with the fixed ones of tubes
IMAGE_NETWORK = (PATCHES, {"op": "factorized", "variant": "space"})


@dataclass(frozen=True)
class StillSplit(Split):
    """The middle frames of clips; more frames than one repeat it."""

    of: ClipSplit

    def clip(self, index: int, sampling: Sampling, view: View = MIDDLE, seed: int | None = None) -> NDArray[np.uint8]:
        return self.of.clip(index, replace(sampling, frames=1), MIDDLE).repeat(sampling.frames, axis=0)


class StillSource:
    """`stills:DAY`: the middle frames of `nagoya:DAY`."""

    forms: ClassVar[str] = "`stills:DAY`"

    def accepts(self, spec: str) -> bool:
        return spec.startswith("stills:")

    def open(self, spec: str, seed: int, flip: bool | None, allow_outside: bool) -> VideoData:
        data = NagoyaSource().open(spec.replace("stills", "nagoya"), seed, flip, allow_outside)
        assert isinstance(data.train, ClipSplit) and isinstance(data.val, ClipSplit)
        train, val = (StillSplit(split.labels, split.groups, split) for split in (data.train, data.val))
        return replace(data, name=spec.replace(":", "-"), train=train, val=val)


def architecture(network: str, frames: int = FRAMES) -> Architecture:
    """Three layers of width 48 on frames of 16x16 pixels."""
    stem, layer = NETWORKS.get(network, IMAGE_NETWORK)
    layers = [{"heads": 3, "mlp_ratio": 2} | layer] * DEPTH
    document = {
        "name": network,
        "input": {"frames": frames, "size": SIDE},
        "num_classes": 7,
        "stem": stem,
        "stages": [{"width": WIDTH, "layers": layers}],
        "head": {"op": "mean"},
    }
    return Architecture.parse(document)


def trained(folder: Path, made: Architecture, data: str, epochs: int, seed: int, **settings: Any) -> dict[str, object]:
    """Trains a network, or goes on with it: accuracies of the last epoch and the first, and the
    cost.
    """
    busy = time.process_time()
    if (folder / "training" / "settings.json").is_file():
        model = resume(folder, say=lambda text: None)
    else:
        asked = TrainSettings(
            data=data,
            out=str(folder),
            recipe=str(HERE / "images_recipe.yaml"),
            epochs=epochs,
            resize=(SIDE, SIDE),
            seed=seed,
            device="cpu",
            threads=1,
            source=(made.name, None, None),
            **settings,
        )
        model = train(Plan.of(asked, made), say=lambda text: None)
    with (folder / "curves.csv").open() as file:
        curve = list(csv.DictReader(file))
    row: dict[str, object] = {
        "stills" if data.startswith("stills:") else "clips": float(curve[-1]["accuracy"]),
        "first": float(curve[0]["accuracy"]),
        "params": sum(parameter.numel() for parameter in model.network.parameters()),
        "cpu_seconds": round(time.process_time() - busy),
    }
    if "image_accuracy" in curve[-1]:
        row["stills"] = float(curve[-1]["image_accuracy"])
    return row


def joint(network: str, start: str, day: int, seed: int, out: Path) -> dict[str, object]:
    """One network on both, or on clips or stills alone."""
    made, folder = architecture(network), out / f"joint-{network}-{start}-{day}-{seed}"
    if start == "stills alone" and made.takes_single_frames:
        made = made.resized(1)
    data = f"stills:{day}" if start == "stills alone" else f"nagoya:{day}"
    images = {"images": f"stills:{day}"} if start == "both" else {}
    return trained(folder, made, data, EPOCHS["joint"], seed, **images)


def begun(network: str, start: str, day: int, seed: int, out: Path) -> dict[str, object]:
    """A video network from scratch or from the ViT of the stills, which comes first."""
    if network in IMAGE_NETWORKS:
        made = architecture("tubes").resized(1) if network == "tube stills" else architecture(network, 1)
        return trained(out / f"{network}-{day}-{seed}", made, f"stills:{day}", EPOCHS["stills"], seed)
    weights = out / f"{start.removeprefix('from ')}-{day}-{seed}" / "last"
    init = {} if start == "from scratch" else {"init": str(weights)}
    folder = out / f"init-{network}-{start}-{day}-{seed}"
    return trained(folder, architecture(network), f"nagoya:{day}", EPOCHS["init"], seed, **init)


STARTS = {"joint": ("both", "clips alone", "stills alone"), "init": ("from scratch", "from stills", "from tube stills")}


def jobs(experiment: str, days: Iterable[int], seeds: Iterable[int]) -> list[tuple[str, str, int, int]]:
    """Network, start, day and seed of each training of an experiment, in order."""
    groups: list[tuple[str, tuple[str, ...]]]
    if experiment == "joint":
        groups = [(network, STARTS["joint"]) for network in ("tubes", "t2d")]
    else:
        groups = [(network, STARTS["init"][:1]) for network in IMAGE_NETWORKS]
        groups += [(network, STARTS["init"][: 3 if network == "tubes" else 2]) for network in NETWORKS]
    return [(n, start, day, seed) for n, starts in groups for day in days for seed in seeds for start in starts]


def cell(rows: Sequence[Mapping[str, str]], column: str) -> str:
    """Mean and standard error over trainings, in per cent."""
    scores = 100 * np.array([float(row[column]) for row in rows if row[column]])
    if not len(scores):
        return "-"
    return f"{scores.mean():.1f}" + (f" ± {scores.std(ddof=1) / np.sqrt(len(scores)):.1f}" if len(scores) > 1 else "")


def table(rows: list[dict[str, str]]) -> str:
    """A row for each network and start; differences are those of the same day and seed."""
    lines = []
    for experiment in dict.fromkeys(row["experiment"] for row in rows):
        lines += ["", f"| {experiment} | start | clips | stills | after one epoch | parameters | CPU s | trainings |"]
        lines.append("|---" * 8 + "|")
        own = [row for row in rows if row["experiment"] == experiment]
        for network, start in dict.fromkeys((row["network"], row["start"]) for row in own):
            same = [row for row in own if (row["network"], row["start"]) == (network, start)]
            figures = " | ".join(cell(same, column) for column in ("clips", "stills", "first"))
            seconds = np.mean([float(row["cpu_seconds"]) for row in same])
            lines.append(f"| {network} | {start} | {figures} | {same[0]['params']} | {seconds:.0f} | {len(same)} |")
        lines += ["", *differences(own)]
    return "\n".join(lines)


def differences(rows: list[dict[str, str]]) -> list[str]:
    """How much better `both` is than what was trained alone, `from stills` than from scratch."""
    lines = []
    for one, other, column in (
        ("both", "clips alone", "clips"),
        ("both", "stills alone", "stills"),
        ("from stills", "from scratch", "clips"),
        ("from tube stills", "from scratch", "clips"),
    ):
        for network in dict.fromkeys(row["network"] for row in rows):
            found = {(row["start"], row["day"], row["seed"]): row for row in rows if row["network"] == network}
            pairs = [
                float(row[column]) - float(found[other, day, seed][column])
                for (start, day, seed), row in found.items()
                if start == one and (other, day, seed) in found
            ]
            if pairs:
                gains = [{"gain": str(gain)} for gain in pairs]
                lines.append(f"- {network}, {column}: {one} less {other} {cell(gains, 'gain')} points")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("joint", "init", "table"))
    parser.add_argument("--out", type=Path, default=Path("runs/images"))
    parser.add_argument("--networks", nargs="+", help="those alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--days", type=int, nargs="+", default=[20170203], choices=DAYS, help="held out in turn")
    asked = parser.parse_args()
    datasets.SOURCES = (NagoyaSource(), StillSource(), *datasets.SOURCES)
    results = asked.out / f"{asked.what}.csv"
    if asked.what == "table":
        print(table(rows_of(asked.out / "joint.csv") + rows_of(asked.out / "init.csv")))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for network, start, day, seed in jobs(asked.what, asked.days, asked.seeds):
        done = {(row["network"], row["start"], row["day"], row["seed"]) for row in rows_of(results)}
        if (network, start, str(day), str(seed)) in done or network not in (asked.networks or [network]):
            continue
        make = joint if asked.what == "joint" else begun
        found = make(network, start, day, seed, asked.out)
        row = {"experiment": asked.what, "network": network, "start": start, "day": day, "seed": seed} | found
        append_row(results, FIELDS, row)
    print(table(rows_of(results)))


if __name__ == "__main__":
    main()
