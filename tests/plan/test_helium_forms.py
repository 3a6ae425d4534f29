# SPDX-License-Identifier: Apache-2.0
"""Which convolutions the kernel set `acs_helium` takes, with what plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from acsgen.graph import Conv2D
from acsgen.graph.ops import Padding
from acsgen.plan import KERNEL_SETS, plan
from acsgen.plan.conv_case import ConvCase, conv_case
from acsgen.plan.helium_forms import channels_of_pairs, helium_forms, is_taken, window_of
from tests.graphs import Builder
from tests.plan.small import small_graph

HELIUM = KERNEL_SETS["acs_helium"]


def case_of(
    channels: int, filters: int = 16, kernel: tuple[int, int] = (3, 3), size: int = 8, groups: tuple[int, int] = (1, 1)
) -> ConvCase:
    graph = small_graph(lambda b: Builder.conv(b, "x", filters, kernel), (size, size, channels))
    op = graph.ops[0]
    assert isinstance(op, Conv2D)
    return conv_case(op, graph.tensors["x"], graph.tensors[op.output], *groups)


@pytest.mark.parametrize(
    ("channels", "kernel", "groups", "pitch", "vectors", "unit", "units"),
    [
        (3, (3, 3), 1, 3, 1, 16, 1),
        (6, (3, 3), 1, 8, 2, 16, 1),
        (12, (3, 3), 1, 16, 3, 16, 1),
        (40, (3, 3), 1, 16, 3, 16, 3),
        (32, (3, 3), 2, 16, 3, 16, 2),
        (32, (3, 3), 4, 16, 3, 8, 4),
        (24, (3, 3), 2, 16, 3, 4, 6),
        (6, (3, 3), 3, 16, 3, 4, 2),
        (32, (1, 1), 1, 16, 1, 16, 2),
        (32, (1, 1), 8, 16, 1, 4, 8),
    ],
)
def test_layout_of_a_source(
    channels: int, kernel: tuple[int, int], groups: int, pitch: int, vectors: int, unit: int, units: int
) -> None:
    window = window_of(case_of(channels, kernel=kernel, groups=(groups, 1)))
    assert (window.pitch, window.vectors, window.unit, window.units) == (pitch, vectors, unit, units)


def test_an_odd_channel_shares_the_pair_before_it() -> None:
    pairs = channels_of_pairs(case_of(4, filters=10, groups=(1, 2)))
    assert pairs.tolist() == [[0, 1], [2, 3], [3, 4], [5, 6], [7, 8], [8, 9]]


def test_what_it_leaves_to_cmsis_nn() -> None:
    """A kernel of another size, a row of less than a tile, a group of one channel, padding around a 1x1."""
    assert is_taken(case_of(8))
    assert not is_taken(case_of(8, kernel=(5, 5)))
    assert not is_taken(case_of(8, size=3))
    assert not is_taken(case_of(8, filters=4, groups=(1, 4)))
    points = case_of(8, kernel=(1, 1))
    assert is_taken(points)
    assert isinstance(points.op, Conv2D)
    padded = replace(points, op=replace(points.op, padding=Padding(1, 1, 1, 1)), target=(10, 10, 16))
    assert not is_taken(padded)


def test_multipliers_that_do_not_shift_right() -> None:
    case = case_of(8)
    for shift, name in ((-1, "helium"), (-31, "helium"), (0, "plain"), (1, "plain")):
        case.requantize.shift[3] = shift
        assert [form.name for form in helium_forms(case)] == [name]
    case.requantize.multiplier[3] = 0
    assert [form.name for form in helium_forms(case)] == ["helium"]


def test_the_quicker_one_is_chosen() -> None:
    """Small 1x1 layers are CMSIS-NN's, by counts of single layers in QEMU: 2,578 instructions, not 2,816."""
    assert helium_forms(case_of(8, filters=8, kernel=(1, 1), size=4))[0].name == "plain"
    for channels, size in ((4, 8), (4, 16), (16, 4), (64, 4)):
        assert helium_forms(case_of(channels, filters=channels, kernel=(1, 1), size=size))[0].name == "helium"


def test_a_plan_mixes_forms() -> None:
    """And gives each layer its scratch; what is CMSIS-NN's gets what that needs."""
    graph = small_graph(lambda b: b.conv(b.conv(b.conv("x", 16), 16, (5, 5)), 16, (1, 1)), (8, 8, 8))
    steps = [step for step in plan(graph, HELIUM).steps if step.kernel == "conv"]
    assert [step.form for step in steps] == ["helium", "plain", "helium"]
    assert all(step.form_why for step in steps)
    assert steps[1].scratch_bytes == HELIUM.conv_scratch((5, 5), 16)
