# SPDX-License-Identifier: Apache-2.0
"""The forms of the kernel set `acs_rv32`: which is chosen when, and what the planner believes that they cost."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from acsgen.graph import Conv2D, Graph
from acsgen.plan import KERNEL_SETS, Plan, Spare, plan
from acsgen.plan.conv_case import conv_case
from acsgen.plan.rv32_forms import column_scratch, conv_forms, depthwise_scratch, window_scratch
from bench.kernels import Setting
from bench.nets import conv_chain
from tests.plan.small import small_graph

RV32 = KERNEL_SETS["acs_rv32"]


def forms(planned: Plan) -> list[str]:
    return [step.form for step in planned.steps if step.kernel == "conv"]


def three_layers() -> Graph:
    """1x1, 3x3, 3x3 with stride 2; 8 and 16 channels in 8x8 pixels."""
    return small_graph(lambda b: b.conv(b.conv(b.conv("x", 16, (1, 1)), 16), 16, stride=(2, 2)), (8, 8, 8))


def test_winograd_where_it_is_open_and_has_room() -> None:
    extra = 16 * 16 * (2 * 16 - 9)
    assert forms(plan(three_layers(), RV32)) == ["bytes"] * 3
    assert forms(plan(three_layers(), RV32, Spare(extra))) == ["bytes", "winograd_scalar", "bytes"]
    assert forms(plan(three_layers(), RV32, Spare(extra - 1))) == ["bytes"] * 3


def test_what_does_not_fit_the_ram_is_taken_back() -> None:
    small, large = plan(three_layers(), RV32), plan(three_layers(), RV32, Spare(None))
    assert large.arena_bytes > small.arena_bytes
    assert forms(plan(three_layers(), RV32, Spare(None, large.arena_bytes))) == forms(large)
    assert forms(plan(three_layers(), RV32, Spare(None, large.arena_bytes - 1))) == forms(small)


def test_a_multiplier_that_is_not_of_the_short_form() -> None:
    """A left shift, and one so far to the right that the rounding constant leaves 32 bits: plain weights."""
    graph = small_graph(lambda b: b.conv("x", 8))
    op = graph.ops[0]
    assert isinstance(op, Conv2D) and op.requantize is not None
    case = conv_case(op, graph.tensors["x"], graph.tensors[op.output], 1, 1)
    assert [f.name for f in conv_forms(case)] == ["bytes", "winograd_scalar"]
    for shift in (0, 1, -23):
        op.requantize.shift[3] = shift
        assert [f.name for f in conv_forms(case)] == ["plain"]


def test_little_to_do_takes_plain_weights() -> None:
    """A gate's last layer; of a larger one four channels together are quicker, flash or not."""

    def dense(inputs: int, outputs: int) -> Graph:
        return small_graph(lambda b: b.dense("x", outputs), (1, 1, inputs))

    assert [step.form for step in plan(dense(16, 4), RV32).steps] == ["plain"]
    assert [step.form for step in plan(dense(64, 12), RV32).steps] == ["bytes"]
    assert [step.form for step in plan(dense(64, 12), RV32, Spare(None)).steps] == ["bytes"]


def test_scratch_by_hand() -> None:
    """Of what the kernels' comments say: runs, then 16-bit numbers, and rows of output where quads are split."""
    graph = small_graph(lambda b: b.conv("x", 6), (5, 7, 3))
    op = graph.ops[0]
    assert isinstance(op, Conv2D)
    case = conv_case(op, graph.tensors["x"], graph.tensors[op.output], 1, 1)
    assert window_scratch(case) == 8 + 4 * 2 * 7 + 2 * 3 * 9 * 4
    assert column_scratch(case) == 8 + 8 * (2 * 3 * 9 * 4 + 16)
    assert depthwise_scratch((5, 5), 3, 9) == 2 * 3 * 9 * 8
    assert depthwise_scratch((3, 3), 32, 9) == 2 * 4 * 9 * 4
    assert depthwise_scratch((3, 1), 32, 9) == 0


@pytest.mark.parametrize(("variant", "form"), [("acs_no_winograd", 0), ("acs", 1)])
def test_estimates_are_near_the_counts(tmp_path: Path, variant: str, form: int) -> None:
    """Counted in QEMU, the output compared with the golden model."""
    chain = partial(conv_chain, 8, 16, 3)
    graph = chain(length=1)
    op = graph.ops[0]
    assert isinstance(op, Conv2D)
    offered = conv_forms(conv_case(op, graph.tensors[op.inputs[0]], graph.tensors[op.output], 1, 1))
    counted = Setting("rv32imc", variant, tmp_path).difference(chain).opened
    assert counted == pytest.approx(offered[form].instructions, rel=0.06)
