# SPDX-License-Identifier: Apache-2.0
"""Sliding windows over a batch of images, shared by the float and the int8 interpreter."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from acsgen.graph.ops import Padding, Pair

Scalar = TypeVar("Scalar", bound=np.generic)

NO_PADDING = Padding()


def windows(
    x: NDArray[Scalar],
    kernel: Pair,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    fill: float = 0,
) -> NDArray[Scalar]:
    """Every window that a convolution or a pool looks at.

    x: (N, H, W, C) of any dtype. `fill` is what stands in the padding.
    Returns a read-only view (N, out height, out width, kernel height, kernel width, C) of the padded
    image; as the last three axes have the order of the weights, `reshape` makes im2col rows of it.
    """
    if padding != NO_PADDING:
        x = pad_images(x, padding, fill)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(x, reach, axis=(1, 2))
    view = view[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    return view.transpose(0, 1, 2, 4, 5, 3)


def pad_images(x: NDArray[Scalar], padding: Padding, fill: float = 0) -> NDArray[Scalar]:
    """Images (N, H, W, C) with `fill` around each."""
    around = ((0, 0), (padding.top, padding.bottom), (padding.left, padding.right), (0, 0))
    return np.pad(x, around, constant_values=fill)
