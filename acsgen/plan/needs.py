# SPDX-License-Identifier: Apache-2.0
"""When an operator need not run at all: what feeds only groups that are all closed.

The same goes for gates: where all that a mask is applied to feeds only closed groups of others, nobody asks for
the mask. Such a gate decides nothing, and its list is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from acsgen.graph import ApplyMask, Conv2D, Dense, Gate, Graph, Op
from acsgen.plan.layout import gates_before
from acsgen.plan.lists import Bit
from acsgen.plan.masks import Mask, ancestors

#: Names of lists of which at least one must have an active group; None: always.
Need = frozenset[str] | None

#: By tensor, or by mask: the lists of which one must have an active group.
Needs = dict[str, tuple[str, ...]]


def needs_of(graph: Graph, masks: Mapping[str, Mask], listed: set[str]) -> Needs:
    """For each tensor that is not always needed, masks included, the lists of which one must have an active group.

    Tensors whose own list is empty then are left out: an empty list keeps a kernel from doing anything. The lists
    of a mask are those of other gates, which then decide first; where two gates would wait for each other, one of
    them always decides.
    """
    waiting = waiting_gates(graph, masks)
    needs = _tensor_needs(graph, masks, listed, waiting)
    if _can_be_ordered(graph, masks, needs):
        return needs
    kept: Needs = {}
    for gate, lists in waiting.items():
        if _can_be_ordered(graph, masks, _tensor_needs(graph, masks, listed, {**kept, gate: lists})):
            kept[gate] = lists
    return _tensor_needs(graph, masks, listed, kept)


def waiting_gates(graph: Graph, masks: Mapping[str, Mask]) -> Needs:
    """For each mask that is not always needed, the gates of which one must have opened a group.

    A tensor is needed where an operator reads it whose output is needed; an ApplyMask needs what it masks where the
    mask is decided and has an open group, and the mask where its output is needed. This is said of whole gates and
    not of lists, so that `acsgen.golden.decided` can say the same of a run without a plan.
    """
    before = ancestors(graph)
    needs: dict[str, Need] = {graph.output: None}
    for op in reversed(graph.ops):
        tensor = op.output
        if tensor == graph.output:
            continue
        need = _any_of(
            (frozenset({reader.inputs[1]}) if reader.output in masks else None)
            if isinstance(reader, ApplyMask) and tensor == reader.inputs[0]
            else needs[reader.output]
            for reader in graph.consumers(tensor)
        )
        if isinstance(op, Gate) and need and any(tensor in before[gate] for gate in need):
            need = None  # the others look at what it masks
        needs[tensor] = need
    found = {gate.output: needs[gate.output] for gate in graph.gates}
    return {mask: tuple(sorted(need)) for mask, need in found.items() if need}


def _any_of(needs: Iterable[Need]) -> Need:
    """When one of them holds; None: always."""
    found: frozenset[str] = frozenset()
    for need in needs:
        if need is None:
            return None
        found |= need
    return found


def _can_be_ordered(graph: Graph, masks: Mapping[str, Mask], needs: Needs) -> bool:
    """Whether every gate can decide before all that hangs on it."""
    gates = gates_before(graph.ops, masks, needs)
    try:
        TopologicalSorter({op.output: {*op.inputs, *gates[op.output]} for op in graph.ops}).prepare()
    except CycleError:
        return False
    return True


def _tensor_needs(graph: Graph, masks: Mapping[str, Mask], listed: set[str], waiting: Needs) -> Needs:
    before = ancestors(graph)
    needs: dict[str, Need] = {graph.output: None}
    for op in reversed(graph.ops):
        tensor = op.output
        if tensor == graph.output:
            continue
        if isinstance(op, Gate):
            needs[tensor] = frozenset(waiting[tensor]) if tensor in waiting else None
            continue
        need = _any_of(_used_by(reader, tensor, masks, listed, needs) for reader in graph.consumers(tensor))
        if need and any(tensor in before[gate] for name in need for gate in _gates(masks, name)):
            need = None
        needs[tensor] = need
    return {
        name: tuple(sorted(need))
        for name, need in needs.items()
        if need and not (name in listed and set(masks[name].bits) <= _bits(masks, need))
    }


def _used_by(reader: Op, tensor: str, masks: Mapping[str, Mask], listed: set[str], needs: Mapping[str, Need]) -> Need:
    """When a reader looks at a tensor that is no mask."""
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
