# SPDX-License-Identifier: Apache-2.0
"""When an operator need not run at all: what feeds only groups that are all closed."""

from __future__ import annotations

from collections.abc import Mapping

from acsgen.graph import ApplyMask, Conv2D, Dense, Gate, Graph, Op
from acsgen.plan.lists import Bit
from acsgen.plan.masks import Mask, ancestors

#: Names of lists of which at least one must have an active group; None: always.
Need = frozenset[str] | None


def needs_of(graph: Graph, masks: Mapping[str, Mask], listed: set[str]) -> dict[str, tuple[str, ...]]:
    """For each tensor that is not always needed, the lists of which one must have an active group.

    Tensors whose own list is empty then are left out: an empty list keeps a kernel from doing anything. So are
    masks and what gates are computed from: a gate always decides, that its mask may be told.
    """
    before = ancestors(graph)
    needs: dict[str, Need] = {graph.output: None}
    for op in reversed(graph.ops):
        tensor = op.output
        if tensor == graph.output:
            continue
        need: Need = frozenset()
        for reader in graph.consumers(tensor):
            used = _used_by(reader, tensor, masks, listed, needs)
            need = None if need is None or used is None else need | used
        if need and any(tensor in before[gate] for name in need for gate in _gates(masks, name)):
            need = None
        needs[tensor] = need
    return {
        name: tuple(sorted(need))
        for name, need in needs.items()
        if need and not (name in listed and set(masks[name].bits) <= _bits(masks, need))
    }


def _used_by(reader: Op, tensor: str, masks: Mapping[str, Mask], listed: set[str], needs: Mapping[str, Need]) -> Need:
    """When a reader looks at a tensor."""
    if isinstance(reader, Gate) or (tensor != reader.inputs[0] and isinstance(reader, ApplyMask)):
        return None
    if (isinstance(reader, ApplyMask) and reader.output in masks) or reader.output in listed:
        mask = masks[reader.output]
        if None not in mask.bits:
            return frozenset({mask.list})
    if tensor in listed and isinstance(reader, Conv2D | Dense) and None not in masks[tensor].bits:
        return frozenset({masks[tensor].list})
    return needs[reader.output]


def _bits(masks: Mapping[str, Mask], names: frozenset[str]) -> set[Bit]:
    return {bit for mask in masks.values() if mask.list in names for bit in mask.bits}


def _gates(masks: Mapping[str, Mask], name: str) -> tuple[str, ...]:
    return next(mask.gates for mask in masks.values() if mask.list == name)
