# SPDX-License-Identifier: Apache-2.0
"""Int8 graphs whose gates all decide alike: on int8 logits, or on accumulators where they can."""

from __future__ import annotations

from acsgen.graph import Graph
from acsgen.graph.ir import rebuild
from acsgen.quantize import quantize
from acsgen.quantize.sums import sum_gate_of
from tests.graphs.builder import Float


def quantize_with_logits(floating: Graph, samples: Float) -> Graph:
    """The int8 graph in which each gate has its logits."""
    return quantize(floating, samples, sums=False)


def with_sum_gates(graph: Graph) -> Graph:
    """Every gate that can be a SumGate is one."""
    sums = {gate.output: sum_gate_of(graph, gate) for gate in graph.gates}
    return rebuild(graph, [sums.get(op.output) or op for op in graph.ops])
