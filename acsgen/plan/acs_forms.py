# SPDX-License-Identifier: Apache-2.0
"""Which form the kernel set `acs` takes a convolution in: what is exact, and what scratch it needs.

`firmware/kernels/acs/acs_dsp.h` says what the forms are; the sizes here are those that its kernels ask for.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from acsgen.graph.ops import Pair
from acsgen.plan.arena import ALIGNMENT
from acsgen.plan.conv_case import ConvCase, Form

#: Output channels and pixels of a tile.
QUAD, TILE_PIXELS = 4, 2
#: Words of a quad in the table to finish with.
FINISH_WORDS = 16
#: Output rows that are computed from a window.
SERVED_ROWS = 2
#: Scratch that the columns of several tiles take, and what they take of what is spare; one tile has what it needs.
COLUMN_BYTES, MOST_COLUMN_BYTES = 2048, 4096
#: Tiles of a column, twos of Winograd's tiles, from which on a quad's weights are copied before they are used.
MANY_TILES, MANY_TWOS = 4, 3

#: Weights up to which a fully connected layer is quicker with plain constants.
FEW_WEIGHTS = 64

#: Right shifts of the short requantisation: its rounding constant, with the zero point, stays within int32.
SHIFTS = range(1, 23)
#: A sum that is doubled before it is multiplied.
MAX_SUM = (1 << 30) - 1
#: Winograd's way gives four times a sum.
MAX_WINOGRAD_SUM = (1 << 29) - 1
#: Points of a transformed tile of 2x2 pixels.
WINOGRAD_POINTS = 16
#: The second channel of a packed word has 24 bits.
MAX_PAIRED_SUM = (1 << 23) - 1
MAX_WEIGHT = 127


def conv_forms(case: ConvCase) -> tuple[Form, ...]:
    """The forms that are exact, the one with the least constants first."""
    if not finishes_shortly(case):
        return (_plain(case, "Its requantisation is none of the short form: plain weights."),)
    if prod(case.target[:2]) == 1 and case.weights.size <= FEW_WEIGHTS:
        return (_plain(case, "A few products: to prepare for more would take longer."),)
    if is_paired_exact(case):
        forms = [_tiled(case, "paired", 2, "Two output channels in a weight.")]
    else:
        forms = [_tiled(case, "wide", 4, "16-bit weights: sums may leave 24 bits.")]
    if is_winograd(case):
        words = WINOGRAD_POINTS * QUAD
        forms.append(
            Form(
                "winograd",
                join_scratch(case, winograd_scratch(case, 1)),
                band_bytes(case, 2 * case.target[1]),
                _constant_bytes(case, words),
                _winograd_instructions(case),
                "Winograd's way, F(2x2, 3x3).",
                join_scratch(case, winograd_scratch(case, case.target[0] // 2)),
            )
        )
    return tuple(forms)


def _plain(case: ConvCase, why: str) -> Form:
    row = case.target[1] * case.target[2]
    return Form("plain", 0, row, case.weights.size + 12 * case.target[2], 0, why)


def _tiled(case: ConvCase, name: str, tap_words: int, why: str) -> Form:
    words = tap_words * prod(case.kernel)
    costs = _constant_bytes(case, words), _tile_instructions(case), why
    if is_window(case):
        scratch = join_scratch(case, window_scratch(case, words))
        return Form(name, scratch, band_bytes(case, SERVED_ROWS * case.target[1]), *costs)
    tiles, scratch = column_scratch(case, words, COLUMN_BYTES)
    _, most = column_scratch(case, words, MOST_COLUMN_BYTES)
    band = tiles * band_bytes(case, TILE_PIXELS)
    return Form(name, join_scratch(case, scratch), band, *costs, join_scratch(case, most))


def _constant_bytes(case: ConvCase, pair_words: int) -> int:
    """Of all quads: so many words for each pair of input channels, and 16 to finish with."""
    return 4 * len(channels_of_quads(case)) * (pair_words * pairs_of(case) + FINISH_WORDS)


def _tile_instructions(case: ConvCase) -> int:
    """Of a tile and of each of its pairs of input channels; then what expands the input."""
    pairs, taps = pairs_of(case), prod(case.kernel)
    tiles = case.target[0] * -(-case.target[1] // TILE_PIXELS) * len(channels_of_quads(case))
    if is_window(case):
        expanding = 7 * case.source[0] * case.source[1] * pairs * case.sources
        return tiles * (116 * pairs + 95) + expanding
    return tiles * (13 * pairs * taps + 97) + 5 * prod(case.target[:2]) * pairs * taps * case.sources


def _winograd_instructions(case: ConvCase) -> int:
    """Of two tiles at 16 points, of what finishes their sums; then what expands and transforms the input."""
    pairs = pairs_of(case)
    twos = case.target[0] // 2 * -(-case.target[1] // 4)
    expanding = (7 * case.source[0] * case.source[1] + 128 * twos) * pairs * case.sources
    return twos * len(channels_of_quads(case)) * (16 * (11 * pairs + 34) + 680) + expanding


def finishes_shortly(case: ConvCase) -> bool:
    """Whether the short requantisation gives the contract's bits for every input."""
    how = case.requantize
    shifts_right = bool((np.isin(-how.shift, SHIFTS) | (how.multiplier == 0)).all())
    least, greatest = case.sums()
    return shifts_right and bool(greatest.max() <= MAX_SUM and least.min() >= -MAX_SUM)


