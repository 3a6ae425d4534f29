# SPDX-License-Identifier: Apache-2.0
"""The pieces that every network of the zoo is made of.

Tensors are symbolic Keras tensors, (B, H, W, C) float unless said otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from acsgen.nn.layers import ApplyMask

__all__ = ["BatchNorm", "Builder", "builder", "contiguous", "group_ids", "scaled"]

#: The class of the BN layers, `keras.layers.BatchNormalization` or a faster one for training.
BatchNorm = type[layers.BatchNormalization]


@dataclass(frozen=True)
class Builder:
    """Makes layers; each initialiser takes the next seed, so builds repeat."""

    seeds: Iterator[int]
    batch_norm: BatchNorm = layers.BatchNormalization
    epsilon: float = 1e-3  # of the BN layers
    symmetric: bool = False  # padding of strided convolutions: the same on all sides, not 'same'

    def he(self) -> keras.initializers.Initializer:
        return keras.initializers.HeNormal(next(self.seeds))

    def padded(self, x: Any, size: int, stride: int, name: str) -> tuple[Any, str]:
        """`x`, padded if needed, and the `padding` of the convolution that reads it."""
        # With stride 1 and an odd size 'same' is symmetric already.
        if not self.symmetric or stride == 1 or size == 1:
            return x, "same"
        return layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x), "valid"

    def conv(self, x: Any, filters: int, size: int, stride: int, name: str) -> Any:
        x, padding = self.padded(x, size, stride, name)
        return layers.Conv2D(
            filters,
            size,
            strides=stride,
            padding=padding,
            use_bias=False,
            kernel_initializer=self.he(),
            name=name,
        )(x)

    def depthwise(self, x: Any, size: int, stride: int, name: str) -> Any:
        x, padding = self.padded(x, size, stride, name)
        # He's variance for `size * size` inputs: HeNormal itself would count all channels.
        initializer = keras.initializers.VarianceScaling(2.0 * int(x.shape[-1]), seed=next(self.seeds))
        return layers.DepthwiseConv2D(
            size,
            strides=stride,
            padding=padding,
            use_bias=False,
            depthwise_initializer=initializer,
            name=name,
        )(x)

    def bn(self, x: Any, name: str, **arguments: Any) -> Any:
        # Momentum 0.9: the statistics follow the moving masks within a few dozen steps.
        return self.batch_norm(momentum=0.9, epsilon=self.epsilon, name=name, **arguments)(x)

    def bn_relu(self, x: Any, bn: str, relu: str) -> Any:
        return layers.ReLU(name=relu)(self.bn(x, bn))

    def shortcut(self, x: Any, filters: int, stride: int, name: str) -> Any:
        """`x` itself, or a 1x1 convolution with BN where the shape changes."""
        if stride == 1 and x.shape[-1] == filters:
            return x
        return self.bn(self.conv(x, filters, 1, stride, f"{name}_short_conv"), f"{name}_short_bn")

    def masked(self, x: Any, groups: Sequence[int], mask: Any, name: str) -> Any:
        """`x` times its (B, G) mask, or `x` if there is none."""
        return x if mask is None else ApplyMask(groups, name=f"{name}_mask")([x, mask])

    def head(self, x: Any, classes: int) -> Any:
        """(B, classes) logits of the mean over all pixels."""
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        return layers.Dense(classes, kernel_initializer=self.he(), name="head")(x)


def builder(seed: int, batch_norm: BatchNorm, epsilon: float = 1e-3, symmetric: bool = False) -> Builder:
    return Builder(itertools.count(seed * 1000), batch_norm, epsilon, symmetric)


def scaled(channels: int, width: float, multiple: int = 1) -> int:
    """`channels` times `width`, to the nearest multiple of `multiple`, at least one of it.

    At width 1 the channels are returned as they are, so that a wrong number is reported where
    it is used, not mended.
    """
    if width <= 0:
        raise ValueError(f"width must be above 0, got {width}")
    return channels if width == 1 else multiple * max(1, int(channels * width / multiple + 0.5))


def contiguous(channels: int, group: int, where: str) -> list[int]:
    """Group ids of `channels` channels, `group` neighbours each."""
    if group < 1 or channels % group:
        raise ValueError(f"{where}: {channels} channels are not whole groups of {group}")
    return [channel // group for channel in range(channels)]


def group_ids(channel_groups: Mapping[str, Sequence[int]] | None, name: str, channels: int, group: int) -> list[int]:
    """(channels,) group ids of block `name`: the given ones, or contiguous."""
    if channel_groups is None or name not in channel_groups:
        return contiguous(channels, group, name)
    return [int(g) for g in channel_groups[name]]
