"""What only a GPU can tell, in order of value: one command, nine minutes at most.

Each check runs in a process of its own with a limit, so that a dead CUDA context or a hang ends
one check, and one whose limit is more than the time that is left is not run. All answers stand in
one file, `answers.json`, which is written after each check, so a later call does the rest; a page
with the device's name, the versions and a table of the checks is written at the end. What
contradicts an expectation is listed under `wrong`. `--dry-run` walks the same code on a CPU with
small sizes: its figures say nothing of a GPU, and its page lies beside the answers.

    python benchmarks/gpu.py [--only parity,search] [--minutes 9] [--out FOLDER] [--page FILE]
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import nas
from nas.architecture import LAYERS, Architecture, ArchitectureError
from nas.architecture.document import Part
from nas.data.clips import Clips
from nas.errors import NasError, context_lost, one_line, out_of_memory
from nas.limits.memory import fitting_micro_batch, memory_factor, training_step_memory
from nas.models.attention import attend, sequences_per_call, without_plans
from nas.models.convolution import placed
from nas.models.network import build, build_part, part_inputs
from nas.models.testing import example_parts
from nas.profiler.measured.device import Conditions, available_cores, device_name, memory_bytes
from nas.profiler.measured.environment import Environment
from nas.profiler.measured.gpu_state import GpuState, held_down, near_cores
from nas.profiler.tables.growth import grow
from nas.profiler.tables.predictor import Predictor
from nas.profiler.tables.rows import Workload, part_workload
from nas.profiler.tables.table import Table
from nas.resources import installed_version, replacing
from nas.runs.planning.plan import PROXY_SIDES
from nas.runs.planning.timing import measured_memory_factor
from nas.training.feed import Feed
from nas.training.loop import Training
from nas.training.recipe import Recipe
from nas.units import number

Answer = dict[str, Any]
ANSWERS = "answers.json"
PACKAGES = ("torch", "ray", "optuna", "numpy", "pandas", "pydantic", "av", "plotly", "moocore", "nvidia-ml-py")
NOT_RUN = "not run"  # the verdict of a check that could not be, and the key by which it says so
MOST = 20  # lines of an answer on the page
BEGINNING = 20.0  # seconds: of this command before its first check, and of writing the page
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.25}  # of gradients; in bfloat16 a CPU is off by 0.15 at most


@dataclass(frozen=True)
class Bench:
    """Where a check runs, how large it is, and the folder of what it leaves."""

    device: torch.device
    dry: bool
    out: Path

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def choose(self, real: int, dry: int) -> int:
        """A size for a GPU, or for the dry run."""
        return dry if self.dry else real

    def command(self, *options: str) -> list[str]:
        """This program in another process."""
        return [sys.executable, __file__, *options, "--out", str(self.out), *(["--dry-run"] if self.dry else [])]

    def synchronize(self) -> None:
        if self.on_gpu:
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
        if not self.on_gpu:
            run()
            return 0
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        run()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device)

    def candidates(self, count: int, space: str = "hybrid") -> list[Architecture]:
        """Samples of a space as proxies of the smallest size that their stems take."""
        found = [nas.SearchSpace.load("tiny" if self.dry else space).sample(seed) for seed in range(count)]
        for side in PROXY_SIDES:
            with suppress(ArchitectureError):
                return [each.resized(4 if self.dry else 8, (side, side)) for each in found]
        raise NasError(f"space {space!r} has no proxies of {PROXY_SIDES} pixels; allowed: a space that a search takes")

    def training(self, architecture: Architecture, epochs: int = 1, steps: int = 4) -> Training:
        """A training of a candidate on noise, as a trial trains it."""
        without_plans()
        recipe = Recipe(epochs=epochs, batch_size=self.choose(16, 2))
        clips = noise(architecture, steps * recipe.batch_size)
        torch.manual_seed(0)
        model = placed(build(architecture), self.device)
        return Training(model, clips, architecture.input.size, recipe, flip=False, device=self.device)


def noise(architecture: Architecture, count: int) -> Clips:
    """So many clips, all the same."""
    pixels = np.zeros((count, architecture.input.frames, *architecture.input.size, 3), np.uint8)
    pixels[:] = np.random.default_rng(0).integers(0, 255, pixels.shape[1:], np.uint8)
    return Clips(pixels, np.arange(count) % architecture.num_classes)


def failures(answers: dict[str, Answer]) -> list[str]:
    """The cases with an error, as what is wrong."""
    return [f"{name}: {answer['error']}" for name, answer in answers.items() if "error" in answer]


def in_cases(bench: Bench, kind: str, alone: bool = False) -> dict[str, Answer]:
    """The answers of all cases of a kind, in a process that begins anew behind a case that it dies
    of or whose error took the device's context along; in this process in a dry run.

    Args:
        bench: Where.
        kind: Of `CASES`, and the check that asks: within its limit, what there is no time for is
            said.
        alone: Whether each case has a process of its own.
    """
    names, run = CASES[kind]
    keys, found = list(names(bench)), dict[str, Answer]()
    if bench.dry:
        return {key: case_answer(bench, run, key) for key in keys}
    end = time.monotonic() + 0.8 * CHECKS[kind].seconds
    while len(found) < len(keys):
        first = len(found)
        command = bench.command("--cases", kind, "--first", str(first), *(["--one"] if alone else []))
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, end - time.monotonic()))
            lines, words = ended.stdout, (ended.stderr.strip() or "nothing said").splitlines()[-1]
            reason, late = f"exit code {ended.returncode}: {words}", False
        except subprocess.TimeoutExpired as expired:  # whose output is bytes, whatever was asked for
            lines, reason, late = (expired.stdout or b"").decode(), "there was no time for it and what follows", True
        for line in lines.splitlines(keepends=True):
            found.update(json.loads(line) if line.endswith("\n") else {})
        if len(found) < len(keys) and (late or len(found) == first):
            found[keys[len(found)]] = {"error": reason}
        if late:
            break
    return found


def case_answer(bench: Bench, run: Callable[[Bench, str], Answer], key: str) -> Answer:
    """What a case found, or its error and whether that took the context along."""
    try:
        return run(bench, key)
    except Exception as error:
        return {"error": one_line(error)[:200], **({"context_lost": True} if context_lost(error) else {})}


def facts(bench: Bench) -> Answer:
    """Device and versions, and the kernels that attention takes for some shapes."""
    found: Answer = {
        "device": torch.cuda.get_device_name(bench.device) if bench.on_gpu else "a CPU",
        "environment": Environment.here(bench.device).to_document(),
        "versions": {"python": platform.python_version(), **{name: installed_version(name) for name in PACKAGES}},
        "memory_bytes": memory_bytes(bench.device),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "cores": available_cores(),
    }
    kernels = {}
    for count, heads, length, head_dim in ((4096, 2, 16, 32), (64, 4, 49, 24), (8, 8, 784, 64), (64, 2, 49, 12)):
        for dtype in (torch.float32, torch.bfloat16):
            q = torch.zeros(count, heads, length, head_dim, device=bench.device, dtype=dtype)
            bias = torch.zeros(1, heads, length, length, device=bench.device, dtype=dtype, requires_grad=True)
            F.scaled_dot_product_attention(q, q, q)  # after which torch tells the order that it has on this device
            what = f"{count} sequences of {length} tokens, {heads} heads of {head_dim}, {str(dtype)[6:]}"
            for name, mask in (("", None), (", with a bias", bias)):
                kernels[what + name] = _kernel(torch._fused_sdp_choice(q, q, q, attn_mask=mask))
    found["attention_kernels"] = kernels
    if hasattr(torch._C, "_get_sdp_priority_order"):
        found["attention_order"] = [_kernel(each) for each in torch._C._get_sdp_priority_order()]
    counts = {kernel: list(kernels.values()).count(kernel) for kernel in sorted(set(kernels.values()))}
    found["said"] = f"{found['memory_bytes'] / 1e9:.0f} GB, {found['cores']} cores; of {len(kernels)} calls of "
    found["said"] += f"attention {_listed(f'{kernel} takes {n}' for kernel, n in counts.items())}"
    if bench.on_gpu:
        state, name = GpuState.now(bench.device), device_name(bench.device, "bf16", 2, 1)
        found |= {"driver": asdict(state), "held_s": held_down(bench.device), "near": sorted(near_cores(bench.device))}
        found["name"], found["wrong"] = name, []
        if state.clock_mhz is None:
            found["wrong"].append("the driver tells nothing through NVML; nvidia-ml-py is needed")
        if not re.fullmatch(r"[a-z0-9-]+\.(cuda|rocm)[\d.]+\.torch\d+\.\d+\.bf16\.b2", name):
            found["wrong"].append(f"the device is named {name}")
    return found


def _kernel(place: int) -> str:
    """The name of a kernel of attention."""
    return SDPBackend(int(place)).name.removesuffix("_ATTENTION").lower()


def _ms(milliseconds: float) -> str:
    return f"{number(milliseconds)} ms"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words) or "nothing"


@cache
def parity_parts(bench: Bench) -> dict[str, Part]:
    """Every operator on every kind of map, and the parts of some candidates as proxies."""
    found: dict[str, Part] = {}
    for kind in LAYERS.types():
        for part in list(example_parts(kind))[: 1 if bench.dry else None]:
            found[f"{kind.op_name()} {part.input} to {part.output}"] = part
    seen = set()
    for space in () if bench.dry else ("hybrid", "swin", "conv", "vit"):
        for place, architecture in enumerate(bench.candidates(2, space)):
            for part in architecture.parts():
                if part_workload(part).key not in seen:
                    seen.add(part_workload(part).key)
                    found[f"{space} {place} {part.path} {part.config.op_name()} {part.input}"] = part
    return found


def parity_case(bench: Bench, key: str) -> Answer:
    """Relative errors, in the Euclidean norm, of a part's output and of all its gradients, in
    float32 and bfloat16 against float32 on the CPU.
    """
    part = parity_parts(bench)[key]
    torch.manual_seed(0)
    module, inputs = build_part(part), part_inputs(part, torch.randn, batch=4)
    for each in module.modules():
        if isinstance(each, nn.Dropout):
            each.p = 0.0
    expected = _outputs(module, inputs, torch.device("cpu"), None)
    answer: Answer = {}
    for dtype, tolerance in TOLERANCES.items():
        found = _outputs(module, inputs, bench.device, None if dtype == torch.float32 else dtype)
        errors = [((a - b).norm() / b.norm().clamp(min=1e-6)).item() for a, b in zip(found, expected, strict=True)]
        answer[str(dtype)[6:]] = dict(zip(("output", "gradients"), errors, strict=True))
        if not all(error <= tolerance for error in errors):  # which nan is not
            answer["error"] = f"{dtype} is off by {np.max(errors):.3g}, and {tolerance:g} is allowed"
    return answer


def _outputs(
    module: nn.Module, inputs: tuple[torch.Tensor, ...], device: torch.device, dtype: torch.dtype | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output and all gradients as a vector, on the CPU in float32."""
    module = placed(copy.deepcopy(module), device)
    leaves = [x.detach().clone().to(device).requires_grad_() for x in inputs]
    with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        y = module(*leaves)
    # Not a norm of the output, which a normalisation before it makes the same for all inputs.
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(device)
    grads = torch.autograd.grad((y.float() * weights).sum(), [*leaves, *module.parameters()], allow_unused=True)
    gradients = torch.cat([each.detach().float().cpu().flatten() for each in grads if each is not None])
    return y.detach().float().cpu(), gradients


