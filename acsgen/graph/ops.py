# SPDX-License-Identifier: Apache-2.0
"""The operators, each a frozen dataclass.

One set of classes serves both graphs. In a float graph weights and biases are float32 and
`requantize` is None; in an int8 graph weights are int8, biases int32 and `requantize` says how the
int32 accumulator becomes an int8 output. Shapes leave the batch out: (H, W, C), (T, C) or (C,). A
signal (T, C) is what comes in or goes out; in between it is an image (1, T, C), see Reshape.

Every class knows its output shape and its multiply-accumulates (MACs); what it computes is said by
`acsgen.graph.evaluate` in float and by `acsgen.golden` in int8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError

Shape = tuple[int, ...]
Pair = tuple[int, int]


def image_shape(shape: Shape) -> tuple[int, int, int]:
    """(H, W, C) of a tensor's shape: a signal is an image of one row, a vector one of one pixel."""
    height, width, channels = (1,) * (3 - len(shape)) + shape
    return height, width, channels


#: The activations that can be fused into an operator, with the real interval that they keep.
ACTIVATIONS: dict[str, tuple[float, float]] = {
    "none": (-np.inf, np.inf),
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
}


@dataclass(frozen=True, eq=False)
class Requantize:
    """How an int32 accumulator becomes an int8 value (the contract's double rounding).

    multiplier: int32 (C,), Q31. shift: int32 (C,), > 0 shifts left. low, high: the int8 clamp.
    """

    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]
    low: int
    high: int


