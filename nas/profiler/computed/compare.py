"""Our multiply-adds beside those of other counters, and by which operators they differ.

Every tool counts one forward pass in evaluation mode without gradients, on a copy of the module.
What it counted is taken down where it counts: by the module that was running and by operator, with
what it adds for biases apart. Our own count is known by module and by the function that the module
called. Where the two differ in a module, the reason is the functions whose multiply-adds make up
the difference, the operators that the tool says it has no count for, and whatever it counts beside
products (norms, activations, biases). What this does not explain is said to be unexplained.

fvcore and ptflops count a multiply-add once, torch's counter twice: its figures are halved here.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from nas.errors import NasError, one_line
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
        NasError: The module has no real weights, or refuses the inputs in our own count.
    """
    kwargs = dict(kwargs or {})
    tensors = [*module.parameters(), *module.buffers(), *(x for x in tree_leaves((args, kwargs)) if _is_tensor(x))]
    if any(x.is_meta for x in tensors):
        raise NasError("module or inputs are on the meta device; allowed: real ones, because tools run a forward pass")
    with torch.random.fork_rng(devices=[]):
        ours = _ours(module, args, kwargs)
        return Comparison(
            sum(sum(functions.values()) for functions in ours.values()),
            tuple(_run(tool, count, module, args, kwargs, ours, progress) for tool, count in TOOLS.items()),
        )


def _is_tensor(x: Any) -> bool:
    return isinstance(x, Tensor)


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


@dataclass
class _Tally:
    """What a tool counted.

    Attributes:
        total: Its own total, in multiply-adds.
        counts: By path of the module that was running and by the tool's name for the operator.
        biases: What it added there for biases, not in `counts`.
        unsupported: Calls without a count, by path and name.
        reason: What it says of a module that it passed over.
        scaled: Reasons that concern the total.
    """

    total: float = 0
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    biases: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unsupported: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    passed_over: Callable[[nn.Module], str] = lambda module: ""
    scaled: list[Reason] = field(default_factory=list)


def _run(
    tool: str,
    count: Callable[[nn.Module, Sequence[Any], Mapping[str, Any]], _Tally],
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    ours: dict[str, Counter[str]],
    progress: Callable[[str], None] | None,
) -> ToolCount:
    if progress:
        progress(tool)
    try:
        duplicate = copy.deepcopy(module).cpu().eval()
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


def _fvcore(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Tally:
    from fvcore.nn import FlopCountAnalysis

    leaves, form = tree_flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if _is_tensor(leaf)]
    adapter = _Positional(module, leaves, places, form).eval()
    analysis = FlopCountAnalysis(adapter, tuple(leaves[i] for i in places))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    tally = _Tally(total=float(analysis.total()))
    inside = {name: f"inner.{name}".rstrip(".") for name, _ in module.named_modules()}
    below: dict[str, list[str]] = defaultdict(list)
    for name in inside:
        if name:
            below[name.rpartition(".")[0]].append(name)
    counted = analysis.by_module_and_operator()
    for name, path in inside.items():
        for found, of in (
            (tally.counts, lambda p: counted[p]),
            (tally.unsupported, analysis.unsupported_ops),
        ):
            own = Counter(of(path))
            for child in below[name]:
                own.subtract(of(inside[child]))
            found[name] = Counter({op: n for op, n in own.items() if n})
    return tally


class _Positional(nn.Module):
    """A module that takes tensors by position and returns tensors, as tracing wants it."""

    def __init__(self, inner: nn.Module, leaves: Sequence[Any], places: Sequence[int], form: Any) -> None:
        super().__init__()
        self.inner = inner
        self.leaves, self.places, self.form = list(leaves), places, form

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        leaves = list(self.leaves)
        for place, x in zip(self.places, tensors, strict=True):
            leaves[place] = x
        args, kwargs = tree_unflatten(leaves, self.form)
        return tuple(x for x in tree_leaves(self.inner(*args, **kwargs)) if _is_tensor(x))


