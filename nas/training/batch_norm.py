"""Batch normalisation over the clips of all workers, on any device: torch's own is for GPUs alone.

A micro-batch is then the clips that all workers pass through the network at the same time, so all
of them take equally many micro-batches.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.models.convolution import BatchNorm
from nas.training.workers import Workers


def synchronise(model: nn.Module | None, workers: Workers) -> None:
    """Lets every batch normalisation of a network count the values of all workers in training."""
    if model is not None and workers.count > 1:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.forward = partial(_forward, module, workers)  # type: ignore[method-assign]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _forward(module: _BatchNorm, workers: Workers, x: Tensor) -> Tensor:
    if not module.training:
        kept: Tensor = type(module).forward(module, x)
        return kept
    axis = x.ndim - 1 if isinstance(module, BatchNorm) else 1
    weight = x.new_ones(x.shape[axis]) if module.weight is None else module.weight
    bias = x.new_zeros(x.shape[axis]) if module.bias is None else module.bias
    y: Tensor
    y, mean, variance, count = _Normalise.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, axis, module.eps, workers
    )
    if module.running_mean is not None and module.running_var is not None and module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
        share = 1 / float(module.num_batches_tracked) if module.momentum is None else module.momentum
        module.running_mean.lerp_(mean.to(module.running_mean), share)
        module.running_var.lerp_((variance * count / (count - 1)).to(module.running_var), share)
    return y


class _Normalise(torch.autograd.Function):
    """y = w z + b with z = (x - mean) / sqrt(variance + eps), mean and variance of a channel over
    the n values of all workers (arXiv 1502.03167, algorithm 1). Then

        dx = w / sqrt(variance + eps) (dy - sum(dy) / n - z sum(dy z) / n),

    sums again over all workers; those of w's and b's own gradients are over this one, whose
    gradients are added to the others' after the step.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, axis: int, eps: float, workers: Workers
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.axis, ctx.workers = axis, workers
        values, others, shape = _exact(x), _others(x, axis), _shape(x, axis)
        sums, count = values.sum(others), values.new_full((), x.numel() // x.shape[axis])
        workers.add_up([sums, count])
        mean = sums / count
        squares = (values - mean.view(shape)).square().sum(others)
        workers.add_up([squares])
        variance = squares / count
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        y = (values - mean.view(shape)) * (scale * weight).view(shape) + bias.view(shape)
        return y.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        dy, others, shape = _exact(gradients[0]), _others(x, ctx.axis), _shape(x, ctx.axis)
        z = (_exact(x) - mean.view(shape)) * scale.view(shape)
        of_bias, of_weight = dy.sum(others), (dy * z).sum(others)
        mean_dy, mean_dyz = of_bias.clone(), of_weight.clone()
        ctx.workers.add_up([mean_dy, mean_dyz])
        rest = dy - (mean_dy / count).view(shape) - z * (mean_dyz / count).view(shape)
        dx = rest * (scale * weight).view(shape)
        return dx.to(x.dtype), of_weight.to(weight.dtype), of_bias.to(weight.dtype), None, None, None


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _others(x: Tensor, axis: int) -> list[int]:
    return [each for each in range(x.ndim) if each != axis]


def _shape(x: Tensor, axis: int) -> list[int]:
    return [x.shape[axis] if each == axis else 1 for each in range(x.ndim)]