def parity(bench: Bench) -> Answer:
    """Every operator on every kind of map, and the layers of candidates: outputs and gradients in
    float32 and bfloat16 against float32 on the CPU.
    """
    found = in_cases(bench, "parity")
    largest = {
        dtype: np.max([error for answer in found.values() for error in answer.get(dtype, {}).values()] or [math.nan])
        for dtype in ("float32", "bfloat16")
    }
    errors = _listed(f"{dtype} is off by {error:.2g} at most" for dtype, error in largest.items())
    return {"said": f"of {len(found)} parts {errors}", "wrong": failures(found), "parts": found}


def exact(bench: Bench) -> None:
    """Rounds no product to TF32 in this process; the older switches raise from then on."""
    if bench.on_gpu:
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


VARIANTS = ("as trials", "cuDNN attention", "native depthwise forward")


def first_calls_case(bench: Bench, key: str) -> Answer:
    """One variant in a process that has built no plans yet."""
    excess, steps = [], []
    with native_depthwise() if key == "native depthwise forward" else nullcontext():
        for architecture in bench.candidates(bench.choose(3, 1)):
            training = bench.training(architecture)
            torch.backends.cuda.enable_cudnn_sdp(key == "cuDNN attention")
            first, *rest = (bench.timed(training.step) for _ in range(4))
            excess.append(round(first - median(rest), 4))
            steps.append(round(median(rest), 5))
    return {"excess_s": excess, "step_s": steps}


