# SPDX-License-Identifier: Apache-2.0
"""Graph and Tensor: what flows between the stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from acsgen.errors import AcsgenError
from acsgen.graph.ops import Gate, Op, Shape


@dataclass(frozen=True)
class Tensor:
    """A named value. shape: without the batch.

    In an int8 graph real = scale * (q - zero_point); in a float graph `scale` is None. A mask (the
    output of a Gate) holds 0 or 1 and has no scale in either.
    """

    name: str
    shape: Shape
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True, eq=False)
class Graph:
    """Operators in an order in which they can run, from one input to one output."""

    name: str
    input: str
    output: str
    ops: tuple[Op, ...]
    tensors: Mapping[str, Tensor]

    def producer(self, tensor: str) -> Op | None:
        """The operator that writes `tensor`; None for the graph's input."""
        return next((op for op in self.ops if op.output == tensor), None)

    def consumers(self, tensor: str) -> tuple[Op, ...]:
        """The operators that read `tensor`, in order."""
        return tuple(op for op in self.ops if tensor in op.inputs)

    def shape(self, tensor: str) -> Shape:
        return self.tensors[tensor].shape

    def input_shapes(self, op: Op) -> tuple[Shape, ...]:
        return tuple(self.shape(name) for name in op.inputs)

    def macs(self) -> int:
        """Multiply-accumulates with every gate open."""
        return sum(op.macs(*self.input_shapes(op)) for op in self.ops)

    @property
    def gates(self) -> tuple[Gate, ...]:
        return tuple(op for op in self.ops if isinstance(op, Gate))


def make_graph(name: str, source: Tensor, output: str, ops: Iterable[Op], known: Mapping[str, Tensor] = {}) -> Graph:
    """A checked graph: shapes are inferred, scales come from `known`, dead operators are dropped.

    Raises AcsgenError where an operator reads what nobody wrote, two write one tensor, or shapes
    do not fit.
    """
    ops = _live(tuple(ops), output)
    tensors = {source.name: source}
    for op in ops:
        missing = [i for i in op.inputs if i not in tensors]
        if missing:
            raise AcsgenError(f"{type(op).__name__} '{op.name}' reads '{missing[0]}', which nothing wrote before it")
        if op.output in tensors:
            raise AcsgenError(f"{type(op).__name__} '{op.name}' writes '{op.output}' a second time")
        shape = op.output_shape(*(tensors[i].shape for i in op.inputs))
        tensors[op.output] = replace(known.get(op.output, Tensor(op.output, shape)), shape=shape)
    if output not in tensors:
        raise AcsgenError(f"graph '{name}': nothing writes its output '{output}'")
    return Graph(name, source.name, output, ops, tensors)


def rebuild(graph: Graph, ops: Iterable[Op], output: str | None = None) -> Graph:
    """The same graph with other operators; shapes are inferred anew."""
    return make_graph(graph.name, graph.tensors[graph.input], output or graph.output, ops, graph.tensors)


def _live(ops: tuple[Op, ...], output: str) -> tuple[Op, ...]:
    needed = {output}
    kept = []
    for op in reversed(ops):
        if op.output in needed:
            needed.update(op.inputs)
            kept.append(op)
    return tuple(reversed(kept))
