# SPDX-License-Identifier: Apache-2.0
"""The kinds of 3x3 convolution that a block or a gate can be built with, to be compared.

- "dg": `DGConv2D`, which learns its groups, ACS-DG,
- "grouped": fixed groups of neighbouring channels,
- "separable": a depthwise 3x3, then a 1x1,
- "plain": every output reads every input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import keras

from acsgen.nn.layers import DGConv2D, group_bits
from acsgen.nn.zoo.builder import Builder, contiguous

__all__ = ["CONVOLUTIONS", "Conv3x3", "block_convolution", "convolution"]


@dataclass(frozen=True)
class Conv3x3:
    """A 3x3 convolution without bias."""

    filters: int
    stride: int
    group: int  # output channels a group, where there are groups
    groups: Sequence[int] | None = None  # (filters,) group ids that a "dg" has, None: it learns them


def convolution(make: Builder, x: Any, kind: str, shape: Conv3x3, name: str) -> Any:
    """(B, H, W, C) -> (B, H/stride, W/stride, filters) by a layer `name`, a row of CONVOLUTIONS."""
    if kind not in CONVOLUTIONS:
        raise ValueError(f"{name}: no convolution is called {kind!r}: choose from {', '.join(CONVOLUTIONS)}")
    return CONVOLUTIONS[kind](make, x, shape, name)


def block_convolution(make: Builder, x: Any, kind: str, shape: Conv3x3, block: str) -> Any:
    """The same for a block's convolution: `<block>_dg`, by which `gated_twin` finds learned groups,
    or `<block>_conv2`."""
    return convolution(make, x, kind, shape, f"{block}_dg" if kind == "dg" else f"{block}_conv2")


def _plain(make: Builder, x: Any, shape: Conv3x3, name: str) -> Any:
    return make.conv(x, shape.filters, 3, shape.stride, name)


def _dynamic(make: Builder, x: Any, shape: Conv3x3, name: str) -> Any:
    channels = int(x.shape[-1])
    x, padding = make.padded(x, 3, shape.stride, name)
    layer = DGConv2D(
        shape.filters,
        3,
        strides=shape.stride,
        padding=padding,
        group_size=shape.group,
        learn_groups=shape.groups is None,
        kernel_initializer=make.he(),
        gate_initializer=keras.initializers.RandomUniform(-1.0, 1.0, seed=next(make.seeds)),
        name=name,
    )
    y = layer(x)
    if shape.groups is not None:
        layer.set_group_bits(group_bits(shape.groups, gcd(channels, shape.filters)))
    return y


def _grouped(make: Builder, x: Any, shape: Conv3x3, name: str) -> Any:
    # A DGConv2D whose groups are given, not Conv2D(groups=...): TensorFlow has no gradient of that
    # one for CPUs, and what Keras puts in its place trains about fifty times slower.
    fixed = Conv3x3(shape.filters, shape.stride, shape.group, contiguous(shape.filters, shape.group, name))
    return _dynamic(make, x, fixed, name)


def _separable(make: Builder, x: Any, shape: Conv3x3, name: str) -> Any:
    x = make.depthwise(x, 3, shape.stride, f"{name}_depthwise")
    return make.conv(x, shape.filters, 1, 1, name)


#: Kind -> the function that adds it.
CONVOLUTIONS: Mapping[str, Callable[[Builder, Any, Conv3x3, str], Any]] = {
    "dg": _dynamic,
    "grouped": _grouped,
    "separable": _separable,
    "plain": _plain,
}
