# SPDX-License-Identifier: Apache-2.0
"""Learned groups become ordinary groups: channels are put in order at compile time.

A DGConv's groups, and the groups of a mask, may be any sets of channels. Kernels want every group to
be a contiguous range. So each tensor gets a channel *order*: position p holds what was channel
order[p]. Tensors that must share an order (both sides of a pool, an Add, a DGConv ...) form a class;
a class takes the order that makes all its groups contiguous, and the operators between two classes,
plain convolutions above all, have their weights rearranged once, here. Only where a class cannot
have such an order, because it is the network's input or its groups contradict each other, an explicit
Shuffle is left in the graph.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from math import prod

import numpy as np

from acsgen.errors import AcsgenError
from acsgen.graph import (
    Add,
    ApplyMask,
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    Graph,
    MaxPool,
    Op,
    Relu,
    Shuffle,
)
from acsgen.graph.ir import rebuild
from acsgen.graph.ops import Shape

Order = tuple[int, ...]
Partition = tuple[int, ...]

#: Operators that leave every channel where it is.
_CHANNELWISE = (Add, ApplyMask, AvgPool, BatchNorm, DepthwiseConv2D, MaxPool, Relu)


def make_groups_contiguous(graph: Graph) -> Graph:
    """The same network with every group of every Conv2D and ApplyMask a contiguous range of channels.

    Input and output keep their channel order; values inside are permuted, never changed.
    """
    while True:
        classes = _classes(graph)
        orders, misfit = _solve(graph, classes)
        if misfit is None:
            return _apply(graph, {name: orders[root] for name, root in classes.items() if root in orders})
        graph = _cut(graph, misfit)


def contiguous(partition: Partition) -> bool:
    """Whether group j is the j-th of equal, contiguous ranges of channels."""
    groups = max(partition) + 1
    return len(partition) % groups == 0 and all(g == c // (len(partition) // groups) for c, g in enumerate(partition))


def _classes(graph: Graph) -> dict[str, str]:
    """Tensor name -> representative of the tensors that share its channel order."""
    parent = {name: name for name in graph.tensors}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for op in graph.ops:
        if _keeps_channels(graph, op):
            tied = op.inputs if isinstance(op, Add) else op.inputs[:1]
            for name in tied:
                parent[root(name)] = root(op.output)
    return {name: root(name) for name in graph.tensors}


def _keeps_channels(graph: Graph, op: Op) -> bool:
    """Whether the channels of the output stand in the order of the input's."""
    if isinstance(op, Flatten):
        return prod(graph.shape(op.inputs[0])[:-1]) == 1
    return isinstance(op, _CHANNELWISE) or (isinstance(op, Conv2D) and op.partition is not None)


def _solve(graph: Graph, classes: dict[str, str]) -> tuple[dict[str, Order], Op | None]:
    """An order per class, or an operator whose groups do not fit the others of its class."""
    fixed = _fixed_classes(graph, classes)
    orders: dict[str, Order] = {}
    placed: dict[str, list[Conv2D | ApplyMask]] = defaultdict(list)
    for op in graph.ops:
        if not isinstance(op, Conv2D | ApplyMask) or op.partition is None:
            continue
        _check_equal_sizes(op, op.partition)
        name = classes[op.output]
        members = [*placed[name], op]
        order = tuple(range(len(op.partition))) if name in fixed else _order(members)
        if not all(_fits(member, order) for member in members):
            return {}, op
        placed[name], orders[name] = members, order
    return orders, None


def _fixed_classes(graph: Graph, classes: dict[str, str]) -> set[str]:
    """Classes whose channels may not move: ends of the graph, and what other operators read in order."""
    fixed = {classes[graph.input], classes[graph.output]}
    for op in graph.ops:
        if isinstance(op, Conv2D) and op.groups > 1:
            fixed |= {classes[op.inputs[0]], classes[op.output]}
        elif isinstance(op, Gate):
            fixed.add(classes[op.inputs[0]])
        elif isinstance(op, Flatten) and not (_keeps_channels(graph, op) or _feeds_only_dense(graph, op)):
            fixed |= {classes[op.inputs[0]], classes[op.output]}
    return fixed


def _feeds_only_dense(graph: Graph, op: Flatten) -> bool:
    readers = graph.consumers(op.output)
    return bool(readers) and op.output != graph.output and all(isinstance(r, Dense) for r in readers)


def _order(members: list[Conv2D | ApplyMask]) -> Order:
    """Sorts channels by the coarsest grouping, then by the finer ones within it; masks keep their order."""

    def coarse_masks_first(op: Conv2D | ApplyMask) -> tuple[int, bool]:
        return max(_groups_of(op)), not isinstance(op, ApplyMask)

    ordered = sorted(members, key=coarse_masks_first)
    bits = list(zip(*(_groups_of(op) for op in ordered if isinstance(op, ApplyMask)), strict=True))
    ranks = [_groups_of(op) if isinstance(op, ApplyMask) else _ranks(_groups_of(op), bits) for op in ordered]
    keys = list(zip(*ranks, strict=True))
    return tuple(sorted(range(len(keys)), key=keys.__getitem__))


def _ranks(partition: Partition, bits: list[Partition]) -> list[tuple[Partition, int]]:
    """A key per channel that sorts learned groups by the first of the masks' bits (per channel) in each."""
    first: dict[int, Partition] = {}
    for group, own in zip(partition, bits or [()] * len(partition), strict=True):
        first[group] = min(first.get(group, own), own)
    return [(first[group], group) for group in partition]


