# SPDX-License-Identifier: Apache-2.0
"""The kernels over lists of active groups against the golden operators, under sanitizers.

What stands in no list is full of other numbers in the inputs and must not be read; in the outputs it
must not be written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from acsgen.emit.closed import closed_sums
from acsgen.emit.sums import coarseness, linear_sum
from acsgen.golden.operators import compute
from acsgen.graph import Add, AvgPool, Conv2D, DepthwiseConv2D, MaxPool, Tensor
from acsgen.graph.ops import Padding
from acsgen.plan.kernel_sets import no_scratch
from tests.firmware.calls import (
    POISON,
    Int8,
    List,
    add_fields,
    call,
    channels_of,
    expanded,
    grouped,
    random_list,
    request,
    take_array,
    take_number,
)
from tests.firmware.host import Kit
from tests.golden import cases
from tests.graphs import divisors

Rng = np.random.Generator

#: What closed inputs are, and that no layer comes before, as host/run_kernel.c reads it.
ZERO, VALUES, SUMS = 0, 1, 2
NOTHING_BEFORE = 0
#: More than any of these cases needs.
SCRATCH = 1 << 17
#: Bytes beyond the least: for nothing, for few rows and filters, for all.
SPARE = (0, 64, 500, 3000, SCRATCH)


def one_sample(case: cases.Case) -> tuple[Int8, Int8]:
    """Input and golden output of the first sample."""
    values = case.values[0][:1]
    return values[0], compute(case.op, (values,), case.sources, case.target)[0]


def laid_out(output: Int8, groups: int, opened: list[int]) -> Int8:
    """Group-major, poison where no active group is."""
    expected = np.full_like(grouped(output, groups), POISON)
    expected[opened] = grouped(output, groups)[opened]
    return expected


def assert_output(kernels: Path, call_bytes: bytes, expected: Int8, why: str) -> None:
    reader = call(kernels, call_bytes)
    assert take_number(reader) == 1, f"the kernel refused: {why}"
    np.testing.assert_array_equal(take_array(reader, expected.shape), expected, err_msg=why)
    reader.expect_end()


def window(op: Any) -> tuple[Any, ...]:
    padding = (op.padding.top, op.padding.left)
    return (op.kernel, op.stride, padding, op.dilation) if hasattr(op, "dilation") else (op.kernel, op.stride, padding)


def quantization(case: cases.Case, weights: NDArray[Any]) -> tuple[Any, ...]:
    """The arguments from the zero points to the shifts."""
    op: Any = case.op
    how = op.requantize
    points = (case.sources[0].zero_point, case.target.zero_point, how.low, how.high)
    return (*points, weights.size, np.ascontiguousarray(weights), op.bias, how.multiplier, how.shift)


def conv_arguments(case: cases.Case, input_groups: int, output_groups: int, pack_limit: int) -> tuple[Any, ...]:
    assert isinstance(case.op, Conv2D)
    shapes = (case.sources[0].shape, case.target.shape)
    groups = (input_groups, output_groups, pack_limit)
    return (*shapes, *window(case.op), groups, *quantization(case, case.op.weights))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv(kit: Kit, kernels: Path, groups: int) -> None:
    """Plain and grouped, the output in as many groups as the input or in several times as many.

    The more scratch there is beyond what must be, the more groups are taken together.
    """
    for seed in range(60):
        rng = np.random.default_rng((groups, seed))
        case = cases.conv2d(rng, groups)
        x, y = one_sample(case)
        output_groups = groups * int(rng.choice(divisors(y.shape[2] // groups)))
        active = random_list(rng, output_groups)
        assert isinstance(case.op, Conv2D)
        scratch = kit.kernel_set.conv_scratch(case.op.kernel, x.shape[2] // groups) + int(rng.choice(SPARE))
        arguments = (*conv_arguments(case, groups, output_groups, 0), active, grouped(x, groups), scratch)
        expected = laid_out(y, output_groups, expanded(active, output_groups))
        assert_output(kernels, request("conv", *arguments), expected, f"seed {seed}: {case.op}, {active}")


def depthwise_arguments(case: cases.Case, groups: int) -> tuple[Any, ...]:
    assert isinstance(case.op, DepthwiseConv2D)
    weights = np.stack(np.split(case.op.weights, groups, axis=2))
    shapes = (case.sources[0].shape, case.target.shape)
    return (*shapes, *window(case.op), groups, *quantization(case, weights))


def join_case(rng: Rng) -> tuple[cases.Case, int]:
    """A convolution whose input channels fall into several groups, and how many."""
    while True:
        case = cases.conv2d(rng)
        choices = divisors(case.sources[0].shape[2])[1:]
        if choices:
            return case, int(rng.choice(choices))


def closed_input(case: cases.Case, groups: int, active: List | None) -> tuple[cases.Case, list[int]]:
    """The case with real zeros in its closed groups, and its open channels."""
    x, source = case.values[0][:1], case.sources[0]
    channels = channels_of(expanded(active, groups), groups, source.shape[2])
    zeroed = np.full_like(x, source.zero_point)
    zeroed[..., channels] = x[..., channels]
    return replace(case, values=(zeroed,)), channels


def test_conv_join(kernels: Path) -> None:
    """With no, few (packed), many (read as zeros) and all groups, and a list of outputs or none."""
    ways: Counter[str] = Counter()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        case, groups = join_case(rng)
        active = random_list(rng, groups)
        count, limit = len(expanded(active, groups)), int(rng.integers(0, groups))
        ways["none" if not count else "all" if count == groups else "packed" if count <= limit else "zeros"] += 1
        case, channels = closed_input(case, groups, active)
        garbage = rng.integers(-128, 128, case.sources[0].shape).astype(np.int8)
        garbage[..., channels] = case.values[0][0][..., channels]

        _, y = one_sample(case)
        output_groups = int(rng.choice(divisors(y.shape[2])))
        outputs = random_list(rng, output_groups)
        arguments = (*conv_arguments(case, groups, output_groups, limit), ZERO, NOTHING_BEFORE, active, outputs)
        expected = laid_out(y, output_groups, expanded(outputs, output_groups))
        assert_output(
            kernels,
            request("conv_join", *arguments, grouped(garbage, groups), SCRATCH),
            expected,
            f"seed {seed}: {case.op}, {active} of {groups}, limit {limit}, outputs {outputs}",
        )
    assert min(ways[way] for way in ("none", "all", "packed", "zeros")) >= 10, ways


def test_residual(kit: Kit, kernels: Path) -> None:
    """Added to another tensor band by band: of one image, and of several groups, active or not."""
    for seed in range(150):
        rng = np.random.default_rng(seed)
        case, groups = join_case(rng)
        groups = groups if rng.random() < 0.5 else 1
        conv = case.op
        assert isinstance(conv, Conv2D)
        if conv.kernel[0] == 1 and (conv.kernel[1] > 1 or conv.padding != Padding()):
            continue  # no convolution that works on rows
        active = random_list(rng, groups) if groups > 1 else None
        case, _ = closed_input(case, groups, active)
        x, y = one_sample(case)
        count = len(expanded(active, groups))
        result, other, total = case.target, random_tensor(rng, "other", y.shape), random_tensor(rng, "sum", y.shape)
        addend = rng.integers(-128, 128, y.shape).astype(np.int8)
        op = Add("add", (result.name, other.name), total.name, "relu" if rng.random() < 0.5 else "none")
        expected = compute(op, (y[None], addend[None]), (result, other), total)[0]

        coarse, fine = sorted((result, other), key=coarseness)
        rows = int(rng.integers(1, y.shape[0] + 1))
        how = add_fields(op, coarse, fine, total, linear_sum(op, coarse, fine, total))
        image, weights = x.size + 8, (conv.weights.size // conv.weights.shape[3]) * x.shape[2] + 8
        scratch = kit.kernel_set.conv_scratch(conv.kernel, x.shape[2]) + rows * y.shape[1] * y.shape[2] + 4
        scratch += image + weights if groups > 1 else 0
        call_bytes = request(
            "residual", *conv_arguments(case, groups, 1, int(rng.integers(0, groups))), y.size, *how,
            fine is result, rows, active, grouped(x, groups), addend, scratch,
        )  # fmt: skip
        why = f"seed {seed}: {conv}, {count} of {groups} groups, {rows} rows"
        assert_output(kernels, call_bytes, grouped(expected, 1), why)


def random_tensor(rng: Rng, name: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name, shape, float(np.float32(np.exp(rng.uniform(-4, -2)))), int(rng.integers(-128, 128)))


@pytest.mark.parametrize("behind_a_layer", [False, True])
@pytest.mark.parametrize("closed", [VALUES, SUMS])
def test_conv_join_of_constants(kernels: Path, closed: int, behind_a_layer: bool) -> None:
    """Closed groups hold a constant each channel, which no convolution pads around; it is not read."""
    for seed in range(120):
        rng = np.random.default_rng((seed, closed))
        case, groups = join_case(rng)
        assert isinstance(case.op, Conv2D)
        if case.op.padding != Padding():
            continue
        active = random_list(rng, groups)
        limit = int(rng.integers(0, groups))
        x, source = case.values[0][:1], case.sources[0]
        before = cases.scaling(rng, source.shape) if behind_a_layer else None
        if before:
            raw = before.values[0][:1]
            target = replace(before.target, scale=source.scale, zero_point=source.zero_point)
            x = compute(before.op, (raw,), before.sources, target)
        constants = rng.integers(-128, 128, source.shape[2]).astype(np.int8)
        channels = channels_of(expanded(active, groups), groups, source.shape[2])
        filled = np.broadcast_to(constants, x.shape).copy()
        filled[..., channels] = x[..., channels]
        _, y = one_sample(replace(case, values=(filled,)))

        given = (raw if before else filled)[0]
        garbage = rng.integers(-128, 128, given.shape).astype(np.int8)
        garbage[..., channels] = given[..., channels]
        added = closed_sums(case.op.weights, constants, source.zero_point, groups)
        extra = (closed, constants if closed == VALUES else added)
        layer = NOTHING_BEFORE if before is None else (1, *depthwise_arguments(replace(before, target=target), groups))
        outputs = random_list(rng, 1)
        arguments = (*conv_arguments(case, groups, 1, limit), extra, layer, active, outputs)
        assert_output(
            kernels,
            request("conv_join", *arguments, grouped(garbage, groups), SCRATCH),
            laid_out(y, 1, expanded(outputs, 1)),
            f"seed {seed}: {case.op}, {active} of {groups}, limit {limit}",
        )


def test_depthwise(kernels: Path) -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        case = cases.scaling(rng) if seed % 3 == 0 else cases.depthwise_conv2d(rng)
        x, y = one_sample(case)
        groups = int(rng.choice(divisors(y.shape[2])))
        active = random_list(rng, groups)
        arguments = (*depthwise_arguments(case, groups), active, grouped(x, groups))
        expected = laid_out(y, groups, expanded(active, groups))
        assert_output(kernels, request("depthwise", *arguments, SCRATCH), expected, f"seed {seed}: {case.op}, {active}")


@pytest.mark.parametrize("draw", [cases.max_pool, cases.avg_pool])
def test_pool(kernels: Path, draw: Callable[[Rng], cases.Case]) -> None:
    for seed in range(80):
        rng = np.random.default_rng(seed)
        case = draw(rng)
        assert isinstance(case.op, MaxPool | AvgPool)
        x, y = one_sample(case)
        groups = int(rng.choice(divisors(y.shape[2])))
        active = random_list(rng, groups)
        kind = isinstance(case.op, AvgPool)
        arguments = (kind, x.shape, y.shape, *window(case.op), groups, active, grouped(x, groups), SCRATCH)
        expected = laid_out(y, groups, expanded(active, groups))
        assert_output(kernels, request("pool", *arguments), expected, f"seed {seed}: {case.op}, {active}")


@pytest.mark.parametrize("limit", [0, 2])
def test_too_small_a_scratch_is_refused(kit: Kit, kernels: Path, limit: int) -> None:
    """Whatever its size, the result is right or the kernel says no, and memory is left alone."""
    case = scratchy_case()
    op: Any = case.op
    active = List(4, (0, 2))
    case, _ = closed_input(case, 4, active)
    x, y = one_sample(case)
    needed = prod(x.shape) + op.weights.size // 2 + 4 * op.weights[0].size
    sizes = range(0, needed + 64, 7)
    arguments = (*conv_arguments(case, 4, 1, limit), ZERO, NOTHING_BEFORE, active, None, grouped(x, 4))
    reader = call(kernels, *(request("conv_join", *arguments, size) for size in sizes))
    accepted = []
    for _ in sizes:
        accepted.append(take_number(reader))
        result = take_array(reader, y.shape)
        if accepted[-1]:
            np.testing.assert_array_equal(result, y)
    assert accepted == sorted(accepted)
    needs_none = kit.kernel_set.conv_scratch is no_scratch and limit == 0
    assert (accepted[0], accepted[-1]) == (needs_none, 1)


def scratchy_case() -> cases.Case:
    """A 3x3 convolution of 8 channels, which goes through im2col."""
    rng = np.random.default_rng(0)
    while True:
        case = cases.conv2d(rng)
        if isinstance(case.op, Conv2D) and case.op.kernel == (3, 3) and case.sources[0].shape[2] == 8:
            return case
