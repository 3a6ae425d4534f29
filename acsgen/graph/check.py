# SPDX-License-Identifier: Apache-2.0
"""What holds for every graph beyond the shapes that `make_graph` checks."""

from __future__ import annotations

from acsgen.errors import AcsgenError
from acsgen.graph.ir import Graph
from acsgen.graph.ops import ApplyMask


def check_masks(graph: Graph) -> None:
    """AcsgenError unless ApplyMask's second input is a gate's mask, and nothing else reads one."""
    masks = {gate.output: gate for gate in graph.gates}
    for op in graph.ops:
        for position, name in enumerate(op.inputs):
            where = f"{type(op).__name__} '{op.name}'"
            belongs = isinstance(op, ApplyMask) and position == 1
            if belongs and name not in masks:
                raise AcsgenError(f"{where}: its mask '{name}' does not come from a gate, whose bits are 0 or 1")
            if name in masks and not belongs:
                raise AcsgenError(f"{where}: reads the mask of gate '{masks[name].name}', which only ApplyMask may")
    if graph.output in masks:
        raise AcsgenError(f"the output of graph '{graph.name}' is the mask of gate '{masks[graph.output].name}'")