@contextmanager
def native_depthwise() -> Any:
    """Convolutions with a group per channel run as torch's own kernels, not as cuDNN's; their
    backward passes, which choose by themselves, stay.
    """
    originals = {name: getattr(F, name) for name in ("conv2d", "conv3d")}

    def replaced(name: str) -> Callable[..., torch.Tensor]:
        def convolve(x: torch.Tensor, weight: torch.Tensor, *rest: Any) -> torch.Tensor:
            native = weight.shape[1] == 1 and weight.shape[0] > 1
            with torch.backends.cudnn.flags(enabled=not native):
                out: torch.Tensor = originals[name](x, weight, *rest)
                return out

        return convolve

    for name in originals:
        setattr(F, name, replaced(name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(F, name, original)


def first_calls(bench: Bench) -> Answer:
    """Seconds of a candidate's first training step beyond its later ones, and of these: as trials
    train, with cuDNN's attention, and with depthwise convolutions of torch's own; each in a process
    of its own, as what one builds is there for the next.
    """
    found = in_cases(bench, "first_calls", alone=True)
    known = {key: answer for key, answer in found.items() if "error" not in answer}
    told = (
        f"{fmean(answer['excess_s']):.2g} s longer than the {_ms(1e3 * fmean(answer['step_s']))} of later ones ({key})"
        for key, answer in known.items()
    )
    return {"said": f"a first step takes {_listed(told)}", **found, "wrong": failures(found)}


# Heads and tokens: kernels round tokens up to 128, so few of them reach the index that is too
# large, in memory that most GPUs have.
ATTENTION_SHAPES = ((2, 1), (2, 16), (12, 16))


def attention_cases(bench: Bench) -> list[str]:
    """Kernels and shapes."""
    sequences = (64, 65) if bench.dry else (65_536, 200_704)
    kernels = ("attend", "default") if bench.dry else ("attend", "default", "flash", "efficient", "cudnn")
    # What is expected to fail comes last.
    return [
        f"{kernel}, {count} sequences, {heads} heads, tokens: {length}"
        for kernel in kernels
        for count in sequences
        for heads, length in ATTENTION_SHAPES
    ]


def attention_case(bench: Bench, key: str) -> Answer:
    """The peak memory of a forward and backward pass of attention in bfloat16."""
    kernel, (sequences, heads, length) = key.split(",")[0], map(int, re.findall(r"\d+", key))
    backends = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
    }
    options: Answer = {"device": bench.device, "dtype": torch.bfloat16, "requires_grad": True}
    if kernel == "attend":
        without_plans()
        x = torch.randn(sequences, length, heads * 32, **options)

        def run() -> None:
            attend(x, x, x, heads).float().sum().backward()  # type: ignore[no-untyped-call]

    else:
        x = torch.randn(sequences, heads, length, 32, **options)

        def run() -> None:
            with sdpa_kernel(backends[kernel]) if kernel in backends else nullcontext():
                F.scaled_dot_product_attention(x, x, x).float().sum().backward()  # type: ignore[no-untyped-call]

    return {"peak_bytes": bench.peak(run), "input_bytes": x.numel() * x.element_size()}


def attention_limits(bench: Bench) -> Answer:
    """Attention of many sequences: as networks split it, as torch takes it, and each kernel by
    itself. Only the first must never fail.
    """
    found = in_cases(bench, "attention_limits")
    split = {f"{h} heads, tokens: {n}": sequences_per_call(h, n, 32) for h, n in ATTENTION_SHAPES}
    own = {key: answer for key, answer in found.items() if key.startswith("attend")}
    ran = {key.split(",")[0]: [0, 0] for key in found}
    for key, answer in found.items():
        ran[key.split(",")[0]][0] += "error" not in answer
        ran[key.split(",")[0]][1] += 1
    said = _listed(f"{kernel} ran {good} of {all_}" for kernel, (good, all_) in ran.items())
    return {"said": said, "wrong": failures(own), "split_at": split, "calls": found}


def search(bench: Bench) -> Answer:
    """A whole search, with a limit of latency under the conditions of a deployment on a GPU, and
    the memory that is taken of the GPU when it is over.
    """
    options = "tiny --trials 2 --epochs 1 --train-clips 24 --val-clips 24 --confirm-seeds 0 --measure-seconds 0.1"
    if not bench.dry:
        options = "hybrid --trials 8 --time 30s --confirm-seeds 1 --baselines none --measure-seconds .5"
        options += " --budget 100gflops,50ms --measure bf16,graph"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "nas", "search", *options.split(), "--device", bench.device.type]
        begin = time.perf_counter()
        ended = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
        found: Answer = {"exit": ended.returncode, "wall_s": round(time.perf_counter() - begin, 1)}
        if ended.returncode:
            return found | {"said": ended.stderr[-500:], "wrong": [f"the search ended with {ended.returncode}"]}
        run = nas.Run(out)
        states = run.trials["state"].value_counts().to_dict()
        failed = run.trials[run.trials["state"] == "failed"]
        found |= {"states": states, "front": len(run.front), "workers": run.record.workers, "device": run.record.device}
        found |= {"step_s": run.record.step_s, "slot_s": run.record.slot_s, "phases_s": dict(run.record.phases_s)}
        found["peak_bytes"] = [int(each) for each in run.trials["peak_bytes"].dropna()]
        found["flags"] = [flags for flags in run.front.get("flags", []) if isinstance(flags, str) and flags]
        found["wrong"] = [f"trial {row.trial} failed: {row.error}" for row in failed.itertuples()]
        busy = (run.record.step_s or 0) / (run.record.slot_s or 1)
        found["said"] = (
            f"{len(run.trials)} networks in {found['wall_s']:.0f} s, {len(run.front)} on the front; "
            f"{busy:.0%} of the time of {run.record.workers} workers was training"
        )
    if bench.on_gpu:
        free, total = torch.cuda.mem_get_info(bench.device)
        found["taken_afterwards_bytes"] = total - free
    return found


