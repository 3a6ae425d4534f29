# SPDX-License-Identifier: Apache-2.0
"""The ungated twin of a graph: the same layers without gates and masks."""

from __future__ import annotations

from dataclasses import replace

from acsgen.graph.ir import Graph, rebuild
from acsgen.graph.ops import ApplyMask, Op


def ungate(graph: Graph) -> Graph:
    """Drops every ApplyMask, and with them the gates, which nothing reads any more."""
    renamed: dict[str, str] = {}
    ops: list[Op] = []
    for op in graph.ops:
        inputs = tuple(renamed.get(name, name) for name in op.inputs)
        if isinstance(op, ApplyMask):
            renamed[op.output] = inputs[0]
        else:
            ops.append(replace(op, inputs=inputs))
    return rebuild(graph, ops, output=renamed.get(graph.output, graph.output))
