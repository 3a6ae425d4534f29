# SPDX-License-Identifier: Apache-2.0
"""Which convolutions the kernel set `acs_helium` computes with kernels of its own, and what they need.

`firmware/kernels/acs_helium/acs_helium.h` says how; the sizes here are those that its kernels ask for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from acsgen.graph import Conv2D
from acsgen.plan.conv_case import ConvCase, Form

#: Bytes of a vector; pixels of a tile.
VECTOR, TILE_PIXELS = 16, 4
#: Channels of a unit, by whether those of a group are a multiple of 16, of 8.
UNITS = {(True, True): 16, (False, True): 8, (False, False): 4}
#: Rows of output that are added to a residual at a time have about so many bytes.
BAND_BYTES = 1024
#: Right shifts of the requantisation.
SHIFTS = range(1, 32)
#: Channels of an output group: a tile's outputs are told by 16 bits.
MAX_GROUP_CHANNELS = 1 << 14


@dataclass(frozen=True)
class Window:
    """How a source is laid out: as acs_helium.h says.

    pitch: bytes of a column in a block; vectors: of a window's row in a block; unit: channels of what lists choose;
    units: of the source, active or not.
    """

    pitch: int
    vectors: int
    unit: int
    units: int

    @property
    def blocks(self) -> int:
        return -(-self.units * self.unit // VECTOR)


def helium_forms(case: ConvCase) -> tuple[Form, ...]:
    """The one form that a convolution takes: the quicker one, if there is a choice."""
    theirs = _cmsis_nn_instructions(case)
    band = _band_bytes(case)
    constants = case.weights.size + 12 * case.target[2]
    plain = Form("plain", 0, band, constants, theirs, "Of no kind that the set has: CMSIS-NN.")
    if case.constants or case.scaled or case.alone:
        return (replace(plain, why="What is closed is a constant, or everything: CMSIS-NN."),)
    if not is_taken(case):
        return (plain,)
    own = _instructions(case)
    if case.kernel == (1, 1) and not is_joined(case) and theirs <= own:
        return (replace(plain, why=f"So small that CMSIS-NN is quicker: about {theirs:,} instructions, not {own:,}."),)
    why = "3x3 in vectors of 16 weights." if case.kernel == (3, 3) else "1x1 in vectors of 16 weights."
    return (Form("helium", helium_scratch(case), band, _constant_bytes(case), own, why),)


def _instructions(case: ConvCase) -> int:
    """Of what is computed per tile, pair and row, fitted to counts of single layers in the emulator."""
    window, height = window_of(case), case.target[0]
    tiles, pairs = -(-case.target[1] // TILE_PIXELS), len(channels_of_pairs(case))
    if case.kernel == (1, 1):
        tile, row = 32 + 17 * window.blocks, 0 if _is_in_place(case) else 200
    else:
        tile, row = 32 + (12 if window.pitch <= 4 else 12 * window.vectors + 1) * 3 * window.blocks, 200
    return 600 * case.sources + height * (row * case.sources + pairs * (30 + tiles * tile))


def _cmsis_nn_instructions(case: ConvCase) -> int:
    """Of a 1x1 convolution of CMSIS-NN's, likewise; others are several times as slow as the set's own."""
    outputs, depth = int(np.prod(case.target)), int(case.weights[0].size)
    return 300 * case.sources + round(outputs * (16 + 0.13 * depth))


def is_taken(case: ConvCase) -> bool:
    """Whether the kernels can do it, with the contract's bits for every input."""
    how = case.requantize
    shifts_right = bool((np.isin(-how.shift, SHIFTS) | (how.multiplier == 0)).all())
    fits = case.target[1] >= TILE_PIXELS and 2 <= group_channels(case) <= MAX_GROUP_CHANNELS
    return shifts_right and fits and (_is_3x3(case) or _is_1x1(case))


def _is_3x3(case: ConvCase) -> bool:
    return (
        case.kernel == (3, 3)
        and case.dilation == (1, 1)
        and case.stride in ((1, 1), (2, 2))
        and isinstance(case.op, Conv2D)
        and max(case.op.padding.top, case.op.padding.left) < 3
    )


def _is_1x1(case: ConvCase) -> bool:
    """Without padding."""
    ends = ((out - 1) * stride for out, stride in zip(case.target[:2], case.stride, strict=True))
    inside = all(end < size for end, size in zip(ends, case.source[:2], strict=True)) and not _is_padded(case)
    return case.kernel == (1, 1) and inside


def _is_padded(case: ConvCase) -> bool:
    return isinstance(case.op, Conv2D) and (case.op.padding.top, case.op.padding.left) != (0, 0)


def _is_in_place(case: ConvCase) -> bool:
    """Whether a 1x1 reads its input where that lies."""
    return not is_joined(case) and case.image_channels % VECTOR == 0


def is_joined(case: ConvCase) -> bool:
    """Whether the source is several groups of the input."""
    return case.input_groups > case.sources


def window_of(case: ConvCase) -> Window:
    """The layout of a source."""
    channels = int(case.weights.shape[3])
    unit = UNITS[case.image_channels % 16 == 0, case.image_channels % 8 == 0] if is_joined(case) else VECTOR
    units = -(-channels // unit)
    if case.kernel == (1, 1):
        return Window(VECTOR, 1, unit, units)
    if is_joined(case) or channels > 8:
        return Window(VECTOR, 3, unit, units)
    return Window(8, 2, VECTOR, 1) if channels > 4 else Window(channels, 1, VECTOR, 1)


def group_channels(case: ConvCase) -> int:
    """Channels of an output group."""
    return case.target[2] // case.output_groups


def channels_of_pairs(case: ConvCase) -> NDArray[np.int64]:
    """(pairs, 2): output channels; an odd number of channels in a group makes the last pair overlap."""
    each = group_channels(case)
    first = np.minimum(np.arange(0, each, 2), each - 2)
    groups = each * np.arange(case.output_groups)
    return (groups[:, None, None] + first[:, None] + np.arange(2)).reshape(-1, 2)


def helium_scratch(case: ConvCase) -> int:
    """Bytes of block tables (pointers of up to eight bytes), of sums to start from, of rows that are laid out.

    Four more align a band of output that is to be added.
    """
    window = window_of(case)
    words = window.blocks if window.unit == VECTOR else 4 * window.blocks
    tables = 4 + _whole(4 * window.blocks * VECTOR // window.unit) + 8 * (words + 1)
    starts = _whole(4 * channels_of_pairs(case).size) if is_joined(case) else 0
    width = case.target[1]
    if case.kernel == (1, 1):
        return tables + starts + (0 if _is_in_place(case) else _whole(width * window.blocks * VECTOR))
    row = _whole((width - 1) * case.stride[1] * window.pitch + window.vectors * VECTOR)
    return tables + starts + 3 * window.blocks * row


def _band_bytes(case: ConvCase) -> int:
    """Of whole rows that are added to a residual at a time; a multiple of four."""
    height, width, channels = case.target
    rows = min(max(1, BAND_BYTES // (width * channels)), height)
    return -(-rows * width * channels // 4) * 4


def _constant_bytes(case: ConvCase) -> int:
    window, pairs = window_of(case), channels_of_pairs(case)
    rows = case.kernel[0]
    tables = 4 * pairs.size * (3 + (window.units if is_joined(case) else 0))
    return pairs.size * window.units * rows * window.vectors * window.unit + tables


def _whole(size: int) -> int:
    """Pieces of scratch are aligned to eight bytes."""
    return -(-size // 8) * 8
