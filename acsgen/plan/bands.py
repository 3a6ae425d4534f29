# SPDX-License-Identifier: Apache-2.0
"""How many rows of its output a convolution gathers its active inputs for at a time: the fewer, the less scratch."""

from __future__ import annotations

from acsgen.graph import Conv2D
from acsgen.graph.ops import Shape, image_shape
from acsgen.plan.arena import aligned

#: Bytes of gathered input that are enough: what has to be done once a band is little beside convolving as much.
BAND_BYTES = 8192


def pack_rows(op: Conv2D, source: Shape, target: Shape) -> int:
    """Rows of the output for which about BAND_BYTES of input are gathered, at least one; 0: for all at once.

    source, target: (H, W, C) of the tensors. All if some window has no row of the image in it, which a band of rows
    then would not have either, and for the windows that kernels cannot take by bands (`acs_cmsis_has_rows`).
    """
    height, (rows, width, _) = source[0], image_shape(target)
    reach = 1 + (op.kernel[0] - 1) * op.dilation[0]
    inside = op.padding.top < reach and (rows - 1) * op.stride[0] - op.padding.top < height
    if not inside or (op.kernel[0] == 1 and op.kernel[1] > 1):
        return 0
    return largest_band(op, source, rows, width, BAND_BYTES) or 1


def largest_band(op: Conv2D, source: Shape, rows: int, width: int, room: int) -> int:
    """The most rows of an output of `rows` times `width` pixels whose gathered input takes at most `room` bytes."""
    most = max((n for n in range(1, rows + 1) if packed_bytes(op, source, n) <= room), default=0)
    odd = width % 2 and 1 < most < rows
    return most - most % 2 if odd else most  # CMSIS-NN takes pixels by pairs


def packed_bytes(op: Conv2D, source: Shape, rows: int) -> int:
    """Bytes of the input of so many rows of the output, as a piece of scratch. source: (H, W, C)."""
    height, width, channels = image_shape(source)
    reach = (rows - 1) * op.stride[0] + 1 + (op.kernel[0] - 1) * op.dilation[0]
    return aligned(min(reach, height) * width * channels)
