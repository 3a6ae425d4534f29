# SPDX-License-Identifier: Apache-2.0
"""Int8 graphs to measure kernels with: ordinary scales, random weights from a fixed seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod, sqrt

import numpy as np

from acsgen.golden.arithmetic import activation_range, quantize_multipliers
from acsgen.graph import Add, ApplyMask, AvgPool, Conv2D, Dense, DepthwiseConv2D, Flatten, Gate, Graph, Op, Tensor
from acsgen.graph.ir import make_graph
from acsgen.graph.ops import Padding, Pair, Requantize, Shape

INPUT = "x"
#: Standard deviation of weights; of sums after requantisation.
WEIGHT_SPREAD, OUTPUT_SPREAD = 25.0, 40.0


class Net:
    """A graph in the making. Its methods append an operator and return the name of what it writes."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._ops: list[Op] = []
        self._tensors = {INPUT: Tensor(INPUT, shape, 0.05, 0)}

    def graph(self, output: str, name: str = "bench") -> Graph:
        return make_graph(name, self._tensors[INPUT], output, self._ops, self._tensors)

    def conv(
        self, x: str, filters: int, kernel: int = 3, stride: int = 1, groups: int = 1, activation: str = "relu"
    ) -> str:
        """A 'same' convolution."""
        height, width, channels = self._tensors[x].shape
        weights = self._weights((filters, kernel, kernel, channels // groups))
        padding = Padding.same((height, width), (kernel, kernel), (stride, stride))
        how = self._requantize(filters, prod(weights.shape[1:]), activation)
        bias = self._rng.integers(-2000, 2001, filters).astype(np.int32)
        steps = (stride, stride)
        return self._add(
            lambda name: Conv2D(
                name, (x,), name, weights, bias, steps, padding, (1, 1), groups, activation, requantize=how
            ),
            activation,
        )

    def depthwise(self, x: str, kernel: int = 3, stride: int = 1) -> str:
        height, width, channels = self._tensors[x].shape
        weights = self._weights((kernel, kernel, channels))
        padding = Padding.same((height, width), (kernel, kernel), (stride, stride))
        how = self._requantize(channels, kernel * kernel, "relu")
        bias = self._rng.integers(-2000, 2001, channels).astype(np.int32)
        return self._add(
            lambda name: DepthwiseConv2D(
                name, (x,), name, weights, bias, (stride, stride), padding, (1, 1), "relu", requantize=how
            ),
            "relu",
        )

    def dense(self, x: str, outputs: int) -> str:
        weights = self._weights((outputs, prod(self._tensors[x].shape)))
        how = self._requantize(outputs, weights.shape[1], "none")
        bias = np.zeros(outputs, np.int32)
        return self._add(lambda name: Dense(name, (x,), name, weights, bias, requantize=how), "none")

    def add(self, x: str, y: str) -> str:
        return self._add(lambda name: Add(name, (x, y), name, "relu"), "relu")

    def global_pool(self, x: str) -> str:
        size: Pair = (self._tensors[x].shape[0], self._tensors[x].shape[1])
        source = self._tensors[x]
        return self._put(lambda name: AvgPool(name, (x,), name, size, size), source.scale, source.zero_point)

    def flatten(self, x: str) -> str:
        source = self._tensors[x]
        return self._put(lambda name: Flatten(name, (x,), name), source.scale, source.zero_point)

    def gate(self, x: str, opened: Sequence[bool]) -> str:
        """A gate that always decides the same."""
        pooled = self.flatten(self.global_pool(x))
        weights = np.zeros((len(opened), prod(self._tensors[pooled].shape)), np.int8)
        bias = np.where(opened, 1000, -1000).astype(np.int32)
        how = self._requantize(len(opened), 1, "none")
        logits = self._add(lambda name: Dense(name, (pooled,), name, weights, bias, requantize=how), "none")
        return self._put(lambda name: Gate(name, (logits,), name), None, 0)

    def mask(self, x: str, gate: str) -> str:
        groups, source = self._tensors[gate].shape[0], self._tensors[x]
        partition = tuple(np.repeat(np.arange(groups), source.shape[-1] // groups).tolist())
        return self._put(lambda name: ApplyMask(name, (x, gate), name, partition), source.scale, source.zero_point)

    def _weights(self, shape: Shape) -> np.ndarray:
        return np.clip(np.rint(self._rng.normal(0, WEIGHT_SPREAD, shape)), -127, 127).astype(np.int8)

    def _requantize(self, channels: int, depth: int, activation: str) -> Requantize:
        """Scales that bring the sums of `depth` products to OUTPUT_SPREAD."""
        real = OUTPUT_SPREAD / (WEIGHT_SPREAD * OUTPUT_SPREAD * sqrt(depth)) * self._rng.uniform(0.5, 1.5, channels)
        return Requantize(*quantize_multipliers(real), *activation_range(activation, self._written("", activation)))

    def _written(self, name: str, activation: str) -> Tensor:
        return Tensor(name, (), 0.05, 0 if activation == "none" else -128)

    def _add(self, make: Callable[[str], Op], activation: str) -> str:
        tensor = self._written("", activation)
        return self._put(make, tensor.scale, tensor.zero_point)

    def _put(self, make: Callable[[str], Op], scale: float | None, zero_point: int) -> str:
        op = make(f"op{len(self._ops)}")
        shape = op.output_shape(*(self._tensors[name].shape for name in op.inputs))
        self._ops.append(op)
        self._tensors[op.output] = Tensor(op.output, shape, scale, zero_point)
        return op.output


def conv_chain(size: int, channels: int, kernel: int, groups: int = 1, *, length: int) -> Graph:
    """`length` equal convolutions behind each other."""
    net, x = Net((size, size, channels)), INPUT
    for _ in range(length):
        x = net.conv(x, channels, kernel, 1, groups)
    return net.graph(x)


def depthwise_chain(size: int, channels: int, kernel: int, *, length: int) -> Graph:
    net, x = Net((size, size, channels)), INPUT
    for _ in range(length):
        x = net.depthwise(x, kernel)
    return net.graph(x)


def gated_chain(size: int, channels: int, kernel: int, groups: int, opened: int, *, length: int) -> Graph:
    """`length` convolutions behind each other, all of them masked by one gate that opens `opened` of its groups.

    Two lengths differ by convolutions that skip inputs and outputs, and by nothing else.
    """
    net = Net((size, size, channels))
    gate = net.gate(INPUT, np.arange(groups) * opened % groups < opened)
    x = net.mask(net.conv(INPUT, channels, 1), gate)
    for _ in range(length):
        x = net.mask(net.conv(x, channels, kernel), gate)
    return net.graph(net.dense(net.flatten(net.global_pool(net.conv(x, 4, 1))), 2))
