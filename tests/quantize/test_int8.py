# SPDX-License-Identifier: Apache-2.0
"""Quantised graphs keep the int8 contract, and are refused where they cannot."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest

from acsgen.errors import AcsgenError
from acsgen.golden.interpreter import quantize_input, run
from acsgen.graph import ApplyMask, Concatenate, Conv2D, Dense, DepthwiseConv2D, Gate, Graph, MaxPool, Op, Relu, Tensor
from acsgen.graph.evaluate import evaluate
from acsgen.graph.ir import make_graph
from acsgen.quantize import prepare, quantize
from acsgen.quantize.calibrate import Range, calibrate
from acsgen.quantize.check import MAX_SIZE, SAME_SCALE, check_int8
from acsgen.quantize.int8 import GATE_ZOOM, quantize_graph
from tests.graphs import random_graph

SEEDS = range(12)


def weighted(graph: Graph) -> list[Any]:
    return [op for op in graph.ops if isinstance(op, Conv2D | DepthwiseConv2D | Dense)]


def per_channel(op: Any, weights: np.ndarray) -> np.ndarray:
    """(channels, products)."""
    return (
        weights.reshape(-1, weights.shape[-1]).T
        if isinstance(op, DepthwiseConv2D)
        else weights.reshape(len(weights), -1)
    )


def dense(weights: Any, bias: Any, span: Range = (-1.0, 1.0), out: Range = (-1.0, 1.0)) -> Any:
    """One quantised dense layer whose input and output have these ranges."""
    matrix = np.array(weights, np.float32)
    op = Dense("d", ("x",), "d", matrix, np.array(bias, np.float32))
    graph = make_graph("net", Tensor("x", (matrix.shape[1],)), "d", [op])
    return quantize_graph(graph, {"x": span, "d": out}).ops[0]


def scales_of_weights(float_op: Any, int8_op: Any, graph: Graph) -> np.ndarray:
    """From the multipliers: scale of the weights = multiplier * output scale / input scale."""
    how = int8_op.requantize
    real = how.multiplier / 2**31 * 2.0**how.shift
    source, target = graph.tensors[int8_op.inputs[0]], graph.tensors[int8_op.output]
    return np.asarray(real * target.scale / source.scale)


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_are_symmetric_for_each_channel(seed: int) -> None:
    case = random_graph(seed)
    prepared = prepare(case.graph)
    graph = quantize_graph(prepared, calibrate(prepared, case.samples))
    for before, after in zip(weighted(prepared), weighted(graph), strict=True):
        real, quantized = per_channel(before, before.weights), per_channel(after, after.weights)
        assert after.weights.dtype == np.int8 and quantized.min() >= -127
        used = np.abs(real).max(axis=1) > 0
        assert (np.abs(quantized[used]).max(axis=1) == 127).mean() > 0.5  # others gave way to a large bias
        scale = scales_of_weights(before, after, graph)
        error = np.abs(real - quantized * scale[:, None]).max(axis=1)
        assert (error <= 0.501 * scale)[used].all()


def only_decided_on(graph: Graph, name: str) -> bool:
    """Whether a tensor's values reach gates only, which ask for no more than their sign."""
    readers = graph.consumers(name)
    return bool(readers) and all(
        isinstance(reader, Gate) or (isinstance(reader, SAME_SCALE) and only_decided_on(graph, reader.output))
        for reader in readers
    )