def roomy_candidate(bench: Bench) -> Architecture:
    """A candidate whose training takes less memory in smaller batches: of few weights, and so large
    that activations take most of it.
    """
    (smallest,) = bench.candidates(1, "tiny")
    return smallest if bench.dry else smallest.resized(16, (112, 112))


def poison(bench: Bench) -> Answer:
    """What a search survives: memory that runs out in a training, which goes on in smaller batches,
    and a failed assertion on the device, which is told from the candidate's own errors.
    """
    from nas.trials.trainable import Proxy, ProxyData, ProxyTrial

    architecture, wrong = roomy_candidate(bench), list[str]()
    batch = bench.choose(16, 4)
    clips, recipe = noise(architecture, 2 * batch), Recipe(epochs=1, batch_size=batch)
    proxy = Proxy(
        *(architecture.input.frames, architecture.input.size, (1,), 2 * batch, 2 * batch, recipe, 2, bench.device.type)
    )
    trial = ProxyTrial.__new__(ProxyTrial)
    config = {"index": 0, "architecture": architecture.document(), "costs": [1.0], "seed": 0}
    trial.setup(config, proxy, ProxyData(clips, clips, None, flip=False))

    def trained() -> Answer:
        trial.reset_config(config)
        report: Answer = {}
        peak = bench.peak(lambda: report.update(trial.step()))
        said = {name: report.get(name) for name in ("failure", "error")}
        return {**said, "micro_batch": trial.training.micro_batch, "peak_bytes": peak}

    found: Answer = {"said": "a second candidate trained in one process", "alone": trained(), "again": trained()}
    wrong += [f"a training failed {name}: {found[name]}" for name in ("alone", "again") if found[name]["failure"]]
    if not bench.on_gpu:
        return found | {"wrong": wrong}
    trial._forget()
    found["reserved_when_forgotten_bytes"] = torch.cuda.memory_reserved(bench.device)
    share = 0.6 * found["again"]["peak_bytes"] / memory_bytes(bench.device)
    torch.cuda.set_per_process_memory_fraction(share, bench.device)
    found["in 0.6 of it"] = trained()
    if found["in 0.6 of it"]["failure"] or found["in 0.6 of it"]["micro_batch"] >= batch:
        wrong.append(f"memory that ran out did not make smaller batches: {found['in 0.6 of it']}")
    torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
    try:
        torch.empty(2 * memory_bytes(bench.device), dtype=torch.uint8, device=bench.device)
        wrong.append("twice the memory of the device was allocated")
    except RuntimeError as error:
        found["memory"] = one_line(error)[:200]
        if not out_of_memory(error) or context_lost(error):
            wrong.append(f"memory that ran out is not told as such: {one_line(error)[:200]}")
    found["after memory ran out"] = trained()
    if found["after memory ran out"]["failure"]:
        wrong.append(f"a training failed after memory ran out: {found['after memory ran out']}")
    for which in ("first", "second"):  # the second is of a context that is gone
        try:
            torch.zeros(1, device=bench.device).index_select(0, torch.tensor([5], device=bench.device)).sum().item()
            wrong.append(f"the {which} failed assertion raised nothing")
        except RuntimeError as error:
            found[f"{which} assertion"] = f"{context_lost(error)}: {one_line(error)[:200]}"
            if not context_lost(error):
                wrong.append(f"the {which} failed assertion is not told as a lost context: {one_line(error)[:200]}")
    micro_batch, left = found["in 0.6 of it"]["micro_batch"], found["reserved_when_forgotten_bytes"]
    found["said"] = f"in 0.6 of its memory a batch of {batch} trained {micro_batch} clips at a time; "
    found["said"] += f"{left / 1e6:.0f} MB stay reserved when a candidate is forgotten"
    return found | {"wrong": wrong}


