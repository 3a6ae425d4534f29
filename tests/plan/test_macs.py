# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulates of a run, counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from acsgen.errors import AcsgenError
from acsgen.plan import plan
from acsgen.plan.document import plan_document, read_plan
from acsgen.plan.plan import Plan
from tests.graphs import Builder
from tests.plan.small import described, random_plan, small_graph

#: Of `bottleneck`, by hand: 6x6 pixels.
GATE = 4 * 4
FIRST = 36 * 9 * 4 * 16
GROUPED = 36 * 9 * 16 * 4
LAST = 36 * 16 * 8
HEAD = 8 * 3


def bottleneck(b: Builder) -> str:
    """3x3 to 16 channels, 3x3 in 4 groups, mask of 4 groups, 1x1 to 8 channels, 3 logits."""
    mask = b.gate("x", 4)
    inner = b.conv(b.mask(b.conv(b.conv("x", 16), 16, groups=4), mask), 8, (1, 1))
    return b.dense(b.features(inner), 3)


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan(small_graph(bottleneck))


def test_all_gates_open(planned: Plan) -> None:
    assert planned.macs() == planned.graph.macs() == GATE + FIRST + GROUPED + LAST + HEAD
    assert planned.macs().shape == ()


@pytest.mark.parametrize("opened", [0, 1, 2, 3, 4])
def test_closed_groups_save_on_either_side_of_the_mask(planned: Plan, opened: int) -> None:
    """A group of the first convolution's outputs, one of the second's, and one of the last one's inputs."""
    mask = np.arange(4) < opened
    expected = GATE + HEAD + (FIRST + GROUPED + LAST) * opened // 4
    assert planned.macs({planned.gates[0].mask: mask}) == expected


def test_one_row_of_masks_a_run(planned: Plan) -> None:
    masks = {planned.gates[0].mask: np.array([[0, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 1]])}
    assert planned.macs(masks).tolist() == [
        GATE + HEAD,
        GATE + HEAD + (FIRST + GROUPED + LAST) // 2,
        GATE + HEAD + FIRST + GROUPED + LAST,
    ]


def test_inputs_and_outputs_of_two_gates_multiply() -> None:
    """A convolution between two masks needs the product of both shares."""

    def between(b: Builder) -> str:
        first = b.mask(b.conv("x", 8), b.gate("x", 4))
        return b.conv(b.mask(b.conv(first, 8), b.gate("x", 2)), 4)

    planned = plan(small_graph(between))
    first, second = (gate.mask for gate in planned.gates)
    one, between_macs, last = 36 * 9 * 4 * 8, 36 * 9 * 8 * 8, 36 * 9 * 8 * 4
    gates = 4 * 4 + 4 * 2
    masks = {first: [1, 0, 0, 0], second: [0, 1]}
    assert planned.macs(masks) == gates + one // 4 + between_macs // 8 + last // 2


def dense_block(b: Builder) -> str:
    """3x3 to 8 masked channels beside the input's 4, then BN, 1x1 to 8, 3x3 to 4 masked channels, 1x1 to 2."""
    whole = b.concat("x", b.mask(b.conv("x", 8), b.gate("x", 4)))
    inner = b.relu(b.conv(b.relu(b.batch_norm(whole)), 8, (1, 1)))
    return b.conv(b.mask(b.conv(inner, 4), b.gate(whole, 2)), 2, (1, 1))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (2, 1), (4, 2)])
def test_inputs_behind_a_concatenation_and_whole_layers(first: int, second: int) -> None:
    """Groups of 2 channels: 2 of the input's are always there; without an open group the second layer is left out."""
    planned = plan(small_graph(dense_block))
    masks = {gate.mask: np.arange(gate.groups) < n for gate, n in zip(planned.gates, (first, second), strict=True)}
    read = 4 + 2 * first
    gates = 4 * 4 + read * 2
    layer = (36 * read + 36 * read * 8) * (second > 0)
    expected = gates + 36 * 9 * 4 * 2 * first + layer + 36 * 9 * 8 * 2 * second + 36 * 2 * second * 2
    assert planned.macs(masks) == expected


def test_what_must_be_computed_counts_in_full() -> None:
    """A gate that looks at what it masks saves only behind itself."""

    def own(b: Builder) -> str:
        conv = b.conv("x", 8)
        return b.conv(b.mask(conv, b.gate(conv, 4)), 8)

    planned = plan(small_graph(own))
    assert planned.macs({planned.gates[0].mask: np.zeros(4)}) == 36 * 9 * 4 * 8 + 8 * 4


@pytest.mark.parametrize("seed", range(20))
def test_document_says_the_same(tmp_path: Path, seed: int) -> None:
    """plan.json gives MACs, masks and what an observer sees back as the plan has them."""
    planned = random_plan(seed)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_document(planned)))
    read = read_plan(path)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 2, (7, planned.mask_bytes)).astype(np.uint8)
    masks = read.split_masks(rows)
    assert list(masks) == [gate.mask for gate in planned.gates]
    np.testing.assert_array_equal(np.concatenate(list(masks.values()), axis=1), rows)
    np.testing.assert_array_equal(read.macs(masks), planned.macs(masks))
    assert read.macs() == planned.macs() == planned.graph.macs()
    for step, observed in zip(planned.steps, read.observed, strict=True):
        buffer = planned.buffers[step.output]
        assert (observed.tensor, observed.shape, observed.groups) == (buffer.tensor, buffer.shape, buffer.groups)
        assert observed.unwritten == (buffer.mask.list if buffer.mask else None)
        assert observed.is_mask == (step.kernel == "gate")
        assert observed.when == step.when
    waiting = {step.output: step.when for step in planned.steps if step.kernel == "gate" and step.when}
    assert dict(read.waiting) == dict(planned.waiting) == waiting
    assert read.always == {gate.mask for gate in planned.gates} - set(waiting)


def test_observed_bytes_as_nhwc(tmp_path: Path) -> None:
    """A group-major tensor is seen in the golden model's layout, an image as well as a vector."""
    graph = small_graph(lambda b: b.dense(b.mask(b.dense(b.features(b.conv("x", 8, groups=4)), 6), b.gate("x", 3)), 2))
    planned = plan(graph)
    assert "conv x@4[4] -> conv2d0[4], if any" in described(planned)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_document(planned)))
    seen = {observed.tensor: observed for observed in read_plan(path).observed}
    image = np.arange(6 * 6 * 8).astype(np.int8).reshape(6, 6, 8)
    raw = b"".join(image[..., 2 * g : 2 * g + 2].tobytes() for g in range(4))
    np.testing.assert_array_equal(seen["conv2d0"].to_nhwc(raw), image)
    vector = np.arange(6, dtype=np.int8)
    assert seen["dense3"].groups == 3
    np.testing.assert_array_equal(seen["dense3"].to_nhwc(vector.tobytes()), vector)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"version": 1}', '{"version": 0}', '{"version": 1, "gates": 3}']
)
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(AcsgenError, match="generate the project again"):
        read_plan(path)
    with pytest.raises(AcsgenError, match="generate the project again"):
        read_plan(tmp_path / "nowhere.json")
