# SPDX-License-Identifier: Apache-2.0
"""Gates that decide on the accumulator of their last layer, where that flips fewer bits than an int8 logit.

A requantised logit that rounds to zero closes its group, whatever its sign was; the accumulator still has it. On the
other hand, what int8 did to the inputs of the layer stays, so that it is measured which of the two is nearer to the
float network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.golden.interpreter import quantize_input, run
from acsgen.golden.operators import compute
from acsgen.graph import AvgPool, Conv2D, Dense, Flatten, Gate, Graph, MaxPool, Op, Relu, Reshape, SumGate
from acsgen.graph.evaluate import evaluate
from acsgen.graph.ir import rebuild
from acsgen.graph.ops import Padding
from acsgen.quantize.check import MAX_STEP

#: So many of the calibration samples are judged by.
SAMPLES = 200
#: Up to so many inputs a sum takes fewer instructions than a convolution of one pixel, with every kernel set.
FEW_INPUTS = 32


def decide_on_sums(graph: Graph, floating: Graph, calibration: NDArray[np.float32]) -> Graph:
    """An int8 graph in which those gates decide on accumulators that flip fewer bits so.

    floating: the graph that it was quantised from. calibration: float32 (N, *input shape). Where both flip as many,
    the sums are taken if the layer has few inputs.
    """
    candidates = {gate.output: found for gate in graph.gates if (found := sum_gate_of(graph, gate)) is not None}
    if not candidates:
        return graph
    x = calibration[:SAMPLES]
    features = [gate.inputs[0] for gate in candidates.values()]
    wanted = evaluate(floating, x, keep=candidates)
    values = run(graph, quantize_input(graph, x), keep=(*candidates, *features))
    better = {
        name: gate
        for name, gate in candidates.items()
        if _flips(_decided(graph, gate, values), wanted[name])
        < _flips(values[name], wanted[name]) + (gate.weights.shape[1] <= FEW_INPUTS)
    }
    return rebuild(graph, [better.get(op.output, op) for op in graph.ops])


def sum_gate_of(graph: Graph, gate: Gate) -> SumGate | None:
    """The gate that decides on the accumulator of the linear layer before `gate`; None if there is no such layer.

    The layer has one output pixel, which nobody else reads, and what it reads is computed whole: where a mask may
    close a part of it, a convolution does better, which leaves that part out.
    """
    logits = graph.producer(gate.inputs[0])
    if isinstance(logits, Flatten) and graph.consumers(logits.output) == (gate,):
        logits = graph.producer(logits.inputs[0])
    if not isinstance(logits, Conv2D | Dense) or len(graph.consumers(logits.output)) != 1:
        return None
    if logits.activation != "none" or logits.requantize is None or not _reads_all(graph, logits):
        return None
    how = logits.requantize
    # Two steps of a logit in units of the accumulator: 2 / (multiplier * 2^(shift - 31)).
    with np.errstate(divide="ignore"):
        step = 2.0 / np.ldexp(how.multiplier.astype(np.float64), how.shift - 31)
    return SumGate(
        gate.name,
        logits.inputs,
        gate.output,
        weights=logits.weights.reshape(len(logits.weights), -1),
        bias=logits.bias,
        step=np.clip(np.rint(np.minimum(step, MAX_STEP)), 1, MAX_STEP).astype(np.int32),
    )


def _reads_all(graph: Graph, op: Conv2D | Dense) -> bool:
    """Whether the layer multiplies each value of its input once, for each output, and no mask is near."""
    if isinstance(op, Conv2D):
        whole = op.kernel == graph.shape(op.inputs[0])[:2] and op.groups == 1 and op.padding == Padding()
        if not whole or op.dilation != (1, 1):
            return False
    before: Op | None = graph.producer(op.inputs[0])
    while isinstance(before, AvgPool | MaxPool | Flatten | Reshape | Relu):
        before = graph.producer(before.inputs[0])
    return before is None or isinstance(before, Conv2D | Dense)


def _decided(graph: Graph, gate: SumGate, values: dict[str, NDArray[Any]]) -> NDArray[Any]:
    (source,) = gate.inputs
    return compute(gate, (values[source],), (graph.tensors[source],), graph.tensors[gate.output])


def _flips(mask: NDArray[Any], wanted: NDArray[Any]) -> int:
    return int((mask != wanted).sum())
