# SPDX-License-Identifier: Apache-2.0
"""Plans of small graphs, stated step by step.

A line is `kernel inputs -> output`, `[4]` for a layout of four groups; then `some`: only the groups that
a gate opens, `packs 3`: reads the open input groups packed if they are at most three, `zeroes`: closed
groups are cleared, `in place`, `holes`: closed groups hold anything, `if any`: not at all if
all groups of what it feeds are closed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from acsgen.errors import AcsgenError
from acsgen.graph.ops import Padding
from acsgen.plan import Plan, plan
from acsgen.plan.conv_case import Form
from acsgen.plan.layout_choice import copies_cost, reason
from acsgen.plan.masks import MAX_GROUPS
from tests.graphs import Builder, mixed
from tests.plan.small import Build, described, random_plan, small_graph


def masked_conv(b: Builder) -> str:
    return b.conv(b.mask(b.conv("x", 8), b.gate("x", 4)), 8)


def bottleneck(b: Builder) -> str:
    """Skipped from end to end."""
    mask = b.gate("x", 4)
    return b.add("x", b.conv(b.mask(b.conv(b.conv("x", 8), 8, groups=4), mask), 4))


def gate_on_what_it_masks(b: Builder) -> str:
    conv = b.conv("x", 8)
    return b.conv(b.mask(conv, b.gate(conv, 4)), 8)


def one_group(b: Builder) -> str:
    return b.conv(b.mask(b.conv("x", 8), b.gate("x", 1)), 8)


def masked_then_pooled(b: Builder) -> str:
    return b.conv(b.pool(b.mask(b.conv("x", 8), b.gate("x", 4))), 8)


def pooled_then_masked(b: Builder) -> str:
    return b.conv(b.mask(b.pool(b.conv("x", 8)), b.gate("x", 4)), 8)


def masked_then_depthwise(b: Builder) -> str:
    """Closed groups are read, so they must be zero."""
    return b.conv(b.depthwise(b.mask(b.conv("x", 8), b.gate("x", 4))), 8)


def one_gate_around_a_depthwise(b: Builder) -> str:
    """Closed groups are read by nobody."""
    mask = b.gate("x", 4)
    return b.conv(b.mask(b.depthwise(b.mask(b.conv("x", 8), mask)), mask), 8)


def two_gates_around_a_depthwise(b: Builder) -> str:
    first = b.mask(b.conv("x", 8), b.gate("x", 4))
    return b.conv(b.mask(b.depthwise(first), b.gate("x", 4)), 8)


def masked_then_grouped(b: Builder) -> str:
    """The grouped convolution has other groups than the mask: zeroes, and another layout."""
    return b.conv(b.mask(b.conv("x", 8), b.gate("x", 4)), 8, groups=2)


def finer_groups_of_one_gate(b: Builder) -> str:
    """A list entry stands for two groups of the convolution."""
    mask = b.gate("x", 2)
    return b.conv(b.mask(b.conv(b.conv("x", 8), 8, groups=4), mask), 8)


def coarser_groups_of_one_gate(b: Builder) -> str:
    mask = b.gate("x", 4)
    return b.conv(b.mask(b.conv(b.mask(b.conv("x", 8), mask), 8, groups=2), mask), 8)


def two_masks_in_a_row(b: Builder) -> str:
    """What the first gate closes, the second may open: it must be there."""
    return b.conv(b.mask(b.mask(b.conv("x", 8), b.gate("x", 4)), b.gate("x", 4)), 8)


def two_joined_convolutions(b: Builder) -> str:
    """Output of a convolution with masked input, itself masked; nine weights a channel against four pixels."""
    first = b.mask(b.conv("x", 8), b.gate("x", 4))
    return b.conv(b.mask(b.conv(first, 8, stride=(3, 3)), b.gate("x", 2)), 8)


def bare_reader(b: Builder) -> str:
    """Not in place, and nothing skipped before the mask."""
    conv = b.conv("x", 8)
    return b.add(b.mask(conv, b.gate("x", 4)), conv)


def masked_vector(b: Builder) -> str:
    return b.dense(b.mask(b.dense(b.features("x"), 8), b.gate("x", 4)), 3)


def masked_output(b: Builder) -> str:
    return b.mask(b.conv("x", 8), b.gate("x", 4))


def flattened(b: Builder) -> str:
    return b.dense(b.flatten(b.mask(b.conv("x", 8), b.gate("x", 4))), 3)


def masked_view(b: Builder) -> str:
    """The mask on the flat tensor may not clear what the pool reads, which therefore comes first."""
    conv = b.conv("x", 8)
    flat = b.mask(b.flatten(conv), b.gate("x", 4))
    return b.add(b.dense(flat, 3), b.dense(b.flatten(b.pool(conv)), 3))


def masked_input(b: Builder) -> str:
    """The caller's input is not written to."""
    return b.conv(b.mask("x", b.gate("x", 2)), 8)


