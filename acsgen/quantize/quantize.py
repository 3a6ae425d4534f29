# SPDX-License-Identifier: Apache-2.0
"""Float graph to int8 graph, by the contract in docs/int8-contract.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.golden.arithmetic import activation_range, quantize_multiplier
from acsgen.graph import (
    ApplyMask,
    AvgPool,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    Graph,
    MaxPool,
    Op,
    Relu,
    Requantize,
    Shuffle,
    Tensor,
)
from acsgen.graph.ir import make_graph
from acsgen.quantize.calibrate import Range

#: Operators whose output has the scale and zero point of their input.
_SAME_SCALE = (ApplyMask, AvgPool, Flatten, MaxPool, Relu, Shuffle)

INT8_MIN, INT8_MAX = -128, 127
#: Biases stay below this, so that bias and products together fit 32 bits.
BIAS_LIMIT = 2**30
INT32_LIMIT = 2**31


def quantize_graph(graph: Graph, ranges: Mapping[str, Range]) -> Graph:
    """Post-training quantisation of a folded float graph whose groups are contiguous.

    ranges: minimum and maximum of every tensor, from `calibrate`.
    Raises AcsgenError where an int32 accumulator could overflow.
    """
    tensors = _tensors(graph, ranges)
    ops = [_quantize_op(op, tensors) for op in graph.ops]
    return make_graph(graph.name, tensors[graph.input], graph.output, ops, tensors)


def _tensors(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Tensor]:
    masks = {gate.output for gate in graph.gates}
    owner = {name: name for name in graph.tensors}
    for op in graph.ops:  # in running order, so an owner has an owner already
        if isinstance(op, _SAME_SCALE):
            owner[op.output] = owner[op.inputs[0]]
    shared: dict[str, Range] = {}
    for name, first in owner.items():
        if name not in masks:
            low, high = shared.get(first, (0.0, 0.0))
            shared[first] = (min(low, ranges[name][0]), max(high, ranges[name][1]))
    return {
        name: tensor if name in masks else _with_scale(tensor, shared[owner[name]])
        for name, tensor in graph.tensors.items()
    }


def _with_scale(tensor: Tensor, span: Range) -> Tensor:
    """Affine over [low, high], which holds real zero exactly."""
    low, high = span
    if high - low == 0:
        return replace(tensor, scale=1.0, zero_point=0)
    scale = _float32((high - low) / (INT8_MAX - INT8_MIN))
    zero_point = int(np.clip(round(INT8_MIN - low / scale), INT8_MIN, INT8_MAX))
    return replace(tensor, scale=scale, zero_point=zero_point)


def _quantize_op(op: Op, tensors: Mapping[str, Tensor]) -> Op:
    if isinstance(op, Conv2D | Dense):
        return _quantize_weighted(op, op.weights.reshape(op.weights.shape[0], -1), tensors)
    if isinstance(op, DepthwiseConv2D):
        return _quantize_weighted(op, op.weights.reshape(-1, op.weights.shape[-1]).T, tensors)
    return op


def _quantize_weighted(
    op: Conv2D | Dense | DepthwiseConv2D, per_channel: NDArray[np.generic], tensors: Mapping[str, Tensor]
) -> Op:
    """per_channel: the weights as (out, products), one row for each output channel."""
    source, target = tensors[op.inputs[0]], tensors[op.output]
    assert source.scale is not None and target.scale is not None
    weights, bias = per_channel.astype(np.float64), op.bias.astype(np.float64)
    # A channel of tiny weights and a large bias takes a coarser scale, or its bias would not fit int32.
    w_scale = np.maximum(np.abs(weights).max(axis=1) / INT8_MAX, np.abs(bias) / (source.scale * BIAS_LIMIT))
    w_scale = np.where(w_scale == 0, 1.0, w_scale).astype(np.float32).astype(np.float64)
    quantized = np.clip(np.rint(weights / w_scale[:, None]), -INT8_MAX, INT8_MAX).astype(np.int8)
    quantized_bias = np.rint(bias / (w_scale * source.scale)).astype(np.int32)
    multipliers = [quantize_multiplier(source.scale * s / target.scale) for s in w_scale]
    left_shift = np.array([max(shift, 0) for _, shift in multipliers])
    _prove_no_overflow(op, quantized, quantized_bias, source.zero_point, left_shift)
    low, high = activation_range(op.activation, target)
    shaped = quantized.T if isinstance(op, DepthwiseConv2D) else quantized
    return replace(
        op,
        weights=np.ascontiguousarray(shaped.reshape(op.weights.shape)),
        bias=quantized_bias,
        requantize=Requantize(
            np.array([m for m, _ in multipliers], np.int32), np.array([s for _, s in multipliers], np.int32), low, high
        ),
    )


def _float32(scale: float) -> float:
    """Scales have float32's precision, as TFLite's do: an exported model means the same everywhere."""
    return float(np.float32(scale))


def _prove_no_overflow(
    op: Op, weights: NDArray[np.int8], bias: NDArray[np.int32], zero_point: int, left_shift: NDArray[np.int64]
) -> None:
    """(sum|w| * max|x - zero point| + |bias|) * 2^left shift < 2^31 for every output channel."""
    reach = max(INT8_MAX - zero_point, zero_point - INT8_MIN)
    worst = np.abs(weights.astype(np.int64)).sum(axis=1) * reach + np.abs(bias.astype(np.int64))
    worst <<= left_shift
    if worst.max() >= INT32_LIMIT:
        channel = int(worst.argmax())
        raise AcsgenError(
            f"{type(op).__name__} '{op.name}': output channel {channel} can reach {worst[channel]}, "
            f"an int32 accumulator ends at {INT32_LIMIT - 1}: fewer inputs or smaller weights are needed"
        )
