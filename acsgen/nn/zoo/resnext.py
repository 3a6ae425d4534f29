# SPDX-License-Identifier: Apache-2.0
"""Learned groups without gates (ACS-DG alone), and what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
from keras import layers

from acsgen.nn.zoo.bottleneck import Block, acs_bottleneck_resnet
from acsgen.nn.zoo.builder import BatchNorm

__all__ = ["RESNEXT_BLOCKS", "g_resnext"]

RESNEXT_BLOCKS: tuple[Block, ...] = (
    Block("a1", middle=32, out=32, group_size=4),
    Block("a2", middle=32, out=32, group_size=4),
    Block("b1", middle=64, out=64, group_size=4, stride=2),
    Block("b2", middle=64, out=64, group_size=4),
    Block("c1", middle=128, out=128, group_size=4, stride=2),
)


def g_resnext(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    stem: int = 32,
    stem_stride: int = 2,
    blocks: Sequence[Block] = RESNEXT_BLOCKS,
    classes: int = 10,
    gated: bool = False,
    width: float = 1.0,
    conv: str = "dg",
    gate: str = "grid",
    channel_groups: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    batch_norm: BatchNorm = layers.BatchNormalization,
    name: str = "g_resnext",
) -> keras.Model:
    """Residual network of grouped bottlenecks, as ResNeXt, that learns which channels form a group.

    The graph is that of `acs_bottleneck_resnet(gated=False)`, see there for the layers, with
    smaller groups. `conv` is the kind of the blocks' 3x3 convolution, for comparison: "dg"
    (learned groups), "grouped" (fixed ones), "separable", "plain".

    It has no gated form: `gated=True` raises ValueError. `gate` and `channel_groups` are there
    because every network of the zoo takes them; they are not read.
    """
    if gated:
        raise ValueError("g_resnext has no gated form: take acs_bottleneck_resnet, its blocks with gates")
    return acs_bottleneck_resnet(
        input_shape=input_shape,
        stem=stem,
        stem_stride=stem_stride,
        blocks=blocks,
        classes=classes,
        gated=False,
        width=width,
        conv=conv,
        seed=seed,
        batch_norm=batch_norm,
        name=name,
    )
