# SPDX-License-Identifier: Apache-2.0
"""The networks that are measured: members of the zoo with random weights, int8.

Instruction counts don't depend on what the weights are, but for requantisation's rare branches; masks are
forced, so nothing has to be trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from acsgen.frontend.keras import read_model
from acsgen.graph import Graph
from acsgen.quantize import quantize

#: Images that calibrate a network: noise, since its weights are noise as well.
CALIBRATION = 4


@dataclass(frozen=True)
class Network:
    """net: how a report calls it; mask: what a bit stands for; build: makes the Keras model."""

    net: str
    mask: str
    build: Callable[[], Any]


def _member(member: str, **arguments: Any) -> Callable[[], Any]:
    def build() -> Any:
        from acsgen.nn.zoo import ZOO

        return ZOO[member].build(input_shape=(32, 32, 3), **arguments)

    return build


def _bottleneck() -> Any:
    """Inverted bottlenecks: the middle, which masks shorten, is four times as wide as what a block puts out."""
    from acsgen.nn.zoo import ZOO, Block

    blocks = (
        Block("a1", middle=128, out=32, group_size=16),
        Block("b1", middle=256, out=64, group_size=16, stride=2),
        Block("b2", middle=256, out=64, group_size=16),
        Block("c1", middle=512, out=128, group_size=16, stride=2),
    )
    return ZOO["acs_bottleneck_resnet"].build(input_shape=(32, 32, 3), blocks=blocks)


_WIDE: Mapping[str, Any] = {"stem": 32, "stem_stride": 1, "widths": (32, 64, 128)}

#: In the order of the report.
NETWORKS = (
    Network("acs_resnet", "group16", _member("acs_resnet", group=16, **_WIDE)),
    Network("acs_bottleneck_resnet", "group16", _bottleneck),
    Network("acs_resnet", "channel", _member("acs_resnet", group=1, **_WIDE)),
    Network("acs_densenet", "group4", _member("acs_densenet", stem_stride=1)),
    Network("acs_densenet", "channel", _member("acs_densenet", stem_stride=1, group=1, conv="plain")),
)


def int8_graph(model: Any) -> Graph:
    """The network with random weights (its own, of a fixed seed), calibrated on noise."""
    graph = read_model(model)
    rng = np.random.default_rng(0)
    return quantize(graph, rng.random((CALIBRATION, *graph.shape(graph.input)), np.float32))
