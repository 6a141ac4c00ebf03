"""What only a GPU can tell, in order of value: one command, under nine minutes on one H100.

Each check runs in a process of its own with a limit, so that a dead CUDA context or a hang ends
one check; its answer is written as JSON before the next begins. At the end a page with the device's
name and versions is written. `--dry-run` walks the same code on a CPU with small sizes: its figures
say nothing of a GPU, and no page is written.

    python benchmarks/gpu.py [--only parity,search] [--out FOLDER] [--page FILE] [--dry-run]
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import nas
from nas.architecture import LAYERS, Architecture
from nas.data.clips import Clips
from nas.errors import NasError, one_line
from nas.limits.memory import fitting_micro_batch, training_step_memory
from nas.models.attention import sequences_per_call
from nas.models.network import build, build_part, part_inputs
from nas.models.testing import example_parts
from nas.profiler.measured.device import Conditions, device_name, memory_bytes
from nas.profiler.measured.disturbance import held_down
from nas.profiler.measured.environment import Environment
from nas.profiler.tables.growth import grow
from nas.profiler.tables.predictor import Predictor
from nas.profiler.tables.table import Table
from nas.training.loop import Training
from nas.training.recipe import Recipe

Answer = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Where a check runs and how large it is."""

    device: torch.device
    dry: bool

    def choose(self, real: int, dry: int) -> int:
        """A size for a GPU, or for the dry run."""
        return dry if self.dry else real

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timed(self, run: Callable[[], object]) -> float:
        """Seconds of a call, to the end of its kernels."""
        self.synchronize()
        begin = time.perf_counter()
        run()
        self.synchronize()
        return time.perf_counter() - begin

    def peak(self, run: Callable[[], object]) -> int:
        """The most bytes that torch's allocator handed out in a call; 0 on a CPU."""
        if self.device.type != "cuda":
            run()
            return 0
        torch.cuda.reset_peak_memory_stats(self.device)
        run()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device)

    def candidates(self, count: int, space: str = "hybrid") -> list[Architecture]:
        """Samples of a space as proxies."""
        frames, side = (4, 28) if self.dry else (8, 28)
        found = nas.SearchSpace.load("tiny" if self.dry else space)
        return [found.sample(seed).resized(frames, (side, side)) for seed in range(count)]

    def training(self, architecture: Architecture, epochs: int = 1, steps: int = 4) -> Training:
        """A training of a candidate on noise."""
        recipe = Recipe(epochs=epochs, batch_size=self.choose(16, 2))
        shape = architecture.input.shape
        pixels = np.zeros((steps * recipe.batch_size, *shape.extent, 3), np.uint8)
        pixels[:] = np.random.default_rng(0).integers(0, 255, pixels.shape[1:], np.uint8)
        clips = Clips(pixels, np.arange(len(pixels)) % architecture.num_classes)
        torch.manual_seed(0)
        model = build(architecture).to(self.device)
        return Training(model, clips, shape.extent[1:], recipe, flip=False, device=self.device)


def facts(bench: Bench) -> Answer:
    """Versions, and the kernels that attention takes for some shapes."""
    found: Answer = {
        "environment": Environment.here(bench.device).to_document(),
        "memory_bytes": memory_bytes(bench.device),
    }
    shapes = [(4096, 2, 16, 32), (64, 4, 49, 24), (8, 8, 784, 64)]
    q = [torch.zeros(shape, device=bench.device) for shape in shapes]
    found["attention_kernels"] = {
        f"{shape} {dtype}": int(torch._fused_sdp_choice(*(x.to(dtype),) * 3))
        for x, shape in zip(q, shapes, strict=True)
        for dtype in (torch.float32, torch.bfloat16)
    }
    if hasattr(torch._C, "_get_sdp_priority_order"):
        found["attention_order"] = list(torch._C._get_sdp_priority_order())
    return found


def parity(bench: Bench) -> Answer:
    """Every operator on every kind of map: outputs and gradients in float32 and bfloat16 against
    float32 on the CPU, as relative errors of the largest difference.
    """
    if bench.device.type == "cuda":  # these switches stay, and the older ones raise from then on
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    found: Answer = {}
    for kind in LAYERS.types():
        for number, part in enumerate(example_parts(kind)):
            if bench.dry and number:
                break
            torch.manual_seed(0)
            module, inputs = build_part(part), part_inputs(part, torch.randn, batch=2)
            expected = _outputs(module, inputs, torch.device("cpu"), None)
            errors: Answer = {}
            for dtype in (torch.float32, torch.bfloat16):
                try:
                    outputs = _outputs(module, inputs, bench.device, None if dtype == torch.float32 else dtype)
                    pairs = zip(outputs, expected, strict=True)
                    errors[str(dtype)] = max(
                        ((a - b).abs().max() / b.abs().max().clamp(min=1e-3)).item() for a, b in pairs
                    )
                except RuntimeError as error:
                    errors[str(dtype)] = one_line(error)[:200]
            found[f"{kind.op_name()} {part.input}"] = errors
    return found


