"""Time of tracing whole networks against fvcore and torch's FlopCounterMode, and of pricing
candidates.

    python benchmarks/cost_speed.py [--skip-fvcore] [NETWORK ...]

Everything runs on one thread in one process. `nas.cost` of a built network on the meta device is
timed cold, without anything remembered from other networks, and warm; FlopCounterMode on the same
network; fvcore on real tensors on the CPU, once. Then candidates of `hybrid`, with new layers and
from remembered ones.
"""

from __future__ import annotations

import argparse
import gc
import logging
from collections.abc import Callable
from functools import partial
from statistics import geometric_mean, median
from time import perf_counter

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import nas
from nas.profiler.computed import effects
from nas.profiler.computed.cost import cost
from nas.resources import resource_names

CANDIDATES = 1_000


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Median time of a run; collection of garbage, which depends on what ran before, is done
    outside.
    """
    times = []
    for _ in range(repeats):
        gc.collect()
        begin = perf_counter()
        run()
        times.append(perf_counter() - begin)
    return median(times)


def whole_networks(names: list[str], with_fvcore: bool) -> None:
    print(f"{'network':18} {'cold ms':>8} {'warm ms':>8} {'FlopCounter':>12} {'fvcore':>8}   (times the warm trace)")
    ratios: dict[str, list[float]] = {"cold": [], "FlopCounterMode": [], "fvcore": []}
    for name in names:
        architecture = nas.load(name)
        shape = architecture.input.shape
        model = nas.build(architecture, device="meta").eval()
        clip = torch.empty(1, shape.channels, *shape.extent, device="meta")

        def count(model: nas.models.network.Network = model, clip: torch.Tensor = clip) -> int:
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                model(clip)
            return int(counter.get_total_flops())

        effects.forget()
        cold = seconds(partial(cost, model, clip), 1)
        warm = seconds(partial(cost, model, clip), 7)
        counter = seconds(count, 5)
        assert count() == 2 * cost(model, clip).macs
        ratios["FlopCounterMode"].append(counter / warm)
        ratios["cold"].append(counter / cold)
        beside = ""
        if with_fvcore:
            from fvcore.nn import FlopCountAnalysis

            real = nas.build(architecture).eval()
            begin = perf_counter()
            analysis = FlopCountAnalysis(real, torch.zeros(1, shape.channels, *shape.extent))
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
            ratios["fvcore"].append((perf_counter() - begin) / warm)
            beside = f"{ratios['fvcore'][-1]:8.0f}"
        print(f"{name:18} {1e3 * cold:8.1f} {1e3 * warm:8.1f} {counter / warm:12.1f} {beside}", flush=True)
    print(f"geometric mean, FlopCounterMode / warm trace: {geometric_mean(ratios['FlopCounterMode']):.1f}")
    print(f"geometric mean, FlopCounterMode / cold trace: {geometric_mean(ratios['cold']):.1f}")
    if with_fvcore:
        print(f"geometric mean, fvcore / warm trace: {geometric_mean(ratios['fvcore']):.0f}")


def candidates() -> None:
    space = nas.SearchSpace.load("hybrid")
    rng = np.random.default_rng(0)
    architectures = [space.decode(space.sample_params(rng)) for _ in range(CANDIDATES)]
    begin = perf_counter()
    for architecture in architectures:
        cost(architecture)
    print(f"hybrid: {1e3 * (perf_counter() - begin) / CANDIDATES:.1f} ms a candidate while its layers are new")
    again = seconds(lambda: [cost(architecture) for architecture in architectures], 5) / CANDIDATES
    print(f"hybrid: {1e6 * again:.0f} us a candidate from remembered layers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=None)
    parser.add_argument("--skip-fvcore", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    whole_networks(args.networks or list(resource_names("search_spaces/reference")), not args.skip_fvcore)
    candidates()


if __name__ == "__main__":
    main()
