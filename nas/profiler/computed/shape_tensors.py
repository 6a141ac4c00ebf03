"""Tensors without numbers: sizes, strides, a dtype and a counted storage on a pretended CPU."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import _disable_current_modes

from nas.errors import NasError

CPU = torch.device("cpu")


class Storage:
    """The memory of a tensor and its views, alive as long as one of them is. Without a log it is
    not of the pass.
    """

    __slots__ = ("epoch", "log", "nbytes", "number", "valued")

    def __init__(self, nbytes: int, number: int, log: list[tuple[int, int]] | None) -> None:
        self.nbytes = nbytes
        self.number = number
        self.log = log
        self.valued = False
        self.epoch = 0  # how often its numbers were written, so that older ones are not taken for them
        if log is not None:
            log.append((number, nbytes))

    def __del__(self) -> None:
        if self.log is not None:
            self.log.append((self.number, -self.nbytes))


class Signature:
    """Sizes, strides and dtype, and whether the numbers are meant conjugated or negated (`lazy`);
    one object for all that agree, so that identity is equality.
    """

    __slots__ = ("dense", "dtype", "lazy", "nbytes", "size", "stride")

    def __init__(self, size: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype, *lazy: bool) -> None:
        self.size, self.stride, self.dtype = size, stride, dtype
        self.lazy = lazy if any(lazy) else None  # (conjugated, negated), of which torch makes a copy where it computes
        extent = 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if prod(size) else 0
        self.nbytes = extent * dtype.itemsize
        self.dense = extent == prod(size)


_signatures: dict[tuple[tuple[int, ...], tuple[int, ...], torch.dtype, bool, bool], Signature] = {}


def signature_of(x: Tensor) -> Signature:
    found = _signatures.get((x.shape, x.stride(), x.dtype, x.is_conj(), x.is_neg()))
    if found is None:
        key = (tuple(x.shape), tuple(x.stride()), x.dtype, x.is_conj(), x.is_neg())
        found = _signatures[key] = Signature(*key)
    return found


def mark_lazy(x: Tensor, signature: Signature) -> Tensor:
    """Has a tensor meant conjugated or negated, as its signature says."""
    if signature.lazy is not None:
        conjugated, negated = signature.lazy
        torch._C._set_conj(x, conjugated)
        torch._C._set_neg(x, negated)
    return x


def is_dense(x: Tensor) -> bool:
    """Whether sizes and strides tell all of a tensor's memory."""
    return x.layout == torch.strided and not x.is_nested


def layout_of(x: Tensor) -> str:
    return "nested" if x.is_nested else str(x.layout).removeprefix("torch.")


class ShapeTensor(torch.Tensor):
    """A tensor without numbers; `value` holds those of a small constant."""

    storage_: Storage
    signature: Signature
    value: Tensor | None = None
    epoch = 0
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise NasError(
            f"{func} reached a tensor of a trace outside of it, in another thread or later; allowed: tensors of one "
            "pass in that pass"
        )

    def __repr__(self) -> str:  # type: ignore[override]
        return f"ShapeTensor({list(self.shape)}, {self.dtype})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied: Tensor = memo.setdefault(id(self), self.detach().clone().requires_grad_(self.requires_grad))
        return copied

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, other: Tensor) -> None:
        """Takes the memory, sizes and strides of another tensor of the pass."""
        if not isinstance(other, ShapeTensor):
            raise NasError(
                f"data of a tensor of a pass is set to a {type(other).__name__}; allowed: tensors of the pass"
            )
        self.value, self.epoch, self.storage_ = other.value, other.epoch, other.storage_
        with _disable_current_modes():
            restride(self, other.signature)

    def tolist(self) -> Any:
        return value_of(self, "tolist").tolist()

    def numpy(self, *, force: bool = False) -> Any:
        return value_of(self, "numpy").numpy()


_wrapper = torch.Tensor._make_wrapper_subclass


def make_tensor(signature: Signature, storage: Storage, requires_grad: bool = False) -> ShapeTensor:
    """A tensor of some sizes, strides and dtype over a storage."""
    made = _wrapper(
        ShapeTensor,
        signature.size,
        strides=signature.stride,
        dtype=signature.dtype,
        device=CPU,
        requires_grad=requires_grad,
    )
    made.signature, made.storage_ = signature, storage
    if signature.lazy is not None:
        mark_lazy(made, signature)
    return made


def restride(x: ShapeTensor, signature: Signature) -> None:
    """Gives a tensor itself other sizes and strides."""
    with no_dispatch():
        meta = torch._C._meta_in_tls_dispatch_include()
        torch._C._set_meta_in_tls_dispatch_include(True)
        try:
            torch.ops.aten.resize_(x, [signature.nbytes // signature.dtype.itemsize])
            torch.ops.aten.as_strided_(x, signature.size, signature.stride)
        finally:
            torch._C._set_meta_in_tls_dispatch_include(meta)
    if x.value is not None:
        fits = x.value.numel() == prod(signature.size)
        x.value = x.value.as_strided(signature.size, signature.stride) if fits else None
    x.signature = signature


class Outsider:
    """A tensor that the pass meets but has not made: a parameter, a buffer, a constant. Its memory
    is of no pass.
    """

    __slots__ = ("epoch", "real", "signature", "storage_", "value")

    def __init__(self, real: Tensor, signature: Signature, storage: Storage, value: Tensor | None) -> None:
        self.real, self.signature, self.storage_, self.value, self.epoch = real, signature, storage, value, 0


Operand = ShapeTensor | Outsider


def known(x: Operand) -> bool:
    return x.value is not None and x.storage_.valued and x.epoch == x.storage_.epoch


def value_of(x: Operand, reader: str) -> Tensor:
    if x.value is None or not known(x):
        raise NasError(
            f"the module reads numbers of its activations ({reader}), which a computed cost has none of; "
            "allowed: modules whose way depends on shapes, or real masks and indices as inputs"
        )
    return x.value