def test_a_logit_near_zero_keeps_its_sign() -> None:
    """At the scale of its range, 1 beside 200 would round to zero and the gate would stay closed."""
    fc = Dense("fc", ("x",), "fc", np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    mask = ApplyMask("y", ("x", "gate"), "y", partition=(0, 1))
    graph = make_graph("net", Tensor("x", (2,)), "y", [fc, Gate("gate", ("fc",), "gate"), mask])
    ranges = {"x": (0.0, 200.0), "fc": (0.0, 400.0), "gate": (0.0, 1.0), "y": (0.0, 200.0)}
    quantised = quantize_graph(graph, ranges)
    x = quantize_input(quantised, np.array([[1.0, 200.0]], np.float32))
    np.testing.assert_array_equal(run(quantised, x)["gate"], [[1, 1]])


@pytest.mark.parametrize("seed", SEEDS)
def test_scales(seed: int) -> None:
    """Zero is a value of every tensor; where only places or masks change, scale and zero point stay."""
    case = random_graph(seed)
    prepared = prepare(case.graph)
    ranges = calibrate(prepared, case.samples)
    graph = quantize_graph(prepared, ranges)
    masks = {gate.output for gate in graph.gates}
    for name, tensor in graph.tensors.items():
        if name in masks:
            assert tensor.scale is None
            continue
        assert tensor.scale is not None and tensor.scale == float(np.float32(tensor.scale))
        low, high = (tensor.scale * (end - tensor.zero_point) for end in (-128, 127))
        slack = 1.01 * tensor.scale
        zoom = GATE_ZOOM if only_decided_on(graph, name) else 1
        assert low <= min(0, ranges[name][0]) / zoom + slack and high >= max(0, ranges[name][1]) / zoom - slack
        assert -128 <= tensor.zero_point <= 127
    for op in graph.ops:
        source, target = graph.tensors[op.inputs[0]], graph.tensors[op.output]
        if isinstance(op, SAME_SCALE):
            assert (source.scale, source.zero_point) == (target.scale, target.zero_point)
        if isinstance(op, Concatenate):
            assert len({(graph.tensors[name].scale, graph.tensors[name].zero_point) for name in op.inputs}) == 1


def test_joined_tensors_share_the_range_of_them_all() -> None:
    """From part to part, on through pools and clamps, and back to what the parts are computed from."""
    ops: list[Op] = [
        Relu("a", ("x",), "a"),
        Dense("b", ("x",), "b", np.eye(2, dtype=np.float32), np.zeros(2, np.float32)),
        Dense("c", ("x",), "c", np.eye(2, dtype=np.float32), np.zeros(2, np.float32)),
        Concatenate("ab", ("a", "b"), "ab"),
        Concatenate("bc", ("b", "c"), "bc"),
        Relu("r", ("bc",), "r"),
        Dense("d", ("r",), "d", np.eye(4, dtype=np.float32), np.zeros(4, np.float32)),
        Concatenate("y", ("d", "ab"), "y"),
    ]
    graph = make_graph("net", Tensor("x", (2,)), "y", [*ops])
    ranges = {"x": (-1.0, 2.0), "a": (0.0, 2.0), "b": (-3.0, 0.0), "c": (0.0, 5.0), "ab": (-3.0, 2.0)}
    ranges |= {"bc": (-3.0, 5.0), "r": (0.0, 5.0), "d": (0.0, 9.0), "y": (-3.0, 9.0)}
    result = quantize_graph(graph, ranges)
    assert {(t.scale, t.zero_point) for t in result.tensors.values()} == {(float(np.float32(12 / 255)), -64)}


@pytest.mark.parametrize("seed", SEEDS)
def test_int8_stays_near_float(seed: int) -> None:
    """With the float masks forced, so that no gate decides differently, outputs differ by a few steps."""
    case = random_graph(seed)
    graph = quantize(case.graph, case.samples)
    floating = evaluate(prepare(case.graph), case.samples)
    masks = {gate.output: floating[gate.output].astype(np.uint8) for gate in graph.gates}
    got = run(graph, quantize_input(graph, case.samples), masks, keep=(graph.output,))[graph.output]
    tensor = graph.tensors[graph.output]
    assert tensor.scale is not None
    error = (got.astype(np.float64) - tensor.zero_point) * tensor.scale - floating[graph.output]
    assert np.sqrt((error**2).mean()) < 6 * tensor.scale


def test_bias_has_the_scale_of_the_products() -> None:
    op = dense([[1.0, -0.5]], [0.25], span=(-1.0, 1.0))
    input_scale = float(np.float32(2 / 255))
    assert op.bias.dtype == np.int32
    assert op.bias[0] == round(0.25 / (input_scale * float(np.float32(1 / 127))))


def test_tiny_weights_with_a_large_bias_take_a_coarser_scale() -> None:
    """At the weights' own scale the bias would need 2^40."""
    op = dense([[1e-9, -1e-9], [1.0, 0.5]], [1.0, 0.0])
    assert abs(int(op.bias[0])) == pytest.approx(2**30, rel=1e-6)
    assert np.abs(op.weights[0]).max() <= 1
    assert op.weights[1].tolist() == [127, 64]
    multiplier, shift = int(op.requantize.multiplier[0]), int(op.requantize.shift[0])
    value = int(op.bias[0]) * multiplier / 2**31 * 2.0**shift * (2 / 255)
    assert value == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("tiny", [0.0, 1e-30, 1e-38, 1e-44])
def test_weights_at_the_end_of_floats(tiny: float) -> None:
    op = dense([[tiny, -tiny]], [0.0])
    assert op.bias.tolist() == [0]
    assert np.isfinite(op.requantize.multiplier).all()


@pytest.mark.parametrize("value", [0.0, 1e-40, 3.0, -2.5])
def test_a_constant_tensor(value: float) -> None:
    graph = make_graph("net", Tensor("x", (4,)), "r", [Relu("r", ("x",), "r")])
    result = quantize_graph(graph, {"x": (value, value), "r": (max(value, 0.0), max(value, 0.0))})
    tensor = result.tensors["x"]
    assert tensor.scale is not None
    near = np.clip(round(value / tensor.scale) + tensor.zero_point, -128, 127)
    assert (near - tensor.zero_point) * tensor.scale == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("bias", "fits"), [(0.0, True), (26_000.0, True), (27_000.0, False), (-27_000.0, False)])
