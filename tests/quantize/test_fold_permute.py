# SPDX-License-Identifier: Apache-2.0
"""Folding and ordering channels change no value: float graphs against themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.graph import ApplyMask, BatchNorm, Conv2D, Graph, Op, Relu, Shuffle
from acsgen.graph.evaluate import evaluate
from acsgen.graph.ir import rebuild
from acsgen.graph.ops import Padding
from acsgen.quantize import prepare
from acsgen.quantize.fold import fold
from acsgen.quantize.permute import contiguous, make_groups_contiguous
from tests.graphs import SAMPLES, Builder, in_order, merged, mixed, random_graph, relabelled, split

Rng = np.random.Generator


def assert_same_values(before: Graph, after: Graph, x: NDArray[np.float32]) -> None:
    """Outputs and masks; sums in another order differ in the last bits."""
    masks = [gate.output for gate in before.gates]
    expected = evaluate(before, x, keep=[before.output, *masks])
    values = evaluate(after, x, keep=[after.output, *masks])
    for name in masks:
        np.testing.assert_array_equal(values[name], expected[name])
    scale = np.abs(expected[before.output]).max()
    np.testing.assert_allclose(values[after.output], expected[before.output], rtol=0, atol=1e-5 * scale)


def count(graph: Graph, kind: type[Op]) -> int:
    return sum(isinstance(op, kind) for op in graph.ops)


@pytest.mark.parametrize("block", range(10))
def test_prepared_graphs_mean_the_same(block: int) -> None:
    """No BatchNorm is left, every group is a range of channels, and the values are the same."""
    for seed in range(30 * block, 30 * (block + 1)):
        drawn = random_graph(seed)
        graph = prepare(drawn.graph)
        assert count(graph, BatchNorm) == 0
        for op in graph.ops:
            assert not isinstance(op, Conv2D) or op.partition is None
            assert not isinstance(op, ApplyMask) or contiguous(op.partition)
            assert not isinstance(op, Shuffle) or op.order != tuple(range(len(op.order)))
        assert (graph.shape(graph.input), graph.shape(graph.output)) == (
            drawn.graph.shape(drawn.graph.input),
            drawn.graph.shape(drawn.graph.output),
        )
        assert_same_values(drawn.graph, graph, drawn.samples)


@pytest.mark.parametrize("groups", [1, 2, 4, 8, 16])
def test_learned_groups_become_an_ordinary_grouped_convolution(groups: int) -> None:
    """The masked dense form of a DGConv, the grouped form behind its permutation, and their MACs."""
    b = Builder(np.random.default_rng(groups), (6, 6, 3))
    partition = mixed(b.rng, 16, groups)
    learned = b.dgconv(b.conv("x", 16), partition)
    before = b.graph(b.dense(b.features(learned), 4))
    after = prepare(before)
    assert [op.groups for op in after.ops if isinstance(op, Conv2D)] == [1, groups]
    assert after.macs() == before.macs()
    assert_same_values(before, after, b.samples)

    op = next(op for op in before.ops if op.output == learned)
    assert isinstance(op, Conv2D)
    masked = replace(op, weights=op.used_weights, partition=None)
    dense = rebuild(before, [masked if other is op else other for other in before.ops])
    assert_same_values(dense, after, b.samples)


def gated_block(b: Builder, relation: Callable[[Builder, tuple[int, ...]], tuple[int, ...]]) -> str:
    """1x1, learned groups that stand in some relation to a mask, mask, 1x1."""
    partition = mixed(b.rng, 16, 4)
    mask = b.gate("x", 4)
    inner = b.dgconv(b.relu(b.batch_norm(b.conv("x", 16, (1, 1)))), relation(b, partition))
    return b.conv(b.mask(b.relu(b.batch_norm(inner)), mask, partition), 8, (1, 1))


def straight(b: Builder) -> str:
    """Two learned groupings with the same groups and a depthwise convolution, a pool and a mask between."""
    partition = mixed(b.rng, 16, 4)
    inner = b.depthwise(b.dgconv(b.conv("x", 16), partition))
    inner = b.mask(b.pool(inner), b.gate("x", 4), partition)
    return b.conv(b.dgconv(inner, relabelled(b.rng, partition)), 8)


def at_the_input(b: Builder) -> str:
    return b.conv(b.dgconv("x", mixed(b.rng, 8, 4)), 4)


def at_the_output(b: Builder) -> str:
    return b.dgconv(b.conv("x", 8), mixed(b.rng, 8, 4))


def after_a_sum_with_the_input(b: Builder) -> str:
    return b.conv(b.dgconv(b.add("x", b.conv("x", 8)), mixed(b.rng, 8, 4)), 4)


def after_a_sum(b: Builder) -> str:
    return b.conv(b.dgconv(b.add(b.conv("x", 8), b.conv("x", 8)), mixed(b.rng, 8, 4)), 4)


def contradiction(b: Builder) -> str:
    """Two groupings of one class that no order serves both."""
    rows, columns = in_order(16, 4), tuple(c % 4 for c in range(16))
    return b.conv(b.dgconv(b.dgconv(b.conv("x", 16), rows), columns), 4)


def vector(b: Builder) -> str:
    """Pooled features keep the order of their channels, flat or not."""
    features = b.features(b.conv("x", 16))
    return b.dense(b.mask(features, b.gate("x", 4), mixed(b.rng, 16, 4)), 3)


def flattened_image(b: Builder) -> str:
    """What a dense layer reads may stand in any order."""
    masked = b.mask(b.conv("x", 16), b.gate("x", 4), mixed(b.rng, 16, 4))
    return b.dense(b.flatten(masked), 3)


def image_into_dense(b: Builder) -> str:
    return b.dense(b.mask(b.conv("x", 16), b.gate("x", 4), mixed(b.rng, 16, 4)), 3)


def flat_and_masked(b: Builder) -> str:
    """A mask on the values of an image, which may not move."""
    flat = b.flatten(b.conv("x", 4))
    return b.dense(b.mask(flat, b.gate("x", 4), mixed(b.rng, b.channels(flat), 4)), 3)


def logits_under_a_mask(b: Builder) -> str:
    """A gate reads its logits in order, whatever masks them."""
    logits = b.mask(b.dense(b.features("x"), 4), b.gate("x", 2), mixed(b.rng, 4, 2))
    return b.conv(b.mask(b.conv("x", 8), b.gate_on(logits), mixed(b.rng, 8, 4)), 4)


#: How to build it, and how many Shuffles it takes.
KNOWN: dict[str, tuple[Callable[[Builder], str], int]] = {
    "learned groups equal to the mask's": (lambda b: gated_block(b, lambda b, p: relabelled(b.rng, p)), 0),
    "learned groups within the mask's": (lambda b: gated_block(b, lambda b, p: split(b.rng, p, 2)), 0),
    "learned groups of adjacent masked ones": (lambda b: gated_block(b, lambda b, p: merged(b.rng, p, 2, True)), 0),
    "one learned group": (lambda b: gated_block(b, lambda b, p: (0,) * 16), 0),
    "channels by themselves": (lambda b: gated_block(b, lambda b, p: tuple(range(16))), 0),
    "learned groups of distant masked ones": (
        lambda b: gated_block(b, lambda b, p: tuple((0, 1, 0, 1)[g] for g in p)),
        1,
    ),
    "straight": (straight, 0),
    "at the input": (at_the_input, 1),
    "at the output": (at_the_output, 1),
    "at both ends": (lambda b: b.dgconv("x", mixed(b.rng, 8, 4)), 2),
    "after a sum": (after_a_sum, 0),
    "after a sum with the input": (after_a_sum_with_the_input, 1),
    "contradiction": (contradiction, 1),
    "vector": (vector, 0),
    "flattened image": (flattened_image, 0),
    "image into a dense layer": (image_into_dense, 0),
    "flat and masked": (flat_and_masked, 1),
    "logits under a mask": (logits_under_a_mask, 1),
}


@pytest.mark.parametrize("name", KNOWN)
def test_shuffles_only_where_no_order_serves_all(name: str) -> None:
    build, shuffles = KNOWN[name]
    b = Builder(np.random.default_rng(0), (6, 6, 8))
    before = b.graph(build(b))
    after = prepare(before)
    assert_same_values(before, after, b.samples)
    assert count(after, Shuffle) == shuffles


def test_groups_of_different_sizes_are_refused() -> None:
    b = Builder(np.random.default_rng(0), (6, 6, 3))
    graph = b.graph(b.mask(b.conv("x", 4), b.gate("x", 2), (0, 0, 0, 1)))
    with pytest.raises(AcsgenError, match=r"groups of different sizes \[3, 1\]"):
        make_groups_contiguous(graph)


@pytest.mark.parametrize("layer", ["conv", "depthwise", "dense", "grouped"])
def test_batch_norm_folds_into_what_is_linear_before_it(layer: str) -> None:
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    linear = {
        "conv": lambda: b.conv("x", 8),
        "depthwise": lambda: b.depthwise("x"),
        "dense": lambda: b.dense("x", 8),
        "grouped": lambda: b.conv("x", 8, groups=2),
    }[layer]()
    before = b.graph(b.relu(b.batch_norm(linear)))
    after = fold(before)
    assert len(after.ops) == 1
    assert_same_values(before, after, b.samples)


def folded_kinds(build: Callable[[Builder], str]) -> list[str]:
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    before = b.graph(build(b))
    after = fold(before)
    assert_same_values(before, after, b.samples)
    return [type(op).__name__ for op in after.ops]


def test_batch_norm_without_a_home_is_a_filter() -> None:
    """After a sum, an activation, a pool, a mask, at the input, or where somebody reads what is before it."""
    assert folded_kinds(lambda b: b.batch_norm(b.add("x", "x"))) == ["Add", "DepthwiseConv2D"]
    assert folded_kinds(lambda b: b.batch_norm(b.conv("x", 4, activation="relu"))) == ["Conv2D", "DepthwiseConv2D"]
    assert folded_kinds(lambda b: b.batch_norm(b.pool("x"))) == ["MaxPool", "DepthwiseConv2D"]
    assert folded_kinds(lambda b: b.batch_norm(b.features("x"))) == ["AvgPool", "Flatten", "Dense"]
    assert folded_kinds(lambda b: b.batch_norm("x")) == ["DepthwiseConv2D"]
    assert folded_kinds(lambda b: b.conv(b.batch_norm("x"), 8)) == ["DepthwiseConv2D", "Conv2D"]  # padded
    assert folded_kinds(lambda b: b.conv(b.batch_norm(b.pool("x")), 8, (1, 1)))[1:] == ["DepthwiseConv2D", "Conv2D"]

    def read_twice(b: Builder) -> str:
        conv = b.conv("x", 4)
        return b.add(conv, b.batch_norm(conv))

    assert folded_kinds(read_twice) == ["Conv2D", "DepthwiseConv2D", "Add"]


READERS: dict[str, Callable[[Builder, str], str]] = {
    "conv": lambda b, x: b.conv(x, 8, same=False),
    "grouped": lambda b, x: b.conv(x, 8, groups=2, same=False, activation="relu"),
    "learned groups": lambda b, x: b.dgconv(x, mixed(b.rng, 4, 2), (1, 1)),
    "depthwise": lambda b, x: b.depthwise(x, same=False),
    "dense on an image": lambda b, x: b.dense(x, 5),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_scales_the_input_folds_into_its_reader(reader: str) -> None:
    """Rescaling and normalisation cost nothing."""
    kinds = folded_kinds(lambda b: READERS[reader](b, b.batch_norm("x")))
    assert len(kinds) == 1 and kinds != ["BatchNorm"]


def test_scales_without_offset_fold_into_padded_convolutions() -> None:
    def build(b: Builder) -> str:
        scaled = b.put(BatchNorm, "x", scale=np.float32([0.5, 2, -1, 3]), offset=np.zeros(4, np.float32))
        return b.conv(scaled, 8)

    assert folded_kinds(build) == ["Conv2D"]


def paddings(build: Callable[[Builder], str]) -> list[tuple[str, Padding]]:
    """Operators that pad, and how, once folded."""
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    before = b.graph(build(b))
    after = fold(before)
    assert_same_values(before, after, b.samples)
    found = [(type(op).__name__, getattr(op, "padding", Padding())) for op in after.ops]
    return [(kind, padding) for kind, padding in found if padding != Padding()]


def test_zeros_around_belong_to_the_convolutions_that_read_them() -> None:
    around, ones = Padding(1, 2, 3, 4), Padding(1, 1, 1, 1)
    assert paddings(lambda b: b.conv(b.pad("x", around), 8, same=False)) == [("Conv2D", around)]
    assert paddings(lambda b: b.conv(b.pad("x", around), 8)) == [("Conv2D", Padding(2, 3, 4, 5))]
    assert paddings(lambda b: b.depthwise(b.pad(b.relu("x"), ones), same=False)) == [("DepthwiseConv2D", ones)]
    assert paddings(lambda b: b.conv(b.pad(b.pad("x", ones), around), 8, (1, 1))) == [("Conv2D", Padding(2, 3, 4, 5))]

    def two(b: Builder) -> str:
        wide = b.pad("x", ones)
        return b.add(b.conv(wide, 4, (1, 1)), b.depthwise(wide))

    assert paddings(two) == [("Conv2D", ones), ("DepthwiseConv2D", Padding(2, 2, 2, 2))]


def test_zeros_around_stay_where_others_read_them() -> None:
    ones = Padding(1, 1, 1, 1)
    assert paddings(lambda b: b.pool(b.pad("x", ones))) == [("Pad", ones)]
    assert paddings(lambda b: b.pad("x", ones)) == [("Pad", ones)]
    assert paddings(lambda b: b.conv(b.relu(b.pad("x", ones)), 8, same=False)) == [("Pad", ones)]
    assert paddings(lambda b: b.conv(b.batch_norm(b.pad("x", ones)), 8, same=False)) == [("Pad", ones)]

    def two(b: Builder) -> str:
        wide = b.pad("x", ones)
        return b.add(b.conv(wide, 4, (1, 1)), wide)

    assert paddings(two) == [("Pad", ones)]


def test_clamps_fuse_and_pass_masks() -> None:
    assert folded_kinds(lambda b: b.relu(b.add("x", "x"))) == ["Add"]
    assert folded_kinds(lambda b: b.relu(b.relu(b.conv("x", 4), "relu6"))) == ["Conv2D"]
    assert folded_kinds(lambda b: b.relu(b.pool("x"))) == ["MaxPool", "Relu"]

    def masked(b: Builder) -> str:
        mask = b.gate("x", 2)
        return b.relu(b.mask(b.conv("x", 4), mask), "relu6")

    assert folded_kinds(masked) == ["AvgPool", "Flatten", "Dense", "Gate", "Conv2D", "ApplyMask"]


@pytest.mark.parametrize("first", ["relu", "relu6"])
@pytest.mark.parametrize("second", ["relu", "relu6"])
def test_two_clamps_are_the_tighter_one(first: str, second: str) -> None:
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    b.values["x"] *= 10
    before = b.graph(b.relu(b.relu("x", first), second))
    after = fold(before)
    assert [op.activation for op in after.ops if isinstance(op, Relu)] == [
        "relu6" if "relu6" in (first, second) else "relu"
    ]
    assert_same_values(before, after, b.samples)


def test_gates_of_random_graphs_decide_differently() -> None:
    """Without this the tests above, and all that use these graphs, would prove little."""
    closed = opened = mixed_masks = 0
    for seed in range(30):
        drawn = random_graph(seed)
        assert len(drawn.samples) == SAMPLES
        values = evaluate(drawn.graph, drawn.samples, keep=[gate.output for gate in drawn.graph.gates])
        for mask in (row for v in values.values() for row in v if len(row) > 1):
            closed, opened = closed + (not mask.any()), opened + bool(mask.all())
            mixed_masks += 0 < mask.sum() < len(mask)
    assert min(closed, opened, mixed_masks) > 50
