"""What one call of an ATen operator costs, from the shapes that go in and out.

Multiply-adds are those of convolutions, matrix products and attention products. Everything else
that computes is counted in elementwise operations: one per number that a pointwise operator gives,
one per number that a reduction, a softmax, a normalisation or a pooling reads. Bytes moved are
those of the distinct numbers that an operator reads and writes, whatever a cache may save; a view
moves none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from nas.errors import NasError, brief, one_line

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one call of an operator.

    Attributes:
        name: Of the operator, without its namespace if that is ATen's.
        counts: False for views, which cost nothing and are in no table.
        known: Whether anybody has stated what the operator computes.
    """

    name: str
    macs: int = 0
    elementwise: int = 0
    bytes_moved: int = 0
    counts: bool = True
    known: bool = True


def _matrix(first: int) -> Callable[..., int]:
    def macs(args: Sequence[Any], out: Tensor) -> int:
        return int(out.numel() * args[first].shape[-1])

    return macs


def _batches(args: Sequence[Any], out: Tensor) -> int:
    return int(args[1].shape[0] * out.numel() * args[1].shape[-1])


def _recurrence(args: Sequence[Any], out: Tensor) -> int:
    return int(prod(args[0].shape[:-1]) * (args[1].numel() + args[2].numel()))


def _convolution(args: Sequence[Any], out: Tensor) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    return int((x if transposed else out).numel() * prod(weight.shape[1:]))


def attention_macs(args: Sequence[Any], out: Tensor) -> int:
    q, k, v = args[:3]
    return int(prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1]))


def _trilinear(args: Sequence[Any], out: Tensor) -> int:
    """Two products, one after the other: the first is over the sizes of two factors and sums where
    the third has none, the second is over what is left.
    """
    shapes = []
    for x, expanded in zip(args[:3], args[3:6], strict=True):
        shape = list(x.shape)
        for axis in sorted(expanded):
            shape.insert(axis, 1)
        shapes.append(shape)
    first = [max(a, b) for a, b in zip(*shapes[:2], strict=True)]
    summed = set(args[6]) & set(args[5])
    second = [1 if axis in summed else max(a, b) for axis, (a, b) in enumerate(zip(first, shapes[2], strict=True))]
    return int(prod(first) + prod(second))


def _quantized(args: Sequence[Any], out: Tensor) -> int:
    return int(out.numel() * prod(args[1].unpack()[0].shape[1:]))


def _convolution_backward(args: Sequence[Any], out: Tensor) -> int:
    gradient, x, weight, transposed, wanted = *args[:3], args[7], args[10]
    return int((x if transposed else gradient).numel() * prod(weight.shape[1:]) * sum(wanted[:2]))


def attention_backward_macs(args: Sequence[Any], out: Tensor) -> int:
    """The weights once more, then gradients of weights, values, queries and keys."""
    q, k, v = args[1:4]
    return int(prod(q.shape[:-1]) * k.shape[-2] * (3 * q.shape[-1] + 2 * v.shape[-1]))


# Operator -> multiply-adds from its arguments and its first output: one per output number and term
# of its sum.
_MACS: dict[Any, Callable[..., int]] = {
    aten.mm: _matrix(0),
    aten.bmm: _matrix(0),
    aten.mv: _matrix(0),
    aten._int_mm: _matrix(0),
    aten.dot: _matrix(0),
    aten.vdot: _matrix(0),
    aten.linear: _matrix(0),
    aten.addmm: _matrix(1),
    aten.addmv: _matrix(1),
    aten.baddbmm: _matrix(1),
    aten.addbmm: _batches,
    aten._addmm_activation: _matrix(1),
    aten.convolution: _convolution,
    aten._convolution: _convolution,
    aten.mkldnn_rnn_layer: _recurrence,
    aten._trilinear: _trilinear,
    aten.convolution_backward: _convolution_backward,
    aten._scaled_dot_product_flash_attention_for_cpu: attention_macs,
    aten._scaled_dot_product_flash_attention: attention_macs,
    aten._scaled_dot_product_efficient_attention: attention_macs,
    aten._scaled_dot_product_cudnn_attention: attention_macs,
    aten._scaled_dot_product_fused_attention_overrideable: attention_macs,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_macs,
    aten._scaled_dot_product_flash_attention_backward: attention_backward_macs,
    aten._scaled_dot_product_efficient_attention_backward: attention_backward_macs,
    aten._scaled_dot_product_cudnn_attention_backward: attention_backward_macs,
}


# Of one dtype, or torch refuses them; the numbers are how many arguments that concerns.
PRODUCTS: dict[Any, int | None] = {
    **{packet: 3 if "attention" in str(packet) else None for packet in _MACS if packet != aten.mkldnn_rnn_layer},
    **dict.fromkeys((aten._cdist_forward, aten._euclidean_dist), 2),
}

