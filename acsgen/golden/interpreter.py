# SPDX-License-Identifier: Apache-2.0
"""Runs an int8 graph: the reference for every kernel set and every target."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.golden.arithmetic import quantize
from acsgen.golden.operators import compute, sum_gate
from acsgen.graph.execute import Gates, execute
from acsgen.graph.ir import Graph
from acsgen.graph.ops import Gate, Op, SumGate


def run(
    graph: Graph,
    x: NDArray[np.int8],
    gates: Gates = "run",
    keep: Collection[str] | None = None,
    raised: int = 0,
) -> dict[str, NDArray[Any]]:
    """The values of the tensors `keep` (None: of all): int8 (N, ...), masks uint8 (N, G).

    x: int8 (N, *input shape), as `quantize_input` makes it. gates: see `acsgen.graph.execute.Gates`.
    raised: by how much the threshold of every gate is, in steps of two of its logits (mode ACS_BUDGET of `acs.h`).
    Masks are honoured by multiplying: everything is computed, closed channels are then cleared.
    """
    if x.dtype != np.int8:
        raise AcsgenError(f"graph '{graph.name}' reads int8, got {x.dtype}: use quantize_input")

    def step(op: Op, values: tuple[NDArray[Any], ...]) -> NDArray[Any]:
        sources = tuple(graph.tensors[name] for name in op.inputs)
        if isinstance(op, SumGate):
            return sum_gate(op, values, sources, graph.tensors[op.output], raised)
        if isinstance(op, Gate):
            sources = (replace(sources[0], zero_point=sources[0].zero_point + 2 * raised),)
        return compute(op, values, sources, graph.tensors[op.output])

    return execute(graph, x, step, gates, keep)


def quantize_input(graph: Graph, x: NDArray[Any]) -> NDArray[np.int8]:
    """Real inputs (N, *input shape) as the int8 that the graph reads (TFLite's Quantize)."""
    return quantize(x, graph.tensors[graph.input])
