# SPDX-License-Identifier: Apache-2.0
"""Model zoo: networks that skip channels, and their ungated twins.

The graphs hold only ordinary Keras layers and the three of `acsgen.nn.layers`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from acsgen.nn.layers import ApplyMask, ChannelGate, DGConv2D, group_bits

__all__ = ["FASHION_BLOCKS", "Block", "acs_bottleneck_resnet", "copy_weights", "gated_twin"]


@dataclass(frozen=True)
class Block:
    """One residual block: `name` prefixes its layers, widths are in channels."""

    name: str
    middle: int  # channels between the 1x1 convolutions, a power of two
    out: int  # output channels
    group_size: int  # channels a group of the 3x3 convolution, a power of two
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
    batch_norm: type[layers.BatchNormalization] = layers.BatchNormalization,
    name: str = "acs_bottleneck_resnet",
) -> keras.Model:
    """Residual network whose bottlenecks are skipped group by group.

    Input (B, H, W, C) float32 in [0, 1], output (B, classes) float32 logits (no softmax).

    Stem: 3x3 convolution with `stem` channels and `stem_stride`, BN, ReLU. Then per block:

        in -> conv1 1x1 -> bn1 -> relu1 -> dg 3x3/stride -> bn2 -> relu2 -> mask -> conv3 1x1
           -> bn3 -> add(shortcut) -> out (ReLU)
        shortcut: in, or short_conv 1x1/stride -> short_bn where shape changes
        gate: in -> gate_pool (mean over a 2x2 grid) -> gate_flatten -> gate_fc1 (`gate_hidden`)
              -> gate_bn -> gate_relu -> gate_fc2 (one logit a group) -> gate -> mask

    Then global average pool and `head`. Layers are called `<block>_<part>`.

    The groups of a mask are the learned groups of the block's 3x3 convolution, so a closed bit
    saves the group's conv1 outputs, its 3x3 and its conv3 inputs. They are fixed when a mask
    is built: pass `channel_groups[block name]`, (middle,) group ids of a trained dense twin
    (see `gated_twin`); without it, groups are contiguous and not learned.
    `gated=False` builds the twin without gates and masks, with learned groups.
    `gate_open` is the probability that a fresh gate's bias stands for. `batch_norm` is the class
    of the BN layers, for a faster one in training.
    """
    if len({block.name for block in blocks}) != len(blocks):
        raise ValueError("acs_bottleneck_resnet: block names must differ")
    make = _Builder(batch_norm, iter(range(seed * 1000, seed * 1000 + 1000)))
    inputs = keras.Input(input_shape, name="image")
    x = make.conv(inputs, stem, 3, stem_stride, "stem_conv")
    x = layers.ReLU(name="stem_relu")(make.bn(x, "stem_bn"))
    for block in blocks:
        groups: list[int] | None = None
        if gated:
            groups = (
                [int(g) for g in channel_groups[block.name]]
                if channel_groups is not None
                else [c // block.group_size for c in range(block.middle)]
            )
        mask = None
        if groups is not None:
            mask = make.gate(x, block.name, max(groups) + 1, gate_hidden, gate_open)
        x = make.block(x, block, groups, mask)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.Dense(classes, kernel_initializer=make.he(), name="head")(x)
    model = keras.Model(inputs, outputs, name=name)
    for block in blocks if gated else ():
        bits = group_bits(model.get_layer(f"{block.name}_mask").channel_group)
        model.get_layer(f"{block.name}_dg").set_group_bits(bits)
    return model


def gated_twin(dense: keras.Model, **arguments: Any) -> keras.Model:
    """Gated network with the weights and the learned groups of a trained dense twin.

    `arguments` are those that built `dense`, `gated` and `channel_groups` excepted.
    """
    groups = {
        layer.name.removesuffix("_dg"): layer.channel_groups().tolist()
        for layer in dense.layers
        if isinstance(layer, DGConv2D)
    }
    gated = acs_bottleneck_resnet(gated=True, channel_groups=groups, **arguments)
    copy_weights(dense, gated)
    return gated


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of every layer of `source` to the layer of that name in `target`."""
    for layer in source.layers:
        if layer.weights:
            target.get_layer(layer.name).set_weights(layer.get_weights())


@dataclass(frozen=True)
class _Builder:
    """The pieces of a network: each initialiser takes the next seed, so builds repeat."""

    batch_norm: type[layers.BatchNormalization]
    seeds: Iterator[int]

    def he(self) -> keras.initializers.Initializer:
        return keras.initializers.HeNormal(next(self.seeds))

    def conv(self, x: Any, filters: int, size: int, stride: int, name: str) -> Any:
        return layers.Conv2D(
            filters,
            size,
            strides=stride,
            padding="same",
            use_bias=False,
            kernel_initializer=self.he(),
            name=name,
        )(x)

    def bn(self, x: Any, name: str) -> Any:
        # Momentum 0.9: the statistics follow the moving masks within a few dozen steps.
        return self.batch_norm(momentum=0.9, name=name)(x)

    def gate(self, x: Any, name: str, groups: int, hidden: int, gate_open: float) -> Any:
        """(B, H, W, C) features -> (B, groups) mask."""
        rows, columns = int(x.shape[1]), int(x.shape[2])
        # Window ceil(n/2), stride floor(n/2): two windows cover n, and share a pixel if n is odd.
        f = layers.AveragePooling2D(
            ((rows + 1) // 2, (columns + 1) // 2),
            strides=(max(rows // 2, 1), max(columns // 2, 1)),
            padding="valid",
            name=f"{name}_gate_pool",
        )(x)
        f = layers.Flatten(name=f"{name}_gate_flatten")(f)
        f = layers.Dense(hidden, use_bias=False, kernel_initializer=self.he(), name=f"{name}_gate_fc1")(f)
        f = layers.ReLU(name=f"{name}_gate_relu")(self.bn(f, f"{name}_gate_bn"))
        logits = layers.Dense(
            groups,
            kernel_initializer=keras.initializers.GlorotUniform(next(self.seeds)),
            bias_initializer=keras.initializers.Constant(math.log(gate_open / (1.0 - gate_open))),
            name=f"{name}_gate_fc2",
        )(f)
        return ChannelGate(seed=next(self.seeds), name=f"{name}_gate")(logits)

    def block(self, x: Any, block: Block, groups: list[int] | None, mask: Any) -> Any:
        """Residual block, masked if `groups` and the (B, G) `mask` are given."""
        n = block.name
        y = self.conv(x, block.middle, 1, 1, f"{n}_conv1")
        y = layers.ReLU(name=f"{n}_relu1")(self.bn(y, f"{n}_bn1"))
        y = DGConv2D(
            block.middle,
            3,
            strides=block.stride,
            group_size=block.group_size,
            learn_groups=groups is None,
            kernel_initializer=self.he(),
            gate_initializer=keras.initializers.RandomUniform(-1.0, 1.0, seed=next(self.seeds)),
            name=f"{n}_dg",
        )(y)
        y = layers.ReLU(name=f"{n}_relu2")(self.bn(y, f"{n}_bn2"))
        if groups is not None:
            y = ApplyMask(groups, name=f"{n}_mask")([y, mask])
        y = self.bn(self.conv(y, block.out, 1, 1, f"{n}_conv3"), f"{n}_bn3")
        if block.stride != 1 or x.shape[-1] != block.out:
            x = self.conv(x, block.out, 1, block.stride, f"{n}_short_conv")
            x = self.bn(x, f"{n}_short_bn")
        return layers.ReLU(name=f"{n}_out")(layers.Add(name=f"{n}_add")([y, x]))
