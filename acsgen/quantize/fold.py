# SPDX-License-Identifier: Apache-2.0
"""Float graph to float graph: padding and batch normalisation folded, activations fused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from acsgen.graph import Add, ApplyMask, BatchNorm, Conv2D, Dense, DepthwiseConv2D, Graph, Op, Pad, Relu, Reshape
from acsgen.graph.ir import rebuild
from acsgen.graph.ops import ACTIVATIONS, Padding

#: Merges an operator with the only reader of its output into the operators that replace both, or None.
Merge = Callable[[Op, Op], tuple[Op, ...] | None]


def fold(graph: Graph) -> Graph:
    """Leaves no BatchNorm, and a Relu or a Pad only where no operator beside it can take it in."""
    graph = _pad_in_convolutions(graph)
    graph = _merge_pairs(graph, _fold_batch_norm)
    graph = _merge_pairs(graph, _input_scaling_of(graph))
    graph = _batch_norm_as_filter(graph)
    graph = _merge_pairs(graph, _relu_before_mask)
    return _merge_pairs(graph, _fuse_relu)


def _merge_pairs(graph: Graph, merge: Merge) -> Graph:
    """Applies `merge` to every operator and its only reader until nothing changes any more."""
    for first in graph.ops:
        readers = graph.consumers(first.output)
        if len(readers) != 1 or first.output == graph.output:
            continue
        merged = merge(first, readers[0])
        if merged is not None:
            replacement = {first.name: merged[:-1], readers[0].name: merged[-1:]}
            ops = [new for op in graph.ops for new in replacement.get(op.name, (op,))]
            return _merge_pairs(rebuild(graph, ops), merge)
    return graph


def _pad_in_convolutions(graph: Graph) -> Graph:
    """A Pad whose readers all are convolutions becomes part of their own padding: zeros are zeros."""
    ops: list[Op] = []
    folded: dict[str, Pad] = {}
    for op in graph.ops:
        pad = folded.get(op.inputs[0])
        if pad is not None and isinstance(op, Pad | Conv2D | DepthwiseConv2D):
            op = replace(op, inputs=pad.inputs, padding=_sum(pad.padding, op.padding))
        readers = graph.consumers(op.output)
        convolved = all(isinstance(reader, Pad | Conv2D | DepthwiseConv2D) for reader in readers)
        if isinstance(op, Pad) and convolved and op.output != graph.output:
            folded[op.output] = op
        else:
            ops.append(op)
    return rebuild(graph, ops)


def _sum(a: Padding, b: Padding) -> Padding:
    return Padding(a.top + b.top, a.bottom + b.bottom, a.left + b.left, a.right + b.right)


def _fold_batch_norm(first: Op, second: Op) -> tuple[Op, ...] | None:
    """w' = w * scale, b' = b * scale + offset, per output channel."""
    if not isinstance(second, BatchNorm) or not isinstance(first, Conv2D | DepthwiseConv2D | Dense):
        return None
    if first.activation != "none":
        return None
    old, scale = first.weights.astype(np.float32), second.scale
    # Output channels come last in a depthwise filter, else first.
    shape = (-1,) if isinstance(first, DepthwiseConv2D) else (-1, *[1] * (old.ndim - 1))
    weights = old * scale.reshape(shape)
    bias = first.bias.astype(np.float32) * scale + second.offset
    return (replace(first, output=second.output, weights=weights, bias=bias),)


def _input_scaling_of(graph: Graph) -> Merge:
    """Merges a BatchNorm of the graph's input, as Rescaling and Normalization are, into the layer that reads it."""
    shaped = (op.output for op in graph.ops if isinstance(op, Reshape) and op.inputs == (graph.input,))
    ends = {graph.input, *shaped}

    def merge(first: Op, second: Op) -> tuple[Op, ...] | None:
        return _scale_inputs(first, second) if isinstance(first, BatchNorm) and first.inputs[0] in ends else None

    return merge


def _scale_inputs(first: BatchNorm, second: Op) -> tuple[Op, ...] | None:
    """w' = w * scale per input channel, b' = b + sum of w * offset; zeros around are not those of the input."""
    if not isinstance(second, Conv2D | DepthwiseConv2D | Dense):
        return None
    if not isinstance(second, Dense) and second.padding != Padding() and first.offset.any():
        return None
    scale, offset = first.scale, first.offset
    axes: tuple[int, ...]
    if isinstance(second, DepthwiseConv2D):
        weights, axes = second.weights.astype(np.float32), (0, 1)
    elif isinstance(second, Dense):
        weights, axes = second.weights.astype(np.float32), (1,)
        scale, offset = (np.tile(x, weights.shape[1] // len(x)) for x in (scale, offset))
    else:
        weights, axes = second.used_weights.astype(np.float32), (1, 2, 3)
        group = np.arange(second.out_channels) * second.groups // second.out_channels
        scale, offset = (x.reshape(second.groups, -1)[group][:, None, None, :] for x in (scale, offset))
    bias = second.bias.astype(np.float32) + (weights * offset).sum(axis=axes)
    return (replace(second, inputs=first.inputs, weights=weights * scale, bias=bias),)


def _relu_before_mask(first: Op, second: Op) -> tuple[Op, ...] | None:
    """A masked channel is zero and relu(0) is zero: the order does not matter, and relu fuses if first."""
    if not isinstance(first, ApplyMask) or not isinstance(second, Relu):
        return None
    relu = replace(second, inputs=first.inputs[:1], output=first.output)
    return relu, replace(first, inputs=(relu.output, first.inputs[1]), output=second.output)


def _fuse_relu(first: Op, second: Op) -> tuple[Op, ...] | None:
    if not isinstance(second, Relu) or not isinstance(first, Conv2D | DepthwiseConv2D | Dense | Add | Relu):
        return None
    tighter = min(first.activation, second.activation, key=lambda name: ACTIVATIONS[name][1])
    if ACTIVATIONS[tighter][1] == np.inf:
        tighter = second.activation
    return (replace(first, output=second.output, activation=tighter),)


def _batch_norm_as_filter(graph: Graph) -> Graph:
    """A BatchNorm that nothing beside it can take in is a 1x1 depthwise convolution, or a diagonal."""

    def as_filter(op: BatchNorm) -> Op:
        if len(graph.shape(op.output)) == 1:
            return Dense(op.name, op.inputs, op.output, np.diag(op.scale), op.offset)
        return DepthwiseConv2D(op.name, op.inputs, op.output, op.scale[None, None, :], op.offset)

    return rebuild(graph, [as_filter(op) if isinstance(op, BatchNorm) else op for op in graph.ops])
