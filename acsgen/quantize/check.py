# SPDX-License-Identifier: Apache-2.0
"""What an int8 graph must keep so that golden model, planner and kernels mean the same by it.

Everything that the int8 contract (docs/int8-contract.md) and the runtime's types demand is checked here,
once: of a graph that was just quantised, and of one that comes from a file and may hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.golden.arithmetic import INT8_MAX, INT8_MIN
from acsgen.golden.operators import OPERATORS, add_constants
from acsgen.graph import (
    Add,
    ApplyMask,
    AvgPool,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    Graph,
    MaxPool,
    Op,
    Pad,
    Relu,
    Requantize,
    Reshape,
    Shuffle,
    SumGate,
    Tensor,
)
from acsgen.graph.check import check_masks
from acsgen.graph.ops import ACTIVATIONS, Shape
from acsgen.quantize.permute import contiguous

#: Operators whose output has the scale and zero point of what they read, see `same_scale`.
SAME_SCALE = (ApplyMask, AvgPool, Concatenate, Flatten, MaxPool, Pad, Relu, Reshape, Shuffle)

INT32_LIMIT = 2**31
#: Sizes are uint16 in the runtime.
MAX_SIZE = 2**16 - 1
#: No microcontroller holds a larger tensor.
MAX_ELEMENTS = 2**28
MAX_OPS = 4096
MAX_NAME = 200

#: Fields of operators that are sizes, and the least of each.
_SIZES = {"kernel": 1, "stride": 1, "dilation": 1, "groups": 1}
WeightedOp = Conv2D | DepthwiseConv2D | Dense | SumGate
#: The most that a step of a SumGate's threshold is: 127 of them fit 32 bits.
MAX_STEP = 2**23
#: Axes of the weights; the axis of the output channels.
_WEIGHT_AXES: dict[type[Op], tuple[int, int]] = {
    Conv2D: (4, 0),
    DepthwiseConv2D: (3, 2),
    Dense: (2, 0),
    SumGate: (2, 0),
}


def same_scale(op: Op) -> tuple[str, ...]:
    """The inputs of `op` that have the scale and zero point of its output."""
    if isinstance(op, Concatenate):
        return op.inputs
    return op.inputs[:1] if isinstance(op, SAME_SCALE) else ()


def check_int8(graph: Graph) -> None:
    """AcsgenError, which names the place, if `graph` is no int8 graph that keeps the contract."""
    check_parts(graph.name, graph.ops, graph.tensors)
    check_masks(graph)
    for op in graph.ops:
        _check_scales(op, graph.tensors)
        if isinstance(op, Conv2D | DepthwiseConv2D | Dense):
            _prove_no_overflow(op, graph.tensors[op.inputs[0]].zero_point)
        if isinstance(op, SumGate):
            _prove_sums(op, graph.tensors[op.inputs[0]].zero_point)


def check_parts(name: str, ops: tuple[Op, ...], tensors: Mapping[str, Tensor]) -> None:
    """The part of `check_int8` that needs no graph: every operator and every tensor by itself.

    Afterwards shapes can be inferred without danger, one after the other. Fields have the types that the
    operators declare.
    """
    if len(ops) > MAX_OPS:
        raise AcsgenError(f"graph '{name[:MAX_NAME]}': {len(ops)} operators, at most {MAX_OPS} work")
    for text in (name, *tensors, *(op.name for op in ops)):
        _check_name(text)
    names = [op.name for op in ops]
    if len(set(names)) != len(names):
        raise AcsgenError(f"graph '{name}': two operators are called '{max(names, key=names.count)}'")
    masks = {op.output for op in ops if isinstance(op, Gate)}
    for tensor in tensors.values():
        _check_tensor(tensor, tensor.name in masks)
    for op in ops:
        _check_fields(op)


def infer_shapes(source: Tensor, ops: tuple[Op, ...], tensors: Mapping[str, Tensor]) -> None:
    """AcsgenError if an operator does not fit its inputs or its output is not as `tensors` say."""
    shapes: dict[str, Shape] = {source.name: source.shape}
    for op in ops:
        if not op.inputs or any(name not in shapes for name in op.inputs):
            raise _wrong(op, f"reads {', '.join(op.inputs) or 'nothing'}, not all written before it")
        sources = [shapes[name] for name in op.inputs]
        if isinstance(op, ApplyMask) and (len(sources) != 2 or len(sources[1]) != 1):
            raise _wrong(op, "needs a tensor and a mask")
        if isinstance(op, ApplyMask) and sources[1][0] > len(op.partition):
            raise _wrong(op, f"has fewer channels than its mask has groups, {sources[1][0]}")
        if type(op) is Gate and len(sources[0]) != 1:
            raise _wrong(op, f"decides on a vector, got {sources[0]}")
        shape = op.output_shape(*sources)
        if op.output in shapes or op.output not in tensors or tensors[op.output].shape != shape:
            raise _wrong(op, f"its output '{op.output}' does not have the shape {shape} once")
        shapes[op.output] = shape


def _wrong(op: Op, why: str) -> AcsgenError:
    return AcsgenError(f"{type(op).__name__} '{op.name}': {why}")


def _check_name(text: str) -> None:
    """Names go into comments of the generated C; the planner marks its own with @."""
    if not 0 < len(text) <= MAX_NAME or not text.isprintable() or any(mark in text for mark in ("*/", "/*", "@")):
        raise AcsgenError(f"{text[:MAX_NAME]!r} is no name: 1 to {MAX_NAME} printable characters without */, /* and @")


def _check_tensor(tensor: Tensor, is_mask: bool) -> None:
    where = f"tensor '{tensor.name}'"
    shape = tensor.shape
    if len(shape) not in (1, 2, 3) or min(shape) < 1:
        raise AcsgenError(f"{where}: shape {shape} is none of (H, W, C), (T, C) and (C,)")
    if max(shape) > MAX_SIZE or prod(shape) > MAX_ELEMENTS:
        raise AcsgenError(f"{where}: shape {shape} is too large: sizes end at {MAX_SIZE}, tensors at {MAX_ELEMENTS}")
    if is_mask:
        if tensor.scale is not None or tensor.zero_point != 0:
            raise AcsgenError(f"{where}: a mask has neither scale nor zero point")
        return
    if tensor.scale is None:
        raise AcsgenError(f"{where}: has no scale: quantise the graph first")
    if not np.finfo(np.float32).tiny <= tensor.scale <= np.finfo(np.float32).max:
        raise AcsgenError(f"{where}: scale {tensor.scale} is not above zero, or beyond a float")
    if not INT8_MIN <= tensor.zero_point <= INT8_MAX:
        raise AcsgenError(f"{where}: zero point {tensor.zero_point} is no int8")


def _check_fields(op: Op) -> None:
    fields: dict[str, Any] = {name: getattr(op, name, ()) for name in (*_SIZES, "padding", "activation")}
    if type(op) not in OPERATORS:
        raise _wrong(op, "has no int8 meaning: quantise the graph first")
    for name, least in _SIZES.items():
        _check_size(op, name, fields[name], least)
    if fields["padding"]:
        _check_size(op, "padding", tuple(vars(fields["padding"]).values()), 0)
    if fields["activation"] and fields["activation"] not in ACTIVATIONS:
        raise _wrong(op, f"activation '{fields['activation']}' is none of {', '.join(ACTIVATIONS)}")
    if isinstance(op, Reshape):
        _check_size(op, "shape", op.shape, 1)
    if isinstance(op, Conv2D) and (op.partition, op.input_partition) != (None, None):
        raise _wrong(op, "its learned groups are not in order yet: quantise the graph first")
    if isinstance(op, ApplyMask) and not (op.partition and min(op.partition) >= 0 and contiguous(op.partition)):
        raise _wrong(op, "its groups are not equal ranges of channels in the order of the mask")
    if isinstance(op, Conv2D | DepthwiseConv2D | Dense):
        _check_weights(op)
    if isinstance(op, SumGate):
        _check_int8_weights(op, op.weights)
        _check_per_channel(op, ("bias", op.bias), ("step", op.step))
        if op.step.min() < 1 or op.step.max() > MAX_STEP:
            raise _wrong(op, f"steps of its threshold are 1 to {MAX_STEP}, got {op.step.min()} to {op.step.max()}")


def _check_size(op: Op, name: str, sizes: Any, least: int) -> None:
    for size in sizes if isinstance(sizes, tuple) else (sizes,):
        if not least <= size <= MAX_SIZE:
            raise _wrong(op, f"{name} {sizes} is not between {least} and {MAX_SIZE}")


def _check_weights(op: Conv2D | DepthwiseConv2D | Dense) -> None:
    how = op.requantize
    _check_int8_weights(op, op.weights)
    if not isinstance(how, Requantize):
        raise _wrong(op, "has no requantisation: quantise the graph first")
    _check_per_channel(op, ("bias", op.bias), ("multiplier", how.multiplier), ("shift", how.shift))
    if ((how.multiplier != 0) & (how.multiplier < 2**30)).any():
        raise _wrong(op, "a multiplier that is neither 0 nor a Q31 number with its top bit set")
    if how.shift.min() < -31 or how.shift.max() > 30:
        raise _wrong(op, f"shifts of {how.shift.min()} to {how.shift.max()}: int32 shifts by -31 to 30")
    if not INT8_MIN <= how.low <= how.high <= INT8_MAX:
        raise _wrong(op, f"its clamp {how.low} to {how.high} is no range of int8")


def _check_int8_weights(op: Op, weights: NDArray[Any]) -> None:
    axes, _ = _WEIGHT_AXES[type(op)]
    if weights.dtype != np.int8 or weights.ndim != axes or not 0 < min(weights.shape) <= max(weights.shape) <= MAX_SIZE:
        raise _wrong(op, f"its weights are int8 with {axes} axes, got {weights.dtype} of shape {weights.shape}")
    if weights.min() < -INT8_MAX:
        raise _wrong(op, f"a weight of {weights.min()}: weights are {-INT8_MAX} to {INT8_MAX}")


def _check_per_channel(op: WeightedOp, *arrays: tuple[str, NDArray[Any]]) -> None:
    channels = op.weights.shape[_WEIGHT_AXES[type(op)][1]]
    for name, values in arrays:
        if values.dtype != np.int32 or values.shape != (channels,):
            raise _wrong(op, f"its {name} is one int32 for each of {channels} channels")


def _check_scales(op: Op, tensors: Mapping[str, Tensor]) -> None:
    target = tensors[op.output]
    for name in same_scale(op):
        if (tensors[name].scale, tensors[name].zero_point) != (target.scale, target.zero_point):
            raise _wrong(op, "keeps scale and zero point, but its input and output have different ones")
    if isinstance(op, Add):
        try:
            add_constants(tensors[op.inputs[0]], tensors[op.inputs[1]], target)
        except AcsgenError as error:
            raise _wrong(op, str(error)) from error


def _prove_no_overflow(op: Conv2D | DepthwiseConv2D | Dense, zero_point: int) -> None:
    """sum|w| * max|x - zero point| + |bias|, shifted left if it will be, < 2^31 for every output channel."""
    assert op.requantize is not None
    reach = max(INT8_MAX - zero_point, zero_point - INT8_MIN)
    worst = channel_sums(op) * reach + np.abs(op.bias.astype(np.int64))
    channel = int(worst.argmax())
    if worst[channel] >= INT32_LIMIT:
        raise _wrong(
            op,
            f"output channel {channel} can reach {worst[channel]}, an int32 accumulator ends at {INT32_LIMIT - 1}: "
            "fewer inputs or smaller weights are needed",
        )
    shifted = worst << np.maximum(op.requantize.shift, 0)
    channel = int(shifted.argmax())
    if shifted[channel] >= INT32_LIMIT:
        raise _wrong(
            op,
            f"output channel {channel} leaves int32 when it is brought to the scale of '{op.output}', "
            f"which hardly varies: calibrate with samples on which it does",
        )


def _prove_sums(op: SumGate, zero_point: int) -> None:
    """As `_prove_no_overflow`, and with the zero point's share in the bias, as kernels have it, and thresholds."""
    sums = channel_sums(op)
    folded = np.abs(op.bias.astype(np.int64)) + abs(zero_point) * sums
    worst = np.maximum(folded - INT8_MIN * sums, -INT8_MIN * op.step.astype(np.int64))
    if (channel := int(worst.argmax())) >= 0 and worst[channel] >= INT32_LIMIT:
        raise _wrong(op, f"bit {channel} can reach {worst[channel]}, an int32 accumulator ends at {INT32_LIMIT - 1}")


def channel_sums(op: WeightedOp) -> NDArray[np.int64]:
    """sum|w| of every output channel, (C,)."""
    axis = _WEIGHT_AXES[type(op)][1]
    sums: NDArray[np.int64] = (
        np.abs(np.moveaxis(op.weights, axis, 0).astype(np.int64)).reshape(op.weights.shape[axis], -1).sum(axis=1)
    )
    return sums
