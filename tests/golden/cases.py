# SPDX-License-Identifier: Apache-2.0
"""Random int8 operators for the oracles, the same for the same seed.

Each function draws an operator with its tensors and values. Half of all draws are ordinary; the
others go to the ends of what the contract allows: weights of +-127 only, inputs of -128 and 127
only, zero points at the ends, multipliers above one and down to 1e-8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.golden.arithmetic import activation_range, quantize_multipliers
from acsgen.graph.ir import Tensor
from acsgen.graph.ops import (
    Add,
    AvgPool,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool,
    Op,
    Pad,
    Padding,
    Pair,
    Relu,
    Requantize,
    Shape,
)

Rng = np.random.Generator
Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """An operator, the tensors around it, the values of its inputs (N, ...), the weights' scales."""

    op: Op
    sources: tuple[Tensor, ...]
    target: Tensor
    values: tuple[Array, ...]
    weight_scales: NDArray[np.float32] | None = None


def conv2d(rng: Rng, groups: int = 1) -> Case:
    shape = (*_size(rng), groups * int(rng.integers(1, 9)))
    kernel, stride, dilation, padding = _geometry(rng, shape, dilated=True)
    filters = groups * int(rng.integers(1, 9))
    weights = _weights(rng, (filters, *kernel, shape[2] // groups))
    op = Conv2D("c", ("x",), "y", weights, _no_bias(filters), stride, padding, dilation, groups, _activation(rng))
    return _weighted(rng, op, shape, prod(weights.shape[1:]))


def conv2d_in_fours(rng: Rng, groups: int = 1, unpadded: float = 0.3) -> Case:
    """As networks have them: multiples of four channels, a square kernel, a stride of 1 or 2.

    unpadded: the share of those without padding where the image is as large as the kernel.
    """
    size = _size(rng) if rng.random() < 0.3 else (2 * int(rng.integers(1, 6)), 2 * int(rng.integers(1, 6)))
    shape = (*size, 4 * groups * int(rng.integers(1, 5)))
    kernel, stride = int(rng.choice([1, 3, 3, 3, 5])), int(rng.choice([1, 1, 2]))
    padding = Padding.same((shape[0], shape[1]), (kernel, kernel), (stride, stride))
    if min(shape[:2]) >= kernel and rng.random() < unpadded:
        padding = Padding()
    filters = groups * int(rng.choice([2, 4, 4, 8, 12]))
    weights = _weights(rng, (filters, kernel, kernel, shape[2] // groups))
    op = Conv2D(
        "c", ("x",), "y", weights, _no_bias(filters), (stride, stride), padding, (1, 1), groups, _activation(rng)
    )
    return _weighted(rng, op, shape, prod(weights.shape[1:]))


def conv2d_in_vectors(rng: Rng, groups: int = 1) -> Case:
    """3x3 with any padding, 1x1 without; stride 1 or 2, few channels and many, mostly four pixels a row or more."""
    kernel, stride = int(rng.choice([1, 3, 3, 3])), int(rng.choice([1, 2]))
    channels = int(rng.choice([1, 1, 2, 2, 3, 4, 6, 8, 12, 16, 24, 32, 32, 48]))
    shape = (int(rng.integers(1, 7)), stride * int(rng.integers(4, 10)), groups * channels)
    padding = Padding(*(int(rng.integers(0, 3)) for _ in range(4))) if kernel == 3 else Padding()
    if kernel == 3 and (shape[0] + padding.top + padding.bottom < 3 or rng.random() < 0.5):
        padding = Padding.same((shape[0], shape[1]), (3, 3), (stride, stride))
    filters = groups * int(rng.choice([2, 3, 4, 6, 8]))
    weights = _weights(rng, (filters, kernel, kernel, shape[2] // groups))
    op = Conv2D(
        "c", ("x",), "y", weights, _no_bias(filters), (stride, stride), padding, (1, 1), groups, _activation(rng)
    )
    return _weighted(rng, op, shape, prod(weights.shape[1:]))


def depthwise_conv2d(rng: Rng) -> Case:
    shape = (*_size(rng), int(rng.integers(1, 20)))
    kernel, stride, dilation, padding = _geometry(rng, shape, dilated=True)
    weights = _weights(rng, (*kernel, shape[2]))
    op = DepthwiseConv2D("c", ("x",), "y", weights, _no_bias(shape[2]), stride, padding, dilation, _activation(rng))
    return _weighted(rng, op, shape, prod(kernel))


def scaling(rng: Rng, shape: Shape | None = None) -> Case:
    """A factor and an offset for every channel, as batch normalisation leaves them."""
    shape = shape or (*_size(rng), int(rng.integers(1, 20)))
    op = DepthwiseConv2D("s", ("x",), "y", _weights(rng, (1, 1, shape[2])), _no_bias(shape[2]))
    return _weighted(rng, replace(op, activation=_activation(rng)), shape, 1)


def depthwise_squares(rng: Rng) -> Case:
    """As networks have them: 3x3 or 5x5, the same stride both ways."""
    shape = (*_size(rng), int(rng.integers(1, 7)) * int(rng.choice([1, 2, 4])))
    size, step = int(rng.choice([3, 5])), int(rng.integers(1, 3))
    kernel, stride = (size, size), (step, step)
    padding = Padding.same((shape[0], shape[1]), kernel, stride)
    weights = _weights(rng, (*kernel, shape[2]))
    op = DepthwiseConv2D("c", ("x",), "y", weights, _no_bias(shape[2]), stride, padding, (1, 1), _activation(rng))
    return _weighted(rng, op, shape, prod(kernel))


def dense(rng: Rng, per_tensor: bool = False, regime: str | None = None) -> Case:
    inputs, outputs = int(rng.integers(1, 300)), int(rng.integers(1, 40))
    op = Dense("d", ("x",), "y", _weights(rng, (outputs, inputs)), _no_bias(outputs), _activation(rng))
    return _weighted(rng, op, (inputs,), inputs, per_tensor, regime)


def as_convolution(case: Case) -> Case:
    """A dense layer in the shape of a 1x1 convolution of a 1x1 image."""
    assert isinstance(case.op, Dense)
    weights = case.op.weights[:, None, None, :]
    op = Conv2D("d", ("x",), "y", weights, case.op.bias, activation=case.op.activation, requantize=case.op.requantize)
    return replace(
        case,
        op=op,
        sources=(replace(case.sources[0], shape=(1, 1, weights.shape[3])),),
        target=replace(case.target, shape=(1, 1, weights.shape[0])),
        values=(case.values[0][:, None, None, :],),
    )


def max_pool(rng: Rng) -> Case:
    return _pool(rng, MaxPool)


def avg_pool(rng: Rng) -> Case:
    return _pool(rng, AvgPool)


def add(rng: Rng) -> Case:
    shape = (*_size(rng), int(rng.integers(1, 9)))
    a, b = (_tensor(rng, name, shape, _log_uniform(rng, 1e-3, 1.0)) for name in "ab")
    ratio = _log_uniform(rng, 0.5, 4.0) if rng.random() < 0.5 else _log_uniform(rng, 1e-3, 1e2)
    op = Add("s", ("a", "b"), "y", _activation(rng))
    target = _tensor(rng, "y", shape, max(_scale(a), _scale(b)) * ratio)
    batch = int(rng.integers(1, 4))
    return Case(op, (a, b), target, (_values(rng, (batch, *shape)), _values(rng, (batch, *shape))))


def add_all_pairs(rng: Rng) -> Case:
    """Every int8 value added to every other: finds sums that lie next to a tie."""
    case = add(rng)
    shape = (256, 256, 1)
    a, b = np.meshgrid(np.arange(-128, 128, dtype=np.int8), np.arange(-128, 128, dtype=np.int8))
    return replace(
        case,
        sources=(replace(case.sources[0], shape=shape), replace(case.sources[1], shape=shape)),
        target=replace(case.target, shape=shape),
        values=(a.reshape(1, *shape), b.reshape(1, *shape)),
    )


def concatenate(rng: Rng) -> Case:
    """Images or vectors, up to five, perhaps of one."""
    size = _size(rng) if rng.random() < 0.7 else ()
    shapes = [(*size, int(rng.integers(1, 20))) for _ in range(rng.integers(1, 6))]
    y = _tensor(rng, "y", (*size, sum(shape[-1] for shape in shapes)), _log_uniform(rng, 1e-3, 1.0))
    sources = tuple(replace(y, name=f"x{i}", shape=shape) for i, shape in enumerate(shapes))
    batch = int(rng.integers(1, 4))
    values = tuple(_values(rng, (batch, *shape)) for shape in shapes)
    return Case(Concatenate("c", tuple(x.name for x in sources), "y"), sources, y, values)


def pad(rng: Rng) -> Case:
    shape = (*_size(rng), int(rng.integers(1, 20)))
    op = Pad("p", ("x",), "y", Padding(*rng.integers(0, 4, 4).tolist()))
    x = _tensor(rng, "x", shape, _log_uniform(rng, 1e-3, 1.0))
    target = replace(x, name="y", shape=op.output_shape(shape))
    return Case(op, (x,), target, (_values(rng, (int(rng.integers(1, 4)), *shape)),))


def relu6_at_ties(rng: Rng) -> Case:
    """Every int8 value, with a scale at which 6 lies midway between two of them."""
    scale = float(np.float32(6 / (int(rng.integers(0, 255)) + 0.5)))
    x = Tensor("x", (256,), scale, -128)
    values = np.arange(-128, 128, dtype=np.int8)[None]
    return Case(Relu("r", ("x",), "y", "relu6"), (x,), replace(x, name="y"), (values,))


def relu(rng: Rng) -> Case:
    shape = (*_size(rng), int(rng.integers(1, 9)))
    x = _tensor(rng, "x", shape, _log_uniform(rng, 1e-3, 1.0))
    op = Relu("r", ("x",), "y", str(rng.choice(["relu", "relu6"])))
    return Case(op, (x,), replace(x, name="y"), (_values(rng, (2, *shape)),))


def _weighted(rng: Rng, op: Any, shape: Shape, depth: int, per_tensor: bool = False, regime: str | None = None) -> Case:
    """Gives a convolution or dense layer its tensors, scales, bias and requantisation.

    regime: of the multipliers, "ordinary", "large" (from 1/2 to 60) or "tiny" (with large biases).
    """
    channels = len(op.bias)
    regime = regime or str(rng.choice(["ordinary", "large", "tiny"], p=[0.6, 0.2, 0.2]))
    if regime == "ordinary":
        multiplier, bias_limit = 127 / (5000 * np.sqrt(depth)) * _log_uniform(rng, 0.2, 5), 5000 * depth
    elif regime == "large":
        multiplier, bias_limit = _log_uniform(rng, 1, 30), 1000
    else:
        multiplier, bias_limit = _log_uniform(rng, 1e-8, 1e-5), 1 << 30
    spread = 2 ** rng.uniform(-1, 1, 1 if per_tensor else channels)
    x = _tensor(rng, "x", shape, _log_uniform(rng, 1e-3, 1.0))
    y = _tensor(rng, "y", op.output_shape(shape), _log_uniform(rng, 1e-3, 1.0))
    scales = (multiplier * spread * _scale(y) / _scale(x)).astype(np.float32)
    real = _scale(x) * np.broadcast_to(scales, channels).astype(np.float64) / _scale(y)
    how = Requantize(*quantize_multipliers(real), *activation_range(op.activation, y))
    bias = rng.integers(-bias_limit, bias_limit + 1, channels).astype(np.int32)
    op = replace(op, bias=bias, requantize=how)
    return Case(op, (x,), y, (_values(rng, (int(rng.integers(1, 4)), *shape)),), scales)


def _pool(rng: Rng, kind: type[MaxPool] | type[AvgPool]) -> Case:
    shape = (*_size(rng), int(rng.integers(1, 20)))
    kernel, stride, _, padding = _geometry(rng, shape, dilated=False)
    op = kind("p", ("x",), "y", kernel, stride, padding)
    x = _tensor(rng, "x", shape, _log_uniform(rng, 1e-3, 1.0))
    y = replace(x, name="y", shape=op.output_shape(shape))
    return Case(op, (x,), y, (_values(rng, (int(rng.integers(1, 4)), *shape)),))


def _geometry(rng: Rng, shape: Shape, dilated: bool) -> tuple[Pair, Pair, Pair, Padding]:
    """Kernel, stride, dilation and padding, 'same' or 'valid', that fit an image (H, W, C)."""
    while True:
        kernel, stride = _pair(rng, 1, 5), _pair(rng, 1, 3)
        dilation = _pair(rng, 1, 3) if dilated and rng.random() < 0.3 else (1, 1)
        if rng.random() < 0.6:
            return kernel, stride, dilation, Padding.same((shape[0], shape[1]), kernel, stride, dilation)
        if all((k - 1) * d < s for k, d, s in zip(kernel, dilation, shape[:2], strict=True)):
            return kernel, stride, dilation, Padding()


def _pair(rng: Rng, low: int, high: int) -> Pair:
    """Often two of the same, as in most networks."""
    first = int(rng.integers(low, high + 1))
    return (first, first) if rng.random() < 0.5 else (first, int(rng.integers(low, high + 1)))


def _size(rng: Rng) -> Pair:
    return _pair(rng, 1, 12)


def _activation(rng: Rng) -> str:
    return str(rng.choice(["none", "relu", "relu6"]))


def _tensor(rng: Rng, name: str, shape: Shape, scale: float) -> Tensor:
    zero_point = int(rng.choice([-128, 127, 0, int(rng.integers(-128, 128))]))
    return Tensor(name, shape, float(np.float32(scale)), zero_point)


def _scale(tensor: Tensor) -> float:
    assert tensor.scale is not None
    return tensor.scale


def _values(rng: Rng, shape: Shape) -> NDArray[np.int8]:
    if rng.random() < 0.3:
        return rng.choice(np.array([-128, 127], np.int8), shape)
    return rng.integers(-128, 128, shape).astype(np.int8)


def _weights(rng: Rng, shape: Shape) -> NDArray[np.int8]:
    if rng.random() < 0.3:
        return rng.choice(np.array([-127, 127], np.int8), shape)
    return rng.integers(-127, 128, shape).astype(np.int8)


def _no_bias(channels: int) -> NDArray[np.int32]:
    return np.zeros(channels, np.int32)


def _log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
