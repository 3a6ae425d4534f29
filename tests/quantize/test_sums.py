# SPDX-License-Identifier: Apache-2.0
"""Gates that decide on accumulators: what they are by exact arithmetic, which are chosen, and what keeps them out."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.golden import quantize_input, run
from acsgen.graph import Conv2D, Dense, Flatten, Gate, Graph, SumGate
from acsgen.graph.evaluate import evaluate
from acsgen.quantize import prepare, sums
from acsgen.quantize.acsq import load_acsq, save_acsq
from acsgen.quantize.check import check_int8
from acsgen.quantize.sums import decide_on_sums, sum_gate_of
from tests.graphs import Builder, quantize_with_logits, random_graph, with_sum_gates
from tests.graphs.builder import varied


def gated(b: Builder, groups: int = 4) -> str:
    return b.conv(b.mask(b.conv("x", 8), b.gate(b.conv("x", 6, activation="relu"), groups)), 4)


def built(seed: int = 0) -> tuple[Builder, Graph]:
    b = Builder(np.random.default_rng(seed), (6, 6, 4))
    return b, b.graph(gated(b))


def exact_logits(graph: Graph, op: Dense | Conv2D, q: NDArray[np.int8]) -> list[Fraction]:
    """What the layer's integers stand for, (G,) in units of the input's scale times that of the weights, by fractions.

    Goes through the weights in their own shape; knows nothing of accumulators.
    """
    zero_point = graph.tensors[op.inputs[0]].zero_point
    x = [Fraction(int(value) - zero_point) for value in q.ravel()]
    rows = op.weights.reshape(len(op.weights), prod(op.weights.shape[1:]))
    return [
        sum((Fraction(int(w)) * value for w, value in zip(row, x, strict=True)), Fraction(int(b)))
        for row, b in zip(rows, op.bias, strict=True)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_open_where_the_real_logit_is_above_zero(seed: int) -> None:
    """On every gate of random graphs that can be one, whatever its zero points."""
    drawn = random_graph(seed)
    graph = quantize_with_logits(drawn.graph, drawn.samples)
    summed = with_sum_gates(graph)
    values = run(graph, quantize_input(graph, drawn.samples[:6]))
    for gate in (op for op in summed.ops if isinstance(op, SumGate)):
        logits = graph.producer(next(op for op in graph.ops if op.output == gate.output).inputs[0])
        if isinstance(logits, Flatten):
            logits = graph.producer(logits.inputs[0])
        assert isinstance(logits, Dense | Conv2D)
        features = values[logits.inputs[0]]
        forced = {name: values[name] for name in values if name in {g.output for g in graph.gates} - {gate.output}}
        decided = run(summed, quantize_input(graph, drawn.samples[:6]), forced, keep=[gate.output])[gate.output]
        for sample, mask in zip(features, decided, strict=True):
            assert mask.tolist() == [int(logit > 0) for logit in exact_logits(graph, logits, sample)]


def test_raised_thresholds_count_in_steps_of_two_logits() -> None:
    """Within what an int8 logit holds, a threshold lies where it lay; the ends open and close all."""
    b, floating = built()
    graph = quantize_with_logits(floating, b.samples)
    summed = with_sum_gates(graph)
    (gate,) = summed.gates
    (plain,) = graph.gates
    x = quantize_input(graph, b.samples)
    zero_point, compared = graph.tensors[plain.inputs[0]].zero_point, 0
    before = -1.0
    for raised in (127, 40, 3, 0, -3, -40, -128):
        summed_mask, logits = (run(g, x, raised=raised, keep=[gate.output])[gate.output] for g in (summed, graph))
        assert summed_mask.mean() >= before
        before = float(summed_mask.mean())
        if raised in (127, -128):
            assert (summed_mask == (raised < 0)).all()
        elif -128 <= zero_point + 2 * raised < 127:
            compared += 1
            assert (summed_mask != logits).mean() < 0.02
    assert isinstance(gate, SumGate) and type(plain) is Gate and compared > 2


def test_chosen_by_flipped_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither flips more, few inputs are for the sums; logits as coarse as int8 can be are, whatever the size."""
    b, floating = built()
    prepared = prepare(floating)
    graph = quantize_with_logits(floating, b.samples)
    assert [type(gate) for gate in decide_on_sums(graph, prepared, b.samples).gates] == [SumGate]
    monkeypatch.setattr(sums, "FEW_INPUTS", 5)
    assert [type(gate) for gate in decide_on_sums(graph, prepared, b.samples).gates] == [Gate]
    (gate,) = graph.gates
    logits = graph.producer(gate.inputs[0])
    assert isinstance(logits, Dense) and logits.requantize is not None
    # Every logit becomes zero: all groups are closed.
    object.__setattr__(logits.requantize, "multiplier", np.zeros_like(logits.requantize.multiplier))
    chosen = decide_on_sums(graph, prepared, b.samples)
    assert [type(gate) for gate in chosen.gates] == [SumGate]
    assert logits.output not in chosen.tensors
    x = varied(np.random.default_rng(9), 40, (6, 6, 4))
    wanted = evaluate(prepared, x, keep=[gate.output])[gate.output]
    after, before = (run(g, quantize_input(g, x), keep=[gate.output])[gate.output] for g in (chosen, graph))
    assert (after != wanted).mean() < 0.05 < (before != wanted).mean()


