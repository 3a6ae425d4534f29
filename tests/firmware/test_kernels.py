# SPDX-License-Identifier: Apache-2.0
"""The kernels over lists of active groups against the golden operators, under sanitizers.

What stands in no list is full of other numbers in the inputs and must not be read; in the outputs it
must not be written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from acsgen.emit.closed import closed_sums
from acsgen.emit.forms import FORMS
from acsgen.emit.sums import coarseness, linear_sum
from acsgen.golden.arithmetic import quantize_multipliers
from acsgen.golden.operators import compute
from acsgen.graph import Add, AvgPool, Conv2D, DepthwiseConv2D, MaxPool, Tensor
from acsgen.graph.ops import Padding, Requantize
from acsgen.plan.acs_forms import MAX_PAIRED_SUM, conv_forms, finishes_shortly
from acsgen.plan.conv_case import ConvCase, Form, conv_case
from acsgen.plan.helium_forms import is_taken
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
from tests.firmware.host import Kernels
from tests.golden import cases
from tests.graphs import divisors

Rng = np.random.Generator

#: What closed inputs are, and that no layer comes before, as host/run_kernel.c reads it.
ZERO, VALUES, SUMS = 0, 1, 2
NOTHING_BEFORE = 0

#: acs_form_t.
FORM_NUMBERS = {"plain": 0, "paired": 1, "wide": 2, "winograd": 3, "winograd_scalar": 3, "bytes": 4, "helium": 8}
#: Forms of a kernel set, as far as cases are such that every one comes often; those that are exact unless `plain` is.
FORMS_OF = {
    "acs": {"plain", "wide", "paired", "winograd"},
    "acs_helium": {"plain", "helium"},
    "acs_rv32": {"plain", "bytes", "winograd_scalar"},
    "acs_c": {"plain", "bytes", "winograd_scalar"},
}
ALWAYS = {"acs": {"wide"}}

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


@dataclass(frozen=True)
class Call:
    """A request, and what it must give."""

    request: bytes
    expected: Int8
    why: str


def assert_outputs(kernels: Kernels, calls: list[Call]) -> None:
    """Makes the calls one after the other in one process."""
    reader = call(kernels.program, *(each.request for each in calls))
    for each in calls:
        assert take_number(reader) == 1, f"the kernel refused: {each.why}"
        np.testing.assert_array_equal(take_array(reader, each.expected.shape), each.expected, err_msg=each.why)
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


def conv_arguments(
    case: cases.Case, input_groups: int, output_groups: int, pack_limit: int, form: str, pack_rows: int = 0
) -> tuple[Any, ...]:
    assert isinstance(case.op, Conv2D)
    shapes = (case.sources[0].shape, case.target.shape)
    groups = (input_groups, output_groups, pack_limit)
    constants = (*quantization(case, case.op.weights), *formed(case, groups, form))
    return (*shapes, *window(case.op), groups, pack_rows, *constants)


def some_rows(rng: Rng, case: cases.Case) -> int:
    """How many rows of the output are packed for at a time: 0, all, where a window has no row of the image in it."""
    op, height, rows = case.op, case.sources[0].shape[0], case.target.shape[0]
    assert isinstance(op, Conv2D)
    taps = np.arange(rows)[:, None] * op.stride[0] - op.padding.top + np.arange(op.kernel[0]) * op.dilation[0]
    inside = ((taps >= 0) & (taps < height)).any(axis=1)
    # CMSIS-NN's 1x1 convolution goes by the input's rows; for a single row of taps it is told of no padding above.
    plain = op.kernel[0] > 1 or (op.kernel[1] == 1 and op.padding.top == 0)
    return int(rng.integers(0, rows + 1)) if inside.all() and plain else 0


def as_conv_case(case: cases.Case, groups: tuple[int, ...]) -> ConvCase:
    assert isinstance(case.op, Conv2D)
    return conv_case(case.op, case.sources[0], case.target, groups[0], groups[1])


def formed(case: cases.Case, groups: tuple[int, ...], form: str) -> tuple[Any, ...]:
    """The arguments behind the shifts: the form, and its arrays with their sizes."""
    if form == "plain":
        return (FORM_NUMBERS[form], 0, 0)
    packed = FORMS[form](as_conv_case(case, groups))
    arrays = [(array.nbytes, array) for array in (packed.words, packed.finish)]
    return (FORM_NUMBERS[form], *arrays)


def offers(
    kernels: Kernels, case: cases.Case, groups: tuple[int, ...], constants: bool = False, scaled: bool = False
) -> dict[str, Form]:
    """By name, the forms that the kernel set offers; constants, scaled: as in ConvCase."""
    offer = kernels.kernel_set.conv_forms
    conv = as_conv_case(case, groups).behind(constants, scaled)
    return {} if offer is None else {form.name: form for form in offer(conv)}


def forms_of(
    kernels: Kernels, case: cases.Case, groups: tuple[int, ...], constants: bool = False, scaled: bool = False
) -> list[str]:
    """The forms that the kernel set offers, and those that are exact as well."""
    offered = set(offers(kernels, case, groups, constants, scaled)) or {"plain"}
    always = ALWAYS.get(kernels.kernel_set.name, set())
    return ["plain"] if offered == {"plain"} else sorted({"plain", *always, *offered})


def room_for(form: Form | None, band: int = 0) -> int:
    """The scratch that the planner gives; plenty for a form that it does not offer, or that packs.

    band: bytes that are added to a residual at a time, if the kernel does not know better; 0: there is none.
    """
    if form is None or form.name == "plain":
        return SCRATCH
    return form.scratch_bytes + (max(form.band_bytes, -(-band // 4) * 4) if band else 0)


def call_scratch(kernels: Kernels, case: cases.Case, groups: tuple[int, ...]) -> int:
    """What a call of a library's convolution takes besides."""
    asked = kernels.kernel_set.call_scratch
    return asked(as_conv_case(case, groups)) if asked else 0


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("draw", [cases.conv2d, cases.conv2d_in_fours])
def test_conv(judged: Kernels, draw: Callable[[Rng, int], cases.Case], groups: int) -> None:
    """Plain and grouped, the output in as many groups as the input or in several times as many.

    The more scratch there is beyond what must be, the more groups are taken together.
    """
    calls, forms = [], Counter[str]()
    for seed in range(80):
        rng = np.random.default_rng((groups, seed))
        case = draw(rng, groups)
        x, y = one_sample(case)
        output_groups = groups * some_divisor(rng, y.shape[2] // groups)
        active = random_list(rng, output_groups)
        assert isinstance(case.op, Conv2D)
        scratch = judged.kernel_set.conv_scratch(case.op.kernel, x.shape[2] // groups) + int(rng.choice(SPARE))
        expected = laid_out(y, output_groups, expanded(active, output_groups))
        offered = offers(judged, case, (groups, output_groups))
        for form in forms_of(judged, case, (groups, output_groups)):
            room = room_for(offered.get(form)) if judged.kernel_set.conv_forms else scratch
            room += call_scratch(judged, case, (groups, output_groups))
            arguments = (*conv_arguments(case, groups, output_groups, 0, form), active, grouped(x, groups), room)
            why = f"seed {seed}, {form}: {case.op}, {active}"
            calls.append(Call(request("conv", *arguments), expected, why))
            forms[form] += 1
    assert_outputs(judged, calls)
    assert_forms(judged, forms, set() if draw is cases.conv2d_in_fours else {"winograd", "winograd_scalar", "helium"})


def some_divisor(rng: Rng, channels: int) -> int:
    """Into how many groups channels fall; often of a multiple of four."""
    choices = divisors(channels)
    fours = [groups for groups in choices if channels // groups % 4 == 0]
    return int(rng.choice(fours if fours and rng.random() < 0.6 else choices))


def assert_forms(kernels: Kernels, forms: Counter[str], rare: Set[str] = frozenset()) -> None:
    """Every form of the kernel set was tested, those that are rare in these cases excepted."""
    wanted = FORMS_OF.get(kernels.kernel_set.name, {"plain"}) - rare
    assert all(forms[form] >= 5 for form in wanted), forms


def depthwise_arguments(case: cases.Case, groups: int) -> tuple[Any, ...]:
    assert isinstance(case.op, DepthwiseConv2D)
    weights = np.stack(np.split(case.op.weights, groups, axis=2))
    shapes = (case.sources[0].shape, case.target.shape)
    return (*shapes, *window(case.op), groups, *quantization(case, weights))


def join_case(rng: Rng, fours: float = 0.4, unpadded: float = 0.3) -> tuple[cases.Case, int]:
    """A convolution whose input channels fall into several groups, and how many.

    fours: the share of those as networks have them, unpadded: of these, those without padding.
    """
    while True:
        case = cases.conv2d(rng) if rng.random() >= fours else cases.conv2d_in_fours(rng, unpadded=unpadded)
        groups = some_divisor(rng, case.sources[0].shape[2])
        if groups > 1:
            return case, groups


def closed_input(case: cases.Case, groups: int, active: List | None) -> tuple[cases.Case, list[int]]:
    """The case with real zeros in its closed groups, and its open channels."""
    x, source = case.values[0][:1], case.sources[0]
    channels = channels_of(expanded(active, groups), groups, source.shape[2])
    zeroed = np.full_like(x, source.zero_point)
    zeroed[..., channels] = x[..., channels]
    return replace(case, values=(zeroed,)), channels


def test_conv_join(judged: Kernels) -> None:
    """With no, few (packed), many (read as zeros) and all groups, and a list of outputs or none."""
    ways, forms = Counter[str](), Counter[str]()
    calls = []
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
        output_groups = some_divisor(rng, y.shape[2])
        outputs = random_list(rng, output_groups)
        expected = laid_out(y, output_groups, expanded(outputs, output_groups))
        rows = some_rows(rng, case)
        ways["bands"] += groups > 1 and 0 < rows < y.shape[0] and case.op.kernel[0] > 1
        offered = offers(judged, case, (groups, output_groups))
        for form in forms_of(judged, case, (groups, output_groups)):
            arguments = (*conv_arguments(case, groups, output_groups, limit, form, rows), ZERO, NOTHING_BEFORE)
            arguments = (*arguments, active, outputs)
            why = f"seed {seed}, {form}: {case.op}, {active} of {groups}, limit {limit}, outputs {outputs}, {rows} rows"
            room = room_for(offered.get(form))
            calls.append(Call(request("conv_join", *arguments, grouped(garbage, groups), room), expected, why))
            forms[form] += 1
    assert_outputs(judged, calls)
    assert_forms(judged, forms)
    assert min(ways[way] for way in ("none", "all", "packed", "zeros", "bands")) >= 10, ways


def test_residual(judged: Kernels) -> None:
    """Added to another tensor band by band: of one image, and of several groups, active or not."""
    calls, forms = [], Counter[str]()
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
        scratch = judged.kernel_set.conv_scratch(conv.kernel, x.shape[2]) + rows * y.shape[1] * y.shape[2] + 4
        scratch += image + weights if groups > 1 else 0
        scratch += call_scratch(judged, case, (groups, 1))
        offered = offers(judged, case, (groups, 1))
        limit = int(rng.integers(0, groups))
        for form in forms_of(judged, case, (groups, 1)):
            room = scratch
            if judged.kernel_set.conv_forms and form != "plain":
                room = room_for(offered.get(form), band=rows * y.shape[1] * y.shape[2])
            call_bytes = request(
                "residual", *conv_arguments(case, groups, 1, limit, form, some_rows(rng, case)), y.size, *how,
                fine is result, rows, active, grouped(x, groups), addend, room,
            )  # fmt: skip
            why = f"seed {seed}, {form}: {conv}, {count} of {groups} groups, {rows} rows"
            calls.append(Call(call_bytes, grouped(expected, 1), why))
            forms[form] += 1
    assert_outputs(judged, calls)
    assert_forms(judged, forms)


def random_tensor(rng: Rng, name: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name, shape, float(np.float32(np.exp(rng.uniform(-4, -2)))), int(rng.integers(-128, 128)))


@pytest.mark.parametrize("behind_a_layer", [False, True])
@pytest.mark.parametrize("closed", [VALUES, SUMS])
def test_conv_join_of_constants(judged: Kernels, closed: int, behind_a_layer: bool) -> None:
    """Closed groups hold a constant each channel, which no convolution pads around; it is not read."""
    calls, forms = [], Counter[str]()
    for seed in range(200):
        rng = np.random.default_rng((seed, closed))
        case, groups = join_case(rng, fours=0.8, unpadded=1)
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
        output_groups = some_divisor(rng, y.shape[2])
        outputs = random_list(rng, output_groups)
        expected = laid_out(y, output_groups, expanded(outputs, output_groups))
        for form in forms_of(judged, case, (groups, output_groups), constants=True, scaled=behind_a_layer):
            rows = some_rows(rng, case)
            arguments = (*conv_arguments(case, groups, output_groups, limit, form, rows), extra, layer, active, outputs)
            why = f"seed {seed}, {form}: {case.op}, {active} of {groups}, limit {limit}, outputs {outputs}"
            calls.append(Call(request("conv_join", *arguments, grouped(garbage, groups), SCRATCH), expected, why))
            forms[form] += 1
    assert_outputs(judged, calls)
    assert_forms(judged, forms, {"helium", "bytes", "winograd_scalar"})


@pytest.mark.parametrize("draw", [cases.depthwise_conv2d, cases.depthwise_squares])
def test_depthwise(judged: Kernels, draw: Callable[[Rng], cases.Case]) -> None:
    """With the scratch that the planner gives."""
    calls = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        case = cases.scaling(rng) if seed % 3 == 0 else draw(rng)
        op = case.op
        x, y = one_sample(case)
        groups = int(rng.choice(divisors(y.shape[2])))
        active = random_list(rng, groups)
        assert isinstance(op, DepthwiseConv2D)
        arguments = (*depthwise_arguments(case, groups), active, grouped(x, groups))
        columns = (y.shape[1] - 1) * op.stride[1] + op.kernel[1]
        scratch = judged.kernel_set.depthwise_scratch(op.kernel, y.shape[2] // groups, columns)
        expected = laid_out(y, groups, expanded(active, groups))
        calls.append(Call(request("depthwise", *arguments, scratch), expected, f"seed {seed}: {op}, {active}"))
    assert_outputs(judged, calls)


@pytest.mark.parametrize("draw", [cases.max_pool, cases.avg_pool])
def test_pool(judged: Kernels, draw: Callable[[Rng], cases.Case]) -> None:
    calls = []
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
        calls.append(Call(request("pool", *arguments), expected, f"seed {seed}: {case.op}, {active}"))
    assert_outputs(judged, calls)


@pytest.mark.parametrize("limit", [0, 2])
def test_too_small_a_scratch_is_refused(judged: Kernels, limit: int) -> None:
    """Whatever its size, the result is right or the kernel says no, and memory is left alone.

    What the planner gives is enough.
    """
    case = scratchy_case()
    op: Any = case.op
    active = List(4, (0, 2))
    case, _ = closed_input(case, 4, active)
    x, y = one_sample(case)
    needed = prod(x.shape) + op.weights.size // 2 + 4 * op.weights[0].size
    form = next(iter(offers(judged, case, (4, 1)).values()), None)
    sizes = [*range(0, needed + 64, 7), *([form.scratch_bytes] if form else [])]
    arguments = (*conv_arguments(case, 4, 1, limit, form.name if form else "plain"), ZERO, NOTHING_BEFORE)
    arguments = (*arguments, active, None, grouped(x, 4))
    reader = call(judged.program, *(request("conv_join", *arguments, size) for size in sizes))
    accepted = []
    for _ in sizes:
        accepted.append(take_number(reader))
        result = take_array(reader, y.shape)
        if accepted[-1]:
            np.testing.assert_array_equal(result, y)
    if form:
        assert accepted.pop() == 1 and form.name != "plain"
    assert accepted == sorted(accepted)
    in_place = judged.kernel_set.conv_scratch is no_scratch and not judged.kernel_set.packs
    needs_none = form is None and in_place and limit == 0
    assert (accepted[0], accepted[-1]) == (needs_none, 1)


@pytest.mark.parametrize("beyond", [0, 1])
def test_sums_at_the_end_of_24_bits(judged: Kernels, beyond: int) -> None:
    """The greatest and the least sum that two output channels in a weight stand; one more, and the form is another."""
    if "paired" not in FORMS_OF.get(judged.kernel_set.name, set()):
        return
    calls = []
    for sign in (1, -1):
        case = extreme_case(sign * (MAX_PAIRED_SUM + beyond))
        form = conv_forms(as_conv_case(case, (1, 1)))[0]
        assert form.name == ("wide" if beyond else "paired")
        x, y = one_sample(case)
        arguments = (*conv_arguments(case, 1, 1, 0, form.name), None, grouped(x, 1), form.scratch_bytes)
        calls.append(Call(request("conv", *arguments), laid_out(y, 1, [0]), f"{sign}, {form.name}"))
    assert_outputs(judged, calls)


def extreme_case(reached: int) -> cases.Case:
    """A 3x3 convolution whose greatest or least sum is `reached`: weights and inputs at their ends."""
    channels, sign = 24, 1 if reached > 0 else -1
    weights = np.full((8, 3, 3, channels), 127 * sign, np.int8)
    weights[0::2] *= -1
    bias = np.full(8, reached - sign * 255 * 127 * 9 * channels, np.int32)
    how = Requantize(*quantize_multipliers(np.full(8, 100 / MAX_PAIRED_SUM)), -128, 127)
    op = Conv2D("c", ("x",), "y", weights, bias, (1, 1), Padding(1, 1, 1, 1), requantize=how)
    source, target = Tensor("x", (4, 6, channels), 0.1, -128), Tensor("y", (4, 6, 8), 0.1, 3)
    return cases.Case(op, (source,), target, (np.full((1, 4, 6, channels), 127, np.int8),))


def scratchy_case() -> cases.Case:
    """A 3x3 convolution of 8 channels, which goes through im2col or is one of the kernel sets' own."""
    rng = np.random.default_rng(0)
    while True:
        case = cases.conv2d(rng)
        fits = isinstance(case.op, Conv2D) and case.op.kernel == (3, 3) and case.sources[0].shape[2] == 8
        if fits and finishes_shortly(as_conv_case(case, (4, 1))) and is_taken(as_conv_case(case, (4, 1))):
            return case