def throughput(bench: Bench) -> Answer:
    """Training clips a second of a median candidate, of 1, 2, 4 and 8 processes on one device; and
    of one that sends clips from the host, and one whose kernels are not laid out channels-last.
    """
    found: Answer = {}
    end, took = time.monotonic() + 0.8 * CHECKS["throughput"].seconds, 0.0
    for count in (1,) if bench.dry else (1, 2, 4, 8):
        variants = WAYS if count == 1 else WAYS[:1]
        threads = max(1, min(available_cores() // count, 4))
        begin = time.monotonic()
        if begin + took > end:  # all answers would go with the process
            found[f"{count} at a time, {WAYS[0]}"] = {"error": "there was no time for it"}
            continue
        try:
            rates = [worker(bench, variants)] if bench.dry else _side_by_side(bench, variants, count, threads)
        except RuntimeError as error:
            found[f"{count} at a time, {WAYS[0]}"] = {"error": one_line(error)}
            continue
        finally:
            took = time.monotonic() - begin
        for variant in variants:
            total = sum(rate[variant] for rate in rates)
            found[f"{count} at a time, {variant}"] = {"clips_per_s": round(total, 1), "threads": threads}
    known = {key: answer["clips_per_s"] for key, answer in found.items() if "error" not in answer}
    told = _listed(f"{rate:.0f} ({key})" for key, rate in known.items())
    return {"said": f"clips a second: {told}", **found, "wrong": failures(found)}


def _side_by_side(bench: Bench, variants: Sequence[str], count: int, threads: int) -> list[dict[str, float]]:
    """What `worker` returns in each of some processes at a time.

    Raises:
        RuntimeError: One of them failed.
    """
    variables, pipe = {**os.environ, "OMP_NUM_THREADS": str(threads)}, subprocess.PIPE
    command = bench.command("--worker", ",".join(variants))
    workers = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=variables) for _ in range(count)]
    said = [each.communicate() for each in workers]
    if any(each.returncode for each in workers):
        raise RuntimeError(" ".join(error[-200:] for _, error in said if error)[-500:])
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


WAYS = ("as trials", "clips on the host", "contiguous kernels")


def worker(bench: Bench, variants: Sequence[str]) -> dict[str, float]:
    """Clips a second of one process that trains for some seconds, in each of some ways."""
    candidates = sorted(bench.candidates(bench.choose(5, 1)), key=lambda each: nas.cost(each).macs)
    architecture = candidates[len(candidates) // 2]
    return {variant: clips_per_second(bench, architecture, variant) for variant in variants}


def clips_per_second(bench: Bench, architecture: Architecture, variant: str) -> float:
    """Of one network that trains in one of `WAYS`."""
    training = bench.training(architecture, epochs=10_000)
    if variant == "clips on the host":
        training._feed = Feed(training.clips, bench.device, resident=False)
    if variant == "contiguous kernels":
        for parameter in training.model.parameters():
            parameter.data = parameter.data.contiguous()
    for _ in range(3):
        training.step()
    bench.synchronize()
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < (0.2 if bench.dry else 3.0):
        training.step()
        steps += 1
    bench.synchronize()
    return steps * training.recipe.batch_size / (time.perf_counter() - begin)


def memory(bench: Bench) -> Answer:
    """The peak of a training step beside what is computed for it, per candidate; whether a search
    that asks for it has a context of its own; and the peak of a measured inference, plain and as a
    CUDA graph.
    """
    rows, wrong, candidates = [], list[str](), bench.candidates(bench.choose(8, 2))
    if bench.on_gpu:  # before this process has a context itself
        planned = measured_memory_factor(candidates[:2], Recipe(epochs=1), bench.device)
        if torch._C._cuda_hasPrimaryContext(bench.device.index):  # type: ignore[attr-defined]
            wrong.append(f"who asked for the factor on memory, {planned:.2f}, has a context on the GPU")
    for architecture in candidates:
        priced = nas.cost(architecture)

        def steps(architecture: Architecture = architecture) -> None:
            training = bench.training(architecture)
            for _ in range(2):  # in the second the optimizer has its moments
                training.step()

        peak, batch = bench.peak(steps), bench.choose(16, 2)
        gc.collect()
        fits = fitting_micro_batch(priced, batch, memory_bytes(bench.device))
        rows.append({"computed": training_step_memory(priced, batch, batch), "peak": peak, "micro_batch": fits})
    shares = [row["peak"] / row["computed"] for row in rows]
    found: Answer = {"said": f"a training takes {min(shares):.2f} to {max(shares):.2f} of what is computed"}
    found |= {"factor": memory_factor([row["computed"] for row in rows], [row["peak"] for row in rows])}
    found["steps"] = {f"candidate {place}": row for place, row in enumerate(rows)}
    if not bench.on_gpu:
        return found | {"said": "what a CPU hands out is not counted"}
    for label, graph in (("eager", False), ("graph", True)):
        taken = nas.measure("x3d_s", str(bench.device), "bf16", max_seconds=1, cuda_graph=graph)
        found[label] = {name: getattr(taken, name) for name in ("peak_memory_bytes", "reserved_memory_bytes")}
    ratio = found["graph"]["peak_memory_bytes"] / found["eager"]["peak_memory_bytes"]
    found["said"] += f", and a CUDA graph {ratio:.2f} of a plain run"
    if not 0.5 < ratio < 4:
        wrong.append(f"a graph takes {ratio:.2f} of the memory of a plain run")
    return found | {"wrong": wrong}


def profile(bench: Bench) -> Answer:
    """Launches of one training step, the share of it in which the GPU is busy, and what takes
    longest there.
    """
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    training = bench.training(bench.candidates(1)[0])
    for _ in range(2):
        training.step()
    plain = bench.timed(training.step)
    with profiler(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.on_gpu else [])]) as seen:
        bench.timed(training.step)
    rows = seen.key_averages()
    launches = sum(row.count for row in rows if re.match("cu(da)?LaunchKernel", row.key))
    # An operator's time on the device is that of its kernels, which have rows of their own.
    own = [row for row in rows if (row.device_type != DeviceType.CPU) == bench.on_gpu]
    own = [row for row in own if not getattr(row, "is_user_annotation", False)]
    times = {row.key[:100]: row.self_device_time_total if bench.on_gpu else row.self_cpu_time_total for row in own}
    slowest = dict(sorted(times.items(), key=lambda item: -item[1])[:8])
    busy = sum(times.values()) / 1e6 / plain
    said = f"{launches} launches in a step of {_ms(1e3 * plain)}, in {busy:.0%} of which the device is busy"
    return {"said": said, "step_s": plain, "launches": launches, "busy_share": busy, "slowest_us": slowest}


