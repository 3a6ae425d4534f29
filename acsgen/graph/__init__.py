# SPDX-License-Identifier: Apache-2.0
"""The intermediate representation: typed operators over named tensors, float or int8."""

from acsgen.graph.ir import Graph, Tensor
from acsgen.graph.ops import (
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
    Requantize,
    Reshape,
    Shuffle,
    SumGate,
)

__all__ = [
    "Add",
    "ApplyMask",
    "AvgPool",
    "BatchNorm",
    "Concatenate",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Flatten",
    "Gate",
    "Graph",
    "MaxPool",
    "Op",
    "Pad",
    "Relu",
    "Requantize",
    "Reshape",
    "Shuffle",
    "SumGate",
    "Tensor",
]
