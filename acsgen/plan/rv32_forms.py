# SPDX-License-Identifier: Apache-2.0
"""Which form the kernel set `acs_rv32` takes a convolution in: what is exact, and what scratch it needs.

`firmware/kernels/acs_rv32/acs_rv32.h` says what the forms are; the sizes here are those that its kernels ask for.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from acsgen.graph import Conv2D
from acsgen.graph.ops import Pair
from acsgen.plan.acs_forms import (
    COLUMN_BYTES,
    MAX_WINOGRAD_SUM,
    QUAD,
    WINOGRAD_POINTS,
    band_bytes,
    channels_of_quads,
    finishes_shortly,
    is_window,
    run_bytes,
    writes_in_place,
)
from acsgen.plan.conv_case import ConvCase, Form

#: Pixels of a direct tile, and tiles of 2x2 pixels that Winograd's way takes together.
PIXELS = 4
#: Image rows that a 3x3 window holds.
SLOTS = 4
#: Channels of a depthwise convolution that go over the image together.
DEPTHWISE_CHANNELS = 4


def conv_forms(case: ConvCase) -> tuple[Form, ...]:
    """The forms that are exact; plain weights last, where so little is to do that they are quicker."""
    row = case.target[1] * case.target[2]
    plain = Form("plain", 0, row, case.weights.size + 12 * case.target[2], _plain_instructions(case), "Little to do.")
    if case.constants or case.scaled:
        return (replace(plain, why="Behind closed groups that are not zero: plain weights."),)
    if not is_exact(case):
        return (replace(plain, why="Its requantisation is none of the short form: plain weights."),)
    if is_window(case, PIXELS):
        scratch = window_scratch(case)
        band = band_bytes(case, _served(case) * case.target[1])
    else:
        scratch = column_scratch(case)
        band = column_tiles(case) * band_bytes(case, _column_pixels(case))
    tap_bytes = QUAD * prod(case.kernel)
    why = "Four output channels by four pixels."
    forms = [Form("bytes", scratch, band, _constant_bytes(case, tap_bytes), _direct_instructions(case), why)]
    if is_winograd(case):
        constants = _constant_bytes(case, 2 * QUAD * WINOGRAD_POINTS)
        why = "Winograd's way, F(2x2, 3x3)."
        forms.append(
            Form(
                "winograd_scalar",
                winograd_scratch(case),
                band_bytes(case, 2 * case.target[1]),
                constants,
                _winograd_instructions(case),
                why,
            )
        )
    return (*forms, plain) if plain.instructions < forms[0].instructions else tuple(forms)


def is_exact(case: ConvCase) -> bool:
    """Whether the requantisation gives the contract's bits for every input: four times a sum fits 32 bits."""
    least, greatest = case.sums()
    return finishes_shortly(case) and bool(greatest.max() <= MAX_WINOGRAD_SUM and least.min() >= -MAX_WINOGRAD_SUM)


def is_winograd(case: ConvCase) -> bool:
    """Whether Winograd's way is open to a convolution: acs_conv_winograd()."""
    return (
        case.kernel == (3, 3)
        and case.dilation == (1, 1)
        and case.stride == (1, 1)
        and case.target[0] % 2 == 0
        and case.target[1] % 2 == 0
        and case.image_channels % QUAD == 0
        and writes_in_place(case)
    )


def window_scratch(case: ConvCase) -> int:
    """Bytes of runs, of rows of output where a quad is not written in place, of the window."""
    columns = (case.target[1] - 1) * case.stride[1] + 3
    row = 0 if writes_in_place(case) else QUAD * _served(case) * case.target[1]
    return run_bytes(case) + row + 2 * _channels(case) * columns * SLOTS


def winograd_scratch(case: ConvCase) -> int:
    """Bytes of runs, of the window, of the sums of a quad and four tiles, of a row of transformed inputs."""
    fours = _fours(case)
    window = 2 * _channels(case) * (2 * PIXELS * fours + 2) * SLOTS
    sums = 4 * WINOGRAD_POINTS * QUAD * PIXELS
    return run_bytes(case) + window + sums + 2 * fours * _channels(case) * WINOGRAD_POINTS * PIXELS


def column_scratch(case: ConvCase) -> int:
    """Bytes of runs, and of some tiles with a row of output for each where a quad is not written in place."""
    return run_bytes(case) + column_tiles(case) * _column_tile(case)