def learned_groups_at_the_input(b: Builder) -> str:
    return b.conv(b.dgconv("x", mixed(b.rng, 4, 2)), 8)


def grouped_pixel(b: Builder) -> str:
    """One pixel lies the same in every layout."""
    return b.conv(b.conv(b.global_pool("x"), 8, (1, 1)), 8, (1, 1), groups=4)


def joined(b: Builder) -> str:
    """Groups one behind the other, as large as all parts allow; of a masked part only the open ones."""
    masked = b.mask(b.conv("x", 8), b.gate("x", 4))
    return b.conv(b.concat(masked, b.conv("x", 8, groups=2), "x"), 8)


def masked_join(b: Builder) -> str:
    """Grouped for the mask, behind which closed groups are skipped."""
    return b.conv(b.mask(b.concat(b.conv("x", 8), "x"), b.gate("x", 4)), 8)


def joined_without_a_skipping_reader(b: Builder) -> str:
    """Parts come as NHWC, what is closed as zeros: an addition reads all of it."""
    whole = b.concat(b.mask(b.conv("x", 4), b.gate("x", 2)), "x")
    return b.add(whole, whole)


def pre_activation(b: Builder) -> str:
    """Behind batch normalisation a closed group is a constant; both are done while what is open is gathered."""
    whole = b.concat("x", b.mask(b.conv("x", 8), b.gate("x", 4)))
    return b.conv(b.relu(b.batch_norm(whole)), 8, (1, 1))


def pre_activation_and_padding(b: Builder) -> str:
    """The zeros around a 3x3 window are not that constant: all is computed."""
    whole = b.concat("x", b.mask(b.conv("x", 8), b.gate("x", 4)))
    return b.conv(b.relu(b.batch_norm(whole)), 8)


def pre_activation_and_pool(b: Builder) -> str:
    """The mean of a constant is the constant."""
    whole = b.concat("x", b.mask(b.conv("x", 8), b.gate("x", 4)))
    return b.dense(b.features(b.relu(b.batch_norm(whole))), 3)


def masked_parts(b: Builder) -> str:
    """The mask sinks through the concatenation to the producers of its parts."""
    mask = b.gate("x", 4)
    return b.conv(b.mask(b.concat(b.conv("x", 8), b.conv("x", 8)), mask), 8)


def whole_layer(b: Builder) -> str:
    """What feeds only a convolution whose groups are all closed need not run."""
    inner = b.relu(b.conv("x", 8, (1, 1)))
    return b.conv(b.mask(b.conv(b.pool(inner), 8), b.gate("x", 4)), 8)


def whole_layer_and_another_reader(b: Builder) -> str:
    """The gate looks at the convolution before: that runs."""
    inner = b.conv("x", 8, (1, 1))
    return b.conv(b.mask(b.conv(b.relu(inner), 8), b.gate(inner, 4)), 8)


def padded(b: Builder) -> str:
    """Into the convolution's own padding; not before a pool."""
    inside = b.conv(b.pad("x", Padding(1, 0, 0, 1)), 8)
    return b.conv(b.pool(b.pad(b.mask(inside, b.gate("x", 4)), Padding(1, 1, 1, 1))), 8)


def padded_for_two(b: Builder) -> str:
    """One of the readers is no convolution."""
    wide = b.pad("x", Padding(1, 1, 1, 1))
    return b.add(b.conv(wide, 4, (1, 1)), wide)