def test_an_accumulator_that_can_overflow(bias: float, fits: bool) -> None:
    """40,000 products of up to 127 * 255, and a bias in the same unit: 66,311 of them fit 32 bits."""
    weights = np.zeros((2, 40_000), np.float32)
    weights[1] = 1
    if fits:
        assert dense(weights, [0.0, bias], span=(0.0, 1.0), out=(0.0, 1e6)).weights[1].min() == 127
        return
    with pytest.raises(AcsgenError, match=r"Dense 'd': output channel 1 can reach \d+, an int32 accumulator ends at 2"):
        dense(weights, [0.0, bias], span=(0.0, 1.0), out=(0.0, 1e6))


def test_an_output_that_hardly_varies() -> None:
    """The accumulator would be shifted out of int32 to reach the output's scale."""
    with pytest.raises(AcsgenError, match=r"output channel 0 leaves int32 .* hardly varies: calibrate with samples on"):
        dense(np.ones((1, 1000)), [0.0], out=(0.0, 1e-6))


def test_scales_too_far_apart() -> None:
    with pytest.raises(AcsgenError, match=r"Dense 'd': a requantising multiplier of .* shifts every int32 out of its"):
        dense([[1e30]], [0.0], out=(0.0, 1e-6))


def test_more_than_the_runtime_can_count() -> None:
    graph = make_graph("net", Tensor("x", (MAX_SIZE + 1,)), "r", [Relu("r", ("x",), "r")])
    with pytest.raises(AcsgenError, match=r"tensor 'x': shape \(65536,\) is too large"):
        quantize_graph(graph, {"x": (0.0, 1.0), "r": (0.0, 1.0)})


def test_a_quantised_graph_is_checked_as_one_from_a_file_is() -> None:
    case = random_graph(3)
    graph = quantize(case.graph, case.samples)
    check_int8(graph)
    op = weighted(graph)[0]
    broken = replace(op, weights=op.weights.astype(np.int16))
    other = make_graph(
        graph.name,
        graph.tensors[graph.input],
        graph.output,
        [broken if o is op else o for o in graph.ops],
        graph.tensors,
    )
    with pytest.raises(AcsgenError, match=f"{type(op).__name__} '{op.name}': its weights are int8"):
        check_int8(other)
    with pytest.raises(AcsgenError, match="quantise the graph first"):
        check_int8(case.graph)


def test_only_what_computes_changes() -> None:
    """Operators without weights come through as they are."""
    pool: Op = MaxPool("p", ("x",), "p", (2, 2), (2, 2))
    graph = make_graph("net", Tensor("x", (4, 4, 2)), "p", [pool])
    result = quantize_graph(graph, {"x": (0.0, 1.0), "p": (0.0, 1.0)})
    assert result.ops == (pool,) and prod(result.shape("p")) == 8