def _groups_of(op: Conv2D | ApplyMask) -> Partition:
    assert op.partition is not None
    return op.partition


def _fits(op: Conv2D | ApplyMask, order: Order) -> bool:
    """Whether `order` makes the groups contiguous, and those of a mask ascending like its bits."""
    placed = tuple(_groups_of(op)[c] for c in order)
    if isinstance(op, ApplyMask):
        return contiguous(placed)
    size = len(placed) // (max(placed) + 1)
    return all(len(set(placed[i : i + size])) == 1 for i in range(0, len(placed), size))


def _check_equal_sizes(op: Op, partition: Partition) -> None:
    sizes = np.bincount(partition)
    if len(set(sizes.tolist())) != 1:
        raise AcsgenError(
            f"{type(op).__name__} '{op.name}': groups of different sizes {sizes.tolist()} are not supported"
        )


def _cut(graph: Graph, op: Op) -> Graph:
    """Cuts `op` off its class at the input, at the output or at both, whichever first lets its groups fit."""
    for before, behind in ((True, False), (False, True)):
        candidate = _isolate(graph, op, before, behind)
        _, misfit = _solve(candidate, _classes(candidate))
        if misfit is None or misfit.name != op.name:
            return candidate
    return _isolate(graph, op, before=True, behind=True)


def _isolate(graph: Graph, op: Op, before: bool, behind: bool) -> Graph:
    """Puts Shuffles (yet without effect) before and behind `op`."""
    inner, around = op, [op]
    if before:
        order = Shuffle(f"{op.name}/order", op.inputs[:1], f"{op.name}/ordered", _identity(graph.shape(op.inputs[0])))
        inner = replace(inner, inputs=(order.output, *op.inputs[1:]))
        around = [order, inner]
    if behind:
        inner = replace(inner, output=f"{op.output}/unordered")
        restore = Shuffle(f"{op.name}/restore", (inner.output,), op.output, _identity(graph.shape(op.output)))
        around = [*around[:-1], inner, restore]
    return rebuild(graph, [new for other in graph.ops for new in (around if other is op else [other])])


def _identity(shape: Shape) -> Order:
    return tuple(range(shape[-1]))


def _apply(graph: Graph, orders: dict[str, Order]) -> Graph:
    """Rewrites every operator for the new channel orders of its tensors; idle Shuffles disappear."""
    ops: list[Op] = []
    renamed: dict[str, str] = {}
    for op in graph.ops:
        source = (_flat_order if isinstance(op, Dense) else _order_of)(graph, op.inputs[0], orders)
        new = _reorder(op, source, _order_of(graph, op.output, orders))
        new = replace(new, inputs=tuple(renamed.get(name, name) for name in op.inputs))
        if isinstance(new, Shuffle) and new.order == tuple(range(len(new.order))):
            renamed[new.output] = new.inputs[0]
        else:
            ops.append(new)
    return rebuild(graph, ops, output=renamed.get(graph.output, graph.output))


def _order_of(graph: Graph, tensor: str, orders: dict[str, Order]) -> Order:
    """The order of a tensor's last axis; a flattened image inherits the order of its channels."""
    producer = graph.producer(tensor)
    if isinstance(producer, Flatten):
        return _flat_order(graph, producer.inputs[0], orders)
    return orders.get(tensor, _identity(graph.shape(tensor)))


def _flat_order(graph: Graph, tensor: str, orders: dict[str, Order]) -> Order:
    """The order of a tensor's values in memory order: that of its channels, pixel by pixel."""
    shape = graph.shape(tensor)
    inner = list(_order_of(graph, tensor, orders))
    return tuple(np.arange(prod(shape)).reshape(-1, shape[-1])[:, inner].ravel().tolist())


def _reorder(op: Op, source: Order, target: Order) -> Op:
    i, o = list(source), list(target)
    match op:
        case Conv2D(partition=tuple() as partition):
            return _as_grouped(op, tuple(partition[c] for c in o), op.weights[o][..., i], op.bias[o])
        case Conv2D(groups=1):
            return replace(op, weights=op.weights[o][..., i], bias=op.bias[o])
        case DepthwiseConv2D():
            return replace(op, weights=op.weights[..., o], bias=op.bias[o])
        case Dense():
            return replace(op, weights=op.weights[o][:, i], bias=op.bias[o])
        case BatchNorm():
            return replace(op, scale=op.scale[o], offset=op.offset[o])
        case ApplyMask():
            return replace(op, partition=tuple(op.partition[c] for c in o))
        case Shuffle():
            position = {channel: p for p, channel in enumerate(source)}
            return replace(op, order=tuple(position[op.order[c]] for c in target))
    return op


def _as_grouped(op: Conv2D, partition: Partition, weights: np.ndarray, bias: np.ndarray) -> Conv2D:
    """Keeps of a DGConv's weights the blocks on the diagonal: the rest is zero by definition."""
    groups = max(partition) + 1
    size = len(partition) // groups
    blocks = [weights[g * size : (g + 1) * size, :, :, g * size : (g + 1) * size] for g in range(groups)]
    return replace(op, weights=np.concatenate(blocks), bias=bias, groups=groups, partition=None)
