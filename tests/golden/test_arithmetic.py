# SPDX-License-Identifier: Apache-2.0
"""Fixed-point arithmetic against plain Python integers, CMSIS-NN and LiteRT."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.golden.arithmetic import (
    activation_range,
    dequantize,
    multiply_by_quantized_multiplier,
    quantize,
    quantize_multiplier,
    quantize_multipliers,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from acsgen.graph.ir import Tensor
from tests.oracle import cmsis, litert

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
EDGES = [INT32_MIN, INT32_MIN + 1, -(1 << 30), -3, -2, -1, 0, 1, 2, 3, 1 << 30, INT32_MAX - 1, INT32_MAX]


def int32s(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Edges and numbers of every magnitude."""
    magnitudes = rng.integers(INT32_MIN, INT32_MAX + 1, count) >> rng.integers(0, 32, count)
    return np.concatenate([EDGES, magnitudes])


def gemmlowp_high_mul(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul, with C's truncating division."""
    if a == b == INT32_MIN:
        return INT32_MAX
    nudged = a * b + ((1 << 30) if a * b >= 0 else 1 - (1 << 30))
    return nudged // (1 << 31) if nudged >= 0 else -(-nudged // (1 << 31))


def test_high_mul_is_gemmlowps() -> None:
    rng = np.random.default_rng(1)
    a, b = int32s(rng, 300), int32s(rng, 300)
    expected = [[gemmlowp_high_mul(int(x), int(y)) for y in b] for x in a]
    np.testing.assert_array_equal(saturating_rounding_doubling_high_mul(a[:, None], b), expected)


def test_high_mul_at_ties() -> None:
    """Products of (2k + 1) / 2 go upwards, from either side of zero."""
    a = np.array([1 << 30, 3 << 29, -(1 << 30), -(3 << 29)])
    np.testing.assert_array_equal(saturating_rounding_doubling_high_mul(a, 1), [1, 1, 0, -1])


def test_divide_by_pot_rounds_ties_away_from_zero() -> None:
    rng = np.random.default_rng(2)
    for exponent in range(32):
        values = np.concatenate([int32s(rng, 100), [k << exponent >> 1 for k in (-5, -3, -1, 1, 3, 5)]])
        expected = [int(math.copysign((abs(int(v)) + ((1 << exponent) >> 1)) >> exponent, int(v))) for v in values]
        np.testing.assert_array_equal(rounding_divide_by_pot(values, exponent), expected)


def test_requantising_is_cmsis_nns(cmsis_nn: ctypes.CDLL) -> None:
    rng = np.random.default_rng(3)
    acc = int32s(rng, 200_000)
    multiplier = np.concatenate([np.full(len(EDGES), 1 << 30), rng.integers(1 << 30, 1 << 31, 200_000)])
    shift = rng.integers(-31, 8, len(acc))
    fits = np.abs(acc << np.maximum(shift, 0)) <= INT32_MAX
    acc, multiplier, shift = acc[fits], multiplier[fits], shift[fits]
    np.testing.assert_array_equal(
        multiply_by_quantized_multiplier(acc, multiplier, shift),
        cmsis.requantize(cmsis_nn, acc, multiplier, shift),
    )


@pytest.mark.parametrize(("acc", "shift"), [(INT32_MAX + 1, -4), (INT32_MIN - 1, -4), (1 << 30, 1), (-3 << 29, 1)])
def test_an_accumulator_outside_int32_is_an_error(acc: int, shift: int) -> None:
    with pytest.raises(AcsgenError, match="leaves int32"):
        multiply_by_quantized_multiplier(acc, 1 << 30, shift)


def test_quantize_multiplier_is_the_nearest() -> None:
    rng = np.random.default_rng(4)
    reals = np.exp(rng.uniform(np.log(2.0**-31), np.log(2.0**29), 2000))
    for real in [*reals.tolist(), 0.25, 0.5, 1.0, 2.0, 1 - 2.0**-40, 0.5 - 2.0**-40]:
        multiplier, shift = quantize_multiplier(real)
        assert 1 << 30 <= multiplier <= INT32_MAX
        assert abs(math.ldexp(real, 31 - shift) - multiplier) <= 0.5


def test_quantize_multiplier_at_its_ends() -> None:
    assert quantize_multiplier(0.0) == (0, 0)
    assert quantize_multiplier(1.0) == (1 << 30, 1)
    assert quantize_multiplier(1 - 2.0**-40) == (1 << 30, 1)
    assert quantize_multiplier(2.0**-32) == (1 << 30, -31)
    assert quantize_multiplier(2.0**-32 * 0.99) == (0, 0)
    multipliers, shifts = quantize_multipliers(np.array([0.5, 3.0]))
    assert multipliers.dtype == shifts.dtype == np.dtype(np.int32)
    np.testing.assert_array_equal(multipliers, [1 << 30, 3 << 29])
    np.testing.assert_array_equal(shifts, [0, 2])
    for real in (-0.5, math.nan, math.inf, 2.0**31):
        with pytest.raises(AcsgenError, match="requantising multiplier"):
            quantize_multiplier(real)


def test_quantize_is_litert() -> None:
    rng = np.random.default_rng(5)
    for _ in range(100):
        scale = float(np.float32(np.exp(rng.uniform(-8, 2))))
        tensor = Tensor("x", (500,), scale, int(rng.choice([-128, 0, 127, int(rng.integers(-128, 128))])))
        ties = (rng.integers(-200, 200, 250) + 0.5) * scale
        # LiteRT saturates what fits int32 only; beyond, it gives 127 for large negative values.
        x = np.concatenate([ties, rng.normal(0, 100 * scale, 248), [1e9 * scale, -1e9 * scale]])[None]
        x = x.astype(np.float32)
        np.testing.assert_array_equal(quantize(x, tensor), litert.quantize(x, tensor))


def test_quantize_rounds_away_from_zero_and_saturates() -> None:
    tensor = Tensor("x", (8,), 0.5, 3)
    x = np.array([0.25, -0.25, 0.24, -0.24, 0.75, np.inf, -np.inf, 61.75])
    np.testing.assert_array_equal(quantize(x, tensor), [4, 2, 3, 3, 5, 127, -128, 127])
    np.testing.assert_array_equal(dequantize(np.array([3, 5, -1], np.int8), tensor), [0, 1, -2])
    with pytest.raises(AcsgenError, match="NaN"):
        quantize(np.array([np.nan]), tensor)
    with pytest.raises(AcsgenError, match="no scale"):
        quantize(x, Tensor("x", (8,)))


def test_activation_range() -> None:
    tensor = Tensor("y", (), float(np.float32(0.05)), -100)
    assert activation_range("none", tensor) == (-128, 127)
    assert activation_range("relu", tensor) == (-100, 127)
    assert activation_range("relu6", tensor) == (-100, 20)
    assert activation_range("relu6", Tensor("y", (), 1.0, 127)) == (127, 127)
    with pytest.raises(AcsgenError, match="tanh"):
        activation_range("tanh", tensor)
