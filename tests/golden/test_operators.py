# SPDX-License-Identifier: Apache-2.0
"""What no other kernel library knows (gates, masks, shuffles), and what operators refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from acsgen.errors import AcsgenError
from acsgen.golden import add_constants, quantize_multipliers
from acsgen.golden.operators import OPERATORS, compute
from acsgen.graph.ir import Tensor
from acsgen.graph.ops import (
    ApplyMask,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Flatten,
    Gate,
    MaxPool,
    Op,
    Pad,
    Padding,
    Relu,
    Requantize,
    Reshape,
    Shuffle,
)
from tests.golden import cases

IMAGE = np.arange(-12, 12, dtype=np.int8).reshape(1, 2, 3, 4)
X = Tensor("x", (2, 3, 4), 0.5, 2)


def test_every_operator_of_an_int8_graph_is_defined() -> None:
    def kinds(kind: type[Op]) -> set[type[Op]]:
        return {kind}.union(*(kinds(sub) for sub in kind.__subclasses__()))

    own = {kind for kind in kinds(Op) if kind.__module__ == Op.__module__ and kind.__name__[0] != "_"}
    assert set(OPERATORS) == own - {Op, BatchNorm}


def test_a_gate_opens_strictly_above_zero() -> None:
    logits = np.array([[1, 2, 3, 127], [-128, 2, 4, -1]], np.int8)
    mask = compute(Gate("g", ("l",), "m"), (logits,), (Tensor("l", (4,), 0.1, 2),), Tensor("m", (4,)))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, [[0, 0, 1, 1], [0, 0, 1, 0]])


def test_a_mask_leaves_the_zero_point() -> None:
    op = ApplyMask("a", ("x", "m"), "y", (0, 1, 0, 1))
    x = np.concatenate([IMAGE, IMAGE])
    mask = np.array([[1, 0], [0, 1]], np.uint8)
    y = compute(op, (x, mask), (X, Tensor("m", (2,))), replace(X, name="y"))
    assert y.dtype == np.int8
    np.testing.assert_array_equal(y[0, ..., ::2], IMAGE[0, ..., ::2])
    np.testing.assert_array_equal(y[1, ..., 1::2], IMAGE[0, ..., 1::2])
    assert (y[0, ..., 1::2] == 2).all()
    assert (y[1, ..., ::2] == 2).all()


def test_a_mask_on_a_vector() -> None:
    op = ApplyMask("a", ("x", "m"), "y", (0, 0, 1))
    x, mask = np.array([[5, 6, 7]], np.int8), np.array([[0, 1]], np.uint8)
    vector = Tensor("x", (3,), 0.5, -3)
    y = compute(op, (x, mask), (vector, Tensor("m", (2,))), replace(vector, name="y"))
    np.testing.assert_array_equal(y, [[-3, -3, 7]])


def test_shuffle_flatten_and_reshape() -> None:
    y = compute(Shuffle("s", ("x",), "y", (2, 0, 3, 1)), (IMAGE,), (X,), replace(X, name="y"))
    np.testing.assert_array_equal(y[0, 0, 0], IMAGE[0, 0, 0, [2, 0, 3, 1]])
    flat = compute(Flatten("f", ("x",), "y"), (IMAGE,), (X,), replace(X, name="y", shape=(24,)))
    np.testing.assert_array_equal(flat, IMAGE.reshape(1, 24))
    signal = compute(Reshape("r", ("x",), "y", (6, 4)), (IMAGE,), (X,), replace(X, name="y", shape=(6, 4)))
    np.testing.assert_array_equal(signal, IMAGE.reshape(1, 6, 4))


def test_a_learned_grouping_ignores_weights_between_groups() -> None:
    rng = np.random.default_rng(0)
    case = cases.conv2d(rng)
    channels = 6
    weights = rng.integers(-127, 128, (channels, 3, 3, channels)).astype(np.int8)
    how = Requantize(*quantize_multipliers(np.full(channels, 0.001)), -128, 127)
    partition = (0, 1, 0, 2, 1, 0)
    op = Conv2D("c", ("x",), "y", weights, np.zeros(channels, np.int32), partition=partition, requantize=how)
    zeroed = weights.copy()
    for o in range(channels):
        for i in range(channels):
            if partition[o] != partition[i]:
                zeroed[o, :, :, i] = 0
    x = rng.integers(-128, 128, (2, 5, 5, channels)).astype(np.int8)
    ends = (Tensor("x", (5, 5, channels), 0.1, 7),), case.target
    np.testing.assert_array_equal(
        compute(op, (x,), *ends), compute(replace(op, weights=zeroed, partition=None), (x,), *ends)
    )


def test_explicit_padding_equals_an_image_with_the_zero_point_around() -> None:
    case = cases.conv2d(np.random.default_rng(5))
    assert isinstance(case.op, Conv2D)
    pad = Padding(1, 2, 3, 0)
    padded = replace(case.op, padding=pad)
    around = np.pad(case.values[0], ((0, 0), (1, 2), (3, 0), (0, 0)), constant_values=case.sources[0].zero_point)
    bare = replace(case.op, padding=Padding())
    np.testing.assert_array_equal(
        compute(padded, case.values, case.sources, case.target),
        compute(bare, (around,), case.sources, case.target),
    )


def test_no_sample_is_no_error() -> None:
    for draw in (
        cases.conv2d,
        cases.depthwise_conv2d,
        cases.dense,
        cases.avg_pool,
        cases.max_pool,
        cases.add,
        cases.concatenate,
        cases.pad,
    ):
        case = draw(np.random.default_rng(0))
        empty = tuple(value[:0] for value in case.values)
        assert len(compute(case.op, empty, case.sources, case.target)) == 0


def test_refusals() -> None:
    y = replace(X, name="y")
    with pytest.raises(AcsgenError, match="BatchNorm 'b' has no int8 meaning"):
        compute(BatchNorm("b", ("x",), "y", np.ones(4, np.float32), np.ones(4, np.float32)), (IMAGE,), (X,), y)
    dense = Dense("d", ("x",), "y", np.ones((1, 24), np.int8), np.zeros(1, np.int32))
    with pytest.raises(AcsgenError, match="Dense 'd' has no requantisation"):
        compute(dense, (IMAGE,), (X,), y)
    keeping: tuple[Op, ...] = (
        Relu("o", ("x",), "y"),
        MaxPool("o", ("x",), "y", (1, 1), (1, 1)),
        Concatenate("o", ("x",), "y"),
        Pad("o", ("x",), "y"),
        Reshape("o", ("x",), "y", (6, 4)),
    )
    for op in keeping:
        with pytest.raises(AcsgenError, match="'o' keeps scale and zero point"):
            compute(op, (IMAGE,), (X,), replace(y, zero_point=3))
    with pytest.raises(AcsgenError, match="'o' keeps scale and zero point"):
        compute(Concatenate("o", ("x", "x"), "y"), (IMAGE, IMAGE), (X, replace(X, scale=0.25)), y)
    with pytest.raises(AcsgenError, match=r"joins channels of tensors of one size, got \(2, 3, 4\) and \(3, 2, 4\)"):
        Concatenate("c", ("x", "x"), "y").output_shape((2, 3, 4), (3, 2, 4))
    with pytest.raises(AcsgenError, match=r"Pad 'p': needs an input \(H, W, C\), got \(4,\)"):
        Pad("p", ("x",), "y").output_shape((4,))
    with pytest.raises(AcsgenError, match=r"Reshape 'r': 24 values do not fill the shape \(5, 5\)"):
        Reshape("r", ("x",), "y", (5, 5)).output_shape((2, 3, 4))
    with pytest.raises(AcsgenError, match="padding"):
        MaxPool("p", ("x",), "y", (2, 2), (1, 1), Padding(top=2)).output_shape((4, 4, 1))
    with pytest.raises(AcsgenError, match="too small for a sum"):
        add_constants(replace(X, scale=1.0), X, replace(y, scale=1e-6))


def test_an_overflowing_accumulator_is_an_error() -> None:
    how = Requantize(*quantize_multipliers(np.full(1, 1e-9)), -128, 127)
    bias = np.array([(1 << 31) - 1], np.int32)
    op = Dense("d", ("x",), "y", np.full((1, 24), 127, np.int8), bias, requantize=how)
    with pytest.raises(AcsgenError, match="leaves int32"):
        compute(op, (np.full((1, 2, 3, 4), 127, np.int8),), (X,), Tensor("y", (1,), 1.0, 0))
