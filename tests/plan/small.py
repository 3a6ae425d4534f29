# SPDX-License-Identifier: Apache-2.0
"""Small graphs and their plans as text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from acsgen.graph import Graph
from acsgen.plan import Plan, Step, plan
from acsgen.quantize import quantize
from tests.graphs import Builder, random_graph

Build = Callable[[Builder], str]


def small_graph(build: Build, shape: tuple[int, ...] = (6, 6, 4)) -> Graph:
    """The int8 graph of what `build` makes of the input x."""
    builder = Builder(np.random.default_rng(0), shape)
    output = build(builder)
    return quantize(builder.graph(output), builder.samples)


@cache
def random_plan(seed: int) -> Plan:
    drawn = random_graph(seed)
    return plan(quantize(drawn.graph, drawn.samples))


def described(planned: Plan, without_gates: bool = True) -> list[str]:
    """Every step on a line: kernel, buffers with the groups of their layouts, and what is skipped.

    without_gates: leaves out what leads from the input to a gate.
    """
    steps = planned.steps
    if without_gates:
        leading = _leading_to_gates(planned)
        steps = tuple(step for step in steps if step.op.output not in leading)
    return [_line(planned, step) for step in steps]


def _leading_to_gates(planned: Plan) -> set[str]:
    """Gates, and what only gates are computed from."""
    leading = {gate.output for gate in planned.graph.gates}
    for op in reversed(planned.graph.ops):
        readers = planned.graph.consumers(op.output)
        if readers and all(reader.output in leading for reader in readers):
            leading.add(op.output)
    return leading


def _line(planned: Plan, step: Step) -> str:
    inputs = ", ".join(_buffer(planned, name) for name in step.inputs if name not in _masks(planned))
    target = planned.buffers[step.output]
    parts = [f"{step.kernel} {inputs} -> {_buffer(planned, step.output)}"]
    if step.active:
        parts.append("some")
    if step.joined:
        parts.append(f"packs {step.pack_limit}")
    if step.residual:
        parts.append(f"adds {step.rows} rows")
    if step.when:
        parts.append("if any")
    if step.fill:
        parts.append("zeroes")
    if target.slice_at is not None:
        parts.append(f"at {target.slice_at} of {target.shares}")
    elif target.shares:
        parts.append("in place")
    if target.mask:
        parts.append("holes")
    return ", ".join(parts)


def _masks(planned: Plan) -> set[str]:
    return {gate.mask for gate in planned.gates}


def _buffer(planned: Plan, name: str) -> str:
    groups = planned.buffers[name].groups
    return name if groups == 1 else f"{name}[{groups}]"
