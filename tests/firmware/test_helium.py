# SPDX-License-Identifier: Apache-2.0
"""Convolutions of the kernel set `acs_helium` against the golden operators: in C on the host, under sanitizers, and
in Helium's instructions in QEMU.

Shapes that the set has functions for, every function many times, with just the scratch that the planner gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from acsgen.golden.arithmetic import quantize_multipliers
from acsgen.graph import Conv2D
from acsgen.graph.ops import Requantize
from acsgen.plan.conv_case import ConvCase
from acsgen.plan.helium_forms import helium_forms, is_joined, window_of
from tests.firmware.calls import List, expanded, grouped, random_list, request
from tests.firmware.host import Kernels
from tests.firmware.test_kernels import (
    NOTHING_BEFORE,
    ZERO,
    Call,
    Rng,
    as_conv_case,
    assert_outputs,
    closed_input,
    conv_arguments,
    laid_out,
    one_sample,
    some_divisor,
)
from tests.golden import cases
from tests.graphs import divisors

pytestmark = pytest.mark.parametrize("judged", ["acs_helium", "acs_helium-qemu"], indirect=True)

#: Functions for a single source, and for joined groups.
OF_ONE = {
    *(f"{pitch}_{stride}" for pitch in (1, 2, 3, 4, 8, 16) for stride in (1, 2)),
    *(f"blocks_16_{stride}" for stride in (1, 2)),
    "points_16",
}
OF_JOINED = {
    *(f"blocks_{unit}_{stride}" for unit in (16, 8, 4) for stride in (1, 2)),
    *(f"points_{unit}" for unit in (16, 8, 4)),
}


def function_of(case: ConvCase) -> str:
    """The function of acs_helium_tile.S, without its prefix."""
    window, stride = window_of(case), case.stride[0]
    if case.kernel == (1, 1):
        return f"points_{window.unit}"
    if is_joined(case) or window.blocks > 1:
        return f"blocks_{window.unit}_{stride}"
    return f"{window.pitch}_{stride}"


def drawn(seeds: int, groups: int) -> Iterator[tuple[int, Rng, cases.Case]]:
    for seed in range(seeds):
        rng = np.random.default_rng((groups, seed))
        yield seed, rng, cases.conv2d_in_vectors(rng, groups)


def test_one_source(judged: Kernels) -> None:
    """Plain and grouped convolutions; the output in as many groups as the input or several times as many."""
    calls, functions = [], Counter[str]()
    for groups in (1, 2, 5):
        for seed, rng, case in drawn(200, groups):
            x, y = one_sample(case)
            output_groups = groups * some_divisor(rng, y.shape[2] // groups)
            active = random_list(rng, output_groups)
            conv = as_conv_case(case, (groups, output_groups))
            form = helium_forms(conv)[0]
            if form.name != "helium":
                continue
            expected = laid_out(y, output_groups, expanded(active, output_groups))
            arguments = conv_arguments(case, groups, output_groups, 0, form.name)
            why = f"{groups} groups, seed {seed}: {case.op}, {active} of {output_groups}"
            calls.append(
                Call(request("conv", *arguments, active, grouped(x, groups), form.scratch_bytes), expected, why)
            )
            functions[function_of(conv)] += 1
    assert_outputs(judged, calls)
    assert set(functions) == OF_ONE and min(functions.values()) >= 3, functions


def test_joined_groups(judged: Kernels) -> None:
    """No, one, some and all groups of the input; what is closed must not be read."""
    calls, functions, counts = [], Counter[str](), Counter[str]()
    for seed, rng, case in drawn(500, 1):
        channels = case.sources[0].shape[2]
        likely = [n for n in (16, 16, 8, 8, 8) if channels % n == 0 and n < channels]
        groups = channels // int(rng.choice([*likely, rng.choice(divisors(channels))]))
        _, y = one_sample(case)
        output_groups = some_divisor(rng, y.shape[2])
        conv = as_conv_case(case, (groups, output_groups))
        form = helium_forms(conv)[0]
        if groups == 1 or form.name != "helium":
            continue
        active, outputs = random_list(rng, groups), random_list(rng, output_groups)
        case, opened = closed_input(case, groups, active)
        garbage = rng.integers(-128, 128, case.sources[0].shape).astype(np.int8)
        garbage[..., opened] = case.values[0][0][..., opened]
        expected = laid_out(one_sample(case)[1], output_groups, expanded(outputs, output_groups))
        arguments = (*conv_arguments(case, groups, output_groups, 0, form.name), ZERO, NOTHING_BEFORE, active, outputs)
        why = f"seed {seed}: {case.op}, {active} of {groups}, outputs {outputs} of {output_groups}"
        calls.append(
            Call(request("conv_join", *arguments, grouped(garbage, groups), form.scratch_bytes), expected, why)
        )
        functions[function_of(conv)] += 1
        counts[_how_many(active, groups)] += 1
    assert_outputs(judged, calls)
    assert set(functions) == OF_JOINED and min(functions.values()) >= 3, functions
    assert set(counts) == {"none", "one", "some", "all"} and min(counts.values()) >= 10, counts


def test_sums_far_beyond_int8(judged: Kernels) -> None:
    """Shifted, they leave 16 bits as well, whichever way the output's zero point moves them."""
    calls, beyond = [], 0
    for seed, rng, case in drawn(60, 1):
        op = case.op
        assert isinstance(op, Conv2D)
        multipliers = quantize_multipliers(rng.uniform(0.25, 0.49, len(op.bias)))
        bias = rng.choice([-1, 1], len(op.bias)).astype(np.int32) * (1 << 20)
        case = replace(case, op=replace(op, bias=bias, requantize=Requantize(*multipliers, -128, 127)))
        form = helium_forms(as_conv_case(case, (1, 1)))[0]
        if form.name != "helium":
            continue
        x, y = one_sample(case)
        arguments = (*conv_arguments(case, 1, 1, 0, form.name), None, grouped(x, 1), form.scratch_bytes)
        calls.append(Call(request("conv", *arguments), grouped(y, 1), f"seed {seed}: {op}"))
        beyond += {-128, 127} <= set(np.unique(y).tolist()) and case.target.zero_point != 0
    assert_outputs(judged, calls)
    assert beyond >= 10


def _how_many(active: List | None, groups: int) -> str:
    count = len(expanded(active, groups))
    return {0: "none", 1: "one", groups: "all"}.get(count, "some")
