"""Our multiply-adds beside those of other counters, and by which operators they differ.

Every tool counts one forward pass in evaluation mode without gradients, on a copy of the module.
Our own count is known by module and by the function that the module called. Where the two differ in
a module, the reason is the functions whose multiply-adds make up the difference, the operators that
the tool says it has no count for, and whatever it counts beside products (norms, activations,
biases). What this does not explain is said to be unexplained.
"""

from __future__ import annotations

import contextlib
import copy
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves, tree_map_only

from nas.errors import NasError, one_line
from nas.profiler.computed.counters import TOOLS, Tally, is_tensor
from nas.profiler.computed.structures import Snapshot
from nas.profiler.computed.tracing import trace
from nas.units import quantity

_PRODUCT = re.compile(r"conv|linear|matmul|mm(_|$)|mv$|(^|_)dot$|einsum|attention|bilinear|RNN|GRU|LSTM", re.IGNORECASE)
_NO_PRODUCT = re.compile(r"upsample|grid", re.IGNORECASE)
_MOST_FUNCTIONS = 8  # of one module, of which all subsets are tried
_ERROR_LENGTH = 160
ROUNDING = 0.01  # numpy, which fvcore asks for the operations of an einsum, prints four digits


@dataclass(frozen=True)
class Reason:
    """Why a tool's count differs from ours: one operator, summed over modules.

    Attributes:
        operator: The function that modules call, the tool's own name for it, or the type of module.
        macs: Our multiply-adds.
        counted: The tool's.
        modules: In how many modules.
        note: What the tool or the module's type says about it; may be empty.
    """

    operator: str
    macs: int
    counted: float
    modules: int
    note: str = ""

    @property
    def difference(self) -> float:
        """The tool's count minus ours."""
        return self.counted - self.macs

    def __str__(self) -> str:
        if self.macs:
            text = f"{self.operator}: {quantity(self.macs, 'MACs')} counted as {quantity(self.counted)}"
        elif self.counted > 0:
            text = f"{self.operator}: {quantity(self.counted)} counted that are no multiply-adds"
        else:
            text = f"{self.operator}: {quantity(-self.counted)} taken off"
        if self.modules > 1:
            text += f", in {self.modules} modules"
        return text + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class ToolCount:
    """What one tool says.

    Attributes:
        tool: Its name.
        macs: Its multiply-adds; None where it failed.
        ratio: Its multiply-adds over ours.
        error: Why it failed, in a few words; None where it did not.
        reasons: By which operators it differs, the largest difference first.
        unsupported: Calls of operators that it has no count for, as far as the tool tells.
    """

    tool: str
    macs: float | None
    ratio: float | None
    error: str | None
    reasons: tuple[Reason, ...]
    unsupported: dict[str, int]


@dataclass(frozen=True)
class Comparison:
    """Multiply-adds of one forward pass, ours and those of other tools."""

    macs: int
    tools: tuple[ToolCount, ...]


