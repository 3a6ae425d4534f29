# SPDX-License-Identifier: Apache-2.0
"""The order of the operators, and the layout in which each writes its output.

A layout is a number of groups: a tensor of C channels lies as [group][H][W][C / groups], 1 is NHWC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from acsgen.graph import (
    ApplyMask,
    AvgPool,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Graph,
    MaxPool,
    Op,
    Relu,
)
from acsgen.graph.ops import Padding
from acsgen.plan.lists import refined
from acsgen.plan.masks import Mask, keeps_groups, part_bits

#: Operators that work on every group by itself and keep the layout.
PER_GROUP = (ApplyMask, AvgPool, DepthwiseConv2D, MaxPool, Relu)


def schedule(graph: Graph, masks: Mapping[str, Mask], needs: Mapping[str, tuple[str, ...]]) -> tuple[Op, ...]:
    """The operators in the graph's order, but a gate before the operators that it lets skip."""
    gates = gates_before(graph.ops, masks, needs)
    waiting = list(graph.ops)
    ready = {graph.input}
    ordered: list[Op] = []
    while waiting:
        for op in waiting:
            if {*op.inputs, *gates[op.output]} <= ready:
                break
        else:
            raise AssertionError("masks_of admits no mask whose gate depends on what it masks")
        waiting.remove(op)
        ordered.append(op)
        ready.add(op.output)
    return tuple(ordered)


def gates_before(
    ops: Iterable[Op], masks: Mapping[str, Mask], needs: Mapping[str, tuple[str, ...]]
) -> dict[str, set[str]]:
    """For each operator's output, the gates that must have decided before the operator runs."""
    gates = {mask.list: set(mask.gates) for mask in masks.values()}
    lists = {op.output: needs.get(op.output, ()) for op in ops}
    return {
        name: set[str]().union(*(gates[needed] for needed in lists[name]), masks[name].gates if name in masks else ())
        for name in lists
    }


def layouts_of(
    graph: Graph, ops: tuple[Op, ...], masks: Mapping[str, Mask], chosen: Mapping[str, int] = {}
) -> dict[str, int]:
    """Groups of the layout that each tensor is written in: the chosen one, else what its readers or its mask want."""
    layouts = {graph.input: 1}
    for op in ops:
        layouts[op.output] = chosen.get(op.output) or _written_layout(graph, op, masks, layouts)
    return layouts


def _written_layout(graph: Graph, op: Op, masks: Mapping[str, Mask], layouts: Mapping[str, int]) -> int:
    if isinstance(op, Conv2D) and op.groups > 1:
        wanted = 1 if op.output == graph.output else _wanted(graph, op.output, masks)
        return wanted if wanted % op.groups == 0 else op.groups
    if isinstance(op, ApplyMask) and op.output in masks:
        groups = graph.shape(op.inputs[1])[0]
        return layouts[op.inputs[0]] if layouts[op.inputs[0]] % groups == 0 else groups
    if isinstance(op, PER_GROUP) or (isinstance(op, Flatten) and keeps_groups(graph, op) and op.output in masks):
        return layouts[op.inputs[0]]
    if isinstance(op, Concatenate) and op.output in masks:
        bits = masks[op.output].bits
        return len(bits) if all(part_bits(graph, op, i, bits) for i in range(len(op.inputs))) else 1
    if isinstance(op, Conv2D | Dense) and op.output != graph.output:
        return _wanted(graph, op.output, masks)
    return 1


def _wanted(graph: Graph, tensor: str, masks: Mapping[str, Mask]) -> int:
    """The layout that serves the readers of `tensor` best: a grouped convolution's, else its mask's.

    A mask's groups are never broken up, or they could not be skipped.
    """
    own = masks[tensor].groups if tensor in masks else 1
    for reader in graph.consumers(tensor):
        groups = 1
        if isinstance(reader, Conv2D):
            groups = reader.groups
        elif isinstance(reader, PER_GROUP) and reader.output != graph.output:
            groups = _wanted(graph, reader.output, masks)
        if groups > 1 and groups % own == 0:
            return groups
    return own


def read_layout(op: Op, written: int) -> int:
    """The layout in which `op` wants its first input, which was written with `written` groups."""
    if isinstance(op, Conv2D) and op.groups > 1:
        return op.groups
    if isinstance(op, (Conv2D, *PER_GROUP)):
        return written
    return 1


def listed_tensors(
    graph: Graph, ops: tuple[Op, ...], masks: Mapping[str, Mask], layouts: Mapping[str, int]
) -> set[str]:
    """Tensors of which closed groups may stay unwritten: every reader of theirs goes by the list."""
    listed: set[str] = set()
    for op in reversed(ops):
        tensor, mask = op.output, masks.get(op.output)
        if mask is None or layouts[tensor] % mask.groups != 0:
            continue
        if tensor == graph.output and layouts[tensor] == 1:  # the caller gets it as it is
            continue
        if tensor == graph.output and mask.closed == "constant":
            continue
        if all(_goes_by_list(graph, reader, tensor, masks, layouts, listed) for reader in graph.consumers(tensor)):
            listed.add(tensor)
    return listed


def _goes_by_list(
    graph: Graph, reader: Op, tensor: str, masks: Mapping[str, Mask], layouts: Mapping[str, int], listed: set[str]
) -> bool:
    mask, own = masks[tensor], masks.get(reader.output)
    same_list = own is not None and own.list == mask.list
    # What lies as NHWC is read as it is, but where it is a single group.
    in_groups = layouts[tensor] > 1 or mask.groups == 1
    if isinstance(reader, ApplyMask):
        return same_list
    if isinstance(reader, Conv2D) and reader.groups > 1:
        return same_list and reader.output in listed and reader.groups % mask.groups == 0
    if isinstance(reader, PER_GROUP) or (isinstance(reader, Flatten) and keeps_groups(graph, reader)):
        return same_list and reader.output in listed
    if isinstance(reader, Concatenate) and own is not None and layouts[reader.output] > 1:
        return reader.output in listed and _is_part(graph, reader, tensor, mask, own)
    if isinstance(reader, Conv2D):
        # Around a constant that is not zero the padding would have to be told apart from it.
        return in_groups and (mask.closed == "zero" or reader.padding == Padding())
    if isinstance(reader, Dense) or (isinstance(reader, Flatten) and read_as_image(graph, reader)):
        return in_groups
    # Cleared on the way to NHWC.
    return mask.closed == "zero" and layouts[tensor] > 1


def _is_part(graph: Graph, reader: Concatenate, tensor: str, mask: Mask, own: Mask) -> bool:
    """Whether a joined tensor has the bits of its part, which may be cut finer there."""
    for i, name in enumerate(reader.inputs):
        bits = part_bits(graph, reader, i, own.bits) if name == tensor else mask.bits
        if bits is None or len(bits) % mask.groups or bits != refined(mask.bits, len(bits)):
            return False
    return True


def read_as_image(graph: Graph, op: Flatten) -> bool:
    """Whether nobody but Dense reads a flattened image: it can read the image, for memory order is the same."""
    readers = graph.consumers(op.output)
    return op.output != graph.output and bool(readers) and all(isinstance(reader, Dense) for reader in readers)