# Of one dtype too, but that numbers of 16 bits may have parameters of 32.
NORMS = {
    aten.native_layer_norm,
    aten.native_group_norm,
    aten.native_batch_norm,
    aten._native_batch_norm_legit,
    aten._native_batch_norm_legit_no_training,
    aten._batch_norm_with_update,
}

_QUANTIZED = {
    f"quantized::{name}{form}"
    for name in ("linear", "conv1d", "conv2d", "conv3d")
    for form in ("", "_relu", "_dynamic", "_relu_dynamic")
}

Stated = Callable[..., "int | tuple[int, int]"]
stated: dict[str, Stated] = {}  # by users: "namespace::name" of an operator -> what computes its work


def _packets(names: str) -> set[Any]:
    """ATen's operators of these names, as far as this torch has them."""
    return {getattr(aten, name) for name in names.split() if hasattr(aten, name)}


# One operation per number read.
_REDUCTIONS = _packets("""
    sum mean var var_mean std std_mean amax amin max min prod argmax argmin norm linalg_vector_norm any all _softmax
    _log_softmax _safe_softmax logsumexp cumsum cumprod cummax cummin logcumsumexp nansum _softmax_backward_data
    _log_softmax_backward_data native_layer_norm native_batch_norm native_group_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training _batch_norm_with_update _fused_rms_norm cudnn_batch_norm
    native_layer_norm_backward native_batch_norm_backward native_group_norm_backward _fused_rms_norm_backward
    avg_pool1d avg_pool2d avg_pool3d max_pool2d_with_indices max_pool3d_with_indices _adaptive_avg_pool2d
    _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d avg_pool2d_backward avg_pool3d_backward
    max_pool2d_with_indices_backward max_pool3d_with_indices_backward _adaptive_avg_pool2d_backward
    _adaptive_avg_pool3d_backward count_nonzero nll_loss_forward nll_loss_backward nll_loss2d_forward _cdist_forward
    _euclidean_dist median kthvalue topk sort bincount histc _weight_norm_interface _weight_norm_interface_backward
""")

# One operation per number written, though nobody tagged them as pointwise.
_POINTWISE = _packets("""
    native_dropout native_dropout_backward bernoulli bernoulli_ rand randn rand_like randn_like randint uniform_
    normal_ normal exponential_ _fused_dropout glu glu_backward upsample_nearest1d upsample_nearest2d
    upsample_nearest3d upsample_linear1d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d
    _upsample_bilinear2d_aa _upsample_bicubic2d_aa _upsample_nearest_exact2d _upsample_nearest_exact3d
    grid_sampler_2d grid_sampler_3d gelu_backward hardtanh_backward threshold_backward elu_backward silu_backward
    hardswish_backward masked_fill masked_fill_ addcmul addcdiv lerp where clamp index_add scatter_add scatter_reduce
    prelu _prelu_kernel _prelu_kernel_backward rrelu_with_noise renorm frac native_channel_shuffle channel_shuffle
    linspace logspace arange tril triu cross linalg_cross _foreach_mul_ sigmoid_backward tanh_backward
    softplus_backward mse_loss smooth_l1_loss huber_loss polar complex real imag _fused_moving_avg_obs_fq_helper
    floor_divide hardswish hardswish_ hardsigmoid hardsigmoid_ hardtanh hardtanh_ mish mish_ silu silu_ elu elu_
    celu selu gelu
    gelu_ leaky_relu leaky_relu_ leaky_relu_backward softplus softshrink softshrink_backward hardshrink
    hardshrink_backward hardsigmoid_backward mish_backward log_sigmoid_forward log_sigmoid_backward threshold
    threshold_ hann_window hamming_window fake_quantize_per_tensor_affine_cachemask
    fake_quantize_per_channel_affine_cachemask rrelu_with_noise_backward upsample_nearest1d_backward
    upsample_nearest2d_backward upsample_nearest3d_backward upsample_linear1d_backward
    upsample_bilinear2d_backward upsample_bicubic2d_backward upsample_trilinear3d_backward
    _upsample_nearest_exact2d_backward _upsample_nearest_exact3d_backward grid_sampler_2d_backward
    grid_sampler_3d_backward
""")

