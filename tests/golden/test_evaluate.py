# SPDX-License-Identifier: Apache-2.0
"""The float interpreter against TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.graph import execute
from acsgen.graph.evaluate import OPERATORS, evaluate
from acsgen.graph.ir import Graph, Tensor, make_graph
from acsgen.graph.ops import (
    Add,
    ApplyMask,
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    MaxPool,
    Op,
    Padding,
    Relu,
    Requantize,
    Shuffle,
    SumGate,
)

Array = NDArray[Any]

ACTIVATIONS = {"none": tf.identity, "relu": tf.nn.relu, "relu6": tf.nn.relu6}
GEOMETRIES = [
    ((7, 9), (3, 3), (1, 1)),
    ((8, 8), (3, 3), (2, 2)),
    ((9, 8), (5, 2), (3, 2)),
    ((6, 5), (1, 1), (1, 1)),
    ((7, 6), (1, 1), (2, 2)),
    ((10, 11), (2, 3), (1, 1)),
]


def floats(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def value(x: Array, *ops: Op) -> Array:
    graph = make_graph("test", Tensor("x", x.shape[1:]), ops[-1].output, ops)
    result = evaluate(graph, x)[ops[-1].output]
    assert result.dtype == np.float32
    assert result.shape == (len(x), *graph.shape(ops[-1].output))
    return result


def close(ours: Array, theirs: Any) -> None:
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=1e-5, atol=1e-5)


def padding(kind: str, size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], **more: Any) -> Padding:
    return Padding.same(size, kernel, stride, **more) if kind == "SAME" else Padding()


@pytest.mark.parametrize("kind", ["SAME", "VALID"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("size", "kernel", "stride"), GEOMETRIES)
def test_conv2d(size: Any, kernel: Any, stride: Any, activation: str, kind: str) -> None:
    x, weights, bias = floats(0, 3, *size, 4), floats(1, *kernel, 4, 6), floats(2, 6)
    pad = padding(kind, size, kernel, stride)
    op = Conv2D("c", ("x",), "y", weights.transpose(3, 0, 1, 2), bias, stride, pad, activation=activation)
    close(value(x, op), ACTIVATIONS[activation](tf.nn.conv2d(x, weights, stride, kind) + bias))


@pytest.mark.parametrize("kind", ["SAME", "VALID"])
@pytest.mark.parametrize("dilation", [(2, 2), (1, 3)])
def test_conv2d_dilated(dilation: Any, kind: str) -> None:
    x, weights, bias = floats(0, 2, 9, 8, 3), floats(1, 3, 2, 3, 4), floats(2, 4)
    pad = padding(kind, (9, 8), (3, 2), (1, 1), dilation=dilation)
    op = Conv2D("c", ("x",), "y", weights.transpose(3, 0, 1, 2), bias, padding=pad, dilation=dilation)
    close(value(x, op), tf.nn.conv2d(x, weights, 1, kind, dilations=dilation) + bias)


@pytest.mark.parametrize("groups", [2, 3, 6])
def test_conv2d_in_groups(groups: int) -> None:
    x, weights, bias = floats(0, 2, 7, 7, 6), floats(1, 3, 3, 6 // groups, 12), floats(2, 12)
    op = Conv2D("c", ("x",), "y", weights.transpose(3, 0, 1, 2), bias, groups=groups)
    parts = zip(np.split(x, groups, axis=3), np.split(weights, groups, axis=3), strict=True)
    close(value(x, op), tf.concat([tf.nn.conv2d(a, w, 1, "VALID") for a, w in parts], 3) + bias)


def test_conv2d_with_a_learned_grouping() -> None:
    x, weights, bias = floats(0, 2, 7, 7, 4), floats(1, 3, 3, 4, 4), floats(2, 4)
    partition = (1, 0, 1, 1)
    together = np.equal.outer(partition, partition)
    op = Conv2D("c", ("x",), "y", weights.transpose(3, 0, 1, 2), bias, partition=partition)
    close(value(x, op), tf.nn.conv2d(x, weights * together, 1, "VALID") + bias)


@pytest.mark.parametrize("kind", ["SAME", "VALID"])
@pytest.mark.parametrize(("size", "kernel", "stride"), GEOMETRIES)
def test_depthwise_conv2d(size: Any, kernel: Any, stride: Any, kind: str) -> None:
    square = (stride[0], stride[0])  # all that TensorFlow knows
    x, weights, bias = floats(0, 3, *size, 5), floats(1, *kernel, 5), floats(2, 5)
    op = DepthwiseConv2D("c", ("x",), "y", weights, bias, square, padding(kind, size, kernel, square))
    close(value(x, op), tf.nn.depthwise_conv2d(x, weights[..., None], (1, *square, 1), kind) + bias)


@pytest.mark.parametrize("kind", ["SAME", "VALID"])
@pytest.mark.parametrize(("size", "kernel", "stride"), GEOMETRIES)
def test_pools(size: Any, kernel: Any, stride: Any, kind: str) -> None:
    x = floats(0, 3, *size, 5)
    pad = padding(kind, size, kernel, stride)
    close(value(x, MaxPool("p", ("x",), "y", kernel, stride, pad)), tf.nn.max_pool2d(x, kernel, stride, kind))
    close(value(x, AvgPool("p", ("x",), "y", kernel, stride, pad)), tf.nn.avg_pool2d(x, kernel, stride, kind))


def test_dense_batch_norm_relu_add_flatten_shuffle() -> None:
    x, scale, offset = floats(0, 4, 3, 5, 6), floats(1, 6), floats(2, 6)
    close(value(x, BatchNorm("n", ("x",), "y", scale, offset)), x * scale + offset)
    close(value(x, Relu("r", ("x",), "y", "relu6")), tf.nn.relu6(x))
    close(value(x, Add("s", ("x", "x"), "y", "relu")), tf.nn.relu(x + x))
    close(value(x, Flatten("f", ("x",), "y")), tf.reshape(x, (4, 90)))
    close(value(x, Shuffle("s", ("x",), "y", (5, 0, 3, 1, 4, 2))), tf.gather(x, [5, 0, 3, 1, 4, 2], axis=3))
    weights, bias = floats(3, 90, 7), floats(4, 7)
    dense = Dense("d", ("x",), "y", weights.T, bias, "relu")
    close(value(x, dense), tf.nn.relu(tf.reshape(x, (4, 90)) @ weights + bias))


def gated() -> Graph:
    ops = (
        AvgPool("mean", ("x",), "mean", (4, 4), (1, 1)),
        Gate("gate", ("mean_flat",), "mask"),
        ApplyMask("y", ("x", "mask"), "y", (0, 1, 2, 0, 1, 2)),
    )
    flat = Dense("flat", ("mean",), "mean_flat", np.eye(3, 6, dtype=np.float32), np.zeros(3, np.float32))
    return make_graph("gated", Tensor("x", (4, 4, 6)), "y", (ops[0], flat, *ops[1:]))


def test_gates_and_masks() -> None:
    x = floats(0, 50, 4, 4, 6)
    x[0] = 0
    result = evaluate(gated(), x)
    mask = (x.mean(axis=(1, 2))[:, :3] > 0).astype(np.float32)
    assert result["mask"].dtype == np.float32
    np.testing.assert_array_equal(result["mask"], mask)
    assert (result["mask"][0] == 0).all(), "a logit of exactly zero is closed"
    np.testing.assert_array_equal(result["y"], x * np.tile(mask, 2)[:, None, None])
    np.testing.assert_array_equal(evaluate(gated(), x, "open")["y"], x)
    shuffled = mask[::-1]
    forced = evaluate(gated(), x, {"mask": shuffled})
    np.testing.assert_array_equal(forced["mask"], shuffled)
    np.testing.assert_array_equal(forced["y"], x * np.tile(shuffled, 2)[:, None, None])


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    x = floats(0, 50, 4, 4, 6)
    whole = evaluate(gated(), x)
    monkeypatch.setattr(execute, "CHUNK_ELEMENTS", 300)
    assert execute.samples_per_chunk(gated()) < 50
    for name, kept in evaluate(gated(), x).items():
        np.testing.assert_array_equal(kept, whole[name])


def test_every_operator_is_defined_and_int8_is_refused() -> None:
    def kinds(kind: type[Op]) -> set[type[Op]]:
        return {kind}.union(*(kinds(sub) for sub in kind.__subclasses__()))

    own = {kind for kind in kinds(Op) if kind.__module__ == Op.__module__ and kind.__name__[0] != "_"}
    assert set(OPERATORS) == own - {Op, SumGate}
    how = Requantize(np.ones(1, np.int32), np.zeros(1, np.int32), -128, 127)
    op = Dense("d", ("x",), "y", np.ones((1, 4), np.int8), np.zeros(1, np.int32), requantize=how)
    with pytest.raises(AcsgenError, match="is quantised"):
        value(np.zeros((1, 4), np.float32), replace(op))
