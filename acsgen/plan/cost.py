# SPDX-License-Identifier: Apache-2.0
"""What a choice costs: instructions on a Cortex-M4 with CMSIS-NN, fitted to counts of single layers in the
emulator (`Emulator.run` with steps).

Only differences decide, so that what both sides of a choice cost is left out.
"""

from __future__ import annotations

#: One multiply-accumulate of a convolution.
MAC = 2.2
#: One byte of weights that is copied in strides of an input group, and in whole filters.
PACKED_BYTE = 1.5
GATHERED_BYTE = 0.9
#: One byte that is moved from NHWC to groups or back; of groups that are joined; of pixels that are.
CONVERTED_BYTE = 0.95
JOINED_BYTE = 0.55
CONCATENATED_BYTE = 1.8
#: One byte of groups that a convolution gathers for itself, and of what it deals out to groups, against NHWC.
GATHERED_PIXEL_BYTE = 1.2
DEALT_OUT_BYTE = 1.6
#: One call more of a pool or a scaling, which take group by group.
GROUP_CALL = 300.0
#: One tap of a window that is spread out (im2col): for itself, and for each of its channels.
TAP = 48.0
TAP_CHANNEL = 2.6
#: One byte of output that is dealt out to its group's image: for itself, and its share of a pixel's overhead.
DEALT_BYTE = 0.8
DEALT_PIXEL = 12.0


def pack_limit(groups: int, pixels: int) -> int:
    """The most active groups with which packing the weights costs less than reading zeros.

    Packing k groups copies k weights where reading the zeros of the others multiplies
    (groups - k) * pixels times, for each output channel, tap, and channel of a group.
    """
    return max((k for k in range(groups) if PACKED_BYTE * k < MAC * pixels * (groups - k)), default=0)


def together_saves(pixels: int, taps: int, channels: int, filters: int) -> float:
    """Instructions that one more group in the same walk over the input saves, of a convolution to several groups.

    pixels: of the output; channels: of the input; filters: of a group. Alone it would spread out every
    window again; together its filters are gathered, and its pixels dealt out.
    """
    spread = pixels * taps * (TAP + TAP_CHANNEL * channels)
    gathered = GATHERED_BYTE * filters * taps * channels
    return spread - gathered - pixels * (DEALT_PIXEL + DEALT_BYTE * filters)
