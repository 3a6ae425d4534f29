# SPDX-License-Identifier: Apache-2.0
"""What each gate of a network costs and what it saves: which gate pays.

MACs, and which gate can leave them out, are those of the compiler's own plan; the masks over samples are those of
the float interpreter or, for an int8 graph, of the golden model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.golden import quantize_input, run
from acsgen.graph import Gate, Graph, Op
from acsgen.graph.evaluate import evaluate
from acsgen.graph.ops import Shape
from acsgen.plan import Plan, plan
from acsgen.plan.plan import Term, count_macs

#: A bit is dynamic if it is open for at least this share of the samples, and closed for at least as many.
DYNAMIC = 0.05

#: Samples between two reports of progress.
BATCH = 50

Masks = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class OperatorCost:
    """One operator of the graph.

    shape: of its output, without the batch. macs: with all gates open. skippable: those of them that are left out
    if the gates `skipped_by` close altogether: all or none. only_for: the gates that its output leads to, () if it
    leads to the network's output without a gate between. executed: mean MACs over the samples, None without samples.
    """

    name: str
    kind: str
    shape: Shape
    macs: int
    skippable: int
    skipped_by: tuple[str, ...]
    only_for: tuple[str, ...]
    executed: float | None


@dataclass(frozen=True)
class GateUse:
    """A gate over samples. Where it is not asked, as what it gates feeds only closed groups, no bit counts as open.

    density: mean share (0..1) of open bits. least_used, most_used: share of the samples for which these bits are
    open. dynamic: share of the bits that are open for 5 to 95 % of the samples. always_open, never_open: bits.
    distinct_masks: different masks among the samples.

    cost: mean MACs of the operators that only this gate needs; they are gone if it is. saved: mean MACs that the
    network would execute more if this gate was always open and the others decided as they do. Where the inputs and
    the outputs of one convolution hang on two gates, what either of them would save alone counts for neither, so
    that the gates' savings add up to at most the network's. net: saved - cost.
    """

    density: float
    least_used: float
    most_used: float
    dynamic: float
    always_open: int
    never_open: int
    distinct_masks: int
    cost: float
    saved: float
    net: float

    @property
    def is_constant(self) -> bool:
        """Whether the gate decides the same for every sample."""
        return self.distinct_masks == 1


@dataclass(frozen=True)
class GateCost:
    """A gate, called after its mask. controls: MACs of the operators that it can shorten; cost: of the operators
    that only this gate needs; both with all gates open. use: None without samples."""

    gate: str
    bits: int
    controls: int
    cost: int
    use: GateUse | None


@dataclass(frozen=True)
class Executed:
    """MACs of a run, over the samples."""

    mean: float
    least: int
    most: int


@dataclass(frozen=True)
class Inspection:
    """A network and its gates.

    macs: with all gates open. skippable: those of them that some gate can leave out. overhead: those that lead
    only to gates; a part that several gates share counts for none of them. idle_masks: see `Plan.idle_masks`.
    samples, executed: None without samples.
    """

    name: str
    is_int8: bool
    input_shape: Shape
    macs: int
    skippable: int
    overhead: int
    operators: tuple[OperatorCost, ...]
    gates: tuple[GateCost, ...]
    idle_masks: tuple[str, ...]
    samples: int | None
    executed: Executed | None


def read_network(path: Path) -> Graph:
    """The graph that is planned: of a .keras checkpoint the float one that would be quantised, or an .acsq file's.

    Raises AcsgenError for files of another name, and as `load_keras` and `load_acsq` do.
    """
    if path.suffix == ".acsq":
        from acsgen.quantize.acsq import load_acsq

        return load_acsq(path)
    if path.suffix == ".keras":
        from acsgen.frontend.keras import load_keras
        from acsgen.quantize import prepare

        return prepare(load_keras(path))
    raise AcsgenError(f"{path}: inspected are a .keras checkpoint or an .acsq file: give one of these")


def inspect(
    graph: Graph, x: NDArray[np.float32] | None = None, progress: Callable[[int], None] = lambda done: None
) -> Inspection:
    """Counts what the gates of `graph` can save and, with samples x (N, *input shape), what they do save.

    graph: int8, or float as `acsgen.quantize.prepare` leaves it. progress is called with the number of samples
    just done. Raises AcsgenError where the network becomes NaN or infinite on a sample.
    """
    planned = plan(graph)
    masks = None if x is None else _masks(planned, x, progress)
    operators = _operators(planned, masks)
    macs = None if masks is None else np.atleast_1d(planned.macs(masks))
    return Inspection(
        name=graph.name,
        is_int8=_is_int8(graph),
        input_shape=graph.shape(graph.input),
        macs=int(planned.macs()),
        skippable=planned.skippable_macs,
        overhead=sum(op.macs for op in operators if op.only_for),
        operators=operators,
        gates=tuple(_gate(planned, gate, operators, masks) for gate in graph.gates),
        idle_masks=tuple(planned.idle_masks()),
        samples=None if x is None else len(x),
        executed=None if macs is None else Executed(float(macs.mean()), int(macs.min()), int(macs.max())),
    )


def _is_int8(graph: Graph) -> bool:
    return graph.tensors[graph.input].scale is not None


def _masks(planned: Plan, x: NDArray[np.float32], progress: Callable[[int], None]) -> Masks:
    """0 and 1, (N, bits), of every gate; one that nobody asks opens nothing."""
    graph = planned.graph
    decide = _decide_int8 if _is_int8(graph) else _decide_float
    parts: list[Masks] = []
    for start in range(0, len(x), BATCH):
        parts.append(decide(graph, x[start : start + BATCH], start))
        progress(len(x[start : start + BATCH]))
    decided = {gate.output: np.concatenate([part[gate.output] for part in parts]) for gate in planned.graph.gates}
    lists = planned.with_lists(decided)
    return {name: lists[name] for name in decided}


def _decide_int8(graph: Graph, x: NDArray[np.float32], start: int) -> Masks:
    return run(graph, quantize_input(graph, x), keep=[gate.output for gate in graph.gates])


def _decide_float(graph: Graph, x: NDArray[np.float32], start: int) -> Masks:
    """Logits and output are looked at as well: a comparison with NaN would be a closed gate."""
    logits = [gate.inputs[0] for gate in graph.gates]
    with np.errstate(all="ignore"):
        values = evaluate(graph, x, keep=[*logits, *(gate.output for gate in graph.gates), graph.output])
    for name in (*logits, graph.output):
        bad = np.flatnonzero(~np.isfinite(values[name]).reshape(len(x), -1).all(axis=1))
        if len(bad):
            raise AcsgenError(
                f"tensor '{name}' becomes NaN or infinite on sample {start + bad[0]}: "
                "are the samples scaled as in training?"
            )
    return values


def _operators(planned: Plan, masks: Masks | None) -> tuple[OperatorCost, ...]:
    """In the graph's order. What the plan does without a call, as flattening, costs nothing."""
    graph = planned.graph
    terms = {term.output: term for term in planned.terms}
    only_for = _only_for(graph)
    lists = None if masks is None else planned.with_lists(masks)
    return tuple(_operator(planned, op, terms.get(op.output), only_for[op.output], lists) for op in graph.ops)