def column_tiles(case: ConvCase) -> int:
    """How many are computed together."""
    tiles = -(-prod(case.target[:2]) // _column_pixels(case))
    return max(1, min(tiles, COLUMN_BYTES // _column_tile(case)))


def _column_pixels(case: ConvCase) -> int:
    """Of a tile."""
    return 1 if prod(case.target[:2]) == 1 else PIXELS


def _column_tile(case: ConvCase) -> int:
    """Bytes of a tile's numbers, and of a row of its output where a quad is not written in place."""
    pixels, each = prod(case.target[:2]), _column_pixels(case)
    in_place = writes_in_place(case) and (pixels == 1 or pixels >= PIXELS)
    return 2 * _channels(case) * prod(case.kernel) * each + (0 if in_place else QUAD * each)


def _served(case: ConvCase) -> int:
    """Rows of output that are computed from one window."""
    return 2 if case.stride[1] == 1 else 1


def depthwise_scratch(kernel: Pair, channels: int, columns: int) -> int:
    """Bytes of the window of the channels that go together; none where the plain kernel does it."""
    slots = {(3, 3): 4, (5, 5): 8}.get(kernel, 0)
    return 2 * min(channels, DEPTHWISE_CHANNELS) * columns * slots


def _constant_bytes(case: ConvCase, channel_bytes: int) -> int:
    """Of all quads: so many bytes for each input channel, which are even, and 16 words to finish with."""
    channels = -(-_channels(case) // 2) * 2
    return len(channels_of_quads(case)) * (channel_bytes * channels + 64)


def _direct_instructions(case: ConvCase) -> int:
    """Of a tile and of each of its steps; then what expands the input. Fitted to counts of `bench.kernels`."""
    channels, taps, quads = _channels(case), prod(case.kernel), len(channels_of_quads(case))
    pixels = prod(case.target[:2])
    scattered = 0 if writes_in_place(case) else (50 + 10 * pixels) * case.target[2]
    begun = 1050 * case.sources + scattered
    if is_window(case, PIXELS):
        tiles = case.target[0] * -(-case.target[1] // PIXELS) * quads
        return begun + tiles * (345 * channels + 330) + 6 * prod(case.source[:2]) * channels * case.sources
    if pixels == 1:
        return begun + quads * (13 * channels * taps + 240) + (70 * taps + 7 * channels * taps) * case.sources
    spread = 6 * channels if _is_flat(case) else 70 + 9 * channels
    expanding = spread * pixels * taps * case.sources
    return begun + -(-pixels // PIXELS) * quads * (41 * channels * taps + 250) + expanding


def _plain_instructions(case: ConvCase) -> int:
    """Of four output channels together, or one, in each pixel; taps that lie in the padding are left out."""
    groups = max(case.sources, case.output_groups)
    quads, single = divmod(case.target[2] // groups, QUAD)
    numbers = _taps_inside(case) * _channels(case)
    pixel = 150 + quads * (393 + 28.8 * numbers) + single * (110 + 10 * numbers)
    return round(100 + prod(case.target[:2]) * groups * pixel)


def _taps_inside(case: ConvCase) -> float:
    """Taps of a window that lie in the image, as mean over the output's pixels."""
    padding = (case.op.padding.top, case.op.padding.left) if isinstance(case.op, Conv2D) else (0, 0)
    inside = 1.0
    for axis in (0, 1):
        starts = np.arange(case.target[axis]) * case.stride[axis] - padding[axis]
        at = starts[:, None] + np.arange(case.kernel[axis]) * case.dilation[axis]
        inside *= float(((at >= 0) & (at < case.source[axis])).sum(1).mean())
    return inside


def _winograd_instructions(case: ConvCase) -> int:
    """Of four tiles and of each of their channels at 16 points; then what expands and transforms the input. Fitted
    to counts of `bench.kernels`."""
    channels = _channels(case)
    fours = case.target[0] // 2 * _fours(case)
    expanding = (6 * prod(case.source[:2]) + 215 * fours) * channels * case.sources
    return fours * len(channels_of_quads(case)) * (651 * channels + 2230) + expanding


def _is_flat(case: ConvCase) -> bool:
    """Whether an output pixel reads just the input pixel of the same index."""
    return case.kernel == (1, 1) and case.stride == (1, 1) and case.source[:2] == case.target[:2]


def _channels(case: ConvCase) -> int:
    """Of a source."""
    return int(case.weights.shape[3])


def _fours(case: ConvCase) -> int:
    """How many times four tiles of 2x2 pixels lie in a row."""
    return -(-case.target[1] // (2 * PIXELS))
