# SPDX-License-Identifier: Apache-2.0
"""Orders of the operators among which the memory that a plan needs decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from acsgen.graph import Add, ApplyMask, Flatten, Gate, Graph, Op, Relu, Reshape
from acsgen.plan.layout import gates_before, schedule
from acsgen.plan.masks import Mask

#: Sets of operators that are looked at after each step. All of them, in most networks.
WIDTH = 24

#: Operators that can write where they read.
IN_PLACE = (Add, ApplyMask, Flatten, Relu, Reshape)


def orders(graph: Graph, masks: Mapping[str, Mask], needs: Mapping[str, tuple[str, ...]]) -> list[tuple[Op, ...]]:
    """The graph's own order, and another one if it promises to need less memory."""
    own = schedule(graph, masks, needs)
    costs = _Costs(graph, masks, needs)
    frugal = _frugal(costs, own)
    return [own, frugal] if costs.peak(frugal) < costs.peak(own) else [own]


@dataclass(frozen=True)
class _Costs:
    """What tensors need of memory, each in a buffer of its own size; no layouts yet, and no scratch."""

    graph: Graph
    masks: Mapping[str, Mask]
    needs: Mapping[str, tuple[str, ...]]

    def bytes(self, tensor: str) -> int:
        producer = self.graph.producer(tensor)
        return 0 if producer is None or isinstance(producer, Gate) else prod(self.graph.shape(tensor))

    def dead_after(self, op: Op, done: frozenset[str]) -> list[str]:
        """Inputs of `op` that nobody reads any more when `done` and it have run."""
        return [
            name
            for name in dict.fromkeys(op.inputs)
            if name != self.graph.output
            and all(reader is op or reader.output in done for reader in self.graph.consumers(name))
        ]

    def run(self, op: Op, done: frozenset[str], live: int) -> tuple[int, int]:
        """(bytes alive while `op` runs, afterwards), with `live` before."""
        freed, own = sum(self.bytes(name) for name in self.dead_after(op, done)), self.bytes(op.output)
        during = live + max(0, own - freed) if isinstance(op, IN_PLACE) else live + own
        return during, live + own - freed

    def peak(self, order: tuple[Op, ...]) -> int:
        done: frozenset[str] = frozenset()
        peak = live = 0
        for op in order:
            during, live = self.run(op, done, live)
            peak, done = max(peak, during), done | {op.output}
        return peak


@dataclass(frozen=True)
class _State:
    peak: int
    live: int
    path: tuple[int, ...]  # indices of operators
    done: frozenset[str]


def _frugal(costs: _Costs, own: tuple[Op, ...]) -> tuple[Op, ...]:
    """The order with the least peak: after every step the best way to each set of operators that have run."""
    states = [_State(0, 0, (), frozenset())]
    gates = gates_before(own, costs.masks, costs.needs)
    needs = [{*op.inputs, *gates[op.output]} - {costs.graph.input} for op in own]
    for _ in own:
        found: dict[frozenset[str], _State] = {}
        for state in states:
            for i, op in enumerate(own):
                if op.output in state.done or not needs[i] <= state.done:
                    continue
                during, after = costs.run(op, state.done, state.live)
                new = _State(max(state.peak, during), after, (*state.path, i), state.done | {op.output})
                old = found.get(new.done)
                if old is None or (new.peak, new.path) < (old.peak, old.path):
                    found[new.done] = new
        states = sorted(found.values(), key=lambda state: (state.peak, state.live, state.path))[:WIDTH]
    return tuple(own[i] for i in states[0].path)
