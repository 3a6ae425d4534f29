# SPDX-License-Identifier: Apache-2.0
"""Residual bottlenecks around a convolution that learns its groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import layers

from acsgen.nn.zoo.builder import BatchNorm, Builder, builder, group_ids, scaled
from acsgen.nn.zoo.convolutions import Conv3x3, block_convolution
from acsgen.nn.zoo.gates import Gate, add_gate

__all__ = ["FASHION_BLOCKS", "Block", "acs_bottleneck_resnet"]


@dataclass(frozen=True)
class Block:
    """One residual block: `name` prefixes its layers, widths are in channels."""

    name: str
    middle: int  # channels between the 1x1 convolutions
    out: int  # output channels
    group_size: int  # channels a group of the 3x3 convolution, divides `middle`
    stride: int = 1  # of the 3x3 convolution and the shortcut


# 28x28 input, 14x14 after the stem: few, fat blocks, because adds, pools and shortcuts cost
# instructions that no mask can save.
FASHION_BLOCKS: tuple[Block, ...] = (
    Block("a1", middle=64, out=32, group_size=8),
    Block("b1", middle=64, out=64, group_size=8, stride=2),
    Block("b2", middle=64, out=64, group_size=16),
    Block("c1", middle=128, out=128, group_size=16, stride=2),
)


def acs_bottleneck_resnet(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    stem: int = 32,
    stem_stride: int = 2,
    blocks: Sequence[Block] = FASHION_BLOCKS,
    classes: int = 10,
    gated: bool = True,
    channel_groups: Mapping[str, Sequence[int]] | None = None,
    gate_hidden: int = 16,
    gate_open: float = 0.9,
    seed: int = 0,
    batch_norm: BatchNorm = layers.BatchNormalization,
    name: str = "acs_bottleneck_resnet",
    gate: str = "grid",
    width: float = 1.0,
    conv: str = "dg",
) -> keras.Model:
    """Residual network whose bottlenecks are skipped group by group.

    Input (B, H, W, C) float32 in [0, 1], output (B, classes) float32 logits (no softmax).

    Stem: 3x3 convolution with `stem` channels and `stem_stride`, BN, ReLU. Then per block:

        in -> conv1 1x1 -> bn1 -> relu1 -> dg 3x3/stride -> bn2 -> relu2 -> mask -> conv3 1x1
           -> bn3 -> add(shortcut) -> out (ReLU)
        shortcut: in, or short_conv 1x1/stride -> short_bn where shape changes
        gate: in -> one of `acsgen.nn.zoo.gates` -> mask

    Then global average pool and `head`. Layers are called `<block>_<part>`.

    The groups of a mask are the learned groups of the block's 3x3 convolution, so a closed bit
    saves the group's conv1 outputs, its 3x3 and its conv3 inputs. They are fixed when a mask
    is built: pass `channel_groups[block name]`, (middle,) group ids of a trained dense twin
    (see `gated_twin`); without it, groups are contiguous and not learned.
    `gated=False` builds the twin without gates and masks, with learned groups.

    `conv` is the kind of the 3x3 convolution, see `acsgen.nn.zoo.convolutions`. Other kinds than
    "dg" are called `<block>_conv2`; their masks have groups of neighbours, and with "plain" and
    "separable" a closed bit saves nothing in front of the 3x3 or 1x1 that writes the group.
    `gate` is the gates' design, `gate_hidden` their width inside, `gate_open` the probability that
    a fresh gate's bias stands for. `width` scales every channel count: `middle` to multiples of
    the group size, the others to multiples of 4. `batch_norm` is the class of the BN layers, for
    a faster one in training.
    """
    if len({block.name for block in blocks}) != len(blocks):
        raise ValueError("acs_bottleneck_resnet: block names must differ")
    make = builder(seed, batch_norm)
    design = Gate(gate, gate_hidden, gate_open)
    inputs = keras.Input(input_shape, name="image")
    x = make.conv(inputs, scaled(stem, width, 4), 3, stem_stride, "stem_conv")
    x = make.bn_relu(x, "stem_bn", "stem_relu")
    for block in blocks:
        block = replace(block, middle=scaled(block.middle, width, block.group_size), out=scaled(block.out, width, 4))
        groups = mask = None
        if gated:
            groups = group_ids(channel_groups, block.name, block.middle, block.group_size)
            mask = add_gate(make, x, block.name, max(groups) + 1, design)
        x = _block(make, x, block, conv, groups, mask)
    return keras.Model(inputs, make.head(x, classes), name=name)


def _block(make: Builder, x: Any, block: Block, conv: str, groups: list[int] | None, mask: Any) -> Any:
    """Residual block, masked if `groups` and the (B, G) `mask` are given."""
    n = block.name
    y = make.conv(x, block.middle, 1, 1, f"{n}_conv1")
    y = make.bn_relu(y, f"{n}_bn1", f"{n}_relu1")
    y = block_convolution(make, y, conv, Conv3x3(block.middle, block.stride, block.group_size, groups), n)
    y = make.bn_relu(y, f"{n}_bn2", f"{n}_relu2")
    y = make.masked(y, groups or (), mask, n)
    y = make.bn(make.conv(y, block.out, 1, 1, f"{n}_conv3"), f"{n}_bn3")
    x = make.shortcut(x, block.out, block.stride, n)
    return layers.ReLU(name=f"{n}_out")(layers.Add(name=f"{n}_add")([y, x]))
