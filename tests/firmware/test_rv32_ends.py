# SPDX-License-Identifier: Apache-2.0
"""The kernel set `acs_rv32` at the ends of what its requantisation is chosen for, and what random cases seldom draw."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from acsgen.graph import Conv2D, DepthwiseConv2D, Tensor
from acsgen.graph.ops import Padding, Requantize
from acsgen.plan.acs_forms import MAX_WINOGRAD_SUM, SHIFTS
from tests.firmware.calls import expanded, grouped, random_list, request
from tests.firmware.host import Kernels
from tests.firmware.test_kernels import (
    Call,
    as_conv_case,
    assert_outputs,
    conv_arguments,
    laid_out,
    one_sample,
    quantization,
    window,
)
from tests.golden import cases

IN_CHANNELS, OUT_CHANNELS = 4, 24
TAPS = 9 * IN_CHANNELS


def conv_of(rng: np.random.Generator, bias: np.ndarray, multiplier: int, zero_point: int) -> cases.Case:
    """A 3x3 convolution with every right shift that there is, of weights and inputs at their ends."""
    weights = rng.choice([-127, 127], (OUT_CHANNELS, 3, 3, IN_CHANNELS)).astype(np.int8)
    shifts = -np.resize(np.array(SHIFTS, np.int32), OUT_CHANNELS)
    how = Requantize(np.full(OUT_CHANNELS, multiplier, np.int32), shifts, -128, 127)
    op = Conv2D("c", ("x",), "y", weights, bias, (1, 1), Padding(1, 1, 1, 1), requantize=how)
    source, target = Tensor("x", (4, 10, IN_CHANNELS), 0.1, -128), Tensor("y", (4, 10, OUT_CHANNELS), 0.1, zero_point)
    values = rng.choice([-128, -127, 126, 127], (1, 4, 10, IN_CHANNELS)).astype(np.int8)
    return cases.Case(op, (source,), target, (values,))


def bias_that_reaches(end: int, weights: np.ndarray) -> np.ndarray:
    """Of each channel, the bias with which its greatest or least sum is `end`."""
    signs = weights > 0 if end > 0 else weights < 0
    reached = np.sign(end) * 255 * 127 * signs.sum((1, 2, 3))
    return (end - reached).astype(np.int32)


@pytest.mark.parametrize("judged", ["acs_rv32", "acs_rv32-qemu"], indirect=True)
def test_every_shift_at_the_ends(judged: Kernels) -> None:
    """Sums up to both ends of 2^29, and small ones, which often lie halfway between two results."""
    assert judged.kernel_set.conv_forms is not None
    calls = []
    for number, (end, multiplier, zero_point) in enumerate(
        product((MAX_WINOGRAD_SUM, -MAX_WINOGRAD_SUM, 0), (1 << 30, (1 << 30) + 1, (1 << 31) - 1), (-128, 0, 127))
    ):
        case = conv_of(np.random.default_rng(number), np.zeros(OUT_CHANNELS, np.int32), multiplier, zero_point)
        assert isinstance(case.op, Conv2D)
        if end:
            case.op.bias[:] = bias_that_reaches(end, case.op.weights)
        else:
            case.op.bias[:] = np.arange(OUT_CHANNELS) - 12
        x, y = one_sample(case)
        forms = judged.kernel_set.conv_forms(as_conv_case(case, (1, 1)))
        assert [form.name for form in forms] == ["bytes", "winograd_scalar"]
        for form in forms:
            arguments = (*conv_arguments(case, 1, 1, 0, form.name), None, grouped(x, 1), form.scratch_bytes)
            why = f"{form.name}, {end}, {multiplier}, {zero_point}"
            calls.append(Call(request("conv", *arguments), laid_out(y, 1, [0]), why))
    assert_outputs(judged, calls)


@pytest.mark.parametrize("end", [MAX_WINOGRAD_SUM + 1, -MAX_WINOGRAD_SUM - 1])
@pytest.mark.parametrize("judged", ["acs_rv32"], indirect=True)
def test_one_more_takes_plain_weights(judged: Kernels, end: int) -> None:
    case = conv_of(np.random.default_rng(1), np.zeros(OUT_CHANNELS, np.int32), 1 << 30, 0)
    assert isinstance(case.op, Conv2D) and judged.kernel_set.conv_forms is not None
    case.op.bias[:] = bias_that_reaches(end, case.op.weights)
    assert [form.name for form in judged.kernel_set.conv_forms(as_conv_case(case, (1, 1)))] == ["plain"]


@pytest.mark.parametrize("judged", ["acs_rv32", "acs_rv32-qemu"], indirect=True)
def test_a_scale_for_every_channel(judged: Kernels) -> None:
    """1x1 depthwise convolutions, as batch normalisations become: every shift, several groups, lists of them."""
    calls = []
    for seed, (groups, zero_point) in enumerate(product((1, 2, 8), (-128, 5, 127))):
        rng = np.random.default_rng(seed)
        weights = rng.choice([-127, -3, 90, 127], (1, 1, OUT_CHANNELS)).astype(np.int8)
        shifts = -np.resize(np.array(SHIFTS, np.int32), OUT_CHANNELS)
        multiplier = rng.integers(1 << 30, 1 << 31, OUT_CHANNELS, np.int64).astype(np.int32)
        bias = (rng.integers(-60, 61, OUT_CHANNELS) << -shifts).astype(np.int32)
        how = Requantize(multiplier, shifts, int(rng.integers(-128, -50)), 127)
        op = DepthwiseConv2D("d", ("x",), "y", weights, bias, (1, 1), Padding(), requantize=how)
        source, target = (Tensor(name, (3, 5, OUT_CHANNELS), 0.1, zero_point) for name in "xy")
        case = cases.Case(op, (source,), target, (rng.integers(-128, 128, (1, 3, 5, OUT_CHANNELS)).astype(np.int8),))
        x, y = one_sample(case)
        active = random_list(rng, groups)
        laid = np.stack(np.split(weights, groups, axis=2))
        arguments = (x.shape, y.shape, *window(op), groups, *quantization(case, laid), active, grouped(x, groups), 0)
        expected = laid_out(y, groups, expanded(active, groups))
        calls.append(Call(request("depthwise", *arguments), expected, f"{groups} groups, zero point {zero_point}"))
    assert_outputs(judged, calls)
