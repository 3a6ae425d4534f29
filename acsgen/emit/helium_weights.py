# SPDX-License-Identifier: Apache-2.0
"""Constants of a convolution for the kernel set `acs_helium`, whose acs_helium.h explains them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.emit.packed import Int32, Packed
from acsgen.plan.conv_case import ConvCase
from acsgen.plan.helium_forms import channels_of_pairs, is_joined, window_of


def helium(case: ConvCase) -> Packed:
    """Vectors of 16 weights."""
    vectors = _vectors(case)[channels_of_pairs(case)]  # (pair, 2, unit, row, vector, bytes)
    words = np.ascontiguousarray(vectors.transpose(0, 2, 3, 4, 1, 5))
    sizes = ", ".join(map(str, words.shape))
    finish = [_starts(case), _requantization(case), *([_zero_points(case)] if is_joined(case) else [])]
    return Packed(
        "ACS_HELIUM",
        words.view("<i4"),
        f"bytes {{{sizes}}}: [pair of output channels][unit][row][vector][output channel][input]",
        np.concatenate([_as_int32(part).ravel() for part in finish]),
        "[pair] two sums to start from; [pair] multiplier and shift of each channel"
        + ("; [unit][pair] what zero points contribute" if is_joined(case) else ""),
    )


#: By the name that `acsgen.plan.conv_case.Form` gives.
FORMS: Mapping[str, Callable[[ConvCase], Packed]] = {"helium": helium}


def _vectors(case: ConvCase) -> NDArray[np.int8]:
    """Weights as (output channel, unit, row, vector, bytes of a unit)."""
    window, weights = window_of(case), case.weights
    outputs, rows, columns, channels = weights.shape
    tap = min(window.unit, window.pitch)
    padded = np.zeros((outputs, rows, columns, window.units * tap), np.int8)
    padded[..., :channels] = weights
    by_unit = padded.reshape(outputs, rows, columns, window.units, tap).transpose(0, 3, 1, 2, 4)
    flat = by_unit.reshape(outputs, window.units, rows, columns * tap)
    result = np.zeros((outputs, window.units, rows, window.vectors * window.unit), np.int8)
    result[..., : flat.shape[-1]] = flat
    return result.reshape(outputs, window.units, rows, window.vectors, window.unit)


def _contributions(case: ConvCase) -> NDArray[np.int64]:
    """(output channel, unit): what the input's zero point contributes to a sum over raw inputs, to be taken away."""
    totals: NDArray[np.int64] = _vectors(case).astype(np.int64).sum((2, 3, 4))
    return -case.input_zero_point * totals


def _starts(case: ConvCase) -> NDArray[np.int64]:
    """(pair, 2): biases, with the zero point's contribution where it is always the same."""
    bias = case.op.bias.astype(np.int64)
    return (bias if is_joined(case) else bias + _contributions(case).sum(1))[channels_of_pairs(case)]


def _zero_points(case: ConvCase) -> NDArray[np.int64]:
    """(unit, pair, 2)."""
    return _contributions(case)[channels_of_pairs(case)].transpose(2, 0, 1)


def _requantization(case: ConvCase) -> NDArray[np.int64]:
    """(pair, 2, 2): multiplier and shift; a multiplier of zero shifts as well."""
    how = case.requantize
    shift = np.where(how.multiplier == 0, -1, how.shift)
    return np.stack([how.multiplier, shift], -1).astype(np.int64)[channels_of_pairs(case)]


def _as_int32(values: NDArray[Any]) -> Int32:
    """What is left of the values in 32 bits: sums wrap."""
    return np.ascontiguousarray(values & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
