# SPDX-License-Identifier: Apache-2.0
"""Layouts that would save conversions, and what the copies of a plan cost: where several layouts are possible,
the cost decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from acsgen.graph import AvgPool, Concatenate, Conv2D, Dense, DepthwiseConv2D, Graph, MaxPool, Relu
from acsgen.plan import cost
from acsgen.plan.plan import Plan, Step

#: Groups of the layout by tensor, where that is not what `layouts_of` says by itself.
Layouts = Mapping[str, int]


def copies_cost(plan: Plan) -> float:
    """Instructions of a run with all gates open that only move bytes, or deal with groups one by one."""
    return sum(_step_cost(plan, step) for step in plan.steps)


def _step_cost(plan: Plan, step: Step) -> float:
    size, groups = plan.buffers[step.output].bytes, plan.buffers[step.output].groups
    if step.kernel in ("group", "ungroup"):
        return cost.CONVERTED_BYTE * size
    if step.kernel in ("join", "concat"):
        each = cost.JOINED_BYTE if step.kernel == "join" else cost.CONCATENATED_BYTE
        root = plan.root(step.output)
        return each * sum(plan.buffers[part].bytes for part in step.inputs if plan.root(part) != root)
    if step.kernel in ("avg_pool", "max_pool", "depthwise"):
        return cost.GROUP_CALL * groups
    if step.kernel not in ("conv", "conv_join") or not plan.kernel_set.packs:
        return 0.0
    source = plan.buffers[step.inputs[0]]
    gathered = cost.GATHERED_PIXEL_BYTE * source.bytes if step.kernel == "conv_join" and source.groups > 1 else 0.0
    dealt = cost.DEALT_OUT_BYTE * size if groups > 1 and (step.kernel == "conv_join" or source.groups == 1) else 0.0
    return gathered + dealt


def alternatives(plan: Plan) -> Iterable[dict[str, int]]:
    """Layouts of tensors which would make a conversion of this plan unnecessary, if they can be written so."""
    graph = plan.graph
    for step in plan.steps:
        tensor = plan.buffers[step.output].tensor
        if step.kernel == "group" and tensor != graph.input:
            found = _written_in(graph, tensor, plan.buffers[step.output].groups)
        elif step.kernel == "ungroup" and plan.buffers[step.inputs[0]].mask is None:
            found = _written_in(graph, tensor, 1)
        else:
            continue
        if found.get(tensor, plan.buffers[tensor].groups) != plan.buffers[tensor].groups:
            yield found


def _written_in(graph: Graph, tensor: str, groups: int) -> dict[str, int]:
    """Layouts with which `tensor` and what it is made of come in so many groups; nothing where that cannot be."""
    op = graph.producer(tensor)
    if tensor == graph.output or any(_slow_by_groups(reader) for reader in graph.consumers(tensor)):
        return {}
    if isinstance(op, Conv2D | Dense):
        return {tensor: groups} if not isinstance(op, Conv2D) or groups % op.groups == 0 else {}
    if isinstance(op, Relu | AvgPool | MaxPool) or (isinstance(op, DepthwiseConv2D) and not _slow_by_groups(op)):
        found = _written_in(graph, op.inputs[0], groups)
        return {**found, tensor: groups} if found else {}
    if isinstance(op, Concatenate):
        channels = graph.shape(tensor)[-1]
        parts = {name: graph.shape(name)[-1] * groups for name in op.inputs}
        if groups == 1 or any(scaled % channels for scaled in parts.values()):
            return {}
        result = {tensor: groups}
        for name, scaled in parts.items():
            result |= _written_in(graph, name, scaled // channels)
        return result
    return {}


def _slow_by_groups(reader: object) -> bool:
    """Whether an operator takes much longer group by group than over all channels at once."""
    return isinstance(reader, DepthwiseConv2D) and reader.kernel != (1, 1)


def reason(usual: int, other: int, taken: bool, saved: float, growth: int) -> str:
    """Why a tensor is in its layout. saved: instructions with the other layout; growth: bytes of arena with it."""
    names = ["NHWC" if groups == 1 else f"{groups} groups" for groups in (usual, other)]
    if taken:
        return f"In {names[1]}: about {saved:,.0f} instructions of copies less than in {names[0]}."
    if saved <= 0:
        return f"In {names[0]}: about {-saved:,.0f} instructions of copies less than in {names[1]}."
    return f"In {names[0]}: {names[1]} would save {saved:,.0f} instructions of copies, for {growth:,} bytes of arena."


def with_reasons(plan: Plan, reasons: Mapping[str, str]) -> Plan:
    """The plan with why tensors are in the layouts that they are in. reasons: by tensor."""

    def told(step: Step) -> Step:
        tensor = plan.buffers[step.output].tensor
        if step.kernel in ("group", "ungroup") or tensor not in reasons:
            return step
        return replace(step, why=f"{step.why} {reasons[tensor]}".strip())

    return replace(plan, steps=tuple(told(step) for step in plan.steps))