def _outputs(
    module: nn.Module, inputs: tuple[torch.Tensor, ...], device: torch.device, dtype: torch.dtype | None
) -> list[torch.Tensor]:
    """The output and all gradients, on the CPU in float32."""
    module = copy.deepcopy(module).to(device)
    leaves = [x.detach().clone().to(device).requires_grad_() for x in inputs]
    with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        y = module(*leaves)
    grads = torch.autograd.grad(y.float().square().mean(), [*leaves, *module.parameters()], allow_unused=True)
    return [x.detach().float().cpu() for x in (y, *grads) if x is not None]


def first_calls(bench: Bench) -> Answer:
    """Seconds of a candidate's first training step beyond its later ones, with cuDNN's attention on
    and off: what building plans takes.
    """
    found: Answer = {}
    for cudnn in (False, True):
        torch.backends.cuda.enable_cudnn_sdp(cudnn)
        excess, steps = [], []
        for architecture in bench.candidates(bench.choose(6, 1)):
            training = bench.training(architecture)
            first, *rest = (bench.timed(training.step) for _ in range(4))
            excess.append(first - median(rest))
            steps.append(median(rest))
        found[f"cudnn attention {'on' if cudnn else 'off'}"] = {
            "excess_s": [round(x, 4) for x in excess],
            "step_s": [round(x, 5) for x in steps],
        }
    return found


def attention_limits(bench: Bench) -> Answer:
    """Attention of many sequences, each kernel by itself and as `attend` splits it."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernels = {"default": None, "flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION}
    found: Answer = {}
    for sequences in (65535, 65536, 100352) if not bench.dry else (64, 65):
        for heads, length in ((2, 1), (2, 16), (12, 49)):
            for name, kernel in kernels.items():
                if bench.dry and kernel is not None:
                    continue
                dtype = torch.bfloat16
                q = torch.randn(sequences, heads, length, 32, device=bench.device, dtype=dtype, requires_grad=True)

                def run(q: torch.Tensor = q, kernel: SDPBackend | None = kernel) -> None:
                    with sdpa_kernel(kernel) if kernel is not None else nullcontext():
                        F.scaled_dot_product_attention(q, q, q).float().sum().backward()  # type: ignore[no-untyped-call]

                key = f"{name} S={sequences} heads={heads} L={length}"
                try:
                    found[key] = {"peak_bytes": bench.peak(run)}
                except RuntimeError as error:
                    found[key] = {"error": one_line(error)[:200]}
    found["split_at"] = {f"heads={h} L={n}": sequences_per_call(h, n, 32) for h, n in ((2, 1), (2, 16), (12, 49))}
    return found


def search(bench: Bench) -> Answer:
    """A whole search, with a limit of latency on a GPU."""
    arguments = [
        "tiny",
        "--trials",
        "2",
        "--epochs",
        "1",
        "--train-clips",
        "24",
        "--val-clips",
        "24",
        "--confirm-seeds",
        "0",
    ]
    arguments += ["--measure-seconds", "0.1"]
    if not bench.dry:
        arguments = ["hybrid", "--trials", "6", "--time", "60s", "--confirm-seeds", "1", "--measure-seconds", "1"]
        arguments += ["--budget", "100gflops,50ms"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [
            sys.executable,
            "-m",
            "nas.cli.app",
            "search",
            *arguments,
            "--device",
            str(bench.device.type),
            "--out",
            str(out),
        ]
        begin = time.perf_counter()
        ended = subprocess.run(command, capture_output=True, text=True)
        found: Answer = {"exit": ended.returncode, "wall_s": round(time.perf_counter() - begin, 1)}
        if ended.returncode:
            return found | {"said": ended.stderr[-500:]}
        run = nas.Run(out)
        states = run.trials["state"].value_counts().to_dict()
        return found | {"states": states, "front": len(run.front), "spent_s": dict(run.record.spent_s)}


def memory(bench: Bench) -> Answer:
    """The peak of a training step beside what is computed for it, per candidate."""
    rows = []
    for architecture in bench.candidates(bench.choose(12, 2)):
        training = bench.training(architecture)
        training.step()  # the optimizer has its moments
        priced, batch = nas.cost(architecture), training.recipe.batch_size
        rows.append(
            {
                "computed": training_step_memory(priced, batch, batch),
                "peak": bench.peak(training.step),
                "micro_batch": fitting_micro_batch(priced, batch, memory_bytes(bench.device)),
            }
        )
    return {"steps": rows}


def throughput(bench: Bench) -> Answer:
    """Training clips a second of a median candidate, of 1, 2, 4 and 8 processes on one device."""
    found: Answer = {}
    for count in (1, 2, 4, 8) if not bench.dry else (1,):
        command = [sys.executable, __file__, "--worker", *(["--dry-run"] if bench.dry else [])]
        threads = max(1, (os.cpu_count() or 1) // count)
        workers = [
            subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
            )
            for _ in range(count)
        ]
        answers = [float(worker.communicate()[0].strip().splitlines()[-1]) for worker in workers]
        found[str(count)] = {"clips_per_s": round(sum(answers), 1)}
    return found


def worker(bench: Bench) -> float:
    """Clips a second of one process that trains for some seconds."""
    architecture = sorted(bench.candidates(5), key=lambda each: nas.cost(each).macs)[2]
    training = bench.training(architecture, epochs=10_000)
    training.step()
    begin, steps = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < (0.2 if bench.dry else 8.0):
        training.step()
        steps += 1
    bench.synchronize()
    return steps * training.recipe.batch_size / spent


def profile(bench: Bench) -> Answer:
    """Launches of one training step, and the kernels that take longest."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    training = bench.training(bench.candidates(1)[0])
    training.step()
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.device.type == "cuda" else [])]
    with profiler(activities=kinds) as seen:
        wall = bench.timed(training.step)
    on_gpu = bench.device.type == "cuda"
    rows = sorted(
        seen.key_averages(), key=lambda row: -(row.self_device_time_total if on_gpu else row.self_cpu_time_total)
    )
    busy = sum(row.self_device_time_total for row in rows) / 1e6 if on_gpu else 0.0
    return {
        "step_s": wall,
        "device_busy_share": busy / wall,
        "operators": sum(row.count for row in rows),
        "slowest": {row.key: row.self_device_time_total if on_gpu else row.self_cpu_time_total for row in rows[:8]},
    }


