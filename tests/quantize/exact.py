# SPDX-License-Identifier: Apache-2.0
"""Networks of small integers, and the proof that ordering their channels changes no bit.

Weights and inputs are such that float32 sums are exact in any order: equal means equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import numpy as np
from numpy.typing import NDArray

from acsgen.golden import quantize_input, run
from acsgen.graph import ApplyMask, Concatenate, Conv2D, Graph, Op, Shuffle
from acsgen.graph.evaluate import evaluate
from acsgen.graph.ir import rebuild
from acsgen.graph.ops import Padding, Pair, Shape
from acsgen.nn.layers import channel_group_ids, prime_factors
from acsgen.quantize.calibrate import calibrate
from acsgen.quantize.fold import fold
from acsgen.quantize.int8 import quantize_graph
from acsgen.quantize.permute import contiguous, make_groups_contiguous
from tests.graphs import Builder, divisors, mixed

Float = NDArray[np.float32]
Rng = np.random.Generator


class Whole(Builder):
    """A builder whose numbers are small integers or halves of them."""

    def __init__(self, rng: Rng, shape: Shape = (8, 8, 6)) -> None:
        super().__init__(rng, shape)
        self.values["x"] = np.rint(np.clip(self.values["x"] * 2, -4, 4)).astype(np.float32)

    def _weights(self, shape: Shape, inputs: int) -> Float:
        return self.rng.choice([-1, 0, 0, 1], shape).astype(np.float32)

    def _bias(self, channels: int) -> Float:
        return self.rng.integers(-2, 3, channels).astype(np.float32)

    def batch_norm(self, source: str) -> str:
        name = super().batch_norm(source)
        op = self.ops.pop()
        scale = self.rng.choice([-1.0, -0.5, 0.5, 1.0], self.channels(source)).astype(np.float32)
        return self.put(type(op), source, scale=scale, offset=self._bias(self.channels(name)))

    def learned(self, source: str, channels: int, bits: Sequence[int] | None = None, stride: Pair = (1, 1)) -> str:
        """A DGConv from any width to any width, with the given bits or random ones."""
        width = gcd(self.channels(source), channels)
        bits = self.rng.integers(0, 2, len(prime_factors(width))).tolist() if bits is None else bits
        reads, writes = (channel_group_ids(bits, n, width) for n in (self.channels(source), channels))
        return self.grouped(source, tuple(reads.tolist()), tuple(writes.tolist()), stride)

    def grouped(self, source: str, reads: Sequence[int], writes: Sequence[int], stride: Pair = (1, 1)) -> str:
        kernel = (3, 3) if self.rng.random() < 0.5 else (1, 1)
        return self.put(
            Conv2D,
            source,
            weights=self._weights((len(writes), *kernel, len(reads)), 0),
            bias=self._bias(len(writes)),
            stride=stride,
            padding=Padding.same(self.shape(source)[:2], kernel, stride),
            partition=tuple(writes),
            input_partition=None if tuple(reads) == tuple(writes) else tuple(reads),
        )

    def concat(self, *parts: str) -> str:
        return self.put(Concatenate, *parts)

    def any_mask(self, source: str, groups: int | None = None) -> str:
        """Groups of channels from anywhere."""
        width = self.channels(source)
        groups = groups or int(self.rng.choice([d for d in divisors(width) if 1 < d <= 16] or [1]))
        return self.mask(source, self.gate("x", groups), mixed(self.rng, width, groups))


def masked_dense(graph: Graph) -> Graph:
    """The same network without any order: every DGConv dense with its zeros, every mask between Shuffles."""
    ops: list[Op] = []
    for op in graph.ops:
        if isinstance(op, Conv2D) and op.partition is not None:
            reads = op.input_partition or op.partition
            weights = op.weights.copy()
            for o, i in np.ndindex(len(op.partition), len(reads)):
                if op.partition[o] != reads[i]:
                    weights[o, :, :, i] = 0
            ops.append(Conv2D(op.name, op.inputs, op.output, weights, op.bias, op.stride, op.padding,
                              activation=op.activation))  # fmt: skip
        elif isinstance(op, ApplyMask):
            there = np.argsort(op.partition, kind="stable")
            x, y = f"{op.name}/sorted", f"{op.name}/masked"
            ops.append(Shuffle(x, op.inputs[:1], x, tuple(there.tolist())))
            ops.append(ApplyMask(op.name, (x, op.inputs[1]), y, tuple(op.partition[c] for c in there)))
            ops.append(Shuffle(f"{op.name}/back", (y,), op.output, tuple(np.argsort(there).tolist())))
        else:
            ops.append(op)
    return rebuild(graph, ops)


def shuffles(graph: Graph) -> int:
    return sum(isinstance(op, Shuffle) for op in graph.ops)


def assert_exactly_the_same(before: Graph, samples: Float) -> Graph:
    """In float and in int8, outputs and masks; returns the ordered graph."""
    folded = fold(before)
    dense, ordered = masked_dense(folded), make_groups_contiguous(folded)
    for op in ordered.ops:
        assert not isinstance(op, Conv2D) or op.partition is op.input_partition is None
        assert not isinstance(op, ApplyMask) or contiguous(op.partition)
    assert ordered.macs() == folded.macs()

    masks = [gate.output for gate in before.gates]
    float_before = evaluate(before, samples, keep=[before.output, *masks])
    for graph in (dense, ordered):
        values = evaluate(graph, samples, keep=[graph.output, *masks])
        np.testing.assert_array_equal(values[graph.output], float_before[before.output])
        for mask in masks:
            np.testing.assert_array_equal(values[mask], float_before[mask])

    ranges = calibrate(ordered, samples) | calibrate(dense, samples)
    quantized = [quantize_graph(graph, ranges) for graph in (dense, ordered)]
    expected, got = (run(graph, quantize_input(graph, samples), keep=[graph.output, *masks]) for graph in quantized)
    np.testing.assert_array_equal(got[ordered.output], expected[dense.output])
    for mask in masks:
        np.testing.assert_array_equal(got[mask], expected[mask])
    assert len(np.unique(expected[dense.output])) > 2
    return ordered