def is_paired_exact(case: ConvCase) -> bool:
    """Whether no sum of a word's second channel can leave 24 bits, whatever the input is and whichever groups are
    open; and no word 16."""
    least, greatest = case.sums()
    second = channels_of_quads(case).reshape(-1, 2)[:, 1]
    second = second[second >= 0]
    within = (greatest[second] <= MAX_PAIRED_SUM).all() and (least[second] >= -MAX_PAIRED_SUM).all()
    return bool(within and abs(case.weights.astype(int)).max() <= MAX_WEIGHT)


def channels_of_quads(case: ConvCase) -> NDArray[np.int64]:
    """(quads, 4): the output channels of each quad, -1 where a source's channels do not fill the last one."""
    each = case.target[2] // case.sources
    channels = np.full((case.sources, -(-each // QUAD) * QUAD), -1, np.int64)
    channels[:, :each] = np.arange(case.target[2]).reshape(case.sources, each)
    return channels.reshape(-1, QUAD)


def is_window(case: ConvCase, pixels: int = TILE_PIXELS) -> bool:
    """acs_is_window(), of a kernel set whose tiles have so many pixels."""
    return (
        case.kernel == (3, 3)
        and case.dilation == (1, 1)
        and case.stride in ((1, 1), (2, 2))
        and case.target[1] >= pixels
    )


def is_winograd(case: ConvCase) -> bool:
    """Whether Winograd's way is open to a convolution, and exact: acs_conv_winograd()."""
    least, greatest = case.sums()
    return (
        finishes_shortly(case)
        and is_window(case)
        and case.stride == (1, 1)
        and case.target[0] % 2 == 0
        and case.target[1] % 2 == 0
        and case.image_channels % 4 == 0
        and writes_in_place(case)
        and bool(greatest.max() <= MAX_WINOGRAD_SUM and least.min() >= -MAX_WINOGRAD_SUM)
    )


def pairs_of(case: ConvCase) -> int:
    """Pairs of channels of a source."""
    return -(-int(case.weights.shape[3]) // 2)


def winograd_scratch(case: ConvCase, strips: int) -> int:
    """Bytes of runs, of the window, of a quad's weights, of the sums of a quad and two tiles, of transformed inputs:
    so many strips of two rows."""
    twos = -(-case.target[1] // 4)
    window = 4 * pairs_of(case) * (4 * twos + 2) * _window_rows(case)
    copied = strips * twos >= MANY_TWOS or case.input_groups > case.sources
    weights = 4 * pairs_of(case) * WINOGRAD_POINTS * QUAD if copied else 0
    sums = 4 * WINOGRAD_POINTS * QUAD * TILE_PIXELS
    transformed = 4 * strips * twos * pairs_of(case) * WINOGRAD_POINTS * TILE_PIXELS
    return run_bytes(case) + window + weights + sums + transformed


def window_scratch(case: ConvCase, pair_words: int) -> int:
    """Bytes of runs, of a row of output where a quad is not written in place, of the window, of a quad's weights."""
    columns = (case.target[1] - 1) * case.stride[1] + 3
    row = 0 if writes_in_place(case) else QUAD * case.target[1]
    return run_bytes(case) + row + 4 * pairs_of(case) * (columns * _window_rows(case) + pair_words)


def column_scratch(case: ConvCase, pair_words: int, columns: int) -> tuple[int, int]:
    """(tiles that are computed together, bytes of them, of runs, of a quad's weights where they are copied).

    columns: bytes that the tiles may take.
    """
    tile = _column_tile(case)
    tiles = max(1, min(-(-prod(case.target[:2]) // TILE_PIXELS), columns // tile))
    copied = 4 * pair_words * pairs_of(case) if tiles >= MANY_TILES else 0
    return tiles, run_bytes(case) + tiles * tile + copied


def _window_rows(case: ConvCase) -> int:
    """Image rows that a window holds: ACS_WINDOW_ROWS()."""
    return (SERVED_ROWS - 1) * case.stride[0] + 3


def _column_tile(case: ConvCase) -> int:
    """Bytes of a tile's words, and of a row of its output where a quad is not written in place."""
    words = 4 * pairs_of(case) * prod(case.kernel) * TILE_PIXELS
    return words + (0 if writes_in_place(case) else QUAD * TILE_PIXELS)


def band_bytes(case: ConvCase, pixels: int) -> int:
    """acsband_bytes()."""
    return -(-pixels * case.target[2] // 4) * 4


def join_scratch(case: ConvCase, convolving: int) -> int:
    """Bytes of an image that is scaled on the way, of the table to finish with where closed groups add to it; and of
    what adds that up, which lies where the convolution works later."""
    image = _aligned(prod(case.source)) if case.scaled else 0
    if not case.constants:
        return image + convolving
    table = _aligned(4 * FINISH_WORDS * len(channels_of_quads(case)))
    adding = _aligned(case.input_groups) + run_bytes(case) + 4 * pairs_of(case)
    return image + table + max(convolving, adding)


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


def depthwise_scratch(kernel: Pair, channels: int, columns: int) -> int:
    """Bytes of a group's constants in pairs and of its ring of rows; none where the plain kernel does it."""
    if kernel not in ((3, 3), (5, 5)):
        return 0
    return -(-channels // 2) * (32 + 4 * (prod(kernel) + kernel[0] * columns))


def run_bytes(case: ConvCase) -> int:
    """Of the runs that a convolution's loops walk over."""
    return 8 * max(1, case.input_groups // case.sources)


def writes_in_place(case: ConvCase) -> bool:
    """acs_writes_in_place()."""
    return (case.target[2] // case.output_groups) % QUAD == 0
