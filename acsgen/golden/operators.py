# SPDX-License-Identifier: Apache-2.0
"""What every int8 operator computes, bit for bit.

One function per operator dataclass, found through `OPERATORS`. Each takes the operator, the values
of its inputs (with the batch N in front), their tensors and the tensor of its output, and returns
the output's value. None looks at the graph, so each can be called by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.golden.arithmetic import (
    INT8_MAX,
    INT8_MIN,
    activation_range,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    requantize,
    scale_of,
)
from acsgen.graph.ir import Tensor
from acsgen.graph.ops import (
    Add,
    ApplyMask,
    AvgPool,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    MaxPool,
    Op,
    Pad,
    Relu,
    Requantize,
    Reshape,
    Shuffle,
    SumGate,
)
from acsgen.graph.windows import pad_images, windows

Int8 = NDArray[np.int8]
Values = tuple[NDArray[Any], ...]
Tensors = tuple[Tensor, ...]

#: TFLite's and CMSIS-NN's left shift of int8 additions.
ADD_LEFT_SHIFT = 20


def conv2d(op: Conv2D, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """(N, H, W, in) to (N, oh, ow, out). The padding is the input's zero point, so it counts as zero.

    numpy multiplies integer matrices without BLAS, so the sums are taken in float64. That is exact:
    every product is an integer below 2^15, and a sum of less than 2^38 of them stays below 2^53 in
    any order. That the result fits int32 is checked when it is requantised.
    """
    weights = op.used_weights.astype(np.float64)
    taps = windows(_centred(values[0], sources[0]), op.kernel, op.stride, op.padding, op.dilation)
    rows = taps.shape[:3]
    depth, width = weights[0].size, len(weights) // op.groups
    acc = np.empty((*rows, len(weights)))
    for g in range(op.groups):
        channels = slice(g * weights.shape[3], (g + 1) * weights.shape[3])
        filters = slice(g * width, (g + 1) * width)
        patches = taps[..., channels].reshape(np.prod(rows), depth)
        acc[..., filters] = (patches @ weights[filters].reshape(width, depth).T).reshape(*rows, width)
    return _finish(op, acc, target)


def depthwise_conv2d(op: DepthwiseConv2D, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """(N, H, W, C) to (N, oh, ow, C); sums as in `conv2d`."""
    weights = op.weights.astype(np.float64)
    taps = windows(_centred(values[0], sources[0]), op.kernel, op.stride, op.padding, op.dilation)
    acc = np.zeros(taps.shape[:3] + taps.shape[5:])
    for row, column in np.ndindex(*op.kernel):
        acc += taps[:, :, :, row, column] * weights[row, column]
    return _finish(op, acc, target)


def dense(op: Dense, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """(N, ...) with `in` values per sample to (N, out); sums as in `conv2d`."""
    rows = _centred(values[0], sources[0]).reshape(len(values[0]), op.weights.shape[1])
    return _finish(op, rows @ op.weights.astype(np.float64).T, target)


def max_pool(op: MaxPool, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """Maximum of every window; the padding is -128 and never wins."""
    _same_quantization(op, sources[0], target)
    taps = windows(values[0], op.kernel, op.stride, op.padding, fill=INT8_MIN)
    result: Int8 = taps.max(axis=(3, 4))
    return result


def avg_pool(op: AvgPool, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """Mean of the int8 values of every window that lie inside the image, ties away from zero.

    TFLite and CMSIS-NN: (sum +- count / 2) / count, the sign that of the sum, integer divisions
    truncated. The zero point plays no part.
    """
    _same_quantization(op, sources[0], target)
    image = values[0].astype(np.int32)
    total = windows(image, op.kernel, op.stride, op.padding).sum(axis=(3, 4), dtype=np.int32)
    inside = np.ones((1, *image.shape[1:3], 1), np.int32)
    count = windows(inside, op.kernel, op.stride, op.padding).sum(axis=(3, 4), dtype=np.int32)
    mean: Int8 = (np.sign(total) * ((np.abs(total) + count // 2) // count)).astype(np.int8)
    return mean


class AddConstants(NamedTuple):
    """Q31 multipliers and shifts (never left) of both inputs and of the output of an Add."""

    multiplier_a: int
    shift_a: int
    multiplier_b: int
    shift_b: int
    multiplier: int
    shift: int


def add_constants(a: Tensor, b: Tensor, out: Tensor) -> AddConstants:
    """The six constants of TFLite's int8 addition.

    The inputs, shifted left by 20, are brought to the scale 2 * max(scale a, scale b) / 2^20, and
    their sum from there to the output's scale (TFLite add.cc, Prepare).
    """
    scale_a, scale_b = (float(np.float32(scale_of(tensor))) for tensor in (a, b))
    common = 2 * max(scale_a, scale_b)
    back = common / ((1 << ADD_LEFT_SHIFT) * float(np.float32(scale_of(out))))
    constants = AddConstants(
        *quantize_multiplier(scale_a / common),
        *quantize_multiplier(scale_b / common),
        *quantize_multiplier(back),
    )
    if constants.shift > 0:
        raise AcsgenError(
            f"'{out.name}' has a scale of {out.scale}, too small for a sum of scales {a.scale} and {b.scale}"
        )
    return constants


def add(op: Add, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """Sum of two tensors of any scales and zero points, each rescaled before, the sum after."""
    c = add_constants(sources[0], sources[1], target)
    a, b = (
        (value.astype(np.int64) - source.zero_point) << ADD_LEFT_SHIFT
        for value, source in zip(values, sources, strict=True)
    )
    total = multiply_by_quantized_multiplier(a, c.multiplier_a, c.shift_a) + multiply_by_quantized_multiplier(
        b, c.multiplier_b, c.shift_b
    )
    result = multiply_by_quantized_multiplier(total, c.multiplier, c.shift) + target.zero_point
    return np.clip(result, *activation_range(op.activation, target)).astype(np.int8)


def concatenate(op: Concatenate, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """The parts' channels one behind the other."""
    for source in sources:
        _same_quantization(op, source, target)
    return np.concatenate(values, axis=-1)


