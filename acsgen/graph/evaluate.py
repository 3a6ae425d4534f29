# SPDX-License-Identifier: Apache-2.0
"""Runs a float graph: what the network means before it is quantised."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.graph.execute import Gates, execute
from acsgen.graph.ir import Graph
from acsgen.graph.ops import (
    ACTIVATIONS,
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
    Relu,
    Reshape,
    Shuffle,
)
from acsgen.graph.windows import pad_images, windows

Float = NDArray[np.float32]
Values = tuple[Float, ...]


def evaluate(
    graph: Graph, x: NDArray[np.floating[Any]], gates: Gates = "run", keep: Collection[str] | None = None
) -> dict[str, Float]:
    """The values of the tensors `keep` (None: of all): float32 (N, ...), masks 0 or 1 (N, G).

    x: (N, *input shape). gates: see `acsgen.graph.execute.Gates`.
    """

    def step(op: Op, values: Values) -> Float:
        if type(op) not in OPERATORS:
            raise AcsgenError(f"{type(op).__name__} '{op.name}' cannot be evaluated in float")
        return OPERATORS[type(op)](op, *values)

    if any(getattr(op, "requantize", None) is not None for op in graph.ops):
        raise AcsgenError(f"graph '{graph.name}' is quantised: run it with acsgen.golden")
    return execute(graph, np.asarray(x, np.float32), step, gates, keep)


def conv2d(op: Conv2D, x: Float) -> Float:
    """(N, H, W, in) to (N, oh, ow, out)."""
    weights = op.used_weights.astype(np.float32)
    taps = windows(x, op.kernel, op.stride, op.padding, op.dilation)
    rows = taps.shape[:3]
    depth, width = weights[0].size, len(weights) // op.groups
    result = np.empty((*rows, len(weights)), np.float32)
    for g in range(op.groups):
        channels = slice(g * weights.shape[3], (g + 1) * weights.shape[3])
        filters = slice(g * width, (g + 1) * width)
        patches = taps[..., channels].reshape(np.prod(rows), depth)
        result[..., filters] = (patches @ weights[filters].reshape(width, depth).T).reshape(*rows, width)
    return _activate(op.activation, result + op.bias.astype(np.float32))


def depthwise_conv2d(op: DepthwiseConv2D, x: Float) -> Float:
    """(N, H, W, C) to (N, oh, ow, C)."""
    taps = windows(x, op.kernel, op.stride, op.padding, op.dilation)
    weights = op.weights.astype(np.float32)
    result = np.zeros(taps.shape[:3] + taps.shape[5:], np.float32)
    for row, column in np.ndindex(*op.kernel):
        result += taps[:, :, :, row, column] * weights[row, column]
    return _activate(op.activation, result + op.bias.astype(np.float32))


def dense(op: Dense, x: Float) -> Float:
    """(N, ...) with `in` values per sample to (N, out)."""
    rows = x.reshape(len(x), op.weights.shape[1])
    return _activate(op.activation, rows @ op.weights.T.astype(np.float32) + op.bias.astype(np.float32))


def batch_norm(op: BatchNorm, x: Float) -> Float:
    """x * scale + offset per channel."""
    return x * op.scale + op.offset


def relu(op: Relu, x: Float) -> Float:
    """A clamp."""
    return _activate(op.activation, x)


def add(op: Add, a: Float, b: Float) -> Float:
    """a + b."""
    return _activate(op.activation, a + b)


def concatenate(op: Concatenate, *parts: Float) -> Float:
    """The parts' channels one behind the other."""
    return np.concatenate(parts, axis=-1)


def pad(op: Pad, x: Float) -> Float:
    """Zeros around every image."""
    return pad_images(x, op.padding)


def max_pool(op: MaxPool, x: Float) -> Float:
    """Maximum of every window; the padding never wins."""
    taps = windows(x, op.kernel, op.stride, op.padding, fill=-np.inf)
    result: Float = taps.max(axis=(3, 4))
    return result


def avg_pool(op: AvgPool, x: Float) -> Float:
    """Mean of the part of every window that lies inside the image."""
    inside = np.ones((1, *x.shape[1:3], 1), np.float32)
    total, count = (
        windows(image, op.kernel, op.stride, op.padding).sum(axis=(3, 4), dtype=np.float32) for image in (x, inside)
    )
    mean: Float = total / count
    return mean


def flatten(op: Flatten, x: Float) -> Float:
    """(N, H, W, C) to (N, H*W*C)."""
    return x.reshape(len(x), int(np.prod(x.shape[1:])))


def reshape(op: Reshape, x: Float) -> Float:
    """The same values in another shape."""
    return x.reshape(len(x), *op.shape)


def shuffle(op: Shuffle, x: Float) -> Float:
    """The channels in another order."""
    return x[..., list(op.order)]


def gate(op: Gate, logits: Float) -> Float:
    """Logits (N, G) to a mask of 0 and 1: 1 strictly above zero."""
    return (logits > 0).astype(np.float32)


def apply_mask(op: ApplyMask, x: Float, mask: Float) -> Float:
    """Zero in every channel whose group is closed."""
    is_open = mask[:, list(op.partition)] != 0
    spread = is_open.reshape(len(x), *(1,) * (x.ndim - 2), x.shape[-1])
    return np.where(spread, x, np.float32(0))


#: What computes an operator: (operator, *input values) -> output value.
OPERATORS: dict[type[Op], Callable[..., Float]] = {
    Add: add,
    ApplyMask: apply_mask,
    AvgPool: avg_pool,
    BatchNorm: batch_norm,
    Concatenate: concatenate,
    Conv2D: conv2d,
    Dense: dense,
    DepthwiseConv2D: depthwise_conv2d,
    Flatten: flatten,
    Gate: gate,
    MaxPool: max_pool,
    Pad: pad,
    Relu: relu,
    Reshape: reshape,
    Shuffle: shuffle,
}


def _activate(activation: str, x: Float) -> Float:
    low, high = ACTIVATIONS[activation]
    return np.clip(x, np.float32(low), np.float32(high))
