"""Other counters of multiply-adds, each run on a module and taken down where it counts.

Each counts one forward pass; what it counted is known by the module that was running and by
operator, with what it adds for biases apart. fvcore and ptflops count a multiply-add once, torch's
counter twice: its figures are halved here.
"""

from __future__ import annotations

import contextlib
import inspect
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten
from torch.utils.flop_counter import FlopCounterMode, flop_registry


@dataclass
class Tally:
    """What a tool counted.

    Attributes:
        total: Its own total, in multiply-adds.
        counts: By path of the module that was running and by the tool's name for the operator.
        biases: What it added there for biases, not in `counts`.
        unsupported: Calls without a count, by path and name.
        passed_over: What it says of a module that it has no count for.
        corrections: (operators, multiply-adds, why) of what concerns the total alone.
    """

    total: float = 0
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    biases: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unsupported: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    passed_over: Callable[[nn.Module], str] = lambda module: ""
    corrections: list[tuple[str, float, str]] = field(default_factory=list)


def is_tensor(x: Any) -> bool:
    return isinstance(x, Tensor)


def _fvcore(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tally:
    from fvcore.nn import FlopCountAnalysis

    leaves, form = tree_flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if is_tensor(leaf)]
    adapter = _Positional(module, leaves, places, form).eval()
    analysis = FlopCountAnalysis(adapter, tuple(leaves[i] for i in places))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    tally = Tally(total=float(analysis.total()))
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
        return tuple(x for x in tree_leaves(self.inner(*args, **kwargs)) if is_tensor(x))


def _torch(device: str, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tally:
    tally = Tally()
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


def _ptflops_aten(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tally:
    from ptflops.aten_ops import ATEN_OPS_MAPPING

    tally = Tally()
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


def _ptflops_pytorch(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tally:
    from ptflops import pytorch_ops

    tally = Tally(passed_over=partial(_unhooked, tuple(pytorch_ops.MODULES_MAPPING)))
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
                if is_tensor(bias) and isinstance(part, nn.Linear | nn.modules.conv._ConvNd):
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
    batch = next((len(x) for x in args if is_tensor(x) and x.ndim), 1)
    if batch > 1 and abs(gap + hooked.total() * (1 - 1 / batch)) <= 1:
        tally.corrections.append((", ".join(hooked), gap, f"divided by the batch of {batch}"))
    return tally


def _ptflops(
    backend: str, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], hooks: Mapping[Any, Any]
) -> float:
    from ptflops import get_model_complexity_info

    inputs: Any = args[0] if len(args) == 1 and not kwargs and is_tensor(args[0]) else None
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


TOOLS: dict[str, Callable[[nn.Module, Sequence[Any], Mapping[str, Any]], Tally]] = {
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

    def __init__(self, supported: Mapping[Any, Any], path: list[str], tally: Tally) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.supported, self.path, self.tally = supported, path, tally

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = getattr(func, "overloadpacket", func)
        if packet not in self.supported and not getattr(func, "is_view", False):
            self.tally.unsupported[self.path[-1]][_name(packet)] += 1
        return func(*args, **(kwargs or {}))
