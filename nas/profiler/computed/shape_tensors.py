"""Tensors without numbers: sizes, strides, a dtype and a counted storage on a pretended CPU."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from nas.errors import NasError

CPU = torch.device("cpu")


class Storage:
    """The memory of a tensor and its views, alive as long as one of them is. Without a log it is
    not of the pass.
    """

    __slots__ = ("log", "nbytes", "number", "valued")

    def __init__(self, nbytes: int, number: int, log: list[tuple[int, int]] | None) -> None:
        self.nbytes = nbytes
        self.number = number
        self.log = log
        self.valued = False
        if log is not None:
            log.append((number, nbytes))

    def __del__(self) -> None:
        if self.log is not None:
            self.log.append((self.number, -self.nbytes))


class Signature:
    """Sizes, strides and dtype; one object for all that agree, so that identity is equality."""

    __slots__ = ("dense", "dtype", "nbytes", "size", "stride")

    def __init__(self, size: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> None:
        self.size, self.stride, self.dtype = size, stride, dtype
        extent = 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if prod(size) else 0
        self.nbytes = extent * dtype.itemsize
        self.dense = extent == prod(size)


_signatures: dict[tuple[tuple[int, ...], tuple[int, ...], torch.dtype], Signature] = {}


def signature_of(x: Tensor) -> Signature:
    found = _signatures.get((x.shape, x.stride(), x.dtype))
    if found is None:
        key = (tuple(x.shape), tuple(x.stride()), x.dtype)
        found = _signatures[key] = Signature(*key)
    return found


class ShapeTensor(torch.Tensor):
    """A tensor without numbers; `value` holds those of a small constant."""

    storage_: Storage
    signature: Signature
    value: Tensor | None = None
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise NasError(f"{func} reached a tensor of a trace outside of it; allowed: tensors of one pass in that pass")

    def __repr__(self) -> str:  # type: ignore[override]
        return f"ShapeTensor({list(self.shape)}, {self.dtype})"

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
    return made


class Outsider:
    """A tensor that the pass meets but has not made: a parameter, a buffer, a constant. Its memory
    is of no pass.
    """

    __slots__ = ("real", "signature", "storage_", "value")

    def __init__(self, real: Tensor, signature: Signature, storage: Storage, value: Tensor | None) -> None:
        self.real, self.signature, self.storage_, self.value = real, signature, storage, value


Operand = ShapeTensor | Outsider


def known(x: Operand) -> bool:
    return x.value is not None and x.storage_.valued


def value_of(x: Operand, reader: str) -> Tensor:
    if x.value is None or not x.storage_.valued:
        raise NasError(
            f"the module reads numbers of its activations ({reader}), which a computed cost has none of; "
            "allowed: modules whose way depends on shapes, or real masks and indices as inputs"
        )
    return x.value
