# SPDX-License-Identifier: Apache-2.0
"""Which masks of a run anybody asks for: the others need not be decided.

A tensor is used where an operator reads it whose output is used; the network's output is. An ApplyMask uses its mask
where its output is used, and what it masks where the mask is decided and has an open group. A mask is decided
where it is used, or where its gate always decides. This is worked out for each sample from the graph and the masks,
and knows nothing of how a plan comes to the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.graph.ir import Graph
from acsgen.graph.ops import ApplyMask

#: What firmware tells for every group of a mask that was not decided (ACS_UNDECIDED of `acs.h`).
UNDECIDED = 2


def told_masks(
    graph: Graph, masks: Mapping[str, NDArray[Any]], always: Collection[str]
) -> dict[str, NDArray[np.uint8]]:
    """What firmware tells of a run that skips: uint8 (N, G), 1 open, 0 closed, UNDECIDED in a mask of no use.

    masks: of every gate, 0 and 1 (N, G), as the golden model decides them. always: masks that are decided in any case.
    """
    used = decided(graph, masks, always)
    return {
        name: np.where(used[name][:, None], masks[name], UNDECIDED).astype(np.uint8)
        for name in (gate.output for gate in graph.gates)
    }


def decided(graph: Graph, masks: Mapping[str, NDArray[Any]], always: Collection[str]) -> dict[str, NDArray[np.bool_]]:
    """For each mask, in which samples it is decided: bool (N,). Arguments as in `told_masks`."""
    samples = len(next(iter(masks.values()), ()))
    used = {name: np.full(samples, name == graph.output or name in always) for name in graph.tensors}
    before, found = -1, 0
    while found > before:  # a mask may be applied both before and behind another
        for op in reversed(graph.ops):
            if isinstance(op, ApplyMask):
                x, mask = op.inputs
                used[mask] |= used[op.output]
                used[x] |= used[mask] & masks[mask].any(axis=-1)
            else:
                for name in op.inputs:
                    used[name] |= used[op.output]
        before, found = found, sum(int(where.sum()) for where in used.values())
    return {gate.output: used[gate.output] for gate in graph.gates}
