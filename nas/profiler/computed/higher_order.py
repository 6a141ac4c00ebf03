"""What torch calls above its operators: higher-order operators, compilation, packed sequences.

They do not reach a dispatch mode, or read memory that a trace does not have, so that a pass calls
what stands here in their place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.utils._pytree import tree_map

from nas.errors import NasError
from nas.profiler.computed.operations import Work, attention_backward_macs, attention_macs
from nas.profiler.computed.recorder import Recorder
from nas.profiler.computed.shape_tensors import signature_of, value_of


@contextmanager
def replaced_calls(recorder: Recorder) -> Iterator[None]:
    """Has the rules of this file called for the time of a pass."""
    original: Any = HigherOrderOperator.__call__

    def call(operator: Any, /, *args: Any, **kwargs: Any) -> Any:
        rule = _RULES.get(operator.name())
        if rule is not None:
            return rule(recorder, *args, **kwargs)
        try:
            return original(operator, *args, **kwargs)
        except NotImplementedError as error:
            raise NasError(
                f"the cost of higher-order operator {operator.name()} is not known; allowed: modules that do the "
                f"same without it, or with {', '.join(_RULES)}"
            ) from error

    with ExitStack() as stack:
        stack.enter_context(patch.object(HigherOrderOperator, "__call__", call))
        stack.enter_context(patch.object(torch, "compile", _uncompiled))
        stack.enter_context(patch.object(torch._VF, "_pad_packed_sequence", _pad_packed_sequence, create=True))
        flex = sys.modules.get("torch.nn.attention.flex_attention")
        if flex is not None:  # it refuses the backward pass on a CPU
            stack.enter_context(patch.object(flex, "_validate_device", lambda *_: None))
        yield


def _uncompiled(model: Any = None, **_: Any) -> Any:
    return model if model is not None else lambda function: function


def _pad_packed_sequence(
    data: Tensor, batch_sizes: Tensor, batch_first: bool, padding_value: float, total_length: int
) -> tuple[Tensor, Tensor]:
    """As torch's, which reads the memory of tensors."""
    sizes: list[int] = batch_sizes.tolist()
    batch, steps = sizes[0], max(len(sizes), total_length)
    padded = data.new_full((steps, batch, *data.shape[1:]), padding_value)
    begin = offset = 0
    for step in range(1, len(sizes) + 1):
        size = sizes[begin]
        if step == len(sizes) or sizes[step] < size:
            count = (step - begin) * size
            rows = data.narrow(0, offset, count).view(step - begin, size, *data.shape[1:])
            padded[begin:step, :size].copy_(rows)
            begin, offset = step, offset + count
    lengths = torch.tensor([sum(size > row for size in sizes) for row in range(batch)])
    return padded.transpose(0, 1) if batch_first else padded, lengths


def _is_true(recorder: Recorder, predicate: Any, operator: str) -> bool:
    if isinstance(predicate, Tensor):
        predicate = value_of(recorder.operand(predicate), operator)
    return bool(predicate)


def _cond(
    recorder: Recorder, predicate: Any, true: Callable[..., Any], false: Callable[..., Any], operands: Sequence[Any]
) -> Any:
    return (true if _is_true(recorder, predicate, "torch.cond") else false)(*operands)


def _while_loop(
    recorder: Recorder,
    condition: Callable[..., Any],
    body: Callable[..., Any],
    carried: Sequence[Any],
    more: Sequence[Any] = (),
) -> Any:
    while _is_true(recorder, condition(*carried, *more), "while_loop"):
        carried = body(*carried, *more)
    return tuple(carried)


def _map(recorder: Recorder, function: Callable[..., Any], rows: Sequence[Tensor], more: Sequence[Any]) -> Any:
    outputs = [function(*(x[i] for x in rows), *more) for i in range(len(rows[0]))]
    return tree_map(lambda *each: torch.stack(each), *outputs)


class _FlexAttention(torch.autograd.Function):
    """Attention as one operator over all scores; which of them a mask leaves out is not known."""

    @staticmethod
    def forward(ctx: Any, recorder: Recorder, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes, order = (*q.shape[:-1], v.shape[-1]), sorted(range(q.ndim), key=lambda axis: -q.stride()[axis])
        strides, step = [0] * q.ndim, 1
        for axis in reversed(order):
            strides[axis], step = step, step * sizes[axis]
        out = recorder.make(signature_of(torch.empty_strided(sizes, strides, dtype=q.dtype, device="meta")))
        rows = torch.float64 if q.dtype is torch.float64 else torch.float32
        sums, most = (
            recorder.make(signature_of(torch.empty(q.shape[:-1], dtype=rows, device="meta"))) for _ in range(2)
        )
        ctx.recorder = recorder
        ctx.save_for_backward(q, k, v, out, sums)
        ctx.mark_non_differentiable(sums, most)
        moved = sum(x.nbytes for x in (q, k, v, out))
        recorder.calls.append((recorder.path, Work("flex_attention", attention_macs((q, k, v), out), 0, moved)))
        return out, sums, most

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        recorder, saved = ctx.recorder, ctx.saved_tensors
        macs = attention_backward_macs((gradients[0], *saved[:3]), saved[0])
        moved = gradients[0].nbytes + sum(x.nbytes for x in saved) + sum(x.nbytes for x in saved[:3])
        recorder.calls.append((recorder.path, Work("flex_attention_backward", macs, 0, moved)))
        return None, *(recorder.make(recorder.operand(x).signature) for x in saved[:3])


def _flex_attention(recorder: Recorder, q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Any:
    return _FlexAttention.apply(recorder, q, k, v)  # type: ignore[no-untyped-call]


_RULES: dict[str, Callable[..., Any]] = {
    "cond": _cond,
    "while_loop": _while_loop,
    "map_impl": _map,
    "flex_attention": _flex_attention,
}
