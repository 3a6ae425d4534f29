# SPDX-License-Identifier: Apache-2.0
"""Inverted bottlenecks around a depthwise convolution, with the mask on the expanded channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from acsgen.nn.zoo.builder import BatchNorm, Builder, builder, group_ids, scaled
from acsgen.nn.zoo.gates import Gate, add_gate

__all__ = ["acs_mobilenet"]


def acs_mobilenet(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    stem: int = 16,
    stem_stride: int = 2,
    widths: Sequence[int] = (16, 32, 32, 64, 64),
    strides: Sequence[int] = (1, 2, 1, 2, 1),
    expansion: int = 4,
    group: int = 8,
    classes: int = 10,
    gated: bool = True,
    width: float = 1.0,
    gate: str = "grid",
    gate_hidden: int = 16,
    gate_open: float = 0.9,
    channel_groups: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    batch_norm: BatchNorm = layers.BatchNormalization,
    name: str = "acs_mobilenet",
) -> keras.Model:
    """Depthwise-separable network whose blocks are skipped from the inside.

    Input (B, H, W, C) float32 in [0, 1], output (B, classes) float32 logits (no softmax).

    Stem: 3x3 convolution with `stem` channels and `stem_stride`, BN, ReLU. Then a block for
    every entry of `widths` (output channels) and `strides`, called b1, b2, ...:

        in -> expand 1x1 -> bn1 -> relu1 -> depthwise 3x3/stride -> bn2 -> relu2 -> mask
           -> project 1x1 -> bn3 -> add(in) where the shape is the same
        gate: in -> one of `acsgen.nn.zoo.gates` -> mask

    Then global average pool and `head`. Layers are called `<block>_<part>`. A block has
    `expansion` times as many channels inside as it reads.

    A mask bit stands for `group` neighbouring expanded channels, or for those that
    `channel_groups[block name]` gives the same id. A closed bit saves all that belongs to them:
    expand outputs, the depthwise and project inputs. `width` scales stem and widths, to multiples
    of 4, and the insides, to multiples of `group`. `gated=False` builds the twin without gates and
    masks.
    """
    if len(widths) != len(strides):
        raise ValueError(f"acs_mobilenet: {len(widths)} widths but {len(strides)} strides")
    make = builder(seed, batch_norm)
    design = Gate(gate, gate_hidden, gate_open)
    inputs = keras.Input(input_shape, name="image")
    x = make.conv(inputs, scaled(stem, width, 4), 3, stem_stride, "stem_conv")
    x = make.bn_relu(x, "stem_bn", "stem_relu")
    reads = stem
    for number, (channels, stride) in enumerate(zip(widths, strides, strict=True), 1):
        block, inside = f"b{number}", scaled(expansion * reads, width, group)
        groups = group_ids(channel_groups, block, inside, group)
        mask = add_gate(make, x, block, max(groups) + 1, design) if gated else None
        x = _block(make, x, block, inside, scaled(channels, width, 4), stride, groups, mask)
        reads = channels
    return keras.Model(inputs, make.head(x, classes), name=name)


def _block(
    make: Builder, x: Any, name: str, inside: int, channels: int, stride: int, groups: list[int], mask: Any
) -> Any:
    y = make.conv(x, inside, 1, 1, f"{name}_expand")
    y = make.bn_relu(y, f"{name}_bn1", f"{name}_relu1")
    y = make.depthwise(y, 3, stride, f"{name}_depthwise")
    y = make.bn_relu(y, f"{name}_bn2", f"{name}_relu2")
    y = make.masked(y, groups, mask, name)
    y = make.bn(make.conv(y, channels, 1, 1, f"{name}_project"), f"{name}_bn3")
    return layers.Add(name=f"{name}_add")([y, x]) if x.shape == y.shape else y
