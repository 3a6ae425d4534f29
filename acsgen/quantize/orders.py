# SPDX-License-Identifier: Apache-2.0
"""In which order every tensor's channels stand, so that all groups are ranges of channels.

Tensors that an operator ties together (both sides of a pool, an Add, what a Concatenate joins) are cut
into *pieces*: pieces of one class have one order, a tensor's order is that of its pieces, one behind the
other. What operators need of it are *demands*: groups that must be ranges, by ascending ids (a mask, or a
tensor whose channels may not move) or in any sequence that input and output share (a DGConv).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from acsgen.graph import (
    Add,
    ApplyMask,
    AvgPool,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    Graph,
    MaxPool,
    Op,
    Pad,
    Relu,
    Reshape,
)

Order = tuple[int, ...]
Partition = tuple[int, ...]
Ids = NDArray[np.intp]

#: Operators that leave every channel where it is.
_CHANNELWISE = (Add, ApplyMask, AvgPool, BatchNorm, DepthwiseConv2D, MaxPool, Pad, Relu)


@dataclass(frozen=True)
class Piece:
    """Channels `start` to `stop` of a tensor, whose order is that of the class `root`."""

    root: tuple[str, int]
    start: int
    stop: int


@dataclass(frozen=True)
class Demand:
    """Every group of the channels of `tensor` shall be a range.

    partition: group of every channel. ascending: whether group j must be the j-th range; if not, any
    sequence will do that all demands of one operator share.
    """

    tensor: str
    partition: Partition
    ascending: bool


@dataclass(frozen=True)
class Claim:
    """The demands of one operator; None: of the graph, whose input and output keep their order."""

    op: Op | None
    demands: tuple[Demand, ...]


Layout = Mapping[str, tuple[Piece, ...]]
#: What is known of the place of every group of a DGConv: first and last place in its input, in its output.
Keys = list[tuple[tuple[int, int], ...]]


def contiguous(partition: Sequence[int]) -> bool:
    """Whether group j is the j-th of equal, contiguous ranges of channels."""
    groups = max(partition) + 1
    return len(partition) % groups == 0 and all(g == c // (len(partition) // groups) for c, g in enumerate(partition))


def keeps_channels(graph: Graph, op: Op) -> bool:
    """Whether the channels of the output stand in the order of the input's."""
    if isinstance(op, Flatten | Reshape):
        return graph.shape(op.inputs[0])[-1] == graph.shape(op.output)[-1]
    return isinstance(op, _CHANNELWISE)


def lay_out(graph: Graph) -> Layout:
    """The pieces of every tensor. Pieces are as large as the Concatenates allow."""
    ties = [tie for op in graph.ops for tie in _ties(graph, op)]
    edges = {name: {0, graph.shape(name)[-1]} for name in graph.tensors}
    before = -1
    while before != (before := sum(map(len, edges.values()))):
        for inner, outer, at in ties + ties[::-1]:
            last = graph.shape(inner)[-1]
            edges[outer] |= {edge + at for edge in edges[inner]}
            edges[inner] |= {edge - at for edge in edges[outer] if 0 <= edge - at <= last}
    ranges = {name: list(pairwise(sorted(cuts))) for name, cuts in edges.items()}
    parent = {(name, start): (name, start) for name in ranges for start, _ in ranges[name]}

    def root(piece: tuple[str, int]) -> tuple[str, int]:
        while parent[piece] != piece:
            piece = parent[piece]
        return piece

    for inner, outer, at in ties:
        for start, _ in ranges[inner]:
            parent[root((inner, start))] = root((outer, start + at))
    return {name: tuple(Piece(root((name, start)), start, stop) for start, stop in ranges[name]) for name in ranges}


def _ties(graph: Graph, op: Op) -> Iterable[tuple[str, str, int]]:
    """(input, output, at): channel c of the input is channel at + c of the output."""
    if isinstance(op, Concatenate):
        at = 0
        for name in op.inputs:
            yield name, op.output, at
            at += graph.shape(name)[-1]
    elif keeps_channels(graph, op):
        for name in op.inputs if isinstance(op, Add) else op.inputs[:1]:
            yield name, op.output, 0


def claims_of(graph: Graph) -> list[Claim]:
    """What the graph and its operators need, in the order in which they run."""
    ends = [Claim(None, (_unmoved(graph, name),)) for name in (graph.input, graph.output)]
    inner = [Claim(op, demands) for op in graph.ops if (demands := _demands(graph, op))]
    return [ends[0], *inner, ends[1]]


