# SPDX-License-Identifier: Apache-2.0
"""Constants of a convolution in the forms of the kernel set `acs_rv32`; its `acs_rv32.h` explains them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.emit.acs_weights import as_int32, of_quads, winograd_points
from acsgen.emit.packed import Int32, Packed
from acsgen.plan.conv_case import ConvCase


def four_bytes(case: ConvCase) -> Packed:
    """8 bits for every weight, those of four output channels side by side."""
    weights = case.weights
    taps = of_quads(case, weights.reshape(len(weights), -1, weights.shape[3]))  # (quad, 4, tap, input channel)
    numbers = _even_inputs(taps.transpose(0, 3, 2, 1), 1)
    layout = f"{_braces(numbers)}: [quad of output channels][input channel][tap][output channel], 8 bits each"
    starts = of_quads(case, case.op.bias)
    table = as_int32(np.concatenate([starts, _requantization(case).reshape(len(starts), -1)], 1))
    finish = "[quad]: four biases, then multiplier, rounding, shift of each channel"
    return Packed("ACS_BYTES", _in_words(numbers, np.int8), layout, table, finish)


def winograd(case: ConvCase) -> Packed:
    """3x3 weights transformed for tiles of 2x2 pixels, four times what is usual."""
    points = winograd_points(case)
    quads = of_quads(case, points.reshape(len(points), -1, points.shape[3]))  # (quad, 4, point, input channel)
    numbers = _even_inputs(quads.transpose(0, 2, 3, 1), 2)
    layout = f"{_braces(numbers)}: [quad of output channels][point][input channel][output channel], 16 bits each"
    starts = 4 * of_quads(case, case.op.bias)
    table = as_int32(np.concatenate([starts[..., None], _requantization(case)], -1))
    finish = "[quad][output channel]: 4 * bias, multiplier, rounding, shift"
    return Packed("ACS_WINOGRAD", _in_words(numbers, np.int16), layout, table, finish)


#: By the name that `acsgen.plan.conv_case.Form` gives.
FORMS: Mapping[str, Callable[[ConvCase], Packed]] = {"bytes": four_bytes, "winograd_scalar": winograd}


def _even_inputs(numbers: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """The same with a zero behind an odd number of input channels, which are an axis."""
    behind = [(0, 0)] * numbers.ndim
    behind[axis] = (0, numbers.shape[axis] % 2)
    return np.pad(numbers, behind)


def _in_words(numbers: NDArray[np.int64], dtype: type[np.signedinteger[Any]]) -> Int32:
    """Numbers of fewer bits one behind the other, as little-endian words."""
    little = np.ascontiguousarray(numbers).astype(np.dtype(dtype).newbyteorder("<"))
    return little.reshape(-1).view(np.dtype("<i4")).astype(np.int32)


def _requantization(case: ConvCase) -> NDArray[np.int64]:
    """(quad, 4, 3): multiplier, rounding with the zero point, and shift of each channel."""
    multiplier = of_quads(case, case.requantize.multiplier)
    right = np.where(multiplier == 0, 1, -of_quads(case, case.requantize.shift))
    rounding = 1 + (np.int64(1) << right) + (np.int64(case.output_zero_point) << (right + 1))
    return np.stack([multiplier, rounding, right + 1], -1)


def _braces(numbers: NDArray[np.int64]) -> str:
    return "{" + ", ".join(map(str, numbers.shape)) + "}"
