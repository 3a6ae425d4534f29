# SPDX-License-Identifier: Apache-2.0
"""Densely connected networks with masks on the new channels, as in the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
from keras import layers

from acsgen.nn.zoo.builder import BatchNorm, Builder, builder, group_ids, scaled
from acsgen.nn.zoo.convolutions import Conv3x3, block_convolution
from acsgen.nn.zoo.gates import Gate, add_gate

__all__ = ["DENSENET40", "acs_densenet", "densenet40"]

#: Arguments of `acs_densenet` that give the paper's densenet40, see there.
DENSENET40: Mapping[str, Any] = MappingProxyType(
    {
        "input_shape": (32, 32, 3),
        "stem": 64,
        "stem_size": 7,
        "stem_pool": True,
        "growth": 32,
        "bottleneck": 64,
        "blocks": (6, 6, 6),
        "group": 1,
        "conv": "plain",
        "last_transition": True,
        "gate": "conv",
        "gate_hidden": 32,
        "epsilon": 1e-5,
        "symmetric": True,
        "name": "densenet40",
    }
)


def densenet40(input_shape: tuple[int, int, int] = (32, 32, 3), **arguments: Any) -> keras.Model:
    """The paper's densenet40; `arguments` of `acs_densenet` replace those of DENSENET40.

    The paper's authors count 1,214,462 parameters for 10 classes, 486,516 of them gates. These
    are the trainable ones of PyTorch: kernels, BN scales and offsets (not its statistics), biases,
    and the real scalars of the dynamic grouping convolutions.

        727,946  backbone
        453,386  17 gates, one for every layer but the first: (32 C + 19,562) each, where C is the
                 number of channels that a gate reads
         30,826  an 18th gate behind the last layer, whose mask nothing reads
          2,304  a squeeze-and-excite part in each of the 18 gates, 128 each, that is never called

    This network has the first two, 1,181,332; what has no effect is left out.
    """
    return acs_densenet(**{**DENSENET40, "input_shape": input_shape, **arguments})


def acs_densenet(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    stem: int = 16,
    stem_size: int = 3,
    stem_stride: int = 2,
    stem_pool: bool = False,
    growth: int = 16,
    bottleneck: int = 32,
    blocks: Sequence[int] = (3, 3, 3),
    group: int = 4,
    conv: str = "grouped",
    last_transition: bool = False,
    classes: int = 10,
    gated: bool = True,
    width: float = 1.0,
    gate: str = "grid",
    gate_hidden: int = 16,
    gate_open: float = 0.9,
    channel_groups: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    batch_norm: BatchNorm = layers.BatchNormalization,
    epsilon: float = 1e-3,
    symmetric: bool = False,
    name: str = "acs_densenet",
) -> keras.Model:
    """Densely connected network whose layers add only the channels that an input needs.

    Input (B, H, W, C) float32 in [0, 1], output (B, classes) float32 logits (no softmax).

    Stem: convolution `stem_size`/`stem_stride` with `stem` channels, BN, ReLU, and with
    `stem_pool` a max pool 3x3/2. Then blocks b1, b2, ... of as many layers as `blocks` says,
    called b1_l1, b1_l2, ...:

        in -> bn1 -> relu1 -> conv1 1x1 (`bottleneck`) -> bn2 -> relu2 -> conv2 3x3 (`growth`)
           -> mask -> concat(in)

    Between blocks, and with `last_transition` after the last, a transition t1, t2, ...: bn ->
    relu -> conv 1x1 to half the channels -> average pool 2x2. Then final_bn -> final_relu ->
    global average pool -> `head`. Layers are called `<layer>_<part>`.

    A layer's gate reads the concatenation behind the layer before it, also across a transition;
    the first layer has no gate. A mask bit stands for `group` neighbouring new channels, or for
    those that `channel_groups[layer name]` gives the same id. A closed bit saves conv2 outputs and
    inputs of everything that reads the concatenation. `conv` is the kind of conv2, see
    `acsgen.nn.zoo.convolutions`: "plain" is the paper's; with "grouped" or "dg" each group reads
    its own share of the bottleneck, so that a closed bit saves conv1 outputs as well.

    `width` scales the channel counts: growth and bottleneck to multiples of `group`, the stem to
    those of 4. `epsilon` is that of the BN layers; with `symmetric`, strided convolutions and the
    stem's pool are padded alike on all sides, as PyTorch does it. `gated=False` builds the twin
    without gates and masks.
    """
    make = builder(seed, batch_norm, epsilon, symmetric)
    design = Gate(gate, gate_hidden, gate_open)
    growth = scaled(growth, width, group)
    # With groups, every new channel reads a whole number of the bottleneck's.
    bottleneck = scaled(bottleneck, width, growth if conv in ("grouped", "dg") else group)
    inputs = keras.Input(input_shape, name="image")
    x = make.conv(inputs, scaled(stem, width, 4), stem_size, stem_stride, "stem_conv")
    x = make.bn_relu(x, "stem_bn", "stem_relu")
    if stem_pool:
        x, padding = make.padded(x, 3, 2, "stem_pool")  # zeros, which no maximum after a ReLU sees
        x = layers.MaxPooling2D(3, strides=2, padding=padding, name="stem_pool")(x)
    seen = None  # what the next layer's gate reads
    for number, count in enumerate(blocks, 1):
        for place in range(1, count + 1):
            layer = f"b{number}_l{place}"
            groups = group_ids(channel_groups, layer, growth, group)
            mask = add_gate(make, seen, layer, max(groups) + 1, design) if gated and seen is not None else None
            shape = Conv3x3(growth, 1, group, groups if gated else None)
            x = seen = _layer(make, x, layer, bottleneck, conv, shape, groups, mask)
        if number < len(blocks) or last_transition:
            x = _transition(make, x, f"t{number}")
    x = make.bn_relu(x, "final_bn", "final_relu")
    return keras.Model(inputs, make.head(x, classes), name=name)


def _layer(
    make: Builder, x: Any, name: str, bottleneck: int, conv: str, shape: Conv3x3, groups: list[int], mask: Any
) -> Any:
    y = make.bn_relu(x, f"{name}_bn1", f"{name}_relu1")
    y = make.conv(y, bottleneck, 1, 1, f"{name}_conv1")
    y = make.bn_relu(y, f"{name}_bn2", f"{name}_relu2")
    y = block_convolution(make, y, conv, shape, name)
    y = make.masked(y, groups, mask, name)
    return layers.Concatenate(name=f"{name}_concat")([x, y])


def _transition(make: Builder, x: Any, name: str) -> Any:
    x = make.bn_relu(x, f"{name}_bn", f"{name}_relu")
    x = make.conv(x, int(x.shape[-1]) // 2, 1, 1, f"{name}_conv")
    window = min(2, int(x.shape[1])), min(2, int(x.shape[2]))
    return layers.AveragePooling2D(window, name=f"{name}_pool")(x)
