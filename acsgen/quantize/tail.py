# SPDX-License-Identifier: Apache-2.0
"""The linear tail of a gate, collapsed: convolution, global mean and logits, with no activation between.

A mean over all outputs of a convolution is a sum over its taps of a weight times the mean of what lies under
that tap. Those means are few, one for each tap and input channel, and a pool gives them: its window is as large
as the convolution's output, and moves over the padded input tap by tap. What the convolution multiplies at every
pixel, the logits then multiply once. The graph that is quantised has this form, so it is what the int8 network
means.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from acsgen.graph import AvgPool, Conv2D, Dense, Flatten, Gate, Graph, Op
from acsgen.graph.ir import rebuild
from acsgen.graph.ops import Padding


@dataclass(frozen=True)
class _Tail:
    """conv -> pool -> (flat ->) logits -> a gate; each is the only reader of the one before."""

    conv: Conv2D
    pool: AvgPool
    flat: Flatten | None
    logits: Dense | Conv2D


def collapse_tails(graph: Graph) -> Graph:
    """Collapses the tails of all gates where that takes less work and at most twice the weights."""
    for gate in graph.gates:
        tail = _tail_of(graph, gate)
        if tail is not None and _pays(graph, tail):
            parts = (tail.conv, tail.pool, tail.flat, tail.logits)
            gone = {op.name for op in parts if op is not None}
            at = graph.ops.index(tail.logits)
            kept = [[op for op in side if op.name not in gone] for side in (graph.ops[:at], graph.ops[at + 1 :])]
            return collapse_tails(rebuild(graph, [*kept[0], *_collapsed(graph, tail), *kept[1]]))
    return graph


def _tail_of(graph: Graph, gate: Gate) -> _Tail | None:
    """The tail in front of a gate, if it has one."""
    logits = _before(graph, gate)
    if isinstance(logits, Flatten):  # behind a 1x1 convolution
        logits = _before(graph, logits)
    if not isinstance(logits, Dense | Conv2D) or logits.activation != "none":
        return None
    flat = _before(graph, logits)
    pool = _before(graph, flat) if isinstance(flat, Flatten) else flat
    if not isinstance(pool, AvgPool) or graph.shape(pool.output)[:2] != (1, 1) or pool.padding != Padding():
        return None
    if isinstance(logits, Conv2D) and (logits.kernel != (1, 1) or logits.groups > 1 or logits.partition is not None):
        return None
    conv = _before(graph, pool)
    if not isinstance(conv, Conv2D) or conv.activation != "none" or graph.shape(conv.output)[:2] != pool.kernel:
        return None
    if (conv.stride, conv.dilation) != ((1, 1), (1, 1)) or not _inside(conv.padding, pool):
        return None
    return _Tail(conv, pool, flat if isinstance(flat, Flatten) else None, logits)


def _before(graph: Graph, op: Op) -> Op | None:
    """The operator that writes the first input of another, if nobody else reads that."""
    before = graph.producer(op.inputs[0])
    return before if before is not None and graph.consumers(before.output) == (op,) else None


def _inside(pad: Padding, pool: AvgPool) -> bool:
    """Whether every window of the new pool holds a part of the image."""
    return max(pad.top, pad.bottom) < pool.kernel[0] and max(pad.left, pad.right) < pool.kernel[1]


def _pays(graph: Graph, tail: _Tail) -> bool:
    """An addition counts as a multiply-accumulate."""
    conv, logits = tail.conv, tail.logits
    inputs, gated = graph.shape(conv.inputs[0])[-1], len(logits.weights)
    weights = prod(conv.kernel) * inputs * gated
    means = prod(conv.kernel) * prod(tail.pool.kernel) * inputs
    old = sum(op.macs(*graph.input_shapes(op)) for op in (conv, logits))
    return means + weights < old and weights <= 2 * (conv.weights.size + logits.weights.size)


def _collapsed(graph: Graph, tail: _Tail) -> list[Op]:
    conv, pool, logits = tail.conv, tail.pool, tail.logits
    means = AvgPool(pool.name, conv.inputs, pool.output, pool.kernel, (1, 1), conv.padding)
    filters = _ungrouped(conv)
    last = logits.weights.reshape(len(logits.weights), -1).astype(np.float32)
    weights = np.einsum("ok,krsc->orsc", last, filters * _shares(graph, tail)[:, :, None]).astype(np.float32)
    bias = last @ conv.bias.astype(np.float32) + logits.bias.astype(np.float32)
    if isinstance(logits, Conv2D):
        return [means, Conv2D(logits.name, (pool.output,), logits.output, weights, bias)]
    flat = tail.flat or Flatten(f"{pool.name}/flat", (pool.output,), f"{pool.output}/flat")
    dense = Dense(logits.name, (flat.output,), logits.output, weights.reshape(len(weights), -1), bias)
    return [means, Flatten(flat.name, (pool.output,), flat.output), dense]


def _shares(graph: Graph, tail: _Tail) -> NDArray[np.float32]:
    """(kh, kw): of the convolution's outputs, for how many a tap lies inside the image."""
    height, width, _ = graph.shape(tail.conv.inputs[0])
    pad, size = tail.conv.padding, tail.pool.kernel
    rows, columns = (
        [min(tap - before + outputs, length) - max(tap - before, 0) for tap in range(taps)]
        for taps, before, outputs, length in zip(
            tail.conv.kernel, (pad.top, pad.left), size, (height, width), strict=True
        )
    )
    return (np.outer(rows, columns) / prod(size)).astype(np.float32)


def _ungrouped(conv: Conv2D) -> NDArray[np.float32]:
    """(out, kh, kw, in) with zeros between groups."""
    used = conv.used_weights.astype(np.float32)
    each = used.shape[3]
    filters = len(used) // conv.groups
    whole = np.zeros((*used.shape[:3], each * conv.groups), np.float32)
    for g in range(conv.groups):
        whole[g * filters : (g + 1) * filters, ..., g * each : (g + 1) * each] = used[g * filters : (g + 1) * filters]
    return whole
