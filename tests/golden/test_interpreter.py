# SPDX-License-Identifier: Apache-2.0
"""Running whole int8 graphs: order, batches, forced masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from acsgen.errors import AcsgenError
from acsgen.golden import quantize_input, quantize_multipliers, run
from acsgen.golden.operators import compute
from acsgen.graph import execute
from acsgen.graph.ir import Graph, Tensor, make_graph
from acsgen.graph.ops import (
    Add,
    ApplyMask,
    AvgPool,
    Conv2D,
    Dense,
    Gate,
    Op,
    Padding,
    Requantize,
)

SIZE, CHANNELS, GROUPS = 6, 8, 4


def requantize(channels: int) -> Requantize:
    return Requantize(*quantize_multipliers(np.full(channels, 0.004)), -128, 127)


def gated_graph() -> Graph:
    """x -> conv -> [gate on its mean] -> grouped conv, masked -> add -> mean -> logits."""
    rng = np.random.default_rng(7)

    def conv(name: str, source: str, inputs: int, groups: int) -> Conv2D:
        weights = rng.integers(-127, 128, (CHANNELS, 3, 3, inputs // groups)).astype(np.int8)
        bias = rng.integers(-3000, 3000, CHANNELS).astype(np.int32)
        pad = Padding(1, 1, 1, 1)
        return Conv2D(name, (source,), name, weights, bias, padding=pad, groups=groups, requantize=requantize(CHANNELS))

    def dense(name: str, source: str, outputs: int) -> Dense:
        weights = rng.integers(-127, 128, (outputs, CHANNELS)).astype(np.int8)
        return Dense(name, (source,), name, weights, np.zeros(outputs, np.int32), requantize=requantize(outputs))

    ops: list[Op] = [
        conv("a", "x", 3, 1),
        AvgPool("mean", ("a",), "mean", (SIZE, SIZE), (1, 1)),
        dense("score", "mean", GROUPS),
        Gate("gate", ("score",), "mask"),
        conv("b", "a", CHANNELS, GROUPS),
        ApplyMask("masked", ("b", "mask"), "masked", tuple(c * GROUPS // CHANNELS for c in range(CHANNELS))),
        Add("sum", ("a", "masked"), "sum", "relu"),
        AvgPool("features", ("sum",), "features", (SIZE, SIZE), (1, 1)),
        dense("y", "features", 5),
    ]
    scales = {"a": 0.05, "mean": 0.05, "score": 0.1, "b": 0.04, "masked": 0.04, "sum": 0.06, "features": 0.06}
    known = {name: Tensor(name, (), scale, -3) for name, scale in scales.items()} | {"y": Tensor("y", (), 0.1, 4)}
    return make_graph("gated", Tensor("x", (SIZE, SIZE, 3), 0.02, -5), "y", ops, known)


def images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    return np.random.default_rng(8).integers(-128, 128, (count, SIZE, SIZE, 3)).astype(np.int8)


def test_a_run_is_its_operators_one_after_another() -> None:
    graph, x = gated_graph(), images(20)
    values = {"x": x}
    for op in graph.ops:
        inputs = tuple(values[name] for name in op.inputs)
        tensors = tuple(graph.tensors[name] for name in op.inputs)
        values[op.output] = compute(op, inputs, tensors, graph.tensors[op.output])
    result = run(graph, x)
    assert set(result) == set(graph.tensors)
    for name, value in result.items():
        assert value.dtype == (np.uint8 if name == "mask" else np.int8)
        assert value.shape == (20, *graph.shape(name))
        np.testing.assert_array_equal(value, values[name])
    assert 0 < result["mask"].mean() < 1, "a test of gates needs both answers"


@pytest.mark.parametrize("elements", [1, 20_000, 1 << 30])
def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    graph, x = gated_graph(), images(17)
    whole = run(graph, x)
    masks = {"mask": np.random.default_rng(1).integers(0, 2, (17, GROUPS))}
    forced = run(graph, x, masks)
    monkeypatch.setattr(execute, "CHUNK_ELEMENTS", elements)
    for name, value in run(graph, x).items():
        np.testing.assert_array_equal(value, whole[name])
    np.testing.assert_array_equal(run(graph, x, masks)["y"], forced["y"])


def test_kept_tensors_only() -> None:
    graph, x = gated_graph(), images(3)
    assert set(run(graph, x, keep=["y", "mask", "x"])) == {"x", "y", "mask"}
    np.testing.assert_array_equal(run(graph, x, keep=["a"])["a"], run(graph, x)["a"])
    assert run(graph, x[:0])["y"].shape == (0, 5)
    with pytest.raises(AcsgenError, match="no tensor 'nobody'"):
        run(graph, x, keep=["nobody"])


def test_forced_masks() -> None:
    graph, x = gated_graph(), images(4)
    free = run(graph, x)
    opened = run(graph, x, "open")
    assert (opened["mask"] == 1).all()
    np.testing.assert_array_equal(opened["masked"], opened["b"])
    np.testing.assert_array_equal(run(graph, x, {"mask": free["mask"]})["y"], free["y"])
    one = run(graph, x, {"mask": np.array([1, 0, 0, 1])})
    assert one["mask"].dtype == np.uint8
    np.testing.assert_array_equal(one["mask"], np.tile([1, 0, 0, 1], (4, 1)))
    assert (one["masked"][..., 2:6] == -3).all()
    np.testing.assert_array_equal(one["masked"][..., [0, 1, 6, 7]], one["b"][..., [0, 1, 6, 7]])


def test_wrong_calls_say_what_is_wrong() -> None:
    graph, x = gated_graph(), images(2)
    for gates, words in (
        ("closed", "'run', 'open'"),
        ({"score": [1, 1, 1, 1]}, "'score' is no mask"),
        ({"mask": [1, 1]}, r"\(4,\)"),
        ({"mask": [1, 1, 2, 0]}, "other than 0 and 1"),
    ):
        with pytest.raises(AcsgenError, match=words):
            run(graph, x, gates)  # type: ignore[arg-type]
    with pytest.raises(AcsgenError, match="quantize_input"):
        run(graph, x.astype(np.float32))
    with pytest.raises(AcsgenError, match="reads \\(N, 6, 6, 3\\)"):
        run(graph, x[0])


def test_inputs_are_quantised_with_the_scale_of_the_input() -> None:
    graph = gated_graph()
    x = np.full((1, SIZE, SIZE, 3), 0.03, np.float32)
    assert (quantize_input(graph, x) == -3).all()
    bare = make_graph("bare", replace(graph.tensors["x"], scale=None), "a", graph.ops)
    with pytest.raises(AcsgenError, match="no scale"):
        quantize_input(bare, x)
