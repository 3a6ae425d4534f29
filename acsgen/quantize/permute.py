# SPDX-License-Identifier: Apache-2.0
"""Learned groups become ordinary groups: channels are put in order at compile time.

A DGConv's groups, and the groups of a mask, may be any sets of channels. Kernels want every group to
be a contiguous range. So each tensor gets a channel *order*: position p holds what was channel
order[p]. `acsgen.quantize.orders` finds orders that make all groups contiguous, and the operators, plain
convolutions above all, have their weights rearranged once, here. Only where there is no such order,
because a tensor is the network's input or groups contradict each other, an explicit Shuffle is left in
the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from acsgen.errors import AcsgenError
from acsgen.graph import ApplyMask, BatchNorm, Conv2D, Dense, DepthwiseConv2D, Flatten, Graph, Op, Shuffle
from acsgen.graph.ir import rebuild
from acsgen.graph.ops import Shape
from acsgen.quantize.orders import Claim, Order, Partition, claims_of, contiguous, keeps_channels, lay_out, solve

__all__ = ["contiguous", "make_groups_contiguous"]


def make_groups_contiguous(graph: Graph) -> Graph:
    """The same network with every group of every Conv2D and ApplyMask a contiguous range of channels.

    Input and output keep their channel order; values inside are permuted, never changed.
    """
    for op in graph.ops:
        _check_equal_sizes(op)
    while True:
        layout, claims = lay_out(graph), claims_of(graph)
        orders = solve(layout, claims)
        if orders is not None:
            return _apply(graph, orders)
        # Bisect: the claims before `good` hold together, those before `bad` do not.
        good, bad = 0, len(claims)
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if solve(layout, claims[:middle]) else (good, middle)
        graph = _cut(graph, claims[good])


def _check_equal_sizes(op: Op) -> None:
    partitions: tuple[Partition | None, ...] = ()
    if isinstance(op, ApplyMask):
        partitions = (op.partition,)
    elif isinstance(op, Conv2D):
        partitions = (op.read_partition, op.partition)
    for partition in partitions:
        sizes = np.bincount(partition or (0,)).tolist()
        if len(set(sizes)) != 1:
            raise AcsgenError(f"{type(op).__name__} '{op.name}': groups of different sizes {sizes} are not supported")


def _cut(graph: Graph, claim: Claim) -> Graph:
    """Cuts the claiming operator off at the input, at the output or at both, whichever first serves it."""
    if claim.op is None:  # the graph's output: what writes it may have any order
        writer = graph.producer(graph.output)
        assert writer is not None
        return _isolate(graph, writer, before=False, behind=True)
    sides = [(before, behind) for before, behind in ((True, False), (False, True)) if _is_tied(graph, claim.op, before)]
    for before, behind in sides:
        candidate = _isolate(graph, claim.op, before, behind)
        claims = claims_of(candidate)
        upto = next(i for i, other in enumerate(claims) if other.op is not None and other.op.name == claim.op.name)
        if solve(lay_out(candidate), claims[: upto + 1]):
            return candidate
    before, behind = (any(side[i] for side in sides) for i in (0, 1))
    return _isolate(graph, claim.op, before, behind)


def _is_tied(graph: Graph, op: Op, before: bool) -> bool:
    """Whether the input (or the output) of `op` is more than what a Shuffle hands over for this alone."""
    if before:
        return not (isinstance(graph.producer(op.inputs[0]), Shuffle) and graph.consumers(op.inputs[0]) == (op,))
    readers = graph.consumers(op.output)
    return op.output == graph.output or not (len(readers) == 1 and isinstance(readers[0], Shuffle))


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


def _apply(graph: Graph, orders: Mapping[str, Order]) -> Graph:
    """Rewrites every operator for the new channel orders of its tensors; idle Shuffles disappear."""
    ops: list[Op] = []
    renamed: dict[str, str] = {}
    shuffled: dict[tuple[str, Order], str] = {}
    for op in graph.ops:
        source = (_flat_order if isinstance(op, Dense) else _order_of)(graph, op.inputs[0], orders)
        new = _reorder(op, source, _order_of(graph, op.output, orders))
        new = replace(new, inputs=tuple(renamed.get(name, name) for name in op.inputs))
        if isinstance(new, Shuffle):
            idle = new.order == tuple(range(len(new.order)))
            twin = new.inputs[0] if idle else shuffled.setdefault((new.inputs[0], new.order), new.output)
            if twin != new.output:
                renamed[new.output] = twin
                continue
        ops.append(new)
    return rebuild(graph, ops, output=renamed.get(graph.output, graph.output))


def _order_of(graph: Graph, tensor: str, orders: Mapping[str, Order]) -> Order:
    """The order of a tensor's last axis; a flattened image inherits the order of its channels."""
    producer = graph.producer(tensor)
    if isinstance(producer, Flatten) and not keeps_channels(graph, producer):
        return _flat_order(graph, producer.inputs[0], orders)
    return orders[tensor]


def _flat_order(graph: Graph, tensor: str, orders: Mapping[str, Order]) -> Order:
    """The order of a tensor's values in memory order: that of its channels, pixel by pixel."""
    shape = graph.shape(tensor)
    inner = list(_order_of(graph, tensor, orders))
    return tuple(np.arange(prod(shape)).reshape(-1, shape[-1])[:, inner].ravel().tolist())


def _reorder(op: Op, source: Order, target: Order) -> Op:
    i, o = list(source), list(target)
    match op:
        case Conv2D(partition=tuple() as partition):
            return _as_grouped(op, partition, op.weights[o][..., i], op.bias[o])
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
    writes, reads = weights.shape[0] // groups, weights.shape[3] // groups
    blocks = [weights[g * writes : (g + 1) * writes, ..., g * reads : (g + 1) * reads] for g in range(groups)]
    return replace(op, weights=np.concatenate(blocks), bias=bias, groups=groups, partition=None, input_partition=None)