def masked_features(b: Builder) -> str:
    first = b.mask(b.conv("x", 8), b.gate(b.conv("x", 6, activation="relu"), 4))
    return b.conv(b.mask(b.conv("x", 8), b.gate(first, 4)), 4)


def shared_logits(b: Builder) -> str:
    logits = b.dense(b.features(b.conv("x", 6, activation="relu")), 4)
    return b.dense(b.mask(b.dense(logits, 8), b.gate_on(logits)), 3)


def activated_logits(b: Builder) -> str:
    mask = b.gate_on(b.dense(b.features(b.conv("x", 6, activation="relu")), 4, "relu"))
    return b.conv(b.mask(b.conv("x", 8), mask), 4)


def test_what_keeps_its_logits() -> None:
    """A layer that skips what a mask closes, one that somebody else reads, one with an activation."""
    for build, possible in ((gated, [True]), (masked_features, [True, False]), (shared_logits, [False]),
                            (activated_logits, [False])):  # fmt: skip
        b = Builder(np.random.default_rng(0), (6, 6, 4))
        graph = quantize_with_logits(b.graph(build(b)), b.samples)
        assert [sum_gate_of(graph, gate) is not None for gate in graph.gates] == possible, build.__name__


def test_file(tmp_path: Path) -> None:
    b, floating = built()
    summed = with_sum_gates(quantize_with_logits(floating, b.samples))
    save_acsq(summed, tmp_path / "net.acsq")
    read = load_acsq(tmp_path / "net.acsq")
    (one,), (other,) = summed.gates, read.gates
    assert isinstance(one, SumGate) and isinstance(other, SumGate)
    for name in ("weights", "bias", "step"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    x = quantize_input(read, b.samples)
    np.testing.assert_array_equal(run(read, x)[read.output], run(summed, x)[summed.output])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("step", np.zeros(4, np.int32), "steps of its threshold are 1 to 8388608, got 0 to 0"),
        ("bias", np.full(4, 2**31 - 1, np.int32), "an int32 accumulator ends at 2147483647"),
        ("bias", np.zeros(3, np.int32), "its bias is one int32 for each of 4 channels"),
        ("weights", np.full((4, 6), -128, np.int8), "a weight of -128"),
    ],
)
def test_refused(field: str, value: NDArray[np.generic], message: str) -> None:
    b, floating = built()
    summed = with_sum_gates(quantize_with_logits(floating, b.samples))
    object.__setattr__(summed.gates[0], field, value)
    with pytest.raises(AcsgenError, match=message):
        check_int8(summed)