def latency(bench: Bench) -> Answer:
    """A reference under several conditions, one of them twice, and a training step: whether each is
    named after its conditions and peaks within what is reserved.
    """
    found: Answer = {}
    wrong: list[str] = []
    seconds = 0.3 if bench.dry else 1.5
    conditions: dict[str, Answer] = {"fp32": {}, "bf16": {"dtype": "bf16"}}
    if bench.on_gpu:
        conditions |= {"bf16 again": {"dtype": "bf16"}, "bf16.graph": {"dtype": "bf16", "cuda_graph": True}}
    (smallest,) = bench.candidates(1)
    runs = [("x3d_s", *each) for each in conditions.items()] if not bench.dry else []
    runs.append(("a candidate", "amp.train-adamw", {"dtype": "bf16", "autocast": True, "train": "AdamW"}))
    for name, label, options in runs:
        target = smallest if name == "a candidate" else name
        taken = nas.measure(target, str(bench.device), max_seconds=seconds, **options)
        known = taken.reserved_memory_bytes
        found[f"{name} {label}"] = {
            "ms": taken.latency_ms.median,
            "iqr": taken.latency_ms.iqr,
            "reference": taken.reference and taken.reference.kind,
            "slowed": taken.reference and taken.reference.slowed,
            "peak_bytes": taken.peak_memory_bytes,
            "flags": taken.flags,
            "device": taken.device,
        }
        ends = f".{label}" if "." in label and label != "bf16.graph" else ".b1.graph" if "graph" in label else ".b1"
        if bench.on_gpu and not taken.device.endswith(ends):
            wrong.append(f"{name} {label} was measured as {taken.device}")
        if bench.on_gpu and not (known and 0 < taken.peak_memory_bytes <= known):
            wrong.append(f"{name} {label} peaks at {taken.peak_memory_bytes} bytes of {known} reserved ones")
    told = _listed(f"{_ms(answer['ms'])} beside the {answer['reference']} ({name})" for name, answer in found.items())
    return {"said": told, **found, "wrong": wrong}


def table(bench: Bench) -> Answer:
    """A network predicted from a table of layers, plain and as CUDA graphs, beside the same network
    measured; the tables lie in the folder of the answers.
    """
    space = nas.SearchSpace.load("tiny" if bench.dry else "hybrid")
    found: Answer = {}
    wrong: list[str] = []
    for graph in (False, True) if bench.on_gpu else (False,):
        here = Conditions.here(str(bench.device), "bf16" if bench.on_gpu else "fp32", cuda_graph=graph)
        known, skipped = Table.under(here), dict[str, str]()
        grow(
            *(space, known, bench.out / f"{known.device}.csv", here),
            max_seconds=bench.choose(15, 1),
            networks=bench.choose(9, 2),
            skipped=partial(_skip, skipped),
        )
        architecture = space.sample(900)
        taken = nas.measure(architecture, str(bench.device), here.dtype, cuda_graph=graph, max_seconds=0.5)
        predictor = Predictor(known)
        found[known.device] = {
            "predicted_ms": predictor.predict(architecture).ms,
            "measured_ms": taken.latency_ms.median,
            "spread_of_fit": predictor.overhead.spread,
            "networks": len(known.networks),
            "layers": len(known.layers),
            "launch_bound_layers": sum(row.launch_ms > row.ms for row in known.layers),
            "skipped": skipped,
        }
        if bench.on_gpu and any(row.launch_ms == 0 for row in known.layers) != graph:
            wrong.append(f"layers of {known.device} lack launching, or have it in spite of a graph")
        wrong += [f"{known.device} lacks {op}: {reason}" for op, reason in skipped.items()]
    told = (
        f"{_ms(each['predicted_ms'])} predicted and {_ms(each['measured_ms'])} measured, "
        f"{each['launch_bound_layers']} of {each['layers']} layers take longer to launch than to run ({name})"
        for name, each in found.items()
    )
    return {"said": _listed(told), **found, "wrong": wrong}


def _skip(reasons: dict[str, str], workload: Workload, reason: str) -> None:
    reasons[f"{workload.op} {workload.key}"] = reason


def throttling(bench: Bench) -> Answer:
    """The driver's counters before and after seconds of matrix products, and its reasons during
    them.
    """
    before = held_down(bench.device) if bench.on_gpu else {}
    a = torch.randn(bench.choose(8192, 64), bench.choose(8192, 64), device=bench.device)
    product = torch.empty_like(a)
    end, during = time.perf_counter() + (0.05 if bench.dry else 5.0), GpuState()
    while time.perf_counter() < end:
        for _ in range(10):
            torch.matmul(a, a, out=product)  # not of the product before, which would soon be zero
        during = GpuState.now(bench.device) if bench.on_gpu else during
        bench.synchronize()
    after = held_down(bench.device) if bench.on_gpu else {}
    held = {reason: after[reason] - before[reason] for reason in before}
    told = _listed(f"{reason} held it down for {seconds:.2g} s" for reason, seconds in held.items())
    said = f"at {during.clock_mhz} MHz; {told}" if held else "there are no counters"
    return {"said": said, "held_s": held, "during": asdict(during)}


def same_seed(bench: Bench) -> Answer:
    """Whether two trainings from one seed have the same losses."""
    losses = []
    for _ in range(2):
        training = bench.training(bench.candidates(1)[0], epochs=2)
        losses.append([training.epoch() for _ in range(2)])
    off = max(abs(a / b - 1) for a, b in zip(*losses, strict=True))
    said = "all losses are equal" if losses[0] == losses[1] else f"losses differ by {off:.2g} of them at most"
    return {"said": said, "losses": losses, "equal": losses[0] == losses[1]}