PLANS: dict[Build, list[str]] = {
    masked_conv: [
        "conv x -> conv2d0[4], some, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, in place, holes",
        "conv_join applymask5[4] -> conv2d6, packs 3",
    ],
    bottleneck: [
        "conv x -> conv2d4[4], some, holes",
        "conv conv2d4[4] -> conv2d5[4], some, holes",
        "apply_mask conv2d5[4] -> applymask6[4], some, in place, holes",
        "conv_join applymask6[4] -> conv2d7, packs 3",
        "add x, conv2d7 -> add8, in place",
    ],
    gate_on_what_it_masks: [
        "conv x -> conv2d0[4]",
        "apply_mask conv2d0[4] -> applymask5[4], some, in place, holes",
        "conv_join applymask5[4] -> conv2d6, packs 3",
    ],
    one_group: [
        "conv x -> conv2d0, some, holes",
        "apply_mask conv2d0 -> applymask5, some, in place, holes",
        "conv_join applymask5 -> conv2d6, packs 0",
    ],
    masked_then_pooled: [
        "conv x -> conv2d0[4], some, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, in place, holes",
        "max_pool applymask5[4] -> maxpool6[4], some, in place, holes",
        "conv_join maxpool6[4] -> conv2d7, packs 3",
    ],
    pooled_then_masked: [
        "conv x -> conv2d0[4], some, holes",
        "max_pool conv2d0[4] -> maxpool1[4], some, holes",
        "apply_mask maxpool1[4] -> applymask6[4], some, in place, holes",
        "conv_join applymask6[4] -> conv2d7, packs 3",
    ],
    masked_then_depthwise: [
        "conv x -> conv2d0[4], some, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, zeroes, in place",
        "depthwise applymask5[4] -> depthwiseconv2d6[4]",
        "conv_join depthwiseconv2d6[4] -> conv2d7",
    ],
    one_gate_around_a_depthwise: [
        "conv x -> conv2d4[4], some, holes",
        "apply_mask conv2d4[4] -> applymask5[4], some, in place, holes",
        "depthwise applymask5[4] -> depthwiseconv2d6[4], some, holes",
        "apply_mask depthwiseconv2d6[4] -> applymask7[4], some, in place, holes",
        "conv_join applymask7[4] -> conv2d8, packs 3",
    ],
    two_gates_around_a_depthwise: [
        "conv x -> conv2d0[4], some, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, if any, zeroes, in place",
        "depthwise applymask5[4] -> depthwiseconv2d6[4], some, holes",
        "apply_mask depthwiseconv2d6[4] -> applymask11[4], some, in place, holes",
        "conv_join applymask11[4] -> conv2d12, packs 3",
    ],
    masked_then_grouped: [
        "conv x -> conv2d0[4], some, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, zeroes, in place",
        "ungroup applymask5[4] -> applymask5@1",
        "group applymask5@1 -> applymask5@2[2]",
        "conv applymask5@2[2] -> conv2d6[2]",
        "ungroup conv2d6[2] -> conv2d6@1",
    ],
    finer_groups_of_one_gate: [
        "conv x -> conv2d4[4], some, holes",
        "conv conv2d4[4] -> conv2d5[4], some, holes",
        "apply_mask conv2d5[4] -> applymask6[4], some, in place, holes",
        "conv_join applymask6[4] -> conv2d7, packs 3",
    ],
    coarser_groups_of_one_gate: [
        "conv x -> conv2d4[4], some, holes",
        "apply_mask conv2d4[4] -> applymask5[4], some, if any, zeroes, in place",
        "ungroup applymask5[4] -> applymask5@1, if any",
        "group applymask5@1 -> applymask5@2[2], if any",
        "conv applymask5@2[2] -> conv2d6[4], some, holes",
        "apply_mask conv2d6[4] -> applymask7[4], some, in place, holes",
        "conv_join applymask7[4] -> conv2d8, packs 3",
    ],
    two_masks_in_a_row: [
        "conv x -> conv2d0[4], some, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, if any, zeroes, in place",
        "apply_mask applymask5[4] -> applymask10[4], some, in place, holes",
        "conv_join applymask10[4] -> conv2d11, packs 3",
    ],
    two_joined_convolutions: [
        "conv x -> conv2d0[4], some, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, if any, in place, holes",
        "conv_join applymask5[4] -> conv2d6[2], some, packs 3, holes",
        "apply_mask conv2d6[2] -> applymask11[2], some, in place, holes",
        "conv_join applymask11[2] -> conv2d12, packs 1",
    ],
    bare_reader: [
        "conv x -> conv2d0[4]",
        "apply_mask conv2d0[4] -> applymask5[4], some, holes",
        "ungroup applymask5[4] -> applymask5@1, some",
        "ungroup conv2d0[4] -> conv2d0@1",
        "add applymask5@1, conv2d0@1 -> add6, in place",
    ],
    masked_vector: [
        "avg_pool x -> avgpool0, if any",
        "conv flatten1 -> dense2[4], some, holes",
        "apply_mask dense2[4] -> applymask7[4], some, in place, holes",
        "conv_join applymask7[4] -> dense8, packs 2",
    ],
    masked_output: [
        "conv x -> conv2d0[4], some, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, in place, holes",
        "ungroup applymask5[4] -> applymask5@1, some",
    ],
    flattened: [
        "conv x -> conv2d0[4], some, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, in place, holes",
        "conv_join applymask5[4] -> dense7, packs 2",
    ],
    masked_view: [
        "conv x -> conv2d0",
        "max_pool conv2d0 -> maxpool8",
        "conv flatten9 -> dense10",
        "apply_mask flatten1@4[4] -> applymask6[4], some, in place, holes",
        "conv_join applymask6[4] -> dense7, packs 2",
        "add dense7, dense10 -> add11, in place",
    ],
    masked_input: [
        "group x -> x@2[2]",
        "apply_mask x@2[2] -> applymask4[2], some, in place, holes",
        "conv_join applymask4[2] -> conv2d5, packs 1",
    ],
    learned_groups_at_the_input: [
        "shuffle x -> conv2d0/ordered",
        "group conv2d0/ordered -> conv2d0/ordered@2[2]",
        "conv conv2d0/ordered@2[2] -> conv2d0[2]",
        "conv_join conv2d0[2] -> conv2d1",
    ],
    joined: [
        "conv x -> conv2d0[4], some, at 0 of concatenate7, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, in place, holes",
        "group x -> x@2[2], at 576 of concatenate7",
        "conv x@2[2] -> conv2d6[4], at 288 of concatenate7",
        "conv_join concatenate7[10] -> conv2d8, packs 9",
    ],
    joined_without_a_skipping_reader: [
        "conv x -> conv2d0[2], some, holes",
        "apply_mask conv2d0[2] -> applymask5[2], some, in place, holes",
        "ungroup applymask5[2] -> applymask5@1, some",
        "concat applymask5@1, x -> concatenate6",
        "add concatenate6, concatenate6 -> add7, in place",
    ],
    whole_layer: [
        "conv x -> relu1, if any",
        "max_pool relu1 -> maxpool2, if any, in place",
        "conv maxpool2 -> conv2d3[4], some, holes",
        "apply_mask conv2d3[4] -> applymask8[4], some, in place, holes",
        "conv_join applymask8[4] -> conv2d9, packs 3",
    ],
    whole_layer_and_another_reader: [
        "conv x -> conv2d0",
        "clamp conv2d0 -> relu1, if any, in place",
        "conv relu1 -> conv2d2[4], some, holes",
        "apply_mask conv2d2[4] -> applymask7[4], some, in place, holes",
        "conv_join applymask7[4] -> conv2d8, packs 3",
    ],
    pre_activation: [
        "conv x -> conv2d0[4], some, at 144 of concatenate6, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, in place, holes",
        "group x -> x@2[2], at 0 of concatenate6",
        "conv_join concatenate6[6] -> conv2d9, packs 5",
    ],
    pre_activation_and_padding: [
        "conv x -> conv2d0[4], some, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, in place, holes",
        "ungroup applymask5[4] -> applymask5@1, some",
        "concat x, applymask5@1 -> concatenate6",
        "depthwise concatenate6 -> relu8",
        "conv relu8 -> conv2d9",
    ],
    pre_activation_and_pool: [
        "conv x -> conv2d0[4], some, at 144 of concatenate6, holes",
        "apply_mask conv2d0[4] -> applymask5[4], some, in place, holes",
        "group x -> x@2[2], at 0 of concatenate6",
        "depthwise concatenate6[6] -> relu8[6], some, holes",
        "avg_pool relu8[6] -> avgpool9[6], some, holes",
        "conv_join flatten10[6] -> dense11, packs 3",
    ],
    masked_parts: [
        "conv x -> conv2d4[2], some, at 0 of concatenate6, holes",
        "conv x -> conv2d5[2], some, at 288 of concatenate6, holes",
        "apply_mask concatenate6[4] -> applymask7[4], some, in place, holes",
        "conv_join applymask7[4] -> conv2d8, packs 3",
    ],
    masked_join: [
        "conv x -> conv2d0, if any",
        "concat conv2d0, x -> concatenate1, if any",
        "group concatenate1 -> concatenate1@4[4], if any",
        "apply_mask concatenate1@4[4] -> applymask6[4], some, in place, holes",
        "conv_join applymask6[4] -> conv2d7, packs 3",
    ],
    padded: [
        "conv x -> conv2d1[4], some, holes",
        "apply_mask conv2d1[4] -> applymask6[4], some, in place, holes",
        "ungroup applymask6[4] -> applymask6@1, some",
        "pad applymask6@1 -> pad7",
        "max_pool pad7 -> maxpool8, in place",
        "conv maxpool8 -> conv2d9",
    ],
    padded_for_two: [
        "pad x -> pad0",
        "conv pad0 -> conv2d1",
        "add conv2d1, pad0 -> add2, in place",
    ],
    grouped_pixel: [
        "avg_pool x -> avgpool0",
        "conv avgpool0 -> conv2d1[4]",
        "conv conv2d1[4] -> conv2d2[4]",
    ],
}