def latency(bench: Bench) -> Answer:
    """References under several conditions, one of them three times; and networks predicted from a
    table beside the same networks measured.
    """
    device = str(bench.device)
    found: Answer = {}
    seconds = 0.3 if bench.dry else 3.0
    conditions: dict[str, dict[str, Any]] = {"fp32": {}, "bf16": {"dtype": "bf16"}}
    if bench.device.type == "cuda":
        conditions |= {"bf16+graph": {"dtype": "bf16", "cuda_graph": True}, "bf16 again": {"dtype": "bf16"}}
    for name in ("x3d_s", "pst_t", "vov3d_m") if not bench.dry else ():
        for label, options in conditions.items():
            taken = nas.measure(name, device, max_seconds=seconds, **options)
            found[f"{name} {label}"] = {
                "ms": taken.latency_ms.median,
                "peak_bytes": taken.peak_memory_bytes,
                "flags": taken.flags,
            }
    with tempfile.TemporaryDirectory() as folder:
        here = Conditions.here(device)
        table = Table.under(here)
        space = nas.SearchSpace.load("tiny" if bench.dry else "hybrid")
        skipped: list[str] = []
        grow(
            space,
            table,
            Path(folder) / "table.csv",
            here,
            max_seconds=bench.choose(30, 1),
            networks=bench.choose(12, 2),
            skipped=lambda workload, reason: skipped.append(f"{workload.op}: {reason}"),
        )
        predictor = Predictor(table)
        rows = []
        for seed in range(900, 900 + bench.choose(8, 1)):
            architecture = space.sample(seed)
            taken = nas.measure(architecture, device, max_seconds=seconds)
            rows.append({"predicted": predictor.predict(architecture).ms, "measured": taken.latency_ms.median})
    return found | {"table": rows, "layers": len(table.layers), "skipped": skipped}