def _demands(graph: Graph, op: Op) -> tuple[Demand, ...]:
    match op:
        case ApplyMask():
            return (Demand(op.output, op.partition, ascending=True),)
        case Conv2D(partition=tuple() as writes, read_partition=tuple() as reads):
            return Demand(op.inputs[0], reads, ascending=False), Demand(op.output, writes, ascending=False)
        case Conv2D() if op.groups > 1:
            return _unmoved(graph, op.inputs[0]), _unmoved(graph, op.output)
        case Gate():
            return (_unmoved(graph, op.inputs[0]),)
        case Flatten() | Reshape() if not (keeps_channels(graph, op) or _feeds_only_dense(graph, op)):
            return _unmoved(graph, op.inputs[0]), _unmoved(graph, op.output)
    return ()


def _unmoved(graph: Graph, tensor: str) -> Demand:
    return Demand(tensor, tuple(range(graph.shape(tensor)[-1])), ascending=True)


def _feeds_only_dense(graph: Graph, op: Flatten | Reshape) -> bool:
    """A Dense can read the values of a vector in any order."""
    readers = graph.consumers(op.output)
    return (
        isinstance(op, Flatten)
        and bool(readers)
        and op.output != graph.output
        and all(isinstance(r, Dense) for r in readers)
    )


def solve(layout: Layout, claims: Sequence[Claim]) -> dict[str, Order] | None:
    """An order for every tensor under which all claims hold; None where none was found.

    A class is sorted by the group ids of the ascending demands on it, which finds an order if there is
    one. Before that, the groups of every DGConv are numbered in the sequence that is known from other
    demands on its input and its output, those first of which most is known; what stays open is decided
    by their ids. This may miss an order, but never returns a wrong one.
    """
    ranks: dict[tuple[str, int], Ids] = {
        piece.root: np.zeros(piece.stop - piece.start, np.intp) for pieces in layout.values() for piece in pieces
    }
    settled: list[Demand] = []
    open_claims: list[Claim] = []
    for claim in claims:
        if all(demand.ascending for demand in claim.demands):
            settled += [_sorted_by(demand, layout, ranks) for demand in claim.demands]
        else:
            open_claims.append(claim)
    keys = [_group_keys(claim, layout, ranks) for claim in open_claims]
    while open_claims:
        at = min(range(len(keys)), key=lambda i: _openness(keys[i]))
        claim, key = open_claims.pop(at), keys.pop(at)
        sequence = sorted(range(len(key)), key=key.__getitem__)
        number = {group: i for i, group in enumerate(sequence)}
        for demand in claim.demands:
            renumbered = Demand(demand.tensor, tuple(number[g] for g in demand.partition), ascending=True)
            settled.append(_sorted_by(renumbered, layout, ranks))
        touched = _roots(claim, layout)
        for i, other in enumerate(open_claims):
            if touched & _roots(other, layout):
                keys[i] = _group_keys(other, layout, ranks)
    orders = {name: _order(pieces, ranks) for name, pieces in layout.items()}
    fits = all(contiguous([demand.partition[c] for c in orders[demand.tensor]]) for demand in settled)
    return orders if fits else None


def _roots(claim: Claim, layout: Layout) -> set[tuple[str, int]]:
    return {piece.root for demand in claim.demands for piece in layout[demand.tensor]}


def _sorted_by(demand: Demand, layout: Layout, ranks: dict[tuple[str, int], Ids]) -> Demand:
    """Refines the ranks of the channels, in every class that the demand's tensor has, by its ids."""
    ids = np.array(demand.partition)
    for piece in layout[demand.tensor]:
        combined = ranks[piece.root] * len(ids) + ids[piece.start : piece.stop]
        ranks[piece.root] = np.unique(combined, return_inverse=True)[1]
    return demand


def _group_keys(claim: Claim, layout: Layout, ranks: Mapping[tuple[str, int], Ids]) -> Keys:
    sides = []
    for demand in claim.demands:
        pieces, ids = layout[demand.tensor], np.array(demand.partition)
        places = np.concatenate([ranks[piece.root] + piece.start for piece in pieces])
        inside = [places[ids == group].tolist() for group in range(ids.max() + 1)]
        sides.append([(min(own), max(own)) for own in inside])
    return list(zip(*sides, strict=True))


def _openness(key: Keys) -> tuple[bool, int, int]:
    """Sorts groupings: those whose sequence is known in part before unknown ones, the least open first."""
    known = len(set(key))
    return known == 1, len(key) - known, len(key)


def _order(pieces: tuple[Piece, ...], ranks: Mapping[tuple[str, int], Ids]) -> Order:
    return tuple(
        np.concatenate([piece.start + np.argsort(ranks[piece.root], kind="stable") for piece in pieces]).tolist()
    )