@dataclass(frozen=True)
class Padding:
    """Rows and columns of real zeros around an image."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @staticmethod
    def same(size: Pair, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Padding:
        """TensorFlow's 'same': ceil(size / stride) outputs, the odd zero at the bottom right."""
        total = [
            max((-(-s // st) - 1) * st + (k - 1) * d + 1 - s, 0)
            for s, k, st, d in zip(size, kernel, stride, dilation, strict=True)
        ]
        return Padding(total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2)


@dataclass(frozen=True, eq=False)
class Op:
    """An operator: reads the tensors named `inputs`, writes the tensor named `output`."""

    name: str
    inputs: tuple[str, ...]
    output: str

    def output_shape(self, *inputs: Shape) -> Shape:
        """Shape of the output for the given input shapes; AcsgenError where they do not fit."""
        return inputs[0]

    def macs(self, *inputs: Shape) -> int:
        """Multiply-accumulates of one dense run, padding included."""
        return 0

    def _misfit(self, why: str) -> AcsgenError:
        return AcsgenError(f"{type(self).__name__} '{self.name}': {why}")


def _window_output(op: Op, shape: Shape, kernel: Pair, stride: Pair, dilation: Pair, pad: Padding) -> Pair:
    if len(shape) != 3:
        raise op._misfit(f"needs an input (H, W, C), got {shape}")
    padded = (shape[0] + pad.top + pad.bottom, shape[1] + pad.left + pad.right)
    size = [(p - (k - 1) * d - 1) // s + 1 for p, k, s, d in zip(padded, kernel, stride, dilation, strict=True)]
    if min(size) < 1:
        raise op._misfit(f"window {kernel} is larger than its padded input {padded}")
    return size[0], size[1]


@dataclass(frozen=True, eq=False)
class Conv2D(Op):
    """Convolution. weights: (out, kh, kw, in / groups); bias: (out,).

    `partition` belongs to a learned grouping (DGConv) before its channels are put in order: the id
    of every output channel's group, and of every input channel's as well unless `input_partition`
    says otherwise. Weights between different groups are then zero and `groups` is 1;
    `acsgen.quantize.permute` turns this into an ordinary grouped convolution.
    """

    weights: NDArray[np.generic]
    bias: NDArray[np.generic]
    stride: Pair = (1, 1)
    padding: Padding = Padding()
    dilation: Pair = (1, 1)
    groups: int = 1
    activation: str = "none"
    partition: tuple[int, ...] | None = None
    requantize: Requantize | None = None
    input_partition: tuple[int, ...] | None = None

    @property
    def kernel(self) -> Pair:
        return self.weights.shape[1], self.weights.shape[2]

    @property
    def out_channels(self) -> int:
        return int(self.weights.shape[0])

    @property
    def read_partition(self) -> tuple[int, ...] | None:
        """Id of every input channel's group."""
        return self.partition if self.input_partition is None else self.input_partition

    def output_shape(self, *inputs: Shape) -> Shape:
        size = _window_output(self, inputs[0], self.kernel, self.stride, self.dilation, self.padding)
        if inputs[0][2] != self.weights.shape[3] * self.groups:
            raise self._misfit(
                f"weights for {self.weights.shape[3] * self.groups} input channels, input has {inputs[0][2]}"
            )
        if self.out_channels % self.groups:
            raise self._misfit(f"{self.out_channels} filters do not split into {self.groups} groups")
        self._check_partitions()
        return (*size, self.out_channels)

    def _check_partitions(self) -> None:
        partition, reads = self.partition, self.read_partition
        if partition is None and reads is None:
            return
        if partition is None or reads is None:
            raise self._misfit("has groups of input channels but none of output channels")
        if self.groups != 1 or (len(reads), len(partition)) != (self.weights.shape[3], self.out_channels):
            raise self._misfit(
                f"a partition of {len(reads)} inputs and {len(partition)} outputs needs as many, groups 1, "
                f"got {self.weights.shape[3]} inputs, {self.out_channels} outputs, {self.groups} groups"
            )
        if set(reads) != set(partition):
            raise self._misfit(
                f"its inputs are in groups {sorted(set(reads))}, its outputs in {sorted(set(partition))}"
            )

    def macs(self, *inputs: Shape) -> int:
        height, width, _ = self.output_shape(*inputs)
        partition, reads = self.partition, self.read_partition
        if partition is None or reads is None:
            return height * width * self.weights.size
        inside = sum(reads.count(group) * partition.count(group) for group in set(partition))
        return height * width * self.kernel[0] * self.kernel[1] * inside

    @property
    def used_weights(self) -> NDArray[Any]:
        """The weights that count: with a `partition`, zero between channels of different groups."""
        if self.partition is None or self.read_partition is None:
            return self.weights
        together = np.equal.outer(self.partition, self.read_partition)[:, None, None, :]
        return np.where(together, self.weights, self.weights.dtype.type(0))


@dataclass(frozen=True, eq=False)
class DepthwiseConv2D(Op):
    """One filter per channel. weights: (kh, kw, C); bias: (C,)."""

    weights: NDArray[np.generic]
    bias: NDArray[np.generic]
    stride: Pair = (1, 1)
    padding: Padding = Padding()
    dilation: Pair = (1, 1)
    activation: str = "none"
    requantize: Requantize | None = None

    @property
    def kernel(self) -> Pair:
        return self.weights.shape[0], self.weights.shape[1]

    def output_shape(self, *inputs: Shape) -> Shape:
        size = _window_output(self, inputs[0], self.kernel, self.stride, self.dilation, self.padding)
        if inputs[0][2] != self.weights.shape[2]:
            raise self._misfit(f"weights for {self.weights.shape[2]} channels, input has {inputs[0][2]}")
        return (*size, self.weights.shape[2])

    def macs(self, *inputs: Shape) -> int:
        return prod(self.output_shape(*inputs)) * prod(self.kernel)


@dataclass(frozen=True, eq=False)
class Dense(Op):
    """Fully connected. weights: (out, in); bias: (out,). The input is (in,) or has that many values."""

    weights: NDArray[np.generic]
    bias: NDArray[np.generic]
    activation: str = "none"
    requantize: Requantize | None = None

    def output_shape(self, *inputs: Shape) -> Shape:
        if prod(inputs[0]) != self.weights.shape[1]:
            raise self._misfit(f"weights for {self.weights.shape[1]} inputs, got shape {inputs[0]}")
        return (self.weights.shape[0],)

    def macs(self, *inputs: Shape) -> int:
        return self.weights.size


@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """y = x * scale + offset per channel, float32 (C,). Only in float graphs: quantising folds it."""

    scale: NDArray[np.float32]
    offset: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Relu(Op):
    """A clamp that could not be fused. In int8 its output has its input's scale and zero point."""

    activation: str = "relu"


@dataclass(frozen=True, eq=False)
class Add(Op):
    """Sum of two tensors of one shape."""

    activation: str = "none"

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 2 or inputs[0] != inputs[1]:
            raise self._misfit(f"adds two tensors of one shape, got {' and '.join(map(str, inputs))}")
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Concatenate(Op):
    """The channels of its inputs one behind the other, in the order of the inputs.

    In int8 all inputs and the output share one scale and zero point, so that it only copies.
    """

    def output_shape(self, *inputs: Shape) -> Shape:
        if not inputs or len({shape[:-1] for shape in inputs}) != 1:
            raise self._misfit(f"joins channels of tensors of one size, got {' and '.join(map(str, inputs))}")
        return (*inputs[0][:-1], sum(shape[-1] for shape in inputs))


@dataclass(frozen=True, eq=False)
class _Pool(Op):
    kernel: Pair
    stride: Pair
    padding: Padding = Padding()

    def output_shape(self, *inputs: Shape) -> Shape:
        size = _window_output(self, inputs[0], self.kernel, self.stride, (1, 1), self.padding)
        pad = self.padding
        if max(pad.top, pad.bottom) >= self.kernel[0] or max(pad.left, pad.right) >= self.kernel[1]:
            raise self._misfit(f"{pad} leaves windows of {self.kernel} that hold nothing but padding")
        return (*size, inputs[0][2])


@dataclass(frozen=True, eq=False)
class MaxPool(_Pool):
    """Maximum over a window; padding never wins."""


@dataclass(frozen=True, eq=False)
class AvgPool(_Pool):
    """Mean over the part of a window that lies inside the image."""


@dataclass(frozen=True, eq=False)
class Pad(Op):
    """An image with real zeros around it. Where all who read it are convolutions, their padding takes it in."""

    padding: Padding = Padding()

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 3:
            raise self._misfit(f"needs an input (H, W, C), got {inputs[0]}")
        height, width, channels = inputs[0]
        pad = self.padding
        return (height + pad.top + pad.bottom, width + pad.left + pad.right, channels)


@dataclass(frozen=True, eq=False)
class Flatten(Op):
    """(H, W, C) to (H*W*C,) in memory order."""

    def output_shape(self, *inputs: Shape) -> Shape:
        return (prod(inputs[0]),)


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """The same values in memory order, in another shape: a signal (T, C) becomes an image (1, T, C)."""

    shape: Shape = ()

    def output_shape(self, *inputs: Shape) -> Shape:
        if prod(self.shape) != prod(inputs[0]) or not self.shape:
            raise self._misfit(f"{prod(inputs[0])} values do not fill the shape {self.shape}")
        return self.shape


@dataclass(frozen=True, eq=False)
class Gate(Op):
    """Decides: logits (G,) to a mask (G,), open exactly where the logit is > 0 in real numbers."""


@dataclass(frozen=True, eq=False)
class SumGate(Gate):
    """A gate with the linear layer before it, only in int8 graphs: decides on the accumulator, open where that is > 0.

    Reads (in,) or an image of that many values. weights: (G, in) int8; bias: (G,) int32, both as of Dense. step:
    (G,) int32, what raising the threshold by one adds to it (mode ACS_BUDGET of `acs.h`).
    """

    weights: NDArray[np.generic]
    bias: NDArray[np.generic]
    step: NDArray[np.int32]

    def output_shape(self, *inputs: Shape) -> Shape:
        if prod(inputs[0]) != self.weights.shape[1]:
            raise self._misfit(f"weights for {self.weights.shape[1]} inputs, got shape {inputs[0]}")
        return (self.weights.shape[0],)

    def macs(self, *inputs: Shape) -> int:
        return self.weights.size


@dataclass(frozen=True, eq=False)
class ApplyMask(Op):
    """inputs = (x, mask): channel c of x stays if mask[partition[c]] is open, else it is real zero.

    partition: group id of every channel, ids 0..G-1 in the order of the mask.
    """

    partition: tuple[int, ...] = field(default=())

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 2:
            raise self._misfit("needs a tensor and a mask")
        if inputs[0][-1] != len(self.partition):
            raise self._misfit(f"groups {len(self.partition)} channels, input has {inputs[0][-1]}")
        if set(self.partition) != set(range(*inputs[1])):
            raise self._misfit(f"its channels use groups {sorted(set(self.partition))} of {inputs[1][0]}")
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Shuffle(Op):
    """Channel c of the output is channel order[c] of the input."""

    order: tuple[int, ...] = field(default=())

    def output_shape(self, *inputs: Shape) -> Shape:
        if sorted(self.order) != list(range(inputs[0][-1])):
            raise self._misfit(f"is no permutation of its {inputs[0][-1]} channels")
        return inputs[0]
