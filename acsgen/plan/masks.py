# SPDX-License-Identifier: Apache-2.0
"""Which groups of which tensors a closed gate makes unnecessary.

Two facts let a group go uncomputed. Behind an ApplyMask a closed group is real zero, and so it stays
through pooling and clamping: a consumer need not read it. Before an ApplyMask a closed group is
unused: whoever computes it may leave it out, and so may the operators that feed only it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from acsgen.graph import ApplyMask, AvgPool, Conv2D, DepthwiseConv2D, Graph, MaxPool, Op, Relu


@dataclass(frozen=True)
class Mask:
    """A gate's hold on a tensor. gate: the mask tensor; groups: its bits.

    closed: what a closed group of the tensor is for its readers.
    """

    gate: str
    groups: int
    closed: Literal["zero", "unused"]


def masks_of(graph: Graph) -> dict[str, Mask]:
    """The mask of every tensor that has one."""
    zero = _zero_groups(graph)
    return {**_unused_groups(graph, zero), **zero}


def _zero_groups(graph: Graph) -> dict[str, Mask]:
    masks: dict[str, Mask] = {}
    for op in graph.ops:
        if isinstance(op, ApplyMask):
            masks[op.output] = Mask(op.inputs[1], graph.shape(op.inputs[1])[0], "zero")
        elif isinstance(op, MaxPool | AvgPool | Relu) and op.inputs[0] in masks:
            masks[op.output] = masks[op.inputs[0]]
    return masks


def _unused_groups(graph: Graph, zero: dict[str, Mask]) -> dict[str, Mask]:
    ancestors = _ancestors(graph)
    unused: dict[str, Mask] = {}
    for op in reversed(graph.ops):
        if op.output in zero or op.output == graph.output:
            continue
        found = {_ignored_by(graph, reader, {**unused, **zero}) for reader in graph.consumers(op.output)}
        mask = next(iter(found), None)
        # A gate that looks at what this operator computes cannot decide whether to compute it.
        if len(found) == 1 and mask is not None and op.output not in ancestors[mask.gate]:
            unused[op.output] = mask
    return unused


def _ignored_by(graph: Graph, reader: Op, masks: dict[str, Mask]) -> Mask | None:
    """The mask whose closed groups `reader` does not need of its (first) input."""
    if isinstance(reader, ApplyMask):
        return Mask(reader.inputs[1], graph.shape(reader.inputs[1])[0], "unused")
    mask = masks.get(reader.output)
    if mask is None:
        return None
    per_group = isinstance(reader, Conv2D) and reader.groups > 1 and reader.groups % mask.groups == 0
    if per_group or isinstance(reader, MaxPool | AvgPool | Relu | DepthwiseConv2D):
        return Mask(mask.gate, mask.groups, "unused")
    return None


def _ancestors(graph: Graph) -> dict[str, set[str]]:
    """The tensors that each tensor is computed from, itself included."""
    known: dict[str, set[str]] = {graph.input: {graph.input}}
    for op in graph.ops:
        known[op.output] = {op.output}.union(*(known[name] for name in op.inputs))
    return known