def compare(
    module: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Counts a module with fvcore, ptflops (both backends) and torch's counter (CPU and meta),
    beside our own count.

    All but the last run a real forward pass on the CPU.

    Args:
        module: Any module with real weights; it is left as it is.
        args: Its positional inputs, real tensors, nested as it takes them.
        kwargs: Its inputs by name.
        progress: Called with the name of each tool before it runs.

    Raises:
        NasError: The module has no real weights, or refuses the inputs in our own count; or fvcore
            or ptflops is not installed.
    """
    missing = [name for name in ("fvcore", "ptflops") if find_spec(name) is None]
    if missing:
        raise NasError(
            f"the comparison needs {' and '.join(missing)}; allowed once installed: pip install 'video-nas[compare]'"
        )
    kwargs = dict(kwargs or {})
    tensors = [*module.parameters(), *module.buffers(), *(x for x in tree_leaves((args, kwargs)) if is_tensor(x))]
    if any(x.is_meta for x in tensors):
        raise NasError(
            f"module {type(module).__name__!r} or its inputs are on the meta device; allowed: tensors with numbers, "
            "because the other tools run a forward pass"
        )
    with torch.random.fork_rng(devices=[]):
        ours = _ours(module, args, kwargs)
        return Comparison(
            sum(sum(functions.values()) for functions in ours.values()),
            tuple(_run(tool, count, module, args, kwargs, ours, progress) for tool, count in TOOLS.items()),
        )


# ------------------------------------------------------------------------------------ our own count


class _Functions(TorchFunctionMode):
    """Tells which function a module called for each operator of a trace."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[tuple[int, int, str]] = []
        self.recorder: Any = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        recorder: Any = _get_current_dispatch_mode()
        calls = getattr(recorder, "calls", None)
        if calls is None:
            return func(*args, **(kwargs or {}))
        if recorder is not self.recorder:  # another pass
            self.recorder, self.spans = recorder, []
        begin = len(calls)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            if len(calls) > begin:
                self.spans.append((begin, len(calls), getattr(func, "__name__", str(func))))


def _ours(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Counter[str]]:
    """Our multiply-adds by path of the module and function that it called."""
    with _Functions() as functions:
        calls = trace(module, args, kwargs, repeat=False).calls
    names = [work.name for _, work in calls]
    for begin, end, name in functions.spans:
        names[begin:end] = [name] * (end - begin)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for (path, work), name in zip(calls, names, strict=True):
        if work.macs:
            found[path][name] += work.macs
    return found


# -------------------------------------------------------------------------------------- other tools


def _copy(module: nn.Module) -> nn.Module:
    """A module of its own for each tool.

    Tensors that follow from others, as hooks of weight normalisation leave them, become constants.

    Raises:
        NasError: It cannot be copied.
    """
    copies: dict[int, Any] = {}

    def keep(x: Tensor) -> Tensor:
        if not x.is_leaf:
            copies[id(x)] = x.detach().clone()
        return x

    Snapshot(keep).add(module)
    try:
        return copy.deepcopy(module, copies)
    except Exception as error:
        raise NasError(
            f"{type(module).__name__} cannot be copied for other tools ({one_line(error)}); "
            "allowed: modules that copy.deepcopy takes"
        ) from error


def _run(
    tool: str,
    count: Callable[[nn.Module, Sequence[Any], Mapping[str, Any]], Tally],
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    ours: dict[str, Counter[str]],
    progress: Callable[[str], None] | None,
) -> ToolCount:
    if progress:
        progress(tool)
    duplicate = _copy(module)
    try:
        duplicate = duplicate.cpu().eval()
        inputs = tree_map_only(Tensor, lambda x: x.detach().cpu(), (tuple(args), dict(kwargs)))
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            tally = count(duplicate, *inputs)
    except Exception as error:  # whatever a tool raises is its answer
        return ToolCount(tool, None, None, one_line(error)[:_ERROR_LENGTH], (), {})
    macs = sum(sum(functions.values()) for functions in ours.values())
    unsupported = sum(tally.unsupported.values(), Counter())
    return ToolCount(
        tool,
        tally.total,
        tally.total / macs if macs else None,
        None,
        _reasons(duplicate, ours, tally),
        dict(unsupported.most_common()),
    )


# ------------------------------------------------------------------------------------------ reasons


def _is_product(name: str) -> bool:
    return bool(_PRODUCT.search(name)) and not _NO_PRODUCT.search(name)


def _reasons(module: nn.Module, ours: Mapping[str, Counter[str]], tally: Tally) -> tuple[Reason, ...]:
    found: dict[tuple[str, str], list[Reason]] = defaultdict(list)

    def add(operator: str, macs: int, counted: float, note: str) -> None:
        found[operator, note].append(Reason(operator, macs, counted, 1, note))

    for path in sorted(ours.keys() | tally.counts.keys()):
        products = {name: n for name, n in tally.counts[path].items() if n and _is_product(name)}
        for name, n in tally.counts[path].items():
            if n and name not in products:
                add(name, 0, n, "")
        for name, n in tally.biases[path].items():
            if n:
                add(name, 0, n, "additions of biases")
        functions = dict(ours.get(path, {}))
        for kind in set(map(_kind, functions)) & set(map(_kind, products)):
            same = [name for name in functions if _kind(name) == kind]
            theirs = [name for name in products if _kind(name) == kind]
            macs, counted = sum(functions[name] for name in same), sum(products[name] for name in theirs)
            if abs(counted - macs) <= ROUNDING * macs:
                if counted != macs:
                    add(", ".join(same), macs, counted, "rounded")
                functions = {name: n for name, n in functions.items() if name not in same}
                products = {name: n for name, n in products.items() if name not in theirs}
        missing = sum(functions.values()) - sum(products.values())
        if not missing:
            continue
        note = tally.passed_over(module.get_submodule(path)) if tally.passed_over is not None else ""
        note = note or _unsupported_products(tally.unsupported[path])
        subset = _subset(functions, missing)
        if subset:
            for name in subset:
                add(name, functions[name], 0, note)
        else:
            add(", ".join(functions or products), sum(functions.values()), sum(products.values()), note)
    reasons = [
        Reason(operator, sum(r.macs for r in each), sum(r.counted for r in each), len(each), note)
        for (operator, note), each in found.items()
    ]
    reasons += [Reason(operators, 0, counted, 1, note) for operators, counted, note in tally.corrections]
    rest = tally.total - sum(functions.total() for functions in ours.values()) - sum(r.difference for r in reasons)
    if abs(rest) > 1:  # ptflops rounds
        reasons.append(Reason("unexplained", 0, rest, 1))
    return tuple(sorted(reasons, key=lambda reason: -abs(reason.difference)))


def _kind(name: str) -> str:
    """What functions, operators and modules of one name in different spellings have in common."""
    return next((word for word in ("conv", "matmul", "linear", "einsum") if word in name.lower()), name)


def _subset(functions: Mapping[str, int], missing: float) -> tuple[str, ...]:
    """The fewest functions whose multiply-adds are those that are missing."""
    for count in range(1, min(len(functions), _MOST_FUNCTIONS) + 1):
        for names in combinations(functions, count):
            if sum(functions[name] for name in names) == missing:
                return names
    return ()


def _unsupported_products(unsupported: Mapping[str, int]) -> str:
    names = sorted(name for name in unsupported if _is_product(name))
    return f"unsupported: {', '.join(names)}" if names else ""
