# SPDX-License-Identifier: Apache-2.0
"""What the closed groups of a tensor are where it is known at compile time, and what they add to a sum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.golden.arithmetic import activation_range, requantize
from acsgen.graph import AvgPool, Concatenate, Conv2D, DepthwiseConv2D, Flatten, Graph, MaxPool, Relu

Int8 = NDArray[np.int8]


def closed_values(graph: Graph, tensor: str) -> Int8:
    """What each channel (C,) of a tensor holds where its group is closed; real zero in those that no gate closes.

    The tensor stands behind an ApplyMask, with nothing between but what `acsgen.plan.masks` lets a constant through.
    """
    out, op = graph.tensors[tensor], graph.producer(tensor)
    zero = np.full(out.shape[-1], out.zero_point, np.int8)
    if isinstance(op, MaxPool | AvgPool | Flatten):
        # The largest of equal numbers, and their mean, whose rounding has nothing to round.
        return closed_values(graph, op.inputs[0])
    if isinstance(op, Relu):
        return np.clip(closed_values(graph, op.inputs[0]), *activation_range(op.activation, out)).astype(np.int8)
    if isinstance(op, Concatenate):
        return np.concatenate([closed_values(graph, name) for name in op.inputs])
    if isinstance(op, DepthwiseConv2D) or (isinstance(op, Conv2D) and op.groups > 1):
        assert op.requantize is not None
        x = closed_values(graph, op.inputs[0]).astype(np.int64) - graph.tensors[op.inputs[0]].zero_point
        weights = op.weights.astype(np.int64)
        if isinstance(op, DepthwiseConv2D):
            sums = weights.sum(axis=(0, 1)) * x
        else:
            filters = len(weights) // op.groups
            sums = (weights.sum(axis=(1, 2)) * np.repeat(x.reshape(op.groups, -1), filters, axis=0)).sum(axis=1)
        values: Int8 = requantize((sums + op.bias)[None, :], op.requantize, out.zero_point)[0]
        return values
    return zero


def closed_sums(weights: NDArray[Any], values: Int8, zero_point: int, groups: int) -> NDArray[np.int32]:
    """What each closed input group adds to each sum of a convolution without padding: (groups, output channels).

    weights: int8 (out, kh, kw, in). values: int8 (in,), what the closed groups hold.
    """
    each = weights.astype(np.int64).sum(axis=(1, 2)) * (values.astype(np.int64) - zero_point)
    sums: NDArray[np.int32] = each.reshape(len(weights), groups, -1).sum(axis=2).T.astype(np.int32)
    return sums