def throttling(bench: Bench) -> Answer:
    """The driver's counters before and after seconds of matrix products."""
    before = held_down(bench.device) if bench.device.type == "cuda" else {}
    a = torch.randn(bench.choose(8192, 64), bench.choose(8192, 64), device=bench.device)
    end = time.perf_counter() + (0.05 if bench.dry else 5.0)
    while time.perf_counter() < end:
        a = a @ a / a.norm()
        bench.synchronize()
    after = held_down(bench.device) if bench.device.type == "cuda" else {}
    return {"held_s": {reason: after[reason] - before[reason] for reason in before}}


def same_seed(bench: Bench) -> Answer:
    """Whether two trainings from one seed have the same losses."""
    losses = []
    for _ in range(2):
        training = bench.training(bench.candidates(1)[0], epochs=2)
        losses.append([training.epoch() for _ in range(2)])
    return {"losses": losses, "equal": losses[0] == losses[1]}


def refusals(bench: Bench) -> Answer:
    """What must be refused and not awaited: a GPU type that Ray does not know by that name."""
    from nas.trials.cluster import check_placement, connect, resources, session

    with session():
        connect(None, cpus=1, gpus=torch.cuda.device_count() if bench.device.type == "cuda" else 0)
        try:
            check_placement(resources(1, 0, "A100-40G"))
        except NasError as error:
            return {"refused": str(error)}
    return {"refused": None}


CHECKS: dict[str, tuple[Callable[[Bench], Answer], int]] = {
    "facts": (facts, 40),
    "parity": (parity, 120),
    "first_calls": (first_calls, 90),
    "attention_limits": (attention_limits, 60),
    "search": (search, 150),
    "throughput": (throughput, 90),
    "memory": (memory, 60),
    "profile": (profile, 40),
    "latency": (latency, 150),
    "throttling": (throttling, 30),
    "same_seed": (same_seed, 40),
    "refusals": (refusals, 40),
}
"""Each check with the seconds that it may take."""


def run_check(name: str, bench: Bench, out: Path) -> Answer:
    """Runs a check in a process of its own and writes its answer, or why there is none."""
    _, limit = CHECKS[name]
    command = [sys.executable, __file__, "--check", name, *(["--dry-run"] if bench.dry else [])]
    begin = time.perf_counter()
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=limit * (4 if bench.dry else 1))
        lines = ended.stdout.strip().splitlines()
        answer = json.loads(lines[-1]) if ended.returncode == 0 and lines else {"failed": ended.stderr[-1000:]}
    except subprocess.TimeoutExpired:
        answer = {"failed": f"not done within {limit} s"}
    answer["seconds"] = round(time.perf_counter() - begin, 1)
    (out / f"{name}.json").write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    return answer


def page(answers: dict[str, Answer], bench: Bench) -> str:
    """The page of what was found, headed by the device and its software."""
    lines = [
        f"# GPU checks on {device_name(bench.device, 'fp32', 1, 1)}",
        "",
        f"`python benchmarks/gpu.py`, torch {torch.__version__}.",
        "",
    ]
    for name, answer in answers.items():
        text = json.dumps(answer, indent=1)
        lines += [
            f"## {name}",
            "",
            (CHECKS[name][0].__doc__ or "").strip().split("\n\n")[0],
            "",
            "```json",
            text,
            "```",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of checks, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), help="folder of the answers")
    parser.add_argument("--page", type=Path, default=Path("docs/results/gpu.md"), help="page to write")
    parser.add_argument("--dry-run", action="store_true", help="walk the same code on a CPU, small")
    parser.add_argument("--check", help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.dry_run and not torch.cuda.is_available():
        parser.error("there is no CUDA device; allowed: --dry-run")
    bench = Bench(torch.device("cpu") if options.dry_run else torch.device("cuda:0"), options.dry_run)
    if options.worker:
        print(worker(bench))
        return
    if options.check:
        answer = CHECKS[options.check][0](bench)
        print(json.dumps(answer, default=str))
        return
    names = options.only.split(",") if options.only else list(CHECKS)
    if unknown := set(names) - CHECKS.keys():
        parser.error(f"checks {', '.join(sorted(unknown))} are unknown; allowed: {', '.join(CHECKS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    answers = {}
    for name in names:
        answers[name] = run_check(name, bench, options.out)
        print(
            f"{name}: {'failed' if 'failed' in answers[name] else 'done'} in {answers[name]['seconds']} s", flush=True
        )
    if not bench.dry:
        options.page.write_text(page(answers, bench), encoding="utf-8")
    sys.exit(any("failed" in answer for answer in answers.values()))


if __name__ == "__main__":
    main()
