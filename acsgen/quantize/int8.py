# SPDX-License-Identifier: Apache-2.0
"""Float graph to int8 graph, by the contract in docs/int8-contract.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.golden.arithmetic import INT8_MAX, INT8_MIN, activation_range, quantize_multipliers
from acsgen.graph import Conv2D, Dense, DepthwiseConv2D, Gate, Graph, Op, Requantize, Tensor
from acsgen.graph.ir import make_graph
from acsgen.quantize.calibrate import Range
from acsgen.quantize.check import SAME_SCALE, check_int8, same_scale

#: Of a gate's logit only the sign counts. Its scale is this much finer than its range asks for: large logits
#: saturate, and those near zero, on which the decision hangs, are no longer rounded to it. `acsgen demo` prints
#: how many bits int8 flips, by which another zoom can be judged.
GATE_ZOOM = 16
#: Biases stay below this, so that bias and products together fit 32 bits.
BIAS_LIMIT = 2**30
#: A tensor that varies less than this counts as zero throughout, so that its scale is far from where floats end.
LEAST_RANGE = 1e-30
LEAST_FLOAT = float(np.finfo(np.float32).tiny)


def quantize_graph(graph: Graph, ranges: Mapping[str, Range]) -> Graph:
    """Post-training quantisation of a folded float graph whose groups are contiguous.

    ranges: minimum and maximum of every tensor, from `calibrate`.
    Raises AcsgenError where an int32 accumulator could overflow, or anything else breaks the contract.
    """
    tensors = _tensors(graph, ranges)
    ops = [_quantize_op(op, tensors) for op in graph.ops]
    quantized = make_graph(graph.name, tensors[graph.input], graph.output, ops, tensors)
    check_int8(quantized)
    return quantized


def _tensors(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Tensor]:
    masks = {gate.output for gate in graph.gates}
    owner = _owners(graph)
    shared: dict[str, Range] = {}
    for name, first in owner.items():
        if name not in masks:
            low, high = shared.get(first, (0.0, 0.0))
            shared[first] = (min(low, ranges[name][0]), max(high, ranges[name][1]))
    for first in _only_decided_on(graph, owner):
        shared[first] = (shared[first][0] / GATE_ZOOM, shared[first][1] / GATE_ZOOM)
    return {
        name: tensor if name in masks else _with_scale(tensor, shared[owner[name]])
        for name, tensor in graph.tensors.items()
    }


def _owners(graph: Graph) -> dict[str, str]:
    """Tensor -> the first of those that share its scale: what a pool keeps, what a Concatenate joins."""
    owner = {name: name for name in graph.tensors}
    for op in graph.ops:
        for name in same_scale(op):
            one, other = owner[name], owner[op.output]
            owner = {tensor: one if own == other else own for tensor, own in owner.items()}
    return owner


def _only_decided_on(graph: Graph, owner: Mapping[str, str]) -> set[str]:
    """Owners of tensors that nobody reads but gates."""
    readers = {(owner[name], type(op)) for op in graph.ops if not isinstance(op, SAME_SCALE) for name in op.inputs}
    return (
        {first for first, reader in readers if reader is Gate}
        - {first for first, reader in readers if reader is not Gate}
        - {owner[graph.output]}
    )


def _with_scale(tensor: Tensor, span: Range) -> Tensor:
    """Affine over [low, high], which holds real zero exactly."""
    low, high = span
    if high - low < LEAST_RANGE:
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
    w_scale = np.where(w_scale == 0, 1.0, np.maximum(w_scale, LEAST_FLOAT)).astype(np.float32).astype(np.float64)
    quantized = np.clip(np.rint(weights / w_scale[:, None]), -INT8_MAX, INT8_MAX).astype(np.int8)
    quantized_bias = np.rint(bias / (w_scale * source.scale)).astype(np.int32)
    try:
        multiplier, shift = quantize_multipliers(source.scale * w_scale / target.scale)
    except AcsgenError as error:
        raise AcsgenError(f"{type(op).__name__} '{op.name}': {error}") from error
    low, high = activation_range(op.activation, target)
    shaped = quantized.T if isinstance(op, DepthwiseConv2D) else quantized
    return replace(
        op,
        weights=np.ascontiguousarray(shaped.reshape(op.weights.shape)),
        bias=quantized_bias,
        requantize=Requantize(multiplier, shift, low, high),
    )


def _float32(scale: float) -> float:
    """Scales have float32's precision, as TFLite's do: an exported model means the same everywhere."""
    return float(np.float32(scale))