def pad(op: Pad, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """The zero point around every image."""
    _same_quantization(op, sources[0], target)
    return pad_images(values[0], op.padding, sources[0].zero_point)


def relu(op: Relu, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """A clamp of the int8 values."""
    _same_quantization(op, sources[0], target)
    return np.clip(values[0], *activation_range(op.activation, target)).astype(np.int8)


def flatten(op: Flatten, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """(N, H, W, C) to (N, H*W*C)."""
    _same_quantization(op, sources[0], target)
    return values[0].reshape(len(values[0]), *target.shape)


def reshape(op: Reshape, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """The same values in another shape."""
    _same_quantization(op, sources[0], target)
    return values[0].reshape(len(values[0]), *op.shape)


def shuffle(op: Shuffle, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """The channels in another order."""
    _same_quantization(op, sources[0], target)
    return values[0][..., list(op.order)]


def gate(op: Gate, values: Values, sources: Tensors, target: Tensor) -> NDArray[np.uint8]:
    """int8 logits (N, G) to a mask uint8 (N, G): 1 strictly above the zero point."""
    return (values[0] > sources[0].zero_point).astype(np.uint8)


def sum_gate(op: SumGate, values: Values, sources: Tensors, target: Tensor, raised: int = 0) -> NDArray[np.uint8]:
    """(N, ...) with `in` values per sample to a mask uint8 (N, G): 1 where sum + bias > raised * step, strictly.

    Scales are positive, so that the sum has the sign of the real logit. raised: -128..127 steps; the ends open and
    close all, as they do where int8 logits saturate.
    """
    rows = _centred(values[0], sources[0]).reshape(len(values[0]), op.weights.shape[1])
    sums = (rows @ op.weights.astype(np.float64).T).astype(np.int64) + op.bias.astype(np.int64)
    if raised in (INT8_MIN, INT8_MAX):
        return np.full(sums.shape, raised == INT8_MIN, np.uint8)
    return (sums > raised * op.step.astype(np.int64)).astype(np.uint8)


def apply_mask(op: ApplyMask, values: Values, sources: Tensors, target: Tensor) -> Int8:
    """The zero point in every channel whose group is closed."""
    _same_quantization(op, sources[0], target)
    x, mask = values
    is_open = mask[:, list(op.partition)].astype(bool)
    spread = is_open.reshape(len(x), *(1,) * (x.ndim - 2), x.shape[-1])
    return np.where(spread, x, np.int8(sources[0].zero_point))


#: What computes an operator: (operator, input values, input tensors, output tensor) -> output value.
OPERATORS: dict[type[Op], Callable[[Any, Values, Tensors, Tensor], NDArray[Any]]] = {
    Add: add,
    ApplyMask: apply_mask,
    AvgPool: avg_pool,
    Concatenate: concatenate,
    Conv2D: conv2d,
    Dense: dense,
    DepthwiseConv2D: depthwise_conv2d,
    Flatten: flatten,
    Gate: gate,
    MaxPool: max_pool,
    Pad: pad,
    Relu: relu,
    Reshape: reshape,
    Shuffle: shuffle,
    SumGate: sum_gate,
}


def compute(op: Op, values: Values, sources: Tensors, target: Tensor) -> NDArray[Any]:
    """The output of any operator."""
    if type(op) not in OPERATORS:
        raise AcsgenError(f"{type(op).__name__} '{op.name}' has no int8 meaning: quantise the graph first")
    return OPERATORS[type(op)](op, values, sources, target)


def _centred(value: Int8, source: Tensor) -> NDArray[np.float64]:
    """q - zero point."""
    return value.astype(np.float64) - source.zero_point


def _finish(op: Conv2D | DepthwiseConv2D | Dense, sums: NDArray[np.float64], target: Tensor) -> Int8:
    how: Requantize | None = op.requantize
    if how is None:
        raise AcsgenError(f"{type(op).__name__} '{op.name}' has no requantisation: quantise the graph first")
    return requantize(sums.astype(np.int64) + op.bias.astype(np.int64), how, target.zero_point)


def _same_quantization(op: Op, source: Tensor, target: Tensor) -> None:
    if (source.scale, source.zero_point) != (target.scale, target.zero_point):
        raise AcsgenError(
            f"{type(op).__name__} '{op.name}' keeps scale and zero point, but reads "
            f"({source.scale}, {source.zero_point}) and writes ({target.scale}, {target.zero_point})"
        )
