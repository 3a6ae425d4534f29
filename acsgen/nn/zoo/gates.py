# SPDX-License-Identifier: Apache-2.0
"""Gate designs: what looks at a feature map and decides which channel groups are computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import keras
import numpy as np
from keras import layers

from acsgen.nn.layers import ChannelGate
from acsgen.nn.zoo.builder import Builder
from acsgen.nn.zoo.convolutions import Conv3x3, convolution

__all__ = ["GATES", "Design", "Gate", "add_gate"]


@dataclass(frozen=True)
class Gate:
    """Which gate, and how large."""

    design: str = "grid"  # a row of GATES
    hidden: int = 16  # channels or units inside
    open: float = 0.9  # probability that a fresh gate's bias stands for, 0..1, ends excluded


Design = Callable[[Builder, Any, str, int, Gate], Any]


def add_gate(make: Builder, x: Any, name: str, groups: int, gate: Gate) -> Any:
    """(B, H, W, C) features -> (B, groups) mask, by layers called `<name>_gate...`."""
    if gate.design not in GATES:
        raise ValueError(f"no gate design is called {gate.design!r}: choose from {', '.join(GATES)}")
    if not 0 < gate.open < 1:
        raise ValueError(f"gate_open must be between 0 and 1, ends excluded, got {gate.open}")
    logits = GATES[gate.design](make, x, f"{name}_gate", groups, gate)
    return ChannelGate(seed=next(make.seeds), name=f"{name}_gate")(logits)


def _logits(make: Builder, f: Any, name: str, groups: int, gate: Gate) -> Any:
    return layers.Dense(
        groups,
        kernel_initializer=keras.initializers.GlorotUniform(next(make.seeds)),
        bias_initializer=keras.initializers.Constant(math.log(gate.open / (1.0 - gate.open))),
        name=f"{name}_fc2",
    )(f)


def _grid_mean(x: Any, name: str) -> Any:
    """(B, H, W, C) -> (B, 4 * C): means over a 2x2 grid."""
    rows, columns = int(x.shape[1]), int(x.shape[2])
    # Window ceil(n/2), stride floor(n/2): two windows cover n, and share a pixel if n is odd.
    f = layers.AveragePooling2D(
        ((rows + 1) // 2, (columns + 1) // 2),
        strides=(max(rows // 2, 1), max(columns // 2, 1)),
        padding="valid",
        name=f"{name}_pool",
    )(x)
    return layers.Flatten(name=f"{name}_flatten")(f)


def _global_mean(x: Any, name: str) -> Any:
    """(B, H, W, C) -> (B, C)."""
    return layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)


def _perceptron(mean: Callable[[Any, str], Any]) -> Design:
    """Means -> dense, BN, ReLU -> dense."""

    def add(make: Builder, x: Any, name: str, groups: int, gate: Gate) -> Any:
        f = layers.Dense(gate.hidden, use_bias=False, kernel_initializer=make.he(), name=f"{name}_fc1")(mean(x, name))
        return _logits(make, make.bn_relu(f, f"{name}_bn", f"{name}_relu"), name, groups, gate)

    return add


def _convolutional(kind: str) -> Design:
    """1x1/2 -> 3x3/2 -> BN, ReLU -> 3x3 -> global mean -> dense, which is a 1x1 with bias."""

    def add(make: Builder, x: Any, name: str, groups: int, gate: Gate) -> Any:
        group = max(1, gate.hidden // 4)
        f = make.conv(x, gate.hidden, 1, 2, f"{name}_conv1")
        f = convolution(make, f, kind, Conv3x3(gate.hidden, 2, group), f"{name}_conv2")
        f = make.bn_relu(f, f"{name}_bn", f"{name}_relu")
        f = convolution(make, f, kind, Conv3x3(gate.hidden, 1, group), f"{name}_conv3")
        return _logits(make, _global_mean(f, name), name, groups, gate)

    return add


def _feedforward(make: Builder, x: Any, name: str, groups: int, gate: Gate) -> Any:
    """Max pool/2 -> 3x3, BN, ReLU -> 3x3/2, BN, ReLU -> global mean -> dense."""
    window = min(2, int(x.shape[1])), min(2, int(x.shape[2]))
    f = layers.MaxPooling2D(window, name=f"{name}_max")(x)
    for number, stride in ((1, 1), (2, 2)):
        f = make.conv(f, gate.hidden, 3, stride, f"{name}_conv{number}")
        f = make.bn_relu(f, f"{name}_bn{number}", f"{name}_relu{number}")
    return _logits(make, _global_mean(f, name), name, groups, gate)


def _drawn(make: Builder, x: Any, name: str, gate: Gate) -> Any:
    """The hidden units of a grid gate whose weights stay as they are drawn."""
    dense = layers.Dense(gate.hidden, use_bias=False, kernel_initializer=make.he(), trainable=False, name=f"{name}_fc1")
    # Without scale and offset BN has nothing to learn, but its statistics follow the features.
    f = make.bn(dense(_grid_mean(x, name)), f"{name}_bn", scale=False, center=False)
    return layers.ReLU(name=f"{name}_relu")(f)


def _random(make: Builder, x: Any, name: str, groups: int, gate: Gate) -> Any:
    last = layers.Dense(groups, trainable=False, name=f"{name}_fc2")
    logits = last(_drawn(make, x, name, gate))
    kernel = keras.initializers.GlorotUniform(next(make.seeds))((gate.hidden, groups))
    kernel = np.asarray(keras.ops.convert_to_numpy(kernel), np.float32)
    # The ReLU of a standard normal has mean 1 / sqrt(2 pi) and variance 1/2 - 1 / (2 pi). The sum
    # of many is about normal; the bias lifts a share of `open` of it above 0.
    mean = kernel.sum(axis=0) / math.sqrt(2 * math.pi)
    deviation = np.sqrt((kernel**2).sum(axis=0) * (0.5 - 0.5 / math.pi))
    last.set_weights([kernel, deviation * NormalDist().inv_cdf(gate.open) - mean])
    return logits


def _constant(make: Builder, x: Any, name: str, groups: int, gate: Gate) -> Any:
    last = layers.Dense(
        groups,
        kernel_initializer="zeros",
        # For a reloaded network that is trained on: its kernel is an ordinary one again.
        kernel_constraint=keras.constraints.MaxNorm(0.0),
        bias_initializer=keras.initializers.Constant(math.log(gate.open / (1.0 - gate.open))),
        name=f"{name}_fc2",
    )
    logits = last(_drawn(make, x, name, gate))
    last.kernel.trainable = False
    return logits


#: Name of a design -> its function: features (B, H, W, C) -> logits (B, groups).
#:
#: - "grid": perceptron on the means over a 2x2 grid; the default, cheap and at least as good,
#: - "squeeze": perceptron on the global means, as in squeeze-and-excite blocks,
#: - "conv": the paper's ACS-GN, with learned groups; "conv_grouped", "conv_separable" and
#:   "conv_plain" are the same with other 3x3 convolutions, see `acsgen.nn.zoo.convolutions`,
#: - "feedforward": two 3x3 convolutions behind a max pool, as SkipNet and DDI have it,
#: - "random": a grid gate that is drawn and never trained; about `open` of its bits are on once
#:   its BN knows the features' statistics,
#: - "constant": a grid gate that only learns a bias, so that its masks do not look at the input.
GATES: Mapping[str, Design] = {
    "grid": _perceptron(_grid_mean),
    "squeeze": _perceptron(_global_mean),
    "conv": _convolutional("dg"),
    "conv_plain": _convolutional("plain"),
    "conv_grouped": _convolutional("grouped"),
    "conv_separable": _convolutional("separable"),
    "feedforward": _feedforward,
    "random": _random,
    "constant": _constant,
}