def _torch(device: str, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Tally:
    tally = _Tally()
    module = module.to(device)
    args, kwargs = tree_map_only(Tensor, lambda x: x.to(device), (args, kwargs))
    with _running(module) as path:

        def counted(packet: Any, formula: Callable[..., int]) -> Callable[..., int]:
            def count(*args: Any, **kwargs: Any) -> int:
                flops = formula(*args, **kwargs)
                tally.counts[path[-1]][_name(packet)] += flops // 2
                return flops

            count._get_raw = True  # type: ignore[attr-defined]
            return count

        formulas = {packet: counted(packet, formula) for packet, formula in flop_registry.items()}
        with _Unsupported(formulas, path, tally), FlopCounterMode(display=False, custom_mapping=formulas) as counter:
            module(*args, **kwargs)
    tally.total = counter.get_total_flops() / 2
    return tally


def _ptflops_aten(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Tally:
    from ptflops.aten_ops import ATEN_OPS_MAPPING

    tally = _Tally()
    bias_at = {torch.ops.aten.addmm: 0, torch.ops.aten.convolution: 2, torch.ops.aten._convolution: 2}
    with _running(module) as path:

        def counted(packet: Any, handler: Callable[..., int]) -> Callable[..., int]:
            def count(inputs: Any, outputs: Any) -> int:
                macs = handler(inputs, outputs)
                bare = list(inputs)
                if packet in bias_at:
                    bare[bias_at[packet]] = None
                without = handler(bare, outputs)
                tally.counts[path[-1]][_name(packet)] += without
                tally.biases[path[-1]][_name(packet)] += macs - without
                return macs

            return count

        handlers = {packet: counted(packet, handler) for packet, handler in ATEN_OPS_MAPPING.items()}
        with _Unsupported(handlers, path, tally):
            tally.total = _ptflops("aten", module, args, kwargs, handlers)
    return tally


def _ptflops_pytorch(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Tally:
    from ptflops import pytorch_ops

    tally = _Tally(passed_over=partial(_unhooked, tuple(pytorch_ops.MODULES_MAPPING)))
    names = {id(part): name for name, part in module.named_modules()}
    hooked: Counter[str] = Counter()
    with _running(module) as path, contextlib.ExitStack() as stack:

        def hook(original: Callable[..., None]) -> Callable[..., None]:
            def count(part: Any, inputs: Any, output: Any) -> None:
                before = part.__flops__
                original(part, inputs, output)
                name, kind, macs = names[id(part)], type(part).__name__, part.__flops__ - before
                hooked[kind] += macs
                bias = getattr(part, "bias", None)
                if _is_tensor(bias) and isinstance(part, nn.Linear | nn.modules.conv._ConvNd):
                    tally.biases[name][kind] += output.numel()
                    macs -= output.numel()
                tally.counts[name][kind] += macs

            return count

        def counted(name: str, handler: Callable[..., int]) -> Callable[..., int]:
            def count(*args: Any, **kwargs: Any) -> int:
                macs = int(handler(*args, **kwargs))
                tally.counts[path[-1]][name] += macs
                return macs

            return count

        for mapping in (pytorch_ops.FUNCTIONAL_MAPPING, pytorch_ops.TENSOR_OPS_MAPPING):
            replaced = {function: counted(function.__name__, handler) for function, handler in mapping.items()}
            stack.enter_context(patch.dict(mapping, replaced))
        hooks = {kind: hook(original) for kind, original in pytorch_ops.MODULES_MAPPING.items()}
        tally.total = _ptflops("pytorch", module, args, kwargs, hooks)
    gap = tally.total - _sum(tally.counts) - _sum(tally.biases)
    batch = next((len(x) for x in args if _is_tensor(x) and x.ndim), 1)
    if batch > 1 and abs(gap + hooked.total() * (1 - 1 / batch)) <= 1:
        tally.scaled.append(Reason(", ".join(hooked), 0, gap, 1, f"divided by the batch of {batch}"))
    return tally


def _ptflops(
    backend: str, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], hooks: Mapping[Any, Any]
) -> float:
    from ptflops import get_model_complexity_info

    inputs: Any = args[0] if len(args) == 1 and not kwargs and _is_tensor(args[0]) else None
    if inputs is None:
        inputs = dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        macs, _ = get_model_complexity_info(
            module,
            (1,),
            print_per_layer_stat=False,
            as_strings=False,
            input_constructor=lambda _: inputs,
            custom_modules_hooks=hooks,
            backend=backend,
        )
    if macs is None:
        raise RuntimeError(said.getvalue().rpartition("exception: ")[2].strip())
    return float(macs)


def _unhooked(hooked: tuple[type, ...], part: nn.Module) -> str:
    """Says that a module's type has no hook, and of which hooked type it is derived, as hooks are
    of exact types.
    """
    if type(part) in hooked:
        return ""
    base = next((f"{kind.__name__} subclass " for kind in type(part).__mro__ if kind in hooked), "")
    return f"{base}{type(part).__name__} not hooked"


TOOLS: dict[str, Callable[[nn.Module, Sequence[Any], Mapping[str, Any]], _Tally]] = {
    "fvcore": _fvcore,
    "ptflops pytorch": _ptflops_pytorch,
    "ptflops aten": _ptflops_aten,
    "torch counter, CPU": partial(_torch, "cpu"),
    "torch counter, meta": partial(_torch, "meta"),
}


def _name(packet: Any) -> str:
    return str(packet).removeprefix("aten.")


def _sum(counts: Mapping[str, Counter[str]]) -> float:
    return sum(sum(counter.values()) for counter in counts.values())


@contextlib.contextmanager
def _running(module: nn.Module) -> Iterator[list[str]]:
    """The paths of the modules that run, the innermost last."""
    names = {id(part): name for name, part in module.named_modules()}
    paths = [""]

    def enter(part: nn.Module, _: Any) -> None:
        paths.append(names.get(id(part), paths[-1]))

    def leave(part: nn.Module, _: Any, out: Any) -> None:
        paths.pop()

    # Of all modules: hooks of a module's own would keep attention from its fast path.
    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        yield paths
    finally:
        for handle in handles:
            handle.remove()


class _Unsupported(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes down the operators that a counter of ATen operators passes over."""

    def __init__(self, supported: Mapping[Any, Any], path: list[str], tally: _Tally) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.supported, self.path, self.tally = supported, path, tally

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = getattr(func, "overloadpacket", func)
        if packet not in self.supported and not getattr(func, "is_view", False):
            self.tally.unsupported[self.path[-1]][_name(packet)] += 1
        return func(*args, **(kwargs or {}))


# ------------------------------------------------------------------------------------------ reasons


def _is_product(name: str) -> bool:
    return bool(_PRODUCT.search(name)) and not _NO_PRODUCT.search(name)


def _reasons(module: nn.Module, ours: Mapping[str, Counter[str]], tally: _Tally) -> tuple[Reason, ...]:
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
    ] + tally.scaled
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
