# SPDX-License-Identifier: Apache-2.0
"""The scratch that ESP-NN's convolutions for the ESP32-S3 work in.

The formula is that of `esp_nn_get_conv_scratch_size_esp32s3` (ESP-NN 1.2.6), which cannot be asked when a model is
planned; a test holds the two against each other.
"""

from __future__ import annotations

from math import prod

from acsgen.graph import Conv2D
from acsgen.plan.conv_case import ConvCase

#: Bytes of a vector; that the scratch is aligned to, though an arena's parts are not.
VECTOR = 16
#: What ESP-NN adds for what its loops touch before and behind.
MARGIN = 64


def s3_scratch(case: ConvCase) -> int:
    """Bytes for one call: an output group that reads all channels which a filter has."""
    return VECTOR + s3_call_bytes(case)


def s3_call_bytes(case: ConvCase) -> int:
    """What ESP-NN asks for, from an address that is aligned to a vector."""
    height, width = case.source[:2]
    channels, outputs = int(case.weights.shape[3]), case.target[2] // case.output_groups
    taps, row = prod(case.kernel), case.kernel[1] * channels
    padding = (case.op.padding.top, case.op.padding.left) if isinstance(case.op, Conv2D) else (0, 0)
    if case.kernel == (1, 1) and case.stride == (1, 1) and padding == (0, 0):
        whole = _whole(channels, 8)
        image = width * height * whole if channels % 8 else 0
        return image + whole * outputs + (16 * whole if width * height >= 8 else 0) + MARGIN
    window = taps * channels
    if row < VECTOR <= window:
        aligned = _whole(window, VECTOR)
        return 4 * outputs + VECTOR + outputs * aligned + VECTOR + aligned + MARGIN
    behind = [
        max(0, (out - 1) * stride + kernel - before - size)
        for out, stride, kernel, before, size in zip(
            case.target, case.stride, case.kernel, padding, (height, width), strict=False
        )
    ]
    image = (height + padding[0] + behind[0]) * (width + padding[1] + behind[1]) * channels
    filters = (taps * _whole(channels, VECTOR) + _whole(row, VECTOR) * case.kernel[0]) * outputs
    return (image if any((*padding, *behind)) else 0) + filters + MARGIN + 4 * outputs


def _whole(count: int, unit: int) -> int:
    return -(-count // unit) * unit