# They only move numbers.
_MOVES = _packets("""
    clone copy copy_ _to_copy cat stack index index_put index_put_ _index_put_impl_ _unsafe_index _unsafe_index_put
    index_select index_fill gather scatter scatter_ slice_scatter select_scatter slice_backward select_backward
    embedding embedding_dense_backward roll flip constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d
    replication_pad1d replication_pad2d replication_pad3d repeat repeat_interleave empty empty_strided empty_like
    new_empty new_empty_strided new_zeros new_ones new_full zeros zeros_like ones ones_like full full_like fill_ fill
    zero_ scalar_tensor eye tril_indices triu_indices im2col col2im unfold_backward pixel_shuffle pixel_unshuffle
    _unsafe_view _reshape_copy lift_fresh_copy nonzero masked_select unique_dim _unique2 _pack_padded_sequence
    diagonal_scatter as_strided_scatter split_with_sizes_copy unbind_copy expand_copy permute_copy view_copy take put
    bucketize searchsorted one_hot contiguous _local_scalar_dense grid_sampler isin rot90
    channel_shuffle masked_scatter to_dense is_same_size quantize_per_tensor quantize_per_channel dequantize
    quantize_per_tensor_dynamic _assert_async
    _assert_scalar index_copy index_copy_ masked_scatter_backward max_unpool2d max_unpool3d reflection_pad1d_backward
    reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward replication_pad2d_backward
    replication_pad3d_backward
""")

_COMPUTED_VIEWS = {aten._unsafe_view, aten.lift_fresh, aten.alias, aten.detach, aten.detach_}


def _bytes(x: Tensor) -> int:
    """Of the distinct numbers: an expanded axis counts once."""
    return prod(n for n, s in zip(x.shape, x.stride(), strict=True) if s or not n) * x.element_size()


def work_of(
    func: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    tensors: Sequence[Tensor],
    outputs: Sequence[Tensor],
    mutated: Sequence[Tensor],
    view: bool,
) -> Work:
    """Returns the work of one call.

    Args:
        func: The operator's overload.
        args: Its positional arguments, tensors on the meta device.
        kwargs: Its arguments by name.
        tensors: All of its tensor arguments.
        outputs: The tensors that it returns.
        mutated: Those of its arguments that it writes.
        view: Whether all outputs are over the memory of arguments that stay as they are.
    """
    packet = func.overloadpacket
    namespace, _, name = str(packet).partition(".")
    name = name if namespace == "aten" else f"{namespace}::{name}"
    if view or packet in _COMPUTED_VIEWS:
        return Work(name, counts=False)
    written = [*mutated, *(x for x in outputs if not any(x is m for m in mutated))]
    # Lookups read as many numbers as they give.
    lookup = packet in _LOOKUPS
    reads = [x for x in tensors if not (lookup and x is tensors[0])]
    moved = sum(map(_bytes, reads)) + (1 + lookup) * sum(map(_bytes, written))
    if packet in _CREATE:
        moved = sum(map(_bytes, written)) if packet not in EMPTY else 0
    macs, elementwise, known = 0, 0, True
    numbers = outputs or written
    full_name = f"{namespace}::{packet.__name__}"
    if full_name in stated:
        macs, elementwise = _stated_work(full_name, args, kwargs, outputs)
    elif full_name in _QUANTIZED:
        macs = _quantized(args, outputs[0])
    elif packet in _MACS:
        macs = _MACS[packet](args, outputs[0])
    elif packet in _REDUCTIONS:
        elementwise = max((x.numel() for x in tensors), default=0)
    elif packet in _MOVES:
        pass
    elif packet in _POINTWISE or torch.Tag.pointwise in func.tags:
        elementwise = numbers[0].numel() if numbers else 0
    elif packet in flop_registry:
        macs = flop_registry[packet](*args, out_val=outputs[0] if len(outputs) == 1 else tuple(outputs)) // 2
    else:
        known = False
    return Work(name, macs, elementwise, moved, True, known)


def _stated_work(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Sequence[Tensor]
) -> tuple[int, int]:
    """Multiply-adds and other operations of one call, as a user states them."""
    try:
        found = stated[name](*args, out=outputs[0] if len(outputs) == 1 else tuple(outputs), **kwargs)
    except Exception as error:
        raise NasError(
            f"the cost of operator {name} failed ({one_line(error)}); allowed: a function of the operator's "
            "arguments and of out, what it returns"
        ) from error
    numbers = found if isinstance(found, tuple) else (found, 0)
    if len(numbers) != 2 or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise NasError(
            f"the cost of operator {name} is {brief(found)}; allowed: multiply-adds as a whole number from 0, or "
            "a pair of them and of other operations"
        )
    return numbers[0], numbers[1]


_LOOKUPS = {aten.index, aten._unsafe_index, aten.index_select, aten.gather, aten.embedding, aten.take}
EMPTY = {aten.empty, aten.empty_strided, aten.empty_like, aten.new_empty, aten.new_empty_strided}
_CREATE = EMPTY | {
    aten.zeros,
    aten.zeros_like,
    aten.ones,
    aten.ones_like,
    aten.full,
    aten.full_like,
    aten.new_zeros,
    aten.new_ones,
    aten.new_full,
    aten.fill_,
    aten.zero_,
    aten.rand_like,
    aten.randn_like,
}
