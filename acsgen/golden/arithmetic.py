# SPDX-License-Identifier: Apache-2.0
"""Fixed-point arithmetic of the int8 contract: numpy integers, int64 inside, no rounding left open.

The rounding is that of gemmlowp, TFLite's reference kernels and CMSIS-NN without
`CMSIS_NN_USE_SINGLE_ROUNDING`: two roundings, the first in a high multiply, the second in a shift.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acsgen.errors import AcsgenError
from acsgen.graph.ir import Tensor
from acsgen.graph.ops import ACTIVATIONS, Requantize

INT8_MIN, INT8_MAX = -128, 127
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


def saturating_rounding_doubling_high_mul(a: ArrayLike, b: ArrayLike) -> NDArray[np.int64]:
    """round(a * b / 2^31) for int32 values, the one overflow (both -2^31) saturated.

    gemmlowp rounds by a nudge of 2^30 or 1 - 2^30, by sign, and a division that truncates; CMSIS-NN
    adds 2^30 and shifts. Both give the nearest integer with ties upwards: for a product -k,
    -floor((k + 2^30 - 1) / 2^31) is the one and the other.
    """
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    rounded: NDArray[np.int64] = np.minimum((product + (1 << 30)) >> 31, INT32_MAX)
    return rounded


def rounding_divide_by_pot(x: ArrayLike, exponent: ArrayLike) -> NDArray[np.int64]:
    """round(x / 2^exponent), ties away from zero; 0 <= exponent <= 31 (gemmlowp RoundingDivideByPOT)."""
    value, shift = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    mask = (np.int64(1) << shift) - 1
    threshold = (mask >> 1) + (value < 0)
    return (value >> shift) + ((value & mask) > threshold)


def multiply_by_quantized_multiplier(acc: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> NDArray[np.int64]:
    """round(round(acc * 2^max(shift, 0) * multiplier / 2^31) / 2^max(-shift, 0)); all broadcast.

    acc: int32 values. multiplier: Q31. shift: > 0 shifts left.
    TFLite's and CMSIS-NN's MultiplyByQuantizedMultiplier with double rounding. What they leave
    undefined, an accumulator that does not fit int32 when shifted left, is an AcsgenError.
    """
    value, exponent = _within_int32(np.asarray(acc, np.int64)), np.asarray(shift, np.int64)
    if (exponent > 0).any():
        value = _within_int32(value << np.maximum(exponent, 0))
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(value, multiplier), np.maximum(-exponent, 0))


def requantize(acc: NDArray[Any], how: Requantize, zero_point: int) -> NDArray[np.int8]:
    """int8 of an accumulator (..., C): scaled per channel, moved by the zero point, clamped."""
    scaled = multiply_by_quantized_multiplier(acc, how.multiplier, how.shift)
    return np.clip(scaled + zero_point, how.low, how.high).astype(np.int8)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(Q31 multiplier, shift) with real ~ multiplier / 2^31 * 2^shift: TFLite's QuantizeMultiplier.

    The multiplier has its top bit set (2^30 .. 2^31 - 1), except that 0 and what lies below 2^-32
    become (0, 0).
    """
    if not (np.isfinite(real) and real >= 0):
        raise AcsgenError(f"a requantising multiplier is finite and not negative, got {real}")
    fraction, shift = np.frexp(np.float64(real))
    fixed, shift = int(np.floor(fraction * (1 << 31) + 0.5)), int(shift)
    if fixed == 1 << 31:
        fixed, shift = 1 << 30, shift + 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        raise AcsgenError(f"a requantising multiplier of {real} shifts every int32 out of its range")
    return fixed, shift


def quantize_multipliers(real: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`quantize_multiplier` of every element of (C,): int32 multipliers and int32 shifts.

    TFLite computes the real multipliers as input scale * weight scale / output scale, from float32
    scales, in float64 and in this order.
    """
    pairs = [quantize_multiplier(float(value)) for value in np.ravel(real)]
    both = np.array(pairs, np.int32).reshape(-1, 2)
    return both[:, 0].copy(), both[:, 1].copy()


def round_half_away(x: ArrayLike) -> NDArray[np.float64]:
    """C's round(): the nearest integer, ties away from zero, for float32 values."""
    wide = np.asarray(x, np.float64)
    return np.trunc(wide + np.copysign(0.5, wide))


def quantize(x: NDArray[Any], tensor: Tensor) -> NDArray[np.int8]:
    """int8 of real values: round(x / scale) + zero point, in float32, saturated (TFLite's Quantize)."""
    real = np.asarray(x, np.float32)
    if np.isnan(real).any():
        raise AcsgenError(f"'{tensor.name}' holds NaN, which no int8 value stands for")
    steps = round_half_away(real / np.float32(scale_of(tensor)))
    return np.clip(steps + tensor.zero_point, INT8_MIN, INT8_MAX).astype(np.int8)


def dequantize(q: NDArray[np.int8], tensor: Tensor) -> NDArray[np.float32]:
    """Real values of int8: scale * (q - zero point), float32."""
    return np.float32(scale_of(tensor)) * (q.astype(np.int32) - tensor.zero_point).astype(np.float32)


def activation_range(activation: str, tensor: Tensor) -> tuple[int, int]:
    """The int8 clamp (low, high) of a fused activation whose result is `tensor`.

    TFLite's CalculateActivationRangeQuantized: the ends of the real interval, rounded in float32 and
    kept within int8.
    """
    if activation not in ACTIVATIONS:
        raise AcsgenError(f"activation '{activation}' is none of {', '.join(ACTIVATIONS)}")
    ends = np.array(ACTIVATIONS[activation], np.float32) / np.float32(scale_of(tensor))
    low, high = np.clip(round_half_away(ends) + tensor.zero_point, INT8_MIN, INT8_MAX)
    return int(low), int(high)


def _within_int32(value: NDArray[np.int64]) -> NDArray[np.int64]:
    if value.size and (value.min() < INT32_MIN or value.max() > INT32_MAX):
        raise AcsgenError(
            f"an accumulator reaches {value.min()} .. {value.max()} and leaves int32: "
            "calibrate with wider ranges or scale the weights down"
        )
    return value


def scale_of(tensor: Tensor) -> float:
    """The tensor's scale; AcsgenError where it has none, as in a float graph."""
    if tensor.scale is None:
        raise AcsgenError(f"'{tensor.name}' has no scale: quantise the graph first")
    return tensor.scale
