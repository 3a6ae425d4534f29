# SPDX-License-Identifier: Apache-2.0
"""Constants of a convolution in the forms of the kernel set `acs`; `firmware/kernels/acs/acs_dsp.h` explains them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.emit.packed import Int32, Packed
from acsgen.plan.acs_forms import channels_of_quads, pairs_of
from acsgen.plan.conv_case import ConvCase


def paired(case: ConvCase) -> Packed:
    """Two output channels in every 16-bit weight."""
    quads = _quads(case)
    words = _words(256 * quads[:, 1::2] + quads[:, 0::2])
    bias = of_quads(case, case.op.bias)
    starts = bias.copy()
    starts[:, 1::2] += 256 * bias[:, 1::2] - bias[:, 1::2] + bias[:, 0::2]
    return Packed("ACS_PAIRED", words, _layout(words, "pair of output channels"), *_finish(case, starts))


def wide(case: ConvCase) -> Packed:
    """16 bits for every weight."""
    words = _words(_quads(case))
    return Packed("ACS_WIDE", words, _layout(words, "output channel"), *_finish(case, of_quads(case, case.op.bias)))


def winograd(case: ConvCase) -> Packed:
    """3x3 weights transformed for tiles of 2x2 pixels, four times what is usual."""
    points = winograd_points(case)
    by_point = ordered_inputs(case, points.reshape(len(points), -1, points.shape[3]))
    words = as_int32(_in_words(of_quads(case, by_point)).transpose(0, 2, 3, 1))
    shape = ", ".join(map(str, words.shape))
    layout = f"{{{shape}}}: [quad of output channels][point][pair of input channels][output channel]"
    starts = 4 * of_quads(case, case.op.bias)
    table = np.concatenate([starts[..., None], _requantization(case)], -1)
    return Packed(
        "ACS_WINOGRAD", words, layout, as_int32(table), "[quad][output channel]: 4 * bias, multiplier, rounding, shift"
    )


#: Twice Winograd's matrix G, which makes it integer.
_WINOGRAD = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]], np.int64)


def winograd_points(case: ConvCase) -> NDArray[np.int64]:
    """(output channel, 4, 4, input channel): 3x3 weights, transformed, four times what is usual."""
    points: NDArray[np.int64] = np.einsum("ik,oklc,jl->oijc", _WINOGRAD, case.weights.astype(np.int64), _WINOGRAD)
    return points


#: By the name that `acsgen.plan.conv_case.Form` gives.
FORMS: Mapping[str, Callable[[ConvCase], Packed]] = {"paired": paired, "wide": wide, "winograd": winograd}


def ordered_inputs(case: ConvCase, weights: NDArray[Any]) -> NDArray[np.int64]:
    """Weights (..., input channel) as (..., pair, 2), in the order in which the kernels expand channels."""
    channels = weights.shape[-1]
    padded = np.zeros((*weights.shape[:-1], 2 * pairs_of(case)), np.int64)
    padded[..., :channels] = weights
    if case.image_channels % 4 == 0:
        fours = padded.reshape(*weights.shape[:-1], -1, 2, 2).swapaxes(-1, -2)
        return fours.reshape(*weights.shape[:-1], -1, 2)
    return padded.reshape(*weights.shape[:-1], -1, 2)


def _quads(case: ConvCase) -> NDArray[np.int64]:
    """Weights as (quad, 4 output channels, pair of input channels, tap, 2)."""
    weights = case.weights
    taps = weights.reshape(len(weights), -1, weights.shape[3])
    by_pair = ordered_inputs(case, taps).swapaxes(1, 2)
    return of_quads(case, by_pair)


def of_quads(case: ConvCase, values: NDArray[Any]) -> NDArray[np.int64]:
    """(output channel, ...) as (quad, 4, ...); zero where a quad is not full."""
    channels = channels_of_quads(case)
    found = values.astype(np.int64)[channels]
    found[channels < 0] = 0
    return found


def _words(halves: NDArray[np.int64]) -> Int32:
    """(quad, words of a tap, pair, tap, 2 halves) as (quad, pair, tap, words of a tap)."""
    return as_int32(_in_words(halves).transpose(0, 2, 3, 1))


def _in_words(halves: NDArray[np.int64]) -> NDArray[np.int64]:
    """(..., 2 numbers of 16 bits) as (...)."""
    return (halves[..., 0] & 0xFFFF) | (halves[..., 1] << 16)


def as_int32(values: NDArray[np.int64]) -> Int32:
    """What is left of the values in 32 bits."""
    return np.ascontiguousarray(values).astype(np.uint32).view(np.int32)


def _finish(case: ConvCase, starts: NDArray[np.int64]) -> tuple[Int32, str]:
    """(quad, 16): the sums to start from, then multiplier, rounding, shift of each channel."""
    table = np.concatenate([starts, _requantization(case).reshape(len(starts), -1)], 1)
    return as_int32(table), "[quad]: four sums to start from, then multiplier, rounding, shift of each channel"


def _requantization(case: ConvCase) -> NDArray[np.int64]:
    """(quad, 4, 3): multiplier, rounding with the zero point, and right shift of each channel."""
    multiplier = of_quads(case, case.requantize.multiplier)
    shift = np.where(multiplier == 0, 1, -of_quads(case, case.requantize.shift))
    rounding = (np.int64(1) << (shift - 1)) + (np.int64(case.output_zero_point) << shift)
    return np.stack([multiplier, rounding, shift], -1)


def _layout(words: Int32, last: str) -> str:
    sizes = ", ".join(map(str, words.shape))
    return f"{{{sizes}}}: [quad of output channels][pair of input channels][tap][{last}]"
