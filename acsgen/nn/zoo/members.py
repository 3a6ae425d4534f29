# SPDX-License-Identifier: Apache-2.0
"""The members of the zoo by name, and how a gated network is made from its dense twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras

from acsgen.nn.layers import DGConv2D
from acsgen.nn.zoo.bottleneck import acs_bottleneck_resnet
from acsgen.nn.zoo.densenet import acs_densenet
from acsgen.nn.zoo.mobilenet import acs_mobilenet
from acsgen.nn.zoo.resnet import acs_resnet
from acsgen.nn.zoo.resnext import g_resnext

__all__ = ["ZOO", "Member", "copy_weights", "gated_twin"]


@dataclass(frozen=True)
class Member:
    """A network of the zoo."""

    name: str
    build: Callable[..., keras.Model]
    gated: bool  # has a gated form
    summary: str  # one line


_MEMBERS = (
    Member("acs_resnet", acs_resnet, True, "basic residual blocks, masks on their middle channels"),
    Member("acs_densenet", acs_densenet, True, "dense blocks as in the paper, masks on the new channels"),
    Member("acs_mobilenet", acs_mobilenet, True, "inverted bottlenecks, masks on the expanded channels"),
    Member("g_resnext", g_resnext, False, "residual bottlenecks with learned groups, without gates"),
    Member("acs_bottleneck_resnet", acs_bottleneck_resnet, True, "residual bottlenecks, masks on learned groups"),
)

#: The networks by name.
ZOO: Mapping[str, Member] = MappingProxyType({member.name: member for member in _MEMBERS})


def gated_twin(dense: keras.Model, member: str = "acs_bottleneck_resnet", **arguments: Any) -> keras.Model:
    """Gated network with the weights and the learned groups of a trained dense twin.

    `dense` was built by `ZOO[member].build(gated=False, **arguments)`; of the arguments only
    those of the gates, `batch_norm` and `seed` may differ.
    """
    if member not in ZOO:
        raise ValueError(f"no network of the zoo is called {member!r}: choose from {', '.join(ZOO)}")
    groups = {
        layer.name.removesuffix("_dg"): layer.channel_groups().tolist()
        for layer in dense.layers
        if isinstance(layer, DGConv2D) and layer.name.endswith("_dg")
    }
    gated = ZOO[member].build(gated=True, channel_groups=groups, **arguments)
    copy_weights(dense, gated)
    return gated


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of every layer of `source` to the layer of that name in `target`."""
    for layer in source.layers:
        if layer.weights:
            target.get_layer(layer.name).set_weights(layer.get_weights())
