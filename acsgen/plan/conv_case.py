# SPDX-License-Identifier: Apache-2.0
"""What a kernel set is told of a convolution before it says how it wants to have it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.graph import Conv2D, Dense, Tensor
from acsgen.graph.ops import Pair, Requantize, Shape, image_shape


@dataclass(frozen=True)
class ConvCase:
    """A convolution, or a fully connected layer as one whose kernel is as large as its image.

    source, target: of the tensors, images (H, W, C). input_groups, output_groups: of their layouts.
    constants: closed input groups hold a constant that is not zero. scaled: a 1x1 depthwise convolution is done on
    the way to it. alone: a list says whether the only input group is read.
    """

    op: Conv2D | Dense
    source: Shape
    target: Shape
    input_zero_point: int
    output_zero_point: int
    input_groups: int
    output_groups: int
    constants: bool = False
    scaled: bool = False
    alone: bool = False

    def behind(self, constants: bool, scaled: bool, alone: bool = False) -> ConvCase:
        """The same with closed groups of constants, behind a layer that scales, with a list of a single group."""
        return replace(self, constants=constants, scaled=scaled, alone=alone)

    @property
    def weights(self) -> NDArray[Any]:
        """(output channel, row, column, input channel that it reads)."""
        weights: NDArray[Any] = self.op.weights
        return weights if isinstance(self.op, Conv2D) else weights.reshape(len(weights), *self.source)

    @property
    def requantize(self) -> Requantize:
        assert self.op.requantize is not None, "plans are of int8 graphs"
        return self.op.requantize

    @property
    def kernel(self) -> Pair:
        return self.weights.shape[1], self.weights.shape[2]

    @property
    def stride(self) -> Pair:
        return self.op.stride if isinstance(self.op, Conv2D) else (1, 1)

    @property
    def dilation(self) -> Pair:
        return self.op.dilation if isinstance(self.op, Conv2D) else (1, 1)

    @property
    def sources(self) -> int:
        """Into so many parts the input falls that are read by different output channels."""
        return self.source[2] // int(self.weights.shape[3])

    @property
    def image_channels(self) -> int:
        """Channels of a group of the input's layout."""
        return self.source[2] // self.input_groups

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(least, greatest) accumulator of each output channel, bias included, over every input that there is.

        A channel that is closed, and padding, count as 0, which lies between the ends of what an input can be.
        """
        weights = self.weights.astype(np.int64)
        ends = np.array([-128, 127], np.int64) - self.input_zero_point
        products = weights[..., None] * ends
        axes = (1, 2, 3)
        bias = self.op.bias.astype(np.int64)
        return bias + products.min(-1).sum(axes), bias + products.max(-1).sum(axes)


#: The form that is no key of `acsgen.emit.forms.FORMS`.
PLAIN = "plain"


@dataclass(frozen=True)
class Form:
    """How a kernel set wants a convolution.

    name: of the form of its constants, a key of `acsgen.emit.forms.FORMS`, or PLAIN. band_bytes: scratch that it
    needs besides, where its result is added to a residual. constant_bytes: flash that they take. instructions: of a run
    with all gates open, estimated from counts on a core that it is for. most_scratch_bytes: more than scratch_bytes,
    if more would be used, bands not included.
    """

    name: str
    scratch_bytes: int
    band_bytes: int
    constant_bytes: int
    instructions: int
    why: str
    most_scratch_bytes: int = 0


def plain_form(case: ConvCase, why: str, instructions: int = 0) -> Form:
    """Constants as the graph has them, which a set's plain kernel takes whatever they are."""
    row = case.target[1] * case.target[2]
    return Form(PLAIN, 0, row, case.weights.size + 12 * case.target[2], instructions, why)


def conv_case(
    op: Conv2D | Dense, source: Tensor, target: Tensor, input_groups: int, output_groups: int, joins: bool = False
) -> ConvCase:
    """The case of an operator between two tensors of an int8 graph.

    joins: a fully connected layer reads the image as it lies, by the list of its groups, not a single pixel.
    """
    target_shape, source_shape = image_shape(target.shape), image_shape(source.shape)
    if isinstance(op, Dense) and not joins:
        source_shape = (1, 1, prod(source_shape))
    points = source.zero_point, target.zero_point
    return ConvCase(op, source_shape, target_shape, *points, input_groups, output_groups)
