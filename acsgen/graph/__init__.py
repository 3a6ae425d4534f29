# SPDX-License-Identifier: Apache-2.0
"""The intermediate representation: typed operators over named tensors, float or int8."""

from acsgen.graph.ir import Graph, Tensor
from acsgen.graph.ops import (
    Add,
    ApplyMask,
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    MaxPool,
    Op,
    Relu,
    Requantize,
    Shuffle,
)

__all__ = [
    "Add",
    "ApplyMask",
    "AvgPool",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Flatten",
    "Gate",
    "Graph",
    "MaxPool",
    "Op",
    "Relu",
    "Requantize",
    "Shuffle",
    "Tensor",
]
