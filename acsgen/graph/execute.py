# SPDX-License-Identifier: Apache-2.0
"""Running a graph: what the float and the int8 interpreter have in common.

They differ in what an operator computes and in the type of a mask; order, batches, forced masks and
which tensors are kept are the same and stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acsgen.errors import AcsgenError
from acsgen.graph.ir import Graph
from acsgen.graph.ops import AvgPool, Conv2D, DepthwiseConv2D, MaxPool, Op

Array = NDArray[Any]

#: "run": every gate decides. "open": every gate is open. A mapping from the name of a mask (the
#: output of a Gate) to 0s and 1s, (G,) for every sample or (N, G), forces these; the others decide.
Gates = Literal["run", "open"] | Mapping[str, ArrayLike]

#: Computes one operator: (operator, values of its inputs with the batch in front) -> value.
Compute = Callable[[Op, tuple[Array, ...]], Array]

#: Elements of im2col that one chunk of samples may need in one operator: small enough for the cache
#: to help, large enough for Python's share to vanish.
CHUNK_ELEMENTS = 1 << 20


def execute(
    graph: Graph, x: Array, compute: Compute, gates: Gates = "run", keep: Collection[str] | None = None
) -> dict[str, Array]:
    """The values of the tensors `keep` (None: of all), each with the batch in front.

    x: (N, *input shape). Goes through the samples in chunks, so that memory is needed for the kept
    tensors only.
    """
    if x.shape[1:] != graph.shape(graph.input):
        raise AcsgenError(
            f"graph '{graph.name}' reads (N, {', '.join(map(str, graph.shape(graph.input)))}), got {x.shape}"
        )
    kept = tuple(graph.tensors) if keep is None else tuple(dict.fromkeys(keep))
    unknown = [name for name in kept if name not in graph.tensors]
    if unknown:
        raise AcsgenError(f"graph '{graph.name}' has no tensor '{unknown[0]}'")
    forced = _forced_masks(graph, len(x), gates)
    size = samples_per_chunk(graph)
    starts = range(0, max(len(x), 1), size)
    parts = [
        _run_chunk(graph, x[i : i + size], compute, {m: v[i : i + size] for m, v in forced.items()}, kept)
        for i in starts
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in kept}


def samples_per_chunk(graph: Graph) -> int:
    """How many samples go through the graph together."""
    return max(1, CHUNK_ELEMENTS // max((_workspace(graph, op) for op in graph.ops), default=1))


def _workspace(graph: Graph, op: Op) -> int:
    """Elements of the largest array that computing `op` for one sample makes."""
    elements = prod(graph.shape(op.output))
    if isinstance(op, Conv2D):
        return max(elements, elements // op.out_channels * prod(op.kernel) * graph.shape(op.inputs[0])[-1])
    if isinstance(op, (DepthwiseConv2D, MaxPool, AvgPool)):
        return max(elements, prod(graph.shape(op.inputs[0])))
    return elements


def _run_chunk(
    graph: Graph, x: Array, compute: Compute, forced: Mapping[str, Array], kept: tuple[str, ...]
) -> dict[str, Array]:
    last_use = {name: i for i, op in enumerate(graph.ops) for name in op.inputs}
    values = {graph.input: x}
    for i, op in enumerate(graph.ops):
        value = compute(op, tuple(values[name] for name in op.inputs))
        if op.output in forced:
            value = forced[op.output].astype(value.dtype)
        values[op.output] = value
        for name in op.inputs:
            if last_use[name] == i and name not in kept:
                values.pop(name, None)
    return {name: values[name] for name in kept}


def _forced_masks(graph: Graph, samples: int, gates: Gates) -> dict[str, Array]:
    """The masks that are not to be decided by their gates: bool (N, G)."""
    shapes = {gate.output: graph.shape(gate.output) for gate in graph.gates}
    if gates == "run":
        return {}
    if gates == "open":
        return {name: np.ones((samples, *shape), bool) for name, shape in shapes.items()}
    if isinstance(gates, str):
        raise AcsgenError(f"gates is 'run', 'open' or a mapping from masks to 0s and 1s, got '{gates}'")
    forced = {}
    for name, mask in gates.items():
        if name not in shapes:
            raise AcsgenError(f"'{name}' is no mask of graph '{graph.name}': its masks are {sorted(shapes)}")
        values = np.asarray(mask)
        if values.shape not in (shapes[name], (samples, *shapes[name])):
            raise AcsgenError(f"mask '{name}' is {shapes[name]} or {(samples, *shapes[name])}, got {values.shape}")
        if not np.isin(values, (0, 1)).all():
            raise AcsgenError(f"mask '{name}' holds something other than 0 and 1")
        forced[name] = np.broadcast_to(values.astype(bool), (samples, *shapes[name]))
    return forced