def refusals(bench: Bench) -> Answer:
    """What must be refused and not awaited: a GPU type that Ray does not know by that name; and
    what must work: telling of TF32 after a program has used torch's newer switches.
    """
    import ray

    from nas.trials.cluster import check_placement, connect, resources, session

    exact(bench)
    found: Answer = {"tf32": Environment.here(bench.device).to_document().get("tf32"), "refused": None}
    with session():
        connect(None, cpus=1, gpus=torch.cuda.device_count() if bench.on_gpu else 0)
        found["resources"] = {name: n for name, n in ray.cluster_resources().items() if not name.startswith("node:")}
        try:
            check_placement(resources(1, 0, "A100-40G"))
        except NasError as error:
            found["refused"] = str(error)
    wrong = [] if found["refused"] else ["a type that Ray does not know was not refused"]
    return {"said": "refused" if found["refused"] else "awaited", **found, "wrong": wrong}


def two_gpus(bench: Bench) -> Answer:
    """The second GPU beside the first: measured, captured and grown there, and refused to a search
    that would take both.
    """
    if not bench.on_gpu or torch.cuda.device_count() < 2:
        return {"said": "there are not two GPUs", NOT_RUN: True}
    found: Answer = {}
    wrong: list[str] = []
    for device in ("cuda:0", "cuda:1"):
        taken = nas.measure("x3d_s", device, "bf16", cuda_graph=True, max_seconds=1)
        here = Conditions.here(device, "bf16")
        known = Table.under(here)
        with tempfile.TemporaryDirectory() as folder:
            grow([nas.load("x3d_s")], known, Path(folder) / "table.csv", here, max_seconds=10, networks=1)
        layers = sum(row.ms for row in known.layers)
        found[device] = {"graph_ms": taken.latency_ms.median, "layers_ms": layers, "flags": taken.flags}
    for name in ("graph_ms", "layers_ms"):
        first, second = (found[device][name] for device in ("cuda:0", "cuda:1"))
        if not 0.7 < second / first < 1.4:
            wrong.append(f"{name} is {first:.3g} on cuda:0 and {second:.3g} on cuda:1")
    command = [sys.executable, "-m", "nas", "search", "tiny", "--trials", "1", "--device", "cuda:1"]
    ended = subprocess.run(command, capture_output=True, text=True)
    found["search"] = {"exit": ended.returncode, "said": ended.stderr[-300:]}
    wrong += [] if ended.returncode == 2 else ["a search on one of two GPUs was not refused"]
    told = _listed(f"a graph takes {_ms(found[device]['graph_ms'])} on {device}" for device in ("cuda:0", "cuda:1"))
    return {"said": told, **found, "wrong": wrong}


@dataclass(frozen=True)
class Check:
    """A question to a GPU.

    Attributes:
        run: Asks it; its docstring says what is asked, and the answer's `said` what came out.
        seconds: That it may take.
        points: Of `docs/gpus.md`, which it is about.
    """

    run: Callable[[Bench], Answer]
    seconds: int
    points: str

    @property
    def asked(self) -> str:
        """What is asked, in a line."""
        return " ".join((self.run.__doc__ or "").split())


CHECKS = {
    "facts": Check(facts, 25, "A8, A11, C6, C9"),
    "parity": Check(parity, 80, "A2, B7, B8, B9"),
    "search": Check(search, 120, "A1, B3, C7"),
    "attention_limits": Check(attention_limits, 50, "A2, C3"),
    "poison": Check(poison, 30, "A1, A6, A7"),
    "first_calls": Check(first_calls, 80, "B1, B2"),
    "throughput": Check(throughput, 80, "B3, B5, B6, B7"),
    "memory": Check(memory, 55, "A12, C2, C3"),
    "latency": Check(latency, 70, "C2, C5"),
    "table": Check(table, 90, "A3, C4"),
    "profile": Check(profile, 25, "B3, B6"),
    "throttling": Check(throttling, 25, "C1"),
    "same_seed": Check(same_seed, 25, "C8"),
    "two_gpus": Check(two_gpus, 70, "A4, A10"),
    "refusals": Check(refusals, 35, "A5, A8"),
}
"""In order of value: the first eight fit into the time if all take theirs."""

CASES: dict[str, tuple[Callable[[Bench], Sequence[str]], Callable[[Bench, str], Answer]]] = {
    "parity": (lambda bench: list(parity_parts(bench)), parity_case),
    "attention_limits": (attention_cases, attention_case),
    "first_calls": (lambda bench: VARIANTS, first_calls_case),
}
"""What may take the context along: the names of its cases, and what each finds."""


def run_cases(bench: Bench, kind: str, first: int, one: bool) -> None:
    """Prints the answer of each case from one on, until one loses the context."""
    if kind == "parity":
        exact(bench)
    names, run = CASES[kind]
    for key in list(names(bench))[first : first + 1 if one else None]:
        answer = case_answer(bench, run, key)
        print(json.dumps({key: answer}), flush=True)
        if "context_lost" in answer:
            return
        gc.collect()


def run_check(name: str, bench: Bench, limit: float | None = None) -> Answer:
    """Runs a check in a process of its own, and ends it with all that it started when its time is
    up.
    """
    limit = limit or CHECKS[name].seconds * (4 if bench.dry else 1)
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            bench.command("--check", name), stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        )
        try:
            lines = process.communicate(timeout=limit)[0].strip().splitlines()
            said.seek(0)
            # A process that has lost its device may die at its end, behind its answer.
            told = bool(lines) and lines[-1].startswith("{")
            answer = json.loads(lines[-1]) if told else {"failed": said.read()[-1000:]}
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            answer = {"failed": f"not done within {limit:.0f} s"}
    answer["seconds"] = round(time.perf_counter() - begin, 1)
    return answer