@pytest.mark.parametrize("build", PLANS, ids=lambda build: build.__name__)
def test_plan(build: Build) -> None:
    assert described(plan(small_graph(build))) == PLANS[build]


def test_a_gate_comes_before_what_it_lets_skip() -> None:
    """In the graph of `masked_conv` the convolution stands first."""
    graph = small_graph(masked_conv)
    assert type(graph.ops[0]).__name__ == "Conv2D"
    kernels = [step.kernel for step in plan(graph).steps]
    assert kernels == ["avg_pool", "gate", "conv", "apply_mask", "conv_join"]


@pytest.mark.parametrize("seed", range(40))
def test_whoever_reads_groups_that_may_be_missing_goes_by_their_list(seed: int) -> None:
    """Of a buffer with holes, only list-driven reads, and readers whose own list is of the same gate."""
    planned = random_plan(seed)
    for step in planned.steps:
        for name in step.inputs:
            holes = planned.buffers[name].mask
            if holes is None or name in {gate.mask for gate in planned.gates}:
                continue
            if step.kernel == "conv_join":
                assert step.joined == holes.list
            elif step.kernel == "join":
                assert set(holes.bits) <= set(planned.bits(step.active))
            elif step.kernel == "clamp":
                target = planned.buffers[step.output].mask
                assert target is not None and target.list == holes.list
            else:
                assert step.active == holes.list, f"{step.kernel} {step.op.name}"


