# SPDX-License-Identifier: Apache-2.0
"""Learned groups of any widths, concatenations and masks: the grouped, ordered form is the masked dense one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, permutations, product
from math import gcd, prod

import keras
import numpy as np
import pytest

from acsgen.errors import AcsgenError
from acsgen.frontend.keras import read_model
from acsgen.graph import ApplyMask, AvgPool, Concatenate, Conv2D, Dense, Graph, Op, Reshape
from acsgen.graph.evaluate import evaluate
from acsgen.graph.ir import Tensor, make_graph
from acsgen.graph.ops import Pair
from acsgen.nn.layers import DGConv2D, channel_group_ids, prime_factors
from acsgen.quantize import prepare
from acsgen.quantize.orders import Claim, Demand, Piece, solve
from acsgen.quantize.permute import make_groups_contiguous
from tests.graphs import in_order, mixed, relabelled
from tests.quantize.exact import Whole, assert_exactly_the_same, shuffles

WIDTHS = (6, 12, 24, 40, 48, 64)


# --- random structures -----------------------------------------------------------------------------


def step(b: Whole, x: str) -> str:
    """The next piece of a random network."""
    width, big = b.channels(x), min(b.shape(x)[:2]) > 2
    wide = int(b.rng.choice(WIDTHS))
    stride = (2, 2) if big and b.rng.random() < 0.2 else (1, 1)
    match b.rng.integers(8):
        case 0 | 1:
            return b.relu(b.learned(x, wide, stride=stride), "relu6")
        case 2:
            return b.relu(b.batch_norm(b.learned(x, wide)), "relu6")
        case 3:
            return b.relu(b.any_mask(x))
        case 4:
            other = b.learned(x, width) if b.rng.random() < 0.5 else b.any_mask(b.conv(x, width, (1, 1)))
            return b.add(x, other, "relu6") if b.rng.random() < 0.5 else b.add(other, x, "relu6")
        case 5 if big:
            return b.pool(x) if b.rng.random() < 0.5 else b.pool(x, AvgPool)
        case 6 if width <= 64:
            return b.relu(b.depthwise(x, groups_kernel(b)), "relu6")
        case _ if width > 64:
            return b.conv(x, wide, (1, 1), activation="relu6")
    new = b.any_mask(b.relu(b.learned(b.batch_norm(x), int(b.rng.choice(WIDTHS[:3]))), "relu6"))
    return b.concat(x, new) if b.rng.random() < 0.7 else b.concat(new, x, new)


def groups_kernel(b: Whole) -> Pair:
    return (3, 3) if b.rng.random() < 0.5 else (1, 3)


def head(b: Whole, x: str) -> str:
    """Logits, the image as it is, or what reads its channels in order."""
    kind = b.rng.integers(4)
    if kind == 0:
        return x
    if kind == 1:
        groups = gcd(b.channels(x), 12)
        return b.conv(x, 12, (1, 1), groups=groups)
    return b.dense(b.features(x) if kind == 2 else b.flatten(x), 5)


@pytest.mark.parametrize("block", range(5))
def test_random_structures(block: int) -> None:
    kinds: set[type[Op]] = set()
    for seed in range(16 * block, 16 * (block + 1)):
        b = Whole(np.random.default_rng(seed))
        x = b.conv("x", int(b.rng.choice(WIDTHS)), (1, 1), activation="relu6") if seed % 4 else "x"
        for _ in range(int(b.rng.integers(2, 7))):
            x = step(b, x)
        before = b.graph(head(b, b.learned(x, int(b.rng.choice(WIDTHS)))))
        kinds |= {type(op) for op in before.ops}
        assert_exactly_the_same(before, b.samples)
    assert {Concatenate, ApplyMask, Dense} < kinds


@pytest.mark.parametrize(
    ("reads", "writes"), [(24, 48), (48, 24), (32, 64), (40, 24), (6, 12), (7, 7), (7, 21), (5, 9)]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_unequal_widths_become_one_grouped_convolution(reads: int, writes: int, stride: int) -> None:
    b = Whole(np.random.default_rng(reads + writes))
    width = gcd(reads, writes)
    bits = b.rng.integers(0, 2, len(prime_factors(width))).tolist()
    learned = b.learned(b.conv("x", reads, (1, 1), activation="relu6"), writes, bits, (stride, stride))
    ordered = assert_exactly_the_same(b.graph(b.dense(b.features(learned), 4)), b.samples)
    groups = prod(f for f, bit in zip(prime_factors(width), bits, strict=True) if not bit)
    convolutions = [op for op in ordered.ops if isinstance(op, Conv2D)]
    assert [op.groups for op in convolutions] == [1, groups]
    assert convolutions[1].weights.shape[3] == reads // groups
    assert shuffles(ordered) == 0


# --- where an explicit Shuffle is needed, and where not --------------------------------------------


def densenet(b: Whole) -> str:
    """Every layer reads all before it, behind a BatchNorm; its new channels are masked in groups from anywhere."""
    x = b.conv("x", 16)
    for layer in range(4):
        inner = b.conv(b.relu(b.batch_norm(x), "relu6"), 24, (1, 1))
        new = b.conv(b.relu(b.batch_norm(inner), "relu6"), 12)
        mask = b.gate(x, 4)
        x = b.concat(x, b.mask(new, mask, mixed(b.rng, 12, 4)))
        if layer == 1:  # a transition, which keeps every channel
            x = b.pool(b.relu(b.batch_norm(x), "relu6"), AvgPool)
    return b.dense(b.features(b.relu(b.batch_norm(x), "relu6")), 5)


def two_parts(b: Whole) -> tuple[str, str]:
    return b.conv("x", 12, activation="relu6"), b.conv("x", 12, activation="relu6")


def masked_parts(b: Whole) -> str:
    return b.concat(*(b.any_mask(part, 4) for part in two_parts(b)))


def learned_within_parts(b: Whole) -> str:
    """A DGConv on a concatenation: two groups in either part, from anywhere within it."""
    joined = b.concat(*two_parts(b))
    reads = (*mixed(b.rng, 12, 2), *(2 + g for g in mixed(b.rng, 12, 2)))
    return b.conv(b.grouped(joined, reads, mixed(b.rng, 48, 4)), 4)


def learned_across_parts(b: Whole) -> str:
    """The same with groups that have channels of both parts."""
    return b.conv(b.grouped(b.concat(*two_parts(b)), tuple(c % 4 for c in range(24)), in_order(8, 4)), 4)


def learned_over_the_border(b: Whole) -> str:
    """One of three groups, the first by its id, is half in either part: it can stand at the border."""
    halves = ([2] * 4 + [0] * 2 + [2] * 4 + [0] * 2, [0, 1, 1] * 4)
    return b.conv(b.grouped(b.concat(*two_parts(b)), halves[0] + halves[1], in_order(6, 3)), 4)


def mask_by_parts(b: Whole, turned: bool) -> str:
    """A mask on a concatenation whose groups lie in the parts, in their sequence or not."""
    joined = b.concat(*two_parts(b))
    first, second = (mixed(b.rng, 12, 2) for _ in range(2))
    groups = [g + 2 * turned for g in first] + [g + 2 * (not turned) for g in second]
    return b.conv(b.mask(b.relu(joined), b.gate("x", 4), tuple(groups)), 4)


def sum_with_a_concatenation(b: Whole, across: bool) -> str:
    """A convolution follows the parts' orders, unless a mask wants its channels elsewhere."""
    conv = b.conv("x", 24)
    summand = b.any_mask(conv, 4) if across else conv
    return b.conv(b.add(summand, masked_parts(b)), 4)


