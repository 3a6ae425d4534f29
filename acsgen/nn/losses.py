# SPDX-License-Identifier: Apache-2.0
"""Losses of gated networks: what they may cost, and how large learned groups should be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import log2
from typing import Any

from keras import ops

from acsgen.nn.layers import DGConv2D
from acsgen.nn.macs import MacTable

__all__ = ["budget_loss", "distillation_loss", "group_size_loss", "mac_share"]


def mac_share(table: MacTable, masks: Mapping[str, Any]) -> Any:
    """Scalar: mean share (0..1) of the dense MACs that a batch with these masks executes."""
    return ops.mean(table.executed(masks)) / table.dense


def budget_loss(table: MacTable, masks: Mapping[str, Any], target: Any) -> Any:
    """Scalar: squared distance of the executed share of the MACs from `target` (0..1).

    Only the mean over the batch counts: how the budget is spread over inputs, layers and groups
    is the network's choice. A term per mask bit would press every bit towards the same rate,
    and costs accuracy.
    """
    return ops.square(mac_share(table, masks) - target)


def group_size_loss(layers: Iterable[DGConv2D]) -> Any:
    """Scalar: how far the learned groups are from each layer's `group_size`.

    The cost of a dynamic grouping convolution is the number of ones in U, C_in * C_out divided by
    the factors whose bit is 0. Compared are logarithms, so that a factor counts the same in a small
    and in a large layer and the loss, unlike the plain count, pulls back a layer that went below its
    target: mean over the layers of (sum over the factors f of bit * log2(f) - log2(product of them
    that gives `group_size`))**2. All layers must be built.
    """
    terms = [
        ops.square(
            ops.sum(layer.soft_bits() * [log2(factor) for factor in layer.factors])
            - log2(layer.group_size * layer.width // layer.filters)
        )
        for layer in layers
        if layer.group_size is not None
    ]
    if not terms:
        raise ValueError("group_size_loss: no layer has a group_size")
    return sum(terms) / len(terms)


def distillation_loss(logits: Any, teacher_logits: Any, temperature: float = 2.0) -> Any:
    """Scalar: temperature**2 * mean KL(teacher || student), both (B, classes) float logits."""
    log_student = ops.log_softmax(logits / temperature, axis=-1)
    log_teacher = ops.log_softmax(teacher_logits / temperature, axis=-1)
    kl = ops.sum(ops.exp(log_teacher) * (log_teacher - log_student), axis=-1)
    return temperature**2 * ops.mean(kl)