def read_answers(folder: Path) -> dict[str, Answer]:
    """What earlier calls found."""
    path = folder / ANSWERS
    return json.loads(path.read_text()) if path.exists() else {}


def page(answers: dict[str, Answer], dry: bool = False) -> str:
    """The page of what was found: device and software, a table of all checks, what is not as
    expected, then what each found.
    """
    facts = answers.get("facts", {})
    known, environment = facts.get("versions", {}), facts.get("environment", {})
    device = "a dry run on a CPU" if dry else f"on {facts.get('device', 'an unnamed GPU')}"
    lines = [f"# GPU checks, {device}" if dry else f"# GPU checks {device}", ""]
    if dry:
        lines += ["The code was walked on a CPU with small sizes: no figure here says anything of a GPU.", ""]
    lines += ["| software | version |", "|---|---|"]
    software = {
        **known,
        "CUDA": environment.get("cuda"),
        "cuDNN": environment.get("cudnn"),
        "OS": environment.get("os"),
    }
    lines += [f"| {name} | {version} |" for name, version in software.items() if version is not None]
    ran = f"{sum(verdict(answers.get(name, {})) != NOT_RUN for name in CHECKS)} of {len(CHECKS)} checks ran"
    wrong = [f"{name}: {each}" for name, answer in answers.items() for each in answer.get("wrong", [])]
    wrong += [f"{name}: {' '.join(answer['failed'].split())}" for name, answer in answers.items() if "failed" in answer]
    lines += ["", f"{ran}, {f'and {len(wrong)} things are not' if wrong else 'and all is'} as expected."]
    points = "`docs/gpus.md`" if dry else "[What is known of GPUs](../gpus.md#what-is-tested)"
    lines += [f"Points are those of {points}; of what is `told` nothing was expected.", ""]
    lines += ["| check | points | what was asked | answer | verdict | seconds |", "|---|---|---|---|---|---|"]
    for name, check in CHECKS.items():
        answer = answers.get(name, {})
        cells = (name, check.points, check.asked, answer.get("said", ""), verdict(answer), answer.get("seconds", ""))
        # What a program said may have several lines.
        lines.append(f"| {' | '.join(' '.join(str(cell).replace('|', '/').split()) for cell in cells)} |")
    lines += ["", *(["## Not as expected", "", *(f"- {each}" for each in wrong), ""] if wrong else [])]
    for name, answer in answers.items():
        rest = {
            key: value for key, value in answer.items() if key not in ("said", "wrong", "failed", "seconds", NOT_RUN)
        }
        if rest:
            lines += [f"## {name}", "", "```text", *details(rest), "```", ""]
    return "\n".join(lines)


def verdict(answer: Answer) -> str:
    """What an answer comes to, in a word or two; an empty one is of a check that was not run."""
    if not answer or NOT_RUN in answer:
        return NOT_RUN
    if "failed" in answer:
        return "failed"
    if "wrong" not in answer:
        return "told"
    return f"{len(answer['wrong'])} not as expected" if answer["wrong"] else "as expected"


def details(answer: Answer) -> list[str]:
    """The rest of an answer, a line for each thing that was looked at."""
    lines = []
    for key, value in answer.items():
        if not isinstance(value, dict) or not value:
            lines.append(f"{key}: {_short(value)}")
            continue
        rows = [f"  {name}: {_short(each)}" for name, each in value.items()]
        more = [f"  and {len(rows) - MOST} more, in {ANSWERS}"] if len(rows) > MOST else []
        lines += [f"{key}:", *rows[:MOST], *more]
    return lines


def _short(value: Any) -> str:
    """A value in a line, its fractions to four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and value > 9999:
        return f"{value:,}"
    if isinstance(value, dict):
        return _listed(f"{name} {_short(each)}" for name, each in value.items())
    if isinstance(value, list):
        return _listed(map(_short, value))
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of checks, separated by commas")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="for all; what may take longer than is left is not run"
    )
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), help="folder of answers and tables")
    parser.add_argument(
        "--page", type=Path, help="page to write; docs/results/gpu.md, or gpu.md of a dry run in its folder"
    )
    parser.add_argument("--dry-run", action="store_true", help="walk the same code on a CPU, small")
    parser.add_argument("--check", help=argparse.SUPPRESS)
    parser.add_argument("--cases", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.dry_run and not torch.cuda.is_available():
        parser.error("there is no CUDA device; allowed: --dry-run")
    bench = Bench(torch.device("cpu") if options.dry_run else torch.device("cuda:0"), options.dry_run, options.out)
    if options.worker:
        print(json.dumps(worker(bench, options.worker.split(","))))
        return
    if options.cases:
        run_cases(bench, options.cases, options.first, options.one)
        return
    if options.check:
        print(json.dumps(CHECKS[options.check].run(bench), default=str), flush=True)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    answers = read_answers(options.out)
    names = options.only.split(",") if options.only else [name for name in CHECKS if name not in answers]
    if unknown := set(names) - CHECKS.keys():
        parser.error(f"checks {', '.join(sorted(unknown))} are unknown; allowed: {', '.join(CHECKS)}")
    end = time.monotonic() + 60 * options.minutes - BEGINNING
    for name in names:
        left = end - time.monotonic()
        if CHECKS[name].seconds > left:
            print(f"{name}: not run, as it may take {CHECKS[name].seconds} s and {max(0, left):.0f} s are left")
            continue
        answers[name] = run_check(name, bench)
        with replacing(options.out / ANSWERS) as draft:
            draft.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {verdict(answers[name])} in {answers[name]['seconds']} s", flush=True)
    file = options.page or (options.out / "gpu.md" if bench.dry else Path("docs/results/gpu.md"))
    file.write_text(page(answers, bench.dry), encoding="utf-8")
    sys.exit(any("failed" in answer or answer.get("wrong") for answer in answers.values()))


if __name__ == "__main__":
    main()
