# SPDX-License-Identifier: Apache-2.0
"""Basic residual blocks with the mask on their inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
from keras import layers

from acsgen.nn.zoo.builder import BatchNorm, Builder, builder, group_ids, scaled
from acsgen.nn.zoo.gates import Gate, add_gate

__all__ = ["RESNET8", "acs_resnet"]

#: Arguments of `acs_resnet` that give, ungated, the shape of MLPerf Tiny's ResNet8 for CIFAR-10.
RESNET8: Mapping[str, Any] = MappingProxyType({"input_shape": (32, 32, 3), "stem_stride": 1})


def acs_resnet(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    stem: int = 16,
    stem_stride: int = 2,
    widths: Sequence[int] = (16, 32, 64),
    strides: Sequence[int] = (1, 2, 2),
    group: int = 4,
    classes: int = 10,
    gated: bool = True,
    width: float = 1.0,
    gate: str = "grid",
    gate_hidden: int = 16,
    gate_open: float = 0.9,
    channel_groups: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    batch_norm: BatchNorm = layers.BatchNormalization,
    name: str = "acs_resnet",
) -> keras.Model:
    """Residual network whose blocks are skipped from the inside.

    Input (B, H, W, C) float32 in [0, 1], output (B, classes) float32 logits (no softmax).

    Stem: 3x3 convolution with `stem` channels and `stem_stride`, BN, ReLU. Then a block for
    every entry of `widths` (output and middle channels) and `strides`, called b1, b2, ...:

        in -> conv1 3x3/stride -> bn1 -> relu1 -> mask -> conv2 3x3 -> bn2 -> add(shortcut)
           -> out (ReLU)
        shortcut: in, or short_conv 1x1/stride -> short_bn where shape changes
        gate: in -> one of `acsgen.nn.zoo.gates` -> mask

    Then global average pool and `head`. Layers are called `<block>_<part>`.

    A mask bit stands for `group` neighbouring middle channels, or for those that
    `channel_groups[block name]` gives the same id. A closed bit saves conv1 outputs and the same
    inputs of conv2. `width` scales stem and widths, to multiples of `group`. `gated=False`
    builds the twin without gates and masks.
    """
    if len(widths) != len(strides):
        raise ValueError(f"acs_resnet: {len(widths)} widths but {len(strides)} strides")
    make = builder(seed, batch_norm)
    design = Gate(gate, gate_hidden, gate_open)
    inputs = keras.Input(input_shape, name="image")
    x = make.conv(inputs, scaled(stem, width, group), 3, stem_stride, "stem_conv")
    x = make.bn_relu(x, "stem_bn", "stem_relu")
    for number, (channels, stride) in enumerate(zip(widths, strides, strict=True), 1):
        block, channels = f"b{number}", scaled(channels, width, group)
        groups = group_ids(channel_groups, block, channels, group)
        mask = add_gate(make, x, block, max(groups) + 1, design) if gated else None
        x = _block(make, x, block, channels, stride, groups, mask)
    return keras.Model(inputs, make.head(x, classes), name=name)


def _block(make: Builder, x: Any, name: str, channels: int, stride: int, groups: list[int], mask: Any) -> Any:
    y = make.conv(x, channels, 3, stride, f"{name}_conv1")
    y = make.bn_relu(y, f"{name}_bn1", f"{name}_relu1")
    y = make.masked(y, groups, mask, name)
    y = make.bn(make.conv(y, channels, 3, 1, f"{name}_conv2"), f"{name}_bn2")
    x = make.shortcut(x, channels, stride, name)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([y, x]))
