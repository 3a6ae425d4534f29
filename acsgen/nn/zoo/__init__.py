# SPDX-License-Identifier: Apache-2.0
"""Model zoo: networks that skip channels, and their ungated twins.

The graphs hold only ordinary Keras layers and the three of `acsgen.nn.layers`.
"""

from __future__ import annotations

from acsgen.nn.zoo.bottleneck import FASHION_BLOCKS, Block, acs_bottleneck_resnet
from acsgen.nn.zoo.convolutions import CONVOLUTIONS
from acsgen.nn.zoo.densenet import DENSENET40, acs_densenet, densenet40
from acsgen.nn.zoo.gates import GATES
from acsgen.nn.zoo.members import ZOO, Member, copy_weights, gated_twin
from acsgen.nn.zoo.mobilenet import acs_mobilenet
from acsgen.nn.zoo.resnet import RESNET8, acs_resnet
from acsgen.nn.zoo.resnext import RESNEXT_BLOCKS, g_resnext

__all__ = [
    "CONVOLUTIONS",
    "DENSENET40",
    "FASHION_BLOCKS",
    "GATES",
    "RESNET8",
    "RESNEXT_BLOCKS",
    "ZOO",
    "Block",
    "Member",
    "acs_bottleneck_resnet",
    "acs_densenet",
    "acs_mobilenet",
    "acs_resnet",
    "copy_weights",
    "densenet40",
    "g_resnext",
    "gated_twin",
]