def _operator(planned: Plan, op: Op, term: Term | None, only_for: tuple[str, ...], lists: Masks | None) -> OperatorCost:
    """lists: the masks of gates and lists of every sample, or None."""
    macs = term.macs if term else 0
    terms = [term] if term else []
    closed = planned.with_lists({gate.mask: np.zeros(gate.groups, np.uint8) for gate in planned.gates})
    executed = None if lists is None else float(count_macs(terms, lists).mean())
    return OperatorCost(
        name=op.name,
        kind=type(op).__name__,
        shape=planned.graph.shape(op.output),
        macs=macs,
        skippable=macs - int(count_macs(terms, closed)),
        skipped_by=planned.gates_of(term) if term and macs else (),
        only_for=only_for,
        executed=executed,
    )


def _only_for(graph: Graph) -> dict[str, tuple[str, ...]]:
    """For each tensor the gates that it leads to, the next ones; none if it leads to the output as well."""
    leads: dict[str, set[str]] = {graph.output: {graph.output}}
    for op in reversed(graph.ops):
        ends = {op.output} if isinstance(op, Gate) else leads[op.output]
        for name in op.inputs:
            leads.setdefault(name, set()).update(ends)
    order = [gate.output for gate in graph.gates]
    gates = {gate.output: (gate.output,) for gate in graph.gates}
    only = {
        name: () if graph.output in ends else tuple(gate for gate in order if gate in ends)
        for name, ends in leads.items()
    }
    return {**only, **gates}


def _gate(planned: Plan, gate: Gate, operators: tuple[OperatorCost, ...], masks: Masks | None) -> GateCost:
    own = [op for op in operators if op.only_for == (gate.output,)]
    return GateCost(
        gate=gate.output,
        bits=planned.graph.shape(gate.output)[0],
        controls=sum(op.macs for op in operators if gate.output in op.skipped_by),
        cost=sum(op.macs for op in own),
        use=None if masks is None else _use(planned, gate.output, masks, sum(op.executed or 0.0 for op in own)),
    )


def _use(planned: Plan, gate: str, masks: Masks, cost: float) -> GateUse:
    mask = masks[gate] != 0
    share = mask.mean(axis=0)
    always_open = {**masks, gate: np.ones_like(mask)}
    saved = float((planned.macs(always_open) - planned.macs(masks)).mean())
    return GateUse(
        density=float(mask.mean()),
        least_used=float(share.min()),
        most_used=float(share.max()),
        dynamic=float(((share >= DYNAMIC) & (share <= 1 - DYNAMIC)).mean()),
        always_open=int(mask.all(axis=0).sum()),
        never_open=int((~mask).all(axis=0).sum()),
        distinct_masks=len(np.unique(mask, axis=0)),
        cost=cost,
        saved=saved,
        net=saved - cost,
    )