def test_too_many_groups_are_refused() -> None:
    wide = MAX_GROUPS + 1
    graph = small_graph(lambda b: b.mask(b.dense("x", wide), b.gate("x", wide)), (4,))
    with pytest.raises(AcsgenError, match="257 groups, at most 256"):
        plan(graph)


def test_a_network_that_computes_nothing_is_refused() -> None:
    with pytest.raises(AcsgenError, match="computes nothing"):
        plan(small_graph(lambda b: b.flatten("x")))


def test_a_signal_is_an_image_of_one_row() -> None:
    """Input and output keep their shapes; nothing is computed or copied for that."""

    def signal(b: Builder) -> str:
        x = b.reshape("x", (1, *b.shape("x")))
        y = b.conv(b.mask(b.conv(x, 8, (1, 3)), b.gate(x, 2)), 4, (1, 3), (1, 2))
        return b.reshape(y, b.shape(y)[1:])

    planned = plan(small_graph(signal, (20, 3)))
    assert described(planned) == [
        "conv reshape0 -> conv2d1[2], some, holes",
        "apply_mask conv2d1[2] -> applymask6[2], some, in place, holes",
        "conv_join applymask6[2] -> conv2d7, packs 1",
    ]
    ends = planned.buffers[planned.graph.input], planned.buffers[planned.graph.output]
    assert [buffer.shape for buffer in ends] == [(20, 3), (10, 4)]
    assert planned.buffers["reshape0"].shares == "x" and ends[1].shares == "conv2d7"


