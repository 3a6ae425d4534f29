# SPDX-License-Identifier: Apache-2.0
"""Keras layers to operators: a reader for every layer, and the table `READERS` that finds it.

A layer on a signal (T, C) is read as one on an image (1, T, C): a Conv1D is a Conv2D whose kernel has one
row. So only the model's input and output are signals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.graph import (
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
)
from acsgen.graph.ops import Padding, Pair, Shape


def shape_in_graph(shape: Shape) -> Shape:
    """The shape that a Keras tensor has within a graph: a signal (T, C) is an image of one row."""
    return (1, *shape) if len(shape) == 2 else shape


@dataclass(frozen=True)
class Place:
    """A layer at its place in the graph: what it reads and how its output is called.

    shapes, output_shape: as Keras has them, (H, W, C), (T, C) or (C,).
    """

    layer: Any
    inputs: tuple[str, ...]
    shapes: tuple[Shape, ...]
    output: str
    output_shape: Shape
    is_last: bool

    def unsupported(self, what: str) -> AcsgenError:
        reads = " and ".join(f"'{name.partition('/')[0]}'" for name in self.inputs)  # layers, not their parts
        return AcsgenError(
            f"layer '{self.layer.name}' ({type(self.layer).__name__}, reads {reads}): {what} is not supported"
        )

    def weights(self, name: str) -> NDArray[np.float32]:
        """A weight of the layer, checked: one number that is none makes every result wrong."""
        import keras

        values = np.asarray(keras.ops.convert_to_numpy(getattr(self.layer, name)), np.float32)
        if not np.isfinite(values).all():
            raise AcsgenError(
                f"layer '{self.layer.name}' ({type(self.layer).__name__}): NaN or infinity in its {name}: "
                "the training went wrong, take another checkpoint"
            )
        return values

    def bias(self, channels: int) -> NDArray[np.float32]:
        return self.weights("bias") if self.layer.use_bias else np.zeros(channels, np.float32)

    def named(self, part: str) -> str:
        return f"{self.output}/{part}"

    def kernel(self, name: str = "kernel") -> NDArray[np.float32]:
        """A convolution's weights (rows, columns, in, out or multiplier); of one on a signal, one row."""
        values = self.weights(name)
        return values[None] if values.ndim == 3 else values

    def pair(self, value: Any) -> Pair:
        """A size that Keras has as a number or a tuple, (vertical, horizontal): of a layer on a signal, (1, n)."""
        numbers = (value,) if isinstance(value, int) else tuple(value)
        return (1 if self.is_signal else int(numbers[0]), int(numbers[-1]))

    @property
    def is_signal(self) -> bool:
        return len(self.shapes[0]) == 2

    @property
    def size(self) -> Pair:
        """(H, W) of the input."""
        height, width, _ = shape_in_graph(self.shapes[0])
        return height, width

    def padding(self, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Padding:
        kind = self.layer.padding
        if kind == "same":
            return Padding.same(self.size, kernel, stride, dilation)
        if kind == "valid":
            return Padding()
        if kind == "causal":
            return Padding(left=(kernel[1] - 1) * dilation[1])
        raise self.unsupported(f"padding '{kind}'")

    def check(self) -> None:
        """AcsgenError if the layer is of a kind that no reader knows."""
        if getattr(self.layer, "data_format", "channels_last") != "channels_last":
            raise self.unsupported("data_format 'channels_first' (build it with 'channels_last', as (H, W, C))")
        if getattr(self.layer, "quantization_mode", None):
            raise self.unsupported(f"quantisation '{self.layer.quantization_mode}' by Keras (give the float model)")


# --- readers: one layer to the operators that compute it -------------------------------------------


def _conv(at: Place) -> list[Op]:
    layer = at.layer
    kernel = at.kernel()
    return _with_activation(
        at,
        lambda output: Conv2D(
            output, at.inputs, output,
            weights=kernel.transpose(3, 0, 1, 2).copy(),
            bias=at.bias(kernel.shape[3]),
            stride=at.pair(layer.strides),
            padding=at.padding(kernel.shape[:2], at.pair(layer.strides), at.pair(layer.dilation_rate)),
            dilation=at.pair(layer.dilation_rate),
            groups=layer.groups,
        ),
    )  # fmt: skip


def _dgconv2d(at: Place) -> list[Op]:
    layer = at.layer
    at.weights("gate")
    kernel = at.weights("kernel")
    # The ids of both sides are the same where the widths are.
    partition, reads = (tuple(ids.tolist()) for ids in (layer.channel_groups(), layer.input_groups()))
    return _with_activation(
        at,
        lambda output: Conv2D(
            output, at.inputs, output,
            weights=(kernel * layer.connections()).transpose(3, 0, 1, 2).copy(),
            bias=at.bias(kernel.shape[3]),
            stride=at.pair(layer.strides),
            padding=at.padding(kernel.shape[:2], at.pair(layer.strides)),
            partition=partition,
            input_partition=None if reads == partition else reads,
        ),
    )  # fmt: skip


def _depthwise(at: Place) -> list[Op]:
    kernel = at.kernel()
    bias = at.bias(kernel.shape[2] * kernel.shape[3])
    return _with_activation(at, lambda output: _filters(at, output, kernel, bias))


def _separable(at: Place) -> list[Op]:
    kernel, mixing = at.kernel("depthwise_kernel"), at.kernel("pointwise_kernel")
    silent = np.zeros(kernel.shape[2] * kernel.shape[3], np.float32)
    depthwise = _filters(at, at.named("depthwise"), kernel, silent)
    pointwise = _with_activation(
        at,
        lambda output: Conv2D(
            output, (depthwise.output,), output, mixing.transpose(3, 0, 1, 2).copy(), at.bias(mixing.shape[3])
        ),
    )
    return [depthwise, *pointwise]


def _filters(at: Place, output: str, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> Op:
    """Filters (rows, columns, channels, multiplier) of single channels: with several for each, a grouped Conv2D."""
    rows, columns, channels, multiplier = kernel.shape
    stride, dilation = at.pair(at.layer.strides), at.pair(at.layer.dilation_rate)
    padding = at.padding((rows, columns), stride, dilation)
    if multiplier == 1:
        return DepthwiseConv2D(output, at.inputs, output, kernel[..., 0].copy(), bias, stride, padding, dilation)
    weights = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, rows, columns, 1)
    return Conv2D(output, at.inputs, output, weights, bias, stride, padding, dilation, groups=channels)


def _dense(at: Place) -> list[Op]:
    """Of an image or a signal it works on every pixel by itself, as a 1x1 convolution does."""
    weights = at.weights("kernel").T.copy()
    bias = at.bias(len(weights))
    if len(at.shapes[0]) == 1:
        return _with_activation(at, lambda output: Dense(output, at.inputs, output, weights, bias))
    return _with_activation(at, lambda output: Conv2D(output, at.inputs, output, weights[:, None, None, :], bias))


def _batch_norm(at: Place) -> list[Op]:
    layer = at.layer
    if layer.axis not in (-1, len(at.shapes[0])):
        raise at.unsupported(f"axis {layer.axis}")
    channels = at.shapes[0][-1]
    gamma = at.weights("gamma") if layer.scale else np.ones(channels)
    beta = at.weights("beta") if layer.center else np.zeros(channels)
    variance = at.weights("moving_variance") + layer.epsilon
    if (variance <= 0).any():
        raise at.unsupported("a variance that is not above zero")
    scale = gamma / np.sqrt(variance)
    offset = beta - at.weights("moving_mean") * scale
    return [BatchNorm(at.output, at.inputs, at.output, scale.astype(np.float32), offset.astype(np.float32))]


def _rescaling(at: Place) -> list[Op]:
    return [_affine(at, np.asarray(at.layer.scale), np.asarray(at.layer.offset))]


def _normalization(at: Place) -> list[Op]:
    if at.layer.invert:
        raise at.unsupported("invert=True")
    import keras

    deviation = np.maximum(np.sqrt(at.weights("variance")), keras.backend.epsilon())
    return [_affine(at, 1 / deviation, -at.weights("mean") / deviation)]


def _affine(at: Place, scale: NDArray[Any], offset: NDArray[Any]) -> Op:
    """x * scale + offset, where these are numbers or have one for each channel."""
    parts = []
    for values in (scale, offset):
        if values.size not in (1, values.shape[-1] if values.ndim else 1):
            raise at.unsupported(f"a scale of shape {values.shape}, with more than one number for each channel")
        parts.append(np.broadcast_to(values.astype(np.float32).ravel(), at.shapes[0][-1:]).copy())
    return BatchNorm(at.output, at.inputs, at.output, *parts)


def _relu(at: Place) -> list[Op]:
    layer = at.layer
    if layer.negative_slope or layer.threshold or layer.max_value not in (None, 6):
        raise at.unsupported("a ReLU with a slope, a threshold or a maximum other than 6")
    return [Relu(at.output, at.inputs, at.output, activation="relu" if layer.max_value is None else "relu6")]


def _activation(at: Place) -> list[Op]:
    activation = _activation_name(at)
    return [] if activation == "none" else [Relu(at.output, at.inputs, at.output, activation=activation)]


def _softmax(at: Place) -> list[Op]:
    if not at.is_last:
        raise at.unsupported("a softmax that is not the last layer")
    return []  # the host may take it: the logits decide


def _add(at: Place) -> list[Op]:
    if len(at.inputs) != 2 or at.shapes[0] != at.shapes[1]:
        raise at.unsupported(f"adding {len(at.inputs)} tensors of shapes {', '.join(map(str, at.shapes))}")
    return [Add(at.output, at.inputs, at.output)]


def _concatenate(at: Place) -> list[Op]:
    if at.layer.axis not in (-1, len(at.shapes[0])):
        raise at.unsupported(f"joining along axis {at.layer.axis} (of the channels only: -1)")
    return [Concatenate(at.output, at.inputs, at.output)]


def _zero_padding(at: Place) -> list[Op]:
    sides = at.layer.padding
    (top, bottom), (left, right) = ((0, 0), sides) if at.is_signal else sides
    return [Pad(at.output, at.inputs, at.output, Padding(top, bottom, left, right))]


def _pool(kind: type[MaxPool] | type[AvgPool]) -> Callable[[Place], list[Op]]:
    def read(at: Place) -> list[Op]:
        kernel, stride = at.pair(at.layer.pool_size), at.pair(at.layer.strides)
        return [kind(at.output, at.inputs, at.output, kernel, stride, at.padding(kernel, stride))]

    return read


def _global_pool(kind: type[MaxPool] | type[AvgPool]) -> Callable[[Place], list[Op]]:
    def read(at: Place) -> list[Op]:
        pooled = kind(at.output, at.inputs, at.output, at.size, at.size)
        if at.layer.keepdims:
            return [pooled]
        return [pooled, Flatten(at.named("flat"), (pooled.output,), at.named("flat"))]

    return read


def _flatten(at: Place) -> list[Op]:
    if len(at.shapes[0]) == 1:
        return []
    return [Flatten(at.output, at.inputs, at.output)]


def _reshape(at: Place) -> list[Op]:
    if len(at.output_shape) > 3:
        raise at.unsupported(f"a shape with {len(at.output_shape)} axes, {at.output_shape},")
    before, behind = (shape_in_graph(shape) for shape in (at.shapes[0], at.output_shape))
    if before == behind:
        return []
    if len(behind) == 1:
        return [Flatten(at.output, at.inputs, at.output)]
    return [Reshape(at.output, at.inputs, at.output, behind)]


def _gate(at: Place) -> list[Op]:
    if len(at.shapes[0]) == 1:
        return [Gate(at.output, at.inputs, at.output)]
    flat = Flatten(at.named("flat"), at.inputs, at.named("flat"))
    return [flat, Gate(at.output, (flat.output,), at.output)]


def _apply_mask(at: Place) -> list[Op]:
    partition = tuple(int(g) for g in at.layer.channel_group)
    return [ApplyMask(at.output, at.inputs, at.output, partition=partition)]


def _nothing(at: Place) -> list[Op]:
    return []


#: Registered layer name -> reader. Layers that do nothing at inference are read as nothing.
READERS: dict[str, Callable[[Place], list[Op]]] = {
    "Conv1D": _conv,
    "Conv2D": _conv,
    "DepthwiseConv1D": _depthwise,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv1D": _separable,
    "SeparableConv2D": _separable,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "ReLU": _relu,
    "Activation": _activation,
    "Softmax": _softmax,
    "Add": _add,
    "Concatenate": _concatenate,
    "ZeroPadding1D": _zero_padding,
    "ZeroPadding2D": _zero_padding,
    "MaxPooling1D": _pool(MaxPool),
    "MaxPooling2D": _pool(MaxPool),
    "AveragePooling1D": _pool(AvgPool),
    "AveragePooling2D": _pool(AvgPool),
    "GlobalMaxPooling1D": _global_pool(MaxPool),
    "GlobalMaxPooling2D": _global_pool(MaxPool),
    "GlobalAveragePooling1D": _global_pool(AvgPool),
    "GlobalAveragePooling2D": _global_pool(AvgPool),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Dropout": _nothing,
    "SpatialDropout1D": _nothing,
    "SpatialDropout2D": _nothing,
    "GaussianNoise": _nothing,
    "Identity": _nothing,
    "acsgen>FusedBatchNormalization": _batch_norm,
    "acsgen>DGConv2D": _dgconv2d,
    "acsgen>ChannelGate": _gate,
    "acsgen>ApplyMask": _apply_mask,
}


def read_layer(at: Place) -> list[Op]:
    """The operators that compute a layer, none if it does nothing; AcsgenError, with its place, if it is unknown."""
    import keras

    at.check()
    kind = keras.saving.get_registered_name(type(at.layer))
    is_sum = kind == "Add"  # of two tensors, a layer or written as a + b; no other operation has a reader
    reader = READERS.get(kind) if is_sum or isinstance(at.layer, keras.layers.Layer) else None
    if reader is None:
        raise at.unsupported("this layer")
    return reader(at)


def _with_activation(at: Place, make: Callable[[str], Op]) -> list[Op]:
    """The operator, and behind it the layer's own activation as an operator of its own."""
    activation = _activation_name(at)
    if activation == "none":
        return [make(at.output)]
    linear = make(at.named("linear"))
    return [linear, Relu(at.output, (linear.output,), at.output, activation=activation)]


def _activation_name(at: Place) -> str:
    function = getattr(at.layer, "activation", None)
    name = "linear" if function is None else getattr(function, "__name__", type(function).__name__)
    if name == "softmax" and at.is_last:
        return "none"
    known = {"linear": "none", "relu": "relu", "relu6": "relu6"}
    if name not in known:
        raise at.unsupported(f"activation '{name}'")
    return known[name]
