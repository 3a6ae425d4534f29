# SPDX-License-Identifier: Apache-2.0
"""Trained networks: Keras layers, model zoo, losses, MAC counts and training.

Importing this package registers the layers, after which `keras.saving.load_model` reads files
that use them.
"""

from __future__ import annotations

from acsgen.nn.batch_norm import FusedBatchNormalization
from acsgen.nn.layers import ApplyMask, ChannelGate, DGConv2D
from acsgen.nn.zoo import ZOO, acs_bottleneck_resnet, gated_twin

__all__ = [
    "ZOO",
    "ApplyMask",
    "ChannelGate",
    "DGConv2D",
    "FusedBatchNormalization",
    "acs_bottleneck_resnet",
    "gated_twin",
]