def test_idle_masks() -> None:
    """A mask that saves nothing before it is named: here its gate looks at what it masks."""

    def idle(b: Builder) -> str:
        inside = b.conv("x", 8)
        return b.conv(b.mask(inside, b.gate(inside, 4)), 8)

    def busy(b: Builder) -> str:
        return b.conv(b.mask(b.conv("x", 8), b.gate("x", 4)), 8)

    assert len(plan(small_graph(idle)).idle_masks()) == 1
    assert plan(small_graph(busy)).idle_masks() == []
    assert plan(small_graph(idle)).skippable_macs < plan(small_graph(busy)).skippable_macs


def test_why_says_what_closed_inputs_cost() -> None:
    """Few pixels: a table; many: summed once a run."""
    reasons = {
        size: next(step for step in plan(small_graph(pre_activation, (size, size, 4))).steps if step.before)
        for size in (3, 6)
    }
    assert (reasons[3].closed, reasons[6].closed) == ("table", "computed")
    assert "a table of 192 bytes beside 96 of weights" in reasons[3].why
    assert "summed once a run" in reasons[6].why


def test_more_groups_than_a_list_holds_are_joined_as_nhwc() -> None:
    def wide(b: Builder) -> str:
        part = b.mask(b.dense("x", MAX_GROUPS), b.gate("x", MAX_GROUPS))
        return b.dense(b.concat(part, "x"), 2)

    kernels = [step.kernel for step in plan(small_graph(wide, (4,))).steps]
    assert "concat" in kernels and "join" not in kernels


PLAIN = Form("plain", 0, 0, 0, 0, "")


def twice_normalised(b: Builder) -> str:
    """What is joined group by group is read as a whole before, by a convolution."""
    x = b.concat(b.conv("x", 8), b.conv("x", 8))
    inner = b.mask(b.conv(b.relu(b.batch_norm(x)), 8, (1, 1)), b.gate("x", 2))
    return b.conv(b.concat(x, inner), 8, (1, 1))


def with_usual_layouts(build: Build) -> Plan:
    """With kernels of which it is not known what they make of layouts."""
    graph = small_graph(build)
    kernels = plan(graph).kernel_set
    return plan(graph, replace(kernels, name="unknown", conv_forms=lambda case: (PLAIN,)))


def test_a_layout_that_spares_copies_is_chosen() -> None:
    """A part is written in the groups that it has in what is joined from it."""
    planned, usual = plan(small_graph(joined)), with_usual_layouts(joined)
    assert {"ungroup", "group"} <= {step.kernel for step in usual.steps}
    assert copies_cost(usual) - copies_cost(planned) == pytest.approx(2 * 0.95 * 6 * 6 * 8)
    assert planned.arena_bytes <= usual.arena_bytes
    step = next(step for step in planned.steps if step.output == "conv2d6")
    assert step.why.endswith("In 4 groups: about 547 instructions of copies less than in 2 groups.")


def test_a_layout_that_costs_more_copies_is_not() -> None:
    """Dealing the parts out to groups, and gathering them for the first reader, is dearer than joining pixels."""
    planned, usual = plan(small_graph(twice_normalised)), with_usual_layouts(twice_normalised)
    assert described(planned) == described(usual)
    assert "concat conv2d0, conv2d1 -> concatenate2" in described(planned)
    step = next(step for step in planned.steps if step.output == "concatenate2")
    assert step.why.startswith("In NHWC: about ") and step.why.endswith(" of copies less than in 4 groups.")


def test_reasons_for_layouts() -> None:
    assert reason(1, 4, False, -120.0, 0) == "In NHWC: about 120 instructions of copies less than in 4 groups."
    assert reason(1, 4, True, 80.0, 0) == "In 4 groups: about 80 instructions of copies less than in NHWC."
    saved = "In NHWC: 4 groups would save 80 instructions of copies, for 64 bytes of arena."
    assert reason(1, 4, False, 80.0, 64) == saved
