# SPDX-License-Identifier: Apache-2.0
"""A builder of small float graphs, and groupings of channels for them.

The builder computes every tensor on a handful of samples while the graph grows, so that gates can be
given thresholds at which they open on some samples and close on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.graph.evaluate import OPERATORS
from acsgen.graph.ir import Graph, Tensor, make_graph
from acsgen.graph.ops import (
    Add,
    ApplyMask,
    AvgPool,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    MaxPool,
    Op,
    Pad,
    Padding,
    Pair,
    Relu,
    Reshape,
    Shape,
    Shuffle,
)

Rng = np.random.Generator
Float = NDArray[np.float32]
Partition = tuple[int, ...]

#: Samples on which a graph is computed while it grows, and which calibrate it.
SAMPLES = 12


class Builder:
    """Grows a float graph. Every method appends an operator and returns the name of its output."""

    def __init__(self, rng: Rng, shape: Shape, name: str = "net") -> None:
        self.rng = rng
        self.graph_name = name
        self.ops: list[Op] = []
        self.values: dict[str, Float] = {"x": varied(rng, SAMPLES, shape)}

    @property
    def samples(self) -> Float:
        """The inputs on which the graph was computed: (SAMPLES, *shape)."""
        return self.values["x"]

    def graph(self, output: str) -> Graph:
        return make_graph(self.graph_name, Tensor("x", self.shape("x")), output, self.ops)

    def shape(self, tensor: str) -> Shape:
        return self.values[tensor].shape[1:]

    def channels(self, tensor: str) -> int:
        return self.shape(tensor)[-1]

    def put(self, kind: type[Op], *inputs: str, **fields: Any) -> str:
        """Any operator, called after its class and its place."""
        name = f"{kind.__name__.lower()}{len(self.ops)}"
        op = kind(name, inputs, name, **fields)
        self.ops.append(op)
        self.values[name] = OPERATORS[kind](op, *(self.values[i] for i in inputs))
        return name

    def conv(
        self,
        source: str,
        channels: int,
        kernel: Pair = (3, 3),
        stride: Pair = (1, 1),
        *,
        dilation: Pair = (1, 1),
        same: bool = True,
        padding: Padding | None = None,
        groups: int = 1,
        activation: str = "none",
        partition: Partition | None = None,
    ) -> str:
        depth = self.channels(source) // groups
        return self.put(
            Conv2D,
            source,
            weights=self._weights((channels, *kernel, depth), depth * prod(kernel)),
            bias=self._bias(channels),
            stride=stride,
            padding=padding or self._padding(source, kernel, stride, dilation, same),
            dilation=dilation,
            groups=groups,
            activation=activation,
            partition=partition,
        )

    def dgconv(self, source: str, partition: Partition, kernel: Pair = (3, 3), stride: Pair = (1, 1)) -> str:
        return self.conv(source, len(partition), kernel, stride, partition=partition)

    def depthwise(
        self,
        source: str,
        kernel: Pair = (3, 3),
        stride: Pair = (1, 1),
        *,
        dilation: Pair = (1, 1),
        same: bool = True,
        padding: Padding | None = None,
        activation: str = "none",
    ) -> str:
        channels = self.channels(source)
        return self.put(
            DepthwiseConv2D,
            source,
            weights=self._weights((*kernel, channels), prod(kernel)),
            bias=self._bias(channels),
            stride=stride,
            padding=padding or self._padding(source, kernel, stride, dilation, same),
            dilation=dilation,
            activation=activation,
        )

    def dense(self, source: str, outputs: int, activation: str = "none") -> str:
        """Reads an image without a Flatten, too."""
        inputs = prod(self.shape(source))
        return self.put(
            Dense,
            source,
            weights=self._weights((outputs, inputs), inputs),
            bias=self._bias(outputs),
            activation=activation,
        )

    def batch_norm(self, source: str) -> str:
        channels = self.channels(source)
        scale = self.rng.choice([-1.0, 1.0], channels) * self.rng.uniform(0.5, 1.5, channels)
        return self.put(BatchNorm, source, scale=scale.astype(np.float32), offset=self._bias(channels))

    def relu(self, source: str, activation: str = "relu") -> str:
        return self.put(Relu, source, activation=activation)

    def add(self, a: str, b: str, activation: str = "none") -> str:
        return self.put(Add, a, b, activation=activation)

    def concat(self, *parts: str) -> str:
        return self.put(Concatenate, *parts)

    def pad(self, source: str, padding: Padding) -> str:
        return self.put(Pad, source, padding=padding)

    def reshape(self, source: str, shape: Shape) -> str:
        return self.put(Reshape, source, shape=shape)

    def pool(
        self,
        source: str,
        kind: type[MaxPool] | type[AvgPool] = MaxPool,
        kernel: Pair = (2, 2),
        stride: Pair = (2, 2),
        same: bool = False,
        padding: Padding | None = None,
    ) -> str:
        padding = padding or self._padding(source, kernel, stride, (1, 1), same)
        return self.put(kind, source, kernel=kernel, stride=stride, padding=padding)

    def global_pool(self, source: str, kind: type[MaxPool] | type[AvgPool] = AvgPool) -> str:
        """(H, W, C) to (1, 1, C)."""
        size = self.shape(source)[:2]
        return self.put(kind, source, kernel=size, stride=size)

    def flatten(self, source: str) -> str:
        return self.put(Flatten, source)

    def shuffle(self, source: str, order: Sequence[int]) -> str:
        return self.put(Shuffle, source, order=tuple(order))

    def features(self, source: str) -> str:
        """One number per channel: (H, W, C) or (C,) to (C,)."""
        return source if len(self.shape(source)) == 1 else self.flatten(self.global_pool(source))

    def gate(self, source: str, groups: int) -> str:
        """The mask of a gate that looks at `source`: closed altogether on some samples, open on others.

        The logits of a sample have much in common, and every threshold lies in the widest gap in the
        middle half of its logits, so that rounding decides nothing.
        """
        features = self.features(source)
        count = self.channels(features)
        common, own = self.rng.normal(0, 1, count), self.rng.normal(0, 1, (groups, count))
        weights = ((common + 0.5 * own) / np.sqrt(count)).astype(np.float32)
        bias = np.array([self._threshold(v) for v in (self.values[features] @ weights.T).T], np.float32)
        return self.gate_on(self.logits(features, weights, bias))

    def logits(self, features: str, weights: Float, bias: Float) -> str:
        return self.put(Dense, features, weights=weights, bias=bias)

    def gate_on(self, logits: str) -> str:
        return self.put(Gate, logits)

    def mask(self, source: str, mask: str, partition: Partition | None = None) -> str:
        """partition: by default contiguous ranges."""
        groups = self.channels(mask)
        return self.put(ApplyMask, source, mask, partition=partition or in_order(self.channels(source), groups))

    def _threshold(self, logits: Float) -> float:
        ordered = np.sort(logits)
        quarter = len(ordered) // 4
        at = quarter + int(np.diff(ordered)[quarter:-quarter].argmax())
        gap = ordered[at + 1] - ordered[at]
        if gap > 1e-3:
            return -float(ordered[at] + ordered[at + 1]) / 2
        return -float(ordered[at]) + float(self.rng.choice([-0.5, 0.5]))

    def _padding(self, source: str, kernel: Pair, stride: Pair, dilation: Pair, same: bool) -> Padding:
        height, width, _ = self.shape(source)
        return Padding.same((height, width), kernel, stride, dilation) if same else Padding()

    def _weights(self, shape: Shape, inputs: int) -> Float:
        return self.rng.normal(0, 1 / np.sqrt(inputs), shape).astype(np.float32)

    def _bias(self, channels: int) -> Float:
        return self.rng.normal(0, 0.3, channels).astype(np.float32)


def varied(rng: Rng, count: int, shape: Shape) -> Float:
    """Inputs that differ in brightness and contrast, not only in noise."""
    ones = (1,) * (len(shape) - 1)
    contrast = rng.uniform(0.3, 1.5, (count, *ones, 1))
    brightness = rng.normal(0, 1, (count, *ones, shape[-1]))
    return (rng.normal(0, 1, (count, *shape)) * contrast + brightness).astype(np.float32)


def in_order(channels: int, groups: int) -> Partition:
    """Group g is the g-th range of channels."""
    return tuple(c * groups // channels for c in range(channels))


def mixed(rng: Rng, channels: int, groups: int) -> Partition:
    """Equal groups of channels that lie anywhere."""
    return tuple(rng.permutation(in_order(channels, groups)).tolist())


def relabelled(rng: Rng, partition: Partition) -> Partition:
    """The same groups by other numbers."""
    names = rng.permutation(max(partition) + 1)
    return tuple(int(names[g]) for g in partition)


def merged(rng: Rng, partition: Partition, groups: int, adjacent: bool) -> Partition:
    """Coarser: unions of groups, adjacent ones or any."""
    count = max(partition) + 1
    union = in_order(count, groups) if adjacent else mixed(rng, count, groups)
    return relabelled(rng, tuple(union[g] for g in partition))


def split(rng: Rng, partition: Partition, parts: int) -> Partition:
    """Finer: every group cut into `parts` equal ones."""
    result = np.zeros(len(partition), int)
    for g in range(max(partition) + 1):
        members = np.flatnonzero(np.array(partition) == g)
        result[rng.permutation(members)] = g * parts + np.arange(len(members)) % parts
    return relabelled(rng, tuple(result.tolist()))
