# SPDX-License-Identifier: Apache-2.0
"""Gates that need not decide: what the plan says against the golden model's own rule, and against hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from acsgen.golden.decided import UNDECIDED, told_masks
from acsgen.graph import Graph
from acsgen.plan import Plan, plan
from tests.graphs import Builder
from tests.plan.small import Build, random_plan, small_graph


def always(planned: Plan) -> set[str]:
    return {gate.mask for gate in planned.gates} - {mask for mask, _ in planned.waiting}


def drawn_masks(graph: Graph, seed: int, samples: int = 40) -> dict[str, NDArray[np.uint8]]:
    """Masks of which many are closed altogether."""
    rng = np.random.default_rng(seed)
    return {
        gate.output: rng.integers(0, 2, (samples, *graph.shape(gate.output)), np.uint8)
        * rng.integers(0, 2, (samples, 1), np.uint8)
        for gate in graph.gates
    }


@pytest.mark.parametrize("seed", range(60))
def test_plan_and_golden_model_agree(seed: int) -> None:
    """On random graphs and masks: which are decided, and what is left of the others in the lists."""
    planned = random_plan(seed)
    masks = drawn_masks(planned.graph, seed)
    told = told_masks(planned.graph, masks, always(planned))
    lists = planned.with_lists(masks)
    for name in masks:
        np.testing.assert_array_equal(told[name] == 1, lists[name] == 1)
    for name, others in planned.waiting:
        asked = np.any([lists[other].any(axis=1) for other in others], axis=0)
        np.testing.assert_array_equal((told[name] == UNDECIDED).all(axis=1), ~asked)


def chain(b: Builder) -> str:
    """Two masks on the way of a branch: 0 before 1."""
    first = b.mask(b.conv("x", 8), b.gate("x", 4))
    return b.add("x", b.conv(b.mask(b.conv(first, 8), b.gate("x", 2)), 4))


def gate_of_the_second_reads_the_first(b: Builder) -> str:
    """What gate 0 masks is looked at by gate 1, so gate 0 is always asked."""
    first = b.mask(b.conv("x", 8), b.gate("x", 4))
    return b.add("x", b.conv(b.mask(b.conv(first, 8), b.gate(first, 2)), 4))


def seen_besides(b: Builder) -> str:
    """Somebody else sees what gate 0 masks."""
    first = b.mask(b.conv("x", 8), b.gate("x", 4))
    return b.add(b.conv(first, 4), b.conv(b.mask(b.conv(first, 8), b.gate("x", 2)), 4))


def two_branches(b: Builder) -> str:
    """Gate 0 counts while either of two others opens something."""
    first = b.mask(b.conv("x", 8), b.gate("x", 4))
    branches = [b.conv(b.mask(b.conv(first, 8), b.gate("x", 2)), 4) for _ in range(2)]
    return b.add("x", b.add(*branches))


def crosswise(b: Builder) -> str:
    """Each of two gates masks something behind the other: one of them cannot wait."""
    one, other = b.gate("x", 2), b.gate("x", 4)
    ends = [b.gate("x", 1), b.gate("x", 1)]
    left = b.conv(b.mask(b.conv(b.mask(b.conv("x", 8), one), 8), other), 8)
    right = b.conv(b.mask(b.conv(b.mask(b.conv("x", 8), other), 8), one), 8)
    return b.add(b.mask(left, ends[0]), b.mask(right, ends[1]))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (chain, {0: (1,)}),
        (gate_of_the_second_reads_the_first, {}),
        (seen_besides, {}),
        (two_branches, {0: (1, 2)}),
        (crosswise, {0: (1, 3)}),
    ],
)
def test_who_waits_for_whom(build: Build, expected: dict[int, tuple[int, ...]]) -> None:
    """By the number of the gate."""
    planned = plan(small_graph(build))
    numbers = {gate.mask: i for i, gate in enumerate(planned.gates)}
    assert {numbers[mask]: tuple(sorted(numbers[o] for o in when)) for mask, when in planned.waiting} == expected
    at = {step.output: i for i, step in enumerate(planned.steps)}
    assert all(at[other] < at[mask] for mask, when in planned.waiting for other in when)


def test_golden_rule_by_hand() -> None:
    """In a chain the first mask is of use where the second has an open group; crosswise by what always decides."""
    graph = small_graph(chain)
    first, second = (gate.output for gate in graph.gates)
    masks = {first: np.array([[1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]), second: np.array([[0, 1], [0, 0], [0, 0]])}
    told = told_masks(graph, masks, ())
    assert told[first].tolist() == [[1, 0, 1, 0], [2, 2, 2, 2], [2, 2, 2, 2]]
    assert told[second].tolist() == masks[second].tolist()
    assert told_masks(graph, masks, {first})[first].tolist() == masks[first].tolist()


def test_what_feeds_only_a_waiting_gate_waits_too() -> None:
    """Its multiply-accumulates are gone with it, by hand: a convolution of 6 channels, and 4 logits of 6 means."""

    def build(b: Builder) -> str:
        first = b.mask(b.conv("x", 8), b.gate(b.conv("x", 6, (1, 1), activation="relu"), 4))
        return b.add("x", b.conv(b.mask(b.conv(first, 8), b.gate("x", 1)), 4))

    planned = plan(small_graph(build))
    first, second = (gate.mask for gate in planned.gates)
    closed = int(planned.macs({first: [1, 1, 1, 1], second: [0]}))
    # What is left: the second gate, and the last convolution, which reads nothing but zeros.
    assert closed == 4 * 1
    assert int(planned.macs()) - closed == 36 * 4 * 6 + 6 * 4 + 36 * 9 * (4 * 8 + 8 * 8 + 8 * 4)
