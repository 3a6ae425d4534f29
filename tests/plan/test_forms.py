# SPDX-License-Identifier: Apache-2.0
"""Which form of constants each convolution gets: what flash and RAM allow, and what saves most."""

from __future__ import annotations

import numpy as np

from acsgen.graph import Conv2D, Graph
from acsgen.plan import KERNEL_SETS, Plan, Spare, plan
from acsgen.plan.acs_forms import conv_forms
from acsgen.plan.choose import choose, without_largest
from acsgen.plan.conv_case import Form, conv_case
from tests.graphs import Builder
from tests.plan.small import small_graph

ACS = KERNEL_SETS["acs"]


def forms(planned: Plan) -> list[str]:
    return [step.form for step in planned.steps if step.kernel == "conv"]


def three_layers() -> Graph:
    """1x1, 3x3, 3x3 with stride 2; 8 and 16 channels in 8x8 pixels."""
    return small_graph(lambda b: b.conv(b.conv(b.conv("x", 16, (1, 1)), 16), 16, stride=(2, 2)), (8, 8, 8))


def test_smallest_constants_without_spare_flash() -> None:
    assert forms(plan(three_layers(), ACS)) == ["paired", "paired", "paired"]
    assert forms(plan(three_layers(), ACS, Spare(0))) == ["paired", "paired", "paired"]


def test_winograd_where_it_is_open_and_has_room() -> None:
    extra = 16 * 16 * (2 * 16 - 9)
    assert forms(plan(three_layers(), ACS, Spare(None))) == ["paired", "winograd", "paired"]
    assert forms(plan(three_layers(), ACS, Spare(extra))) == ["paired", "winograd", "paired"]
    assert forms(plan(three_layers(), ACS, Spare(extra - 1))) == ["paired", "paired", "paired"]


def test_what_does_not_fit_the_ram_is_taken_back() -> None:
    small, large = plan(three_layers(), ACS), plan(three_layers(), ACS, Spare(None))
    assert large.arena_bytes > small.arena_bytes
    assert forms(plan(three_layers(), ACS, Spare(None, large.arena_bytes))) == forms(large)
    taken_back = plan(three_layers(), ACS, Spare(None, large.arena_bytes - 1))
    assert (forms(taken_back), taken_back.arena_bytes) == (forms(small), small.arena_bytes)


def test_other_kernel_sets_take_plain_constants() -> None:
    for name in ("cmsis_nn", "portable"):
        assert forms(plan(three_layers(), KERNEL_SETS[name], Spare(None))) == ["plain", "plain", "plain"]


def form(name: str, constants: int, instructions: int, scratch: int = 0) -> Form:
    return Form(name, scratch, 0, constants, instructions, "")


def test_the_most_for_a_byte_comes_first() -> None:
    offers = {
        "slow": (form("a", 100, 1000), form("b", 200, 900)),
        "quick": (form("a", 100, 1000), form("b", 200, 500)),
        "worse": (form("a", 100, 1000), form("b", 200, 1001)),
    }
    picked = [
        {name: form.name for name, form in choose(offers, Spare(flash)).items()} for flash in (99, 100, 200, None)
    ]
    assert picked[0] == {"slow": "a", "quick": "a", "worse": "a"}
    assert picked[1] == {"slow": "a", "quick": "b", "worse": "a"}
    assert picked[2] == picked[3] == {"slow": "b", "quick": "b", "worse": "a"}


def test_the_largest_scratch_goes_first() -> None:
    offers = {name: (form("a", 1, 9), form("b", 1, 8, scratch)) for name, scratch in (("less", 5), ("more", 6))}
    first = without_largest(offers, choose(offers, Spare(None)))
    assert first == {"less": offers["less"][1], "more": offers["more"][0]}
    second = without_largest(offers, first)
    assert second is not None and without_largest(offers, second) is None


def test_a_multiplier_that_is_not_of_the_short_form() -> None:
    """A left shift, and one so far to the right that the rounding constant leaves 32 bits: plain weights."""
    graph = small_graph(lambda b: b.conv("x", 8))
    op = graph.ops[0]
    assert isinstance(op, Conv2D) and op.requantize is not None
    case = conv_case(op, graph.tensors["x"], graph.tensors[op.output], 1, 1)
    assert [f.name for f in conv_forms(case)] == ["paired", "winograd"]
    for shift in (0, 1, -23):
        op.requantize.shift[3] = shift
        assert [f.name for f in conv_forms(case)] == ["plain"]
    op.requantize.multiplier[3] = 0
    assert [f.name for f in conv_forms(case)] == ["paired", "winograd"]


def test_sums_are_those_of_the_worst_inputs() -> None:
    """Against every corner of a convolution of three inputs."""
    graph = small_graph(lambda b: Builder.conv(b, "x", 4, (1, 1)), (1, 1, 3))
    op = graph.ops[0]
    assert isinstance(op, Conv2D)
    case = conv_case(op, graph.tensors["x"], graph.tensors[op.output], 1, 1)
    ends = np.array([-128, 0, 127]) - graph.tensors["x"].zero_point
    corners = np.array(np.meshgrid(ends, ends, ends)).reshape(3, -1)
    sums = op.weights[:, 0, 0].astype(int) @ corners + op.bias[:, None]
    least, greatest = case.sums()
    np.testing.assert_array_equal(least, sums.min(1))
    np.testing.assert_array_equal(greatest, sums.max(1))