def sum_of_crossed_concatenations(b: Whole, across: bool) -> str:
    """4 + 8 channels on 8 + 4: the eight fall apart into twice four, which a mask may contradict."""
    eight = b.mask(b.conv("x", 8), b.gate("x", 4), (0, 3, 1, 2, 0, 3, 1, 2) if across else (1, 0, 0, 1, 3, 2, 2, 3))
    return b.conv(b.add(b.concat(b.conv("x", 4), eight), b.concat(b.conv("x", 8), b.conv("x", 4))), 4)


def unequal_chain(b: Whole) -> str:
    """24 to 48 to 24 channels in the same groups; only the mask behind says in which sequence they stand."""
    middle = b.learned(b.conv("x", 24), 48, [0, 0, 1, 1])
    last = b.learned(b.batch_norm(middle), 24, [0, 0, 1, 1])
    groups = channel_group_ids([0, 0, 1, 1], 24)
    return b.conv(b.mask(last, b.gate("x", 6), relabelled(b.rng, tuple(groups.tolist()))), 4)


def chain_with_coarser_groups(b: Whole) -> str:
    """Two groups of the first are one of the second, and a mask wants them the other way round."""
    middle = b.grouped(b.conv("x", 16), mixed(b.rng, 16, 4), pairs := mixed(b.rng, 32, 4))
    last = b.grouped(middle, tuple(g // 2 for g in pairs), halves := mixed(b.rng, 16, 2))
    return b.conv(b.mask(last, b.gate("x", 2), tuple(1 - g for g in halves)), 4)


def readers_in_order(b: Whole) -> str:
    """Two grouped convolutions read one masked concatenation: one Shuffle serves both."""
    joined = masked_parts(b)
    return b.dense(b.features(b.add(b.conv(joined, 8, groups=4), b.conv(joined, 8, groups=2))), 3)


def vectors(b: Whole) -> str:
    """Pooled features, joined, in front of a dense layer."""
    parts = [b.features(b.any_mask(part)) for part in two_parts(b)]
    return b.dense(b.concat(*parts), 4)


def reshaped(b: Whole) -> str:
    """A change of shape that keeps the channels apart hands their order on, another one does not."""
    pooled = b.global_pool(b.any_mask(b.conv("x", 12), 4))
    kept = b.put(Reshape, pooled, shape=(12,))
    return b.dense(b.flatten(b.put(Reshape, kept, shape=(2, 2, 3))), 4)


#: How to build it, and how many Shuffles it takes.
KNOWN: dict[str, tuple[Callable[[Whole], str], int]] = {
    "densenet": (densenet, 0),
    "masked parts": (lambda b: b.conv(masked_parts(b), 4), 0),
    "masked parts are the output": (masked_parts, 1),
    "learned groups within the parts": (learned_within_parts, 0),
    "learned groups across the parts": (learned_across_parts, 1),
    "learned groups over the border": (learned_over_the_border, 0),
    "mask in the sequence of the parts": (lambda b: mask_by_parts(b, turned=False), 0),
    "mask against the sequence of the parts": (lambda b: mask_by_parts(b, turned=True), 1),
    "concatenation with the input": (lambda b: b.conv(b.concat("x", b.any_mask(b.conv("x", 12))), 4), 0),
    "masked concatenation with the input": (lambda b: b.conv(b.any_mask(b.concat("x", b.conv("x", 6)), 6), 4), 1),
    "joined with itself": (lambda b: b.conv(b.concat(*[b.any_mask(b.conv("x", 12))] * 2), 4), 0),
    "sum with a concatenation": (lambda b: sum_with_a_concatenation(b, across=False), 0),
    "masked sum with a concatenation": (lambda b: sum_with_a_concatenation(b, across=True), 1),
    "sum of crossed concatenations": (lambda b: sum_of_crossed_concatenations(b, across=False), 0),
    "mask across crossed concatenations": (lambda b: sum_of_crossed_concatenations(b, across=True), 1),
    "unequal chain": (unequal_chain, 0),
    "chain with coarser groups": (chain_with_coarser_groups, 0),
    "unequal at the input": (lambda b: b.conv(b.grouped("x", (1, 0) * 3, mixed(b.rng, 12, 2)), 4), 1),
    "unequal at the output": (lambda b: b.grouped(b.conv("x", 6), mixed(b.rng, 6, 2), mixed(b.rng, 12, 2)), 1),
    "readers in order": (readers_in_order, 1),
    "vectors": (vectors, 0),
    "reshaped": (reshaped, 1),
}


@pytest.mark.parametrize("name", KNOWN)
def test_shuffles_only_where_no_order_serves_all(name: str) -> None:
    build, wanted = KNOWN[name]
    b = Whole(np.random.default_rng(1))
    assert shuffles(assert_exactly_the_same(b.graph(build(b)), b.samples)) == wanted


def sequence(demand: Demand, order: Sequence[int]) -> list[int] | None:
    """The groups as they stand, None if one is no range or they should ascend and do not."""
    groups = [group for group, _ in groupby(demand.partition[c] for c in order)]
    fits = len(groups) == len(set(groups)) and (not demand.ascending or groups == sorted(groups))
    return groups if fits else None


def test_an_order_is_found_where_there_is_one() -> None:
    """Two classes of four channels and their concatenation, against all orders that there are."""
    rng = np.random.default_rng(0)
    one, two = (Piece(("a", 0), 0, 4), Piece(("b", 0), 4, 8))
    layout = {"a": (one,), "b": (Piece(two.root, 0, 4),), "ab": (one, two)}
    width = {"a": 4, "b": 4, "ab": 8}
    found = 0
    for _ in range(120):
        claims = []
        for _ in range(rng.integers(1, 4)):
            names = [str(rng.choice(list(layout)))] if rng.random() < 0.5 else ["a", "b"]
            groups = int(rng.choice([2, 2, 4]))
            demands = [Demand(name, mixed(rng, width[name], groups), len(names) == 1) for name in names]
            claims.append(Claim(None, tuple(demands)))
        orders = solve(layout, claims)
        if orders is not None:
            assert holds(claims, orders)
            found += 1
            continue
        for a, b in product(permutations(range(4)), repeat=2):
            tried = {"a": a, "b": b, "ab": (*a, *(4 + c for c in b))}
            assert not holds(claims, tried), (claims, tried)
    assert 20 < found < 100


def holds(claims: Sequence[Claim], orders: Mapping[str, Sequence[int]]) -> bool:
    sequences = [[sequence(demand, orders[demand.tensor]) for demand in claim.demands] for claim in claims]
    return all(None not in one and one.count(one[0]) == len(one) for one in sequences)


# --- checks and Keras ------------------------------------------------------------------------------


def test_partitions_are_checked() -> None:
    def graph(reads: Sequence[int] | None, writes: Sequence[int] | None) -> Graph:
        weights, bias = np.zeros((4, 1, 1, 6), np.float32), np.zeros(4, np.float32)
        ids = [None if p is None else tuple(p) for p in (writes, reads)]
        op = Conv2D("c", ("x",), "y", weights, bias, partition=ids[0], input_partition=ids[1])
        return make_graph("net", Tensor("x", (8, 8, 6)), "y", [op])

    assert graph([0, 0, 1, 1, 0, 1], [0, 1, 0, 1]).macs() == 64 * 2 * 3 * 2
    with pytest.raises(AcsgenError, match=r"Conv2D 'c': a partition of 4 inputs and 4 outputs needs as many"):
        graph(None, [0, 1, 0, 1])
    with pytest.raises(AcsgenError, match=r"inputs are in groups \[0, 1\], its outputs in \[0, 1, 2, 3\]"):
        graph([0, 0, 1, 1, 0, 1], [0, 1, 2, 3])
    with pytest.raises(AcsgenError, match="none of output channels"):
        graph([0, 0, 1, 1, 0, 1], None)
    with pytest.raises(AcsgenError, match=r"groups of different sizes \[2, 4\]"):
        make_groups_contiguous(graph([0, 0, 1, 1, 1, 1], [0, 1, 0, 1]))


def test_keras_and_its_graph_are_equal() -> None:
    """Every DGConv of the layer's widths, strides and paddings, in Keras, as a graph, and in order."""
    rng = np.random.default_rng(5)
    x = image = keras.Input((8, 8, 6))
    widths = (6, 24, 48, 40, 24, 1, 7)
    for i, filters in enumerate(widths):
        layer = DGConv2D(filters, 3, 1 + (i == 2), "valid" if i == 1 else "same", use_bias=i % 2 == 1, name=f"dg{i}")
        x = layer(x if i == 0 else keras.layers.ReLU(6.0)(x))
        layer.set_group_bits(rng.integers(0, 2, layer.gate.shape[0]))
    model = keras.Model(image, x)
    drawn = [rng.choice([-1, 0, 0, 0, 1], weight.shape) for weight in model.get_weights()]
    for variable, weights in zip(model.weights, drawn, strict=True):
        if not variable.path.endswith("gate"):
            variable.assign(weights)
    images = rng.integers(-4, 5, (5, 8, 8, 6)).astype(np.float32)
    graph = read_model(model)
    wanted = np.asarray(model(images))
    assert len(np.unique(wanted)) > 2
    for form in (graph, prepare(graph)):
        np.testing.assert_array_equal(evaluate(form, images)[form.output], wanted)
    assert graph.macs() == sum(
        int(model.get_layer(f"dg{i}").connections().sum()) * 9 * prod(model.get_layer(f"dg{i}").output.shape[1:3])
        for i in range(len(widths))
    )
