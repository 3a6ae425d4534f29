# SPDX-License-Identifier: Apache-2.0
"""What a plan saves of memory: sums within convolutions, orders of the steps, and what it gives to kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from acsgen.graph import AvgPool, Conv2D
from acsgen.graph.ops import Padding
from acsgen.plan import KERNEL_SETS, Plan, plan
from acsgen.plan.bands import BAND_BYTES, pack_rows, packed_bytes
from acsgen.plan.document import plan_document
from acsgen.plan.layout import schedule
from acsgen.plan.masks import masks_of
from acsgen.plan.order import orders
from tests.graphs import Builder
from tests.plan.small import Build, described, small_graph

SHAPE = (8, 8, 4)
PIXELS = 8 * 8


def identity_block(b: Builder) -> str:
    x = b.conv("x", 16, activation="relu")
    return b.dense(b.flatten(b.add(b.conv(b.conv(x, 16), 16), x, activation="relu")), 3)


def shortcut_block(b: Builder) -> str:
    """Both addends are convolutions: the later one is added to the earlier."""
    x = b.conv("x", 16)
    return b.dense(b.flatten(b.add(b.conv(b.conv(x, 8), 8), b.conv(x, 8, (1, 1)))), 3)


def gated_block(b: Builder) -> str:
    x = b.conv("x", 16)
    inside = b.mask(b.conv(x, 16), b.gate(x, 4))
    return b.dense(b.flatten(b.add(b.conv(inside, 16), x)), 3)


def read_by_the_convolution(b: Builder) -> str:
    x = b.conv("x", 16)
    return b.dense(b.flatten(b.add(b.conv(x, 16), x)), 3)


def read_later(b: Builder) -> str:
    x = b.conv("x", 16)
    total = b.add(b.conv(b.conv(x, 16), 16), x)
    return b.dense(b.flatten(b.concat(total, x)), 3)


def result_read_by_another(b: Builder) -> str:
    x = b.conv("x", 16)
    result = b.conv(b.conv(x, 16), 16)
    return b.dense(b.flatten(b.concat(b.add(result, x), result)), 3)


def sums(planned: Plan) -> list[str]:
    """The steps that add."""
    return [line for line in described(planned) if "add" in line.split(" -> ")[1]]


@pytest.mark.parametrize("build", [identity_block, shortcut_block, gated_block])
@pytest.mark.parametrize("kernels", KERNEL_SETS.values(), ids=KERNEL_SETS)
def test_a_residual_is_added_by_the_convolution(build: Build, kernels: object) -> None:
    planned = plan(small_graph(build, SHAPE), kernels)  # type: ignore[arg-type]
    (line,) = sums(planned)
    assert line.startswith("conv")
    assert line.endswith("in place")
    (step,) = (step for step in planned.steps if step.residual)
    buffer = planned.buffers[step.output]
    assert step.op.output not in planned.buffers, "the convolution's result has no buffer"
    assert step.rows < 8 or planned.kernel_set.name != "portable"
    assert step.scratch_bytes >= step.rows * 8 * buffer.shape[-1]
    assert "add" in planned.kernels
    document = next(s for s in plan_document(planned)["steps"] if s["op"] == step.op.name)
    assert (document["residual"], document["rows"]) == (step.residual.name, step.rows)
    assert f"where that lies, {step.rows} rows at a time" in document["why"]


def test_a_residual_halves_what_a_block_needs() -> None:
    """Two tensors instead of three; without bands of rows, in the portable kernels, not much more than them."""
    arena = plan(small_graph(identity_block, SHAPE), KERNEL_SETS["portable"]).arena_bytes
    assert 2 * 16 * PIXELS <= arena <= 2 * 16 * PIXELS + 8 * 16


@pytest.mark.parametrize("build", [read_by_the_convolution, read_later, result_read_by_another])
def test_a_residual_that_is_needed_is_left_alone(build: Build) -> None:
    (line,) = sums(plan(small_graph(build, SHAPE)))
    assert line.startswith("add")


def two_wide_branches(b: Builder) -> str:
    wide = [b.conv("x", 32), b.conv("x", 32)]
    return b.concat(*(b.conv(branch, 2) for branch in wide))


def test_one_branch_after_another() -> None:
    graph = small_graph(two_wide_branches, SHAPE)
    own, frugal = orders(graph, masks_of(graph), {})
    assert own == schedule(graph, {}, {}) == graph.ops
    assert [op.name for op in frugal] == ["conv2d0", "conv2d2", "conv2d1", "conv2d3", "concatenate4"]
    arena = plan(graph, KERNEL_SETS["portable"]).arena_bytes
    assert arena == (32 + 2 + 2) * PIXELS


def test_the_own_order_stays_where_no_other_is_better() -> None:
    graph = small_graph(identity_block, SHAPE)
    assert orders(graph, {}, {}) == [graph.ops]


def test_a_gate_comes_before_what_it_shortens() -> None:
    graph = small_graph(gated_block, SHAPE)
    masks = masks_of(graph)
    for order in orders(graph, masks, {}):
        at = {op.output: i for i, op in enumerate(order)}
        assert all(at[gate] < at[tensor] for tensor, mask in masks.items() if tensor in at for gate in mask.gates)


def grouped_outputs(b: Builder) -> str:
    """The last layers need more than the convolution to four groups does."""
    x = b.conv(b.mask(b.conv("x", 16), b.gate("x", 4)), 48)
    return b.dense(b.flatten(b.pool(x, AvgPool)), 3)


def test_spare_memory_goes_to_convolutions_to_groups() -> None:
    graph = small_graph(grouped_outputs, SHAPE)
    planned = plan(graph)
    step = next(step for step in planned.steps if step.active)
    least = planned.kernel_set.conv_scratch((3, 3), 4)
    assert step.scratch_bytes > least
    assert "As many together as there is room for: each saves about" in step.why
    without = plan(graph, replace(planned.kernel_set, name="nothing", packs=False))
    assert next(s for s in without.steps if s.active).scratch_bytes == least


def pooled_in_place(b: Builder) -> str:
    """What a pool leaves free of its input is used by what comes behind."""
    return b.conv(b.conv(b.pool(b.conv("x", 32)), 32), 4)


def test_a_pool_in_place_leaves_what_it_needs_no_more() -> None:
    planned = plan(small_graph(pooled_in_place, SHAPE), KERNEL_SETS["portable"])
    assert "max_pool conv2d0 -> maxpool1, in place" in described(planned)
    assert planned.arena_bytes == 32 * PIXELS, "the second convolution's output lies in the first one's"


def dense_chain(b: Builder) -> str:
    """As in a DenseNet: every layer reads what all before it wrote, side by side."""
    x = b.mask(b.conv("x", 8), b.gate("x", 2))
    for _ in range(2):
        x = b.concat(x, b.mask(b.conv(b.relu(b.batch_norm(x)), 8, (1, 1)), b.gate(x, 2)))
    return b.conv(x, 4, (1, 1))


def test_a_chain_of_concatenations_copies_nothing() -> None:
    """What is joined first lies within what is joined from it; all of it is alive from the first part on."""
    planned = plan(small_graph(dense_chain, SHAPE))
    assert not {"join", "concat", "group", "ungroup"} & {step.kernel for step in planned.steps}
    last = [name for name, buffer in planned.buffers.items() if buffer.shape[-1] == 24]
    whole = planned.buffers[planned.root(last[0])]
    slices = {buffer.slice_at for buffer in planned.buffers.values() if planned.root(buffer.name) == whole.name}
    assert slices == {None, 0, 8 * PIXELS, 16 * PIXELS}
    assert whole.first == min(i for i, step in enumerate(planned.steps) if planned.root(step.output) == whole.name)
    assert whole.last == len(planned.steps) - 1
    document = {buffer["name"]: buffer for buffer in plan_document(planned)["buffers"]}
    for name, buffer in planned.buffers.items():
        assert document[name]["slice_at"] == buffer.slice_at
        if buffer.slice_at is not None:
            assert buffer.shares is not None
            assert buffer.offset == planned.buffers[buffer.shares].offset + buffer.slice_at


def side_by_side(b: Builder) -> str:
    """NHWC: parts are no slices of what is joined."""
    return b.conv(b.concat(b.conv("x", 8), b.conv("x", 8)), 4)


def pixel(b: Builder) -> str:
    """Computed in more memory than anything needs that comes behind it."""
    return b.features(b.conv(b.conv("x", 32), 32))


def joined_pixels(b: Builder) -> str:
    x = pixel(b)
    return b.dense(b.concat(b.dense(x, 8), b.dense(x, 16)), 3)


def part_of_odd_size(b: Builder) -> str:
    """The second part would not be aligned."""
    x = pixel(b)
    return b.dense(b.concat(b.dense(x, 9), b.dense(x, 16)), 3)


def part_twice(b: Builder) -> str:
    one = b.dense(pixel(b), 8)
    return b.dense(b.concat(one, one), 3)


def part_is_the_input(b: Builder) -> str:
    return b.dense(b.concat(b.flatten("x"), b.dense(pixel(b), 8)), 3)


@pytest.mark.parametrize(
    ("build", "slices", "copies"),
    [
        (side_by_side, [], True),
        (joined_pixels, [0, 8], False),
        (part_of_odd_size, [0], True),
        (part_twice, [0], True),
        (part_is_the_input, [PIXELS * 4], True),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_which_parts_are_written_where_they_lie_joined(build: Build, slices: list[int], copies: bool) -> None:
    planned = plan(small_graph(build, SHAPE))
    found = [buffer.slice_at for buffer in planned.buffers.values() if buffer.slice_at is not None]
    assert found == slices
    assert any(step.kernel == "concat" for step in planned.steps) == copies


def early_part(b: Builder) -> str:
    """Reserving what is joined while the wide layers run would cost more than a copy does."""
    first = b.conv("x", 8)
    early = b.features(first)
    late = b.dense(b.features(b.conv(b.conv(first, 64), 64)), 4096)
    return b.dense(b.concat(early, late), 3)


def test_parts_are_copied_where_the_arena_would_grow() -> None:
    planned = plan(small_graph(early_part, SHAPE), KERNEL_SETS["portable"])
    assert "concat" in {step.kernel for step in planned.steps}
    assert all(buffer.slice_at is None for buffer in planned.buffers.values())


def masked_then_summed(b: Builder) -> str:
    """A sum, a clamp, a mask and a pool, each the last to read what it reads."""
    x = b.mask(b.conv("x", 16), b.gate("x", 4))
    total = b.relu(b.add(b.conv(b.pool(x, AvgPool), 16, (1, 1), (2, 2)), b.conv(b.pool("x"), 16, (1, 1), (2, 2))))
    return b.conv(total, 4)


def test_what_is_computed_in_place() -> None:
    planned = plan(small_graph(masked_then_summed, SHAPE), KERNEL_SETS["portable"])
    in_place = {step.kernel for step in planned.steps if planned.buffers[step.output].shares}
    residual = {"add" for step in planned.steps if step.residual}
    assert in_place | residual >= {"apply_mask", "add", "avg_pool"}


def wide_image(b: Builder) -> str:
    """The convolution behind the mask needs most, whatever it gathers."""
    return b.conv(b.mask(b.conv("x", 64), b.gate("x", 8)), 4, stride=(2, 2))


def test_a_large_image_is_gathered_by_bands() -> None:
    planned = plan(small_graph(wide_image, (24, 24, 4)))
    step = planned.steps[-1]
    assert step.kernel == "conv_join" and 0 < step.pack_rows < 12
    assert f" {step.pack_rows} rows of the output at a time" in step.why
    assert plan_document(planned)["steps"][-1]["pack_rows"] == step.pack_rows
    whole = 24 * 24 * 64
    assert whole + BAND_BYTES / 2 < planned.arena_bytes < 2 * whole


def test_all_of_it_is_gathered_where_there_is_room() -> None:
    """Something else needs more memory."""

    def build(b: Builder) -> str:
        x = b.pool(b.conv(b.conv("x", 64), 64), stride=(2, 2))
        return b.conv(b.mask(b.conv(x, 64), b.gate(x, 8)), 4)

    step = plan(small_graph(build, (24, 24, 4))).steps[-1]
    assert (step.kernel, step.pack_rows) == ("conv_join", 0)
    assert BAND_BYTES < 12 * 12 * 64
    assert "at a time" not in step.why


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "rows"),
    [
        ((3, 3), 1, Padding(1, 1, 1, 1), 6),  # 8 rows of 1 KB
        ((3, 3), 2, Padding(0, 0, 1, 1), 3),  # 7 rows
        ((1, 1), 1, Padding(), 8),
        ((1, 3), 1, Padding(0, 0, 1, 1), 0),  # CMSIS-NN takes it whole
        ((3, 3), 1, Padding(3, 1, 1, 1), 0),  # the first window lies above the image
        ((3, 3), 1, Padding(1, 3, 1, 1), 0),  # the last one below
    ],
)
def test_rows_that_are_gathered_at_a_time(kernel: tuple[int, int], stride: int, padding: Padding, rows: int) -> None:
    source, weights = (32, 32, 32), np.zeros((4, *kernel, 32), np.int8)
    op = Conv2D("conv", ("x",), "y", weights, np.zeros(4, np.int32), (stride, stride), padding)
    assert pack_rows(op, source, op.output_shape(source)) == rows
    if rows:
        reach = (rows - 1) * stride + kernel[0]
        assert packed_bytes(op, source, rows) == reach * 32 * 32 <= BAND_BYTES
