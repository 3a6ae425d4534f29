# SPDX-License-Identifier: Apache-2.0
"""The runtime's own functions against numpy and the golden model, under sanitizers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acsgen.emit.places import ALWAYS
from acsgen.emit.sums import coarseness, linear_sum
from acsgen.golden import UNDECIDED
from acsgen.golden.arithmetic import (
    multiply_by_quantized_multiplier,
    quantize_multipliers,
)
from acsgen.golden.operators import add, compute
from acsgen.graph import Add, Pad
from acsgen.graph.ops import image_shape
from acsgen.target.link import RunMode
from tests.firmware.calls import (
    POISON,
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

ALL_INT8 = np.arange(-128, 128, dtype=np.int8)


#: Of the addends and of the sum; powers of two give sums that lie exactly between two numbers.
SPECIAL_SCALES: list[tuple[float, float, float]] = [
    (1, 1, 1),
    (1, 1, 2),
    (1, 1, 0.5),
    (2, 1, 2),
    (1, 2, 2),
    (4, 1, 1e3),
    (1, 1e-3, 1),
    (1e-6, 1, 1),
    (1, 2**-30, 1),
    (2**-31, 1, 1),
    (1, 2**-40, 1),
    (1, 1, 2**-18),
    (1, 1, 2**11),
    (1, 1, 2**13),
]


def with_scales(case: cases.Case, coarse: float, fine: float, out: float) -> cases.Case:
    """The same addition at other scales, without a clamp that would hide what is negative."""
    sources = tuple(replace(t, scale=s) for t, s in zip(case.sources, (coarse, fine), strict=True))
    target = replace(case.target, scale=out, zero_point=0)
    op = Add(case.op.name, case.op.inputs, case.op.output)
    return replace(case, op=op, sources=sources, target=target)


def additions() -> list[cases.Case]:
    """Every pair of int8 values at random scales, at equal ones, and where one addend all but vanishes."""
    draws = [cases.add_all_pairs(np.random.default_rng(seed)) for seed in range(30)]
    special = [
        with_scales(case, 0.05 * one, 0.05 * other, 0.05 * out)
        for case, (one, other, out) in zip(draws, SPECIAL_SCALES, strict=False)
    ]
    equal = [
        replace(
            case, sources=tuple(replace(t, scale=0.05) for t in case.sources), target=replace(case.target, scale=0.06)
        )
        for case in draws[:10]
    ]
    return draws + special + equal


def test_add_of_every_pair(judged: Kernels) -> None:
    """Both ways of adding, with the result in a place of its own and over either addend."""
    requests, wanted = [], []
    for number, case in enumerate(additions()):
        assert isinstance(case.op, Add)
        coarse, fine = sorted(case.sources, key=coarseness)
        factors = linear_sum(case.op, coarse, fine, case.target)
        assert factors is not None
        first, second = (case.values[case.sources.index(tensor)] for tensor in (coarse, fine))
        expected = add(case.op, case.values, case.sources, case.target)
        for way in (factors, None):
            place = number % 3
            how = add_fields(case.op, coarse, fine, case.target, way)
            requests.append(request("add", first.size, *how, first, second, place))
            wanted.append((expected, f"{case.sources} to {case.target}, {way}, place {place}"))
    reader = call(judged.program, *requests)
    for expected, why in wanted:
        np.testing.assert_array_equal(take_array(reader, expected.shape), expected, err_msg=why)
    reader.expect_end()


def test_rescale(kernels: Path) -> None:
    rng = np.random.default_rng(1)
    multiplier, shift = quantize_multipliers(np.exp(rng.uniform(np.log(1e-10), np.log(100), 2000)))
    reach = np.minimum(2.0**31, 2.0 ** (31 - np.maximum(shift, 0))) - 1
    value = (rng.uniform(-1, 1, 2000) * reach).astype(np.int32)
    value[::10] = np.round(rng.uniform(-3, 3, 200)).astype(np.int32)
    value[1::10] = np.sign(rng.uniform(-1, 1, 200)).astype(np.int32) * reach[1::10].astype(np.int32)
    triples = np.stack([value, multiplier, shift], axis=1)
    result = take_array(call(kernels, request("rescale", 2000, triples)), (2000,), np.int32)
    np.testing.assert_array_equal(result, multiply_by_quantized_multiplier(value, multiplier, shift))


@pytest.mark.parametrize("place", [0, 1])
def test_clamp(judged: Kernels, place: int) -> None:
    for low, high in ((-128, 127), (0, 127), (-5, 5), (7, 7), (-128, -128), (127, 127)):
        result = take_array(call(judged.program, request("clamp", 251, low, high, ALL_INT8[:251], place)), (251,))
        np.testing.assert_array_equal(result, np.clip(ALL_INT8[:251], low, high))


def test_copy(kernels: Path) -> None:
    for count in range(70):
        data = np.random.default_rng(count).integers(-128, 128, count).astype(np.int8)
        np.testing.assert_array_equal(take_array(call(kernels, request("copy", count, data)), (count,)), data)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (4, 5, 3), (3, 2, 32)])
def test_shuffle(kernels: Path, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(2)
    image, order = rng.integers(-128, 128, shape).astype(np.int8), rng.permutation(shape[2]).astype(np.uint16)
    result = take_array(call(kernels, request("shuffle", shape, order, image)), shape)
    np.testing.assert_array_equal(result, image[..., order])


def test_concat(kernels: Path) -> None:
    """Parts of every width, some the same, like the golden operator."""
    for seed in range(60):
        case = cases.concatenate(np.random.default_rng(seed))
        parts = [value[0] for value in case.values]
        expected = compute(case.op, case.values, case.sources, case.target)[0]
        arguments = [argument for part in parts for argument in (part.shape[-1], part)]
        reader = call(kernels, request("concat", image_shape(expected.shape), len(parts), *arguments))
        np.testing.assert_array_equal(take_array(reader, expected.shape), expected, err_msg=f"seed {seed}")
        reader.expect_end()


def test_join(kernels: Path) -> None:
    """Groups one behind the other, the active ones only."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        each, sizes = int(rng.integers(1, 6)), rng.integers(1, 4, int(rng.integers(1, 5)))
        shape = (*rng.integers(1, 5, 2).tolist(), int(each * sizes.sum()))
        groups = int(sizes.sum())
        image = rng.integers(-128, 128, shape).astype(np.int8)
        active = random_list(rng, groups)
        expected = np.full_like(grouped(image, groups), POISON)
        opened = expanded(active, groups)
        expected[opened] = grouped(image, groups)[opened]
        parts = np.split(grouped(image, groups), np.cumsum(sizes)[:-1])
        arguments = [argument for part in parts for argument in (len(part) * each, part)]
        reader = call(kernels, request("join", shape, groups, active, len(parts), *arguments))
        np.testing.assert_array_equal(take_array(reader, expected.shape), expected, err_msg=f"seed {seed}")
        reader.expect_end()


@pytest.mark.parametrize("mode", RunMode)
def test_make_list(kernels: Path, mode: RunMode) -> None:
    """Bits of several gates in any order, some twice, and groups that are always active."""
    rng = np.random.default_rng(0)
    for groups in (1, 7, 256):
        opened = (np.ones(40) if mode is RunMode.OPEN else rng.integers(0, 2, 40)).astype(np.uint8)
        source = np.where(rng.random(groups) < 0.3, ALWAYS, rng.integers(0, 40, groups)).astype(np.uint16)
        is_active = [s == ALWAYS or bool(opened[s]) for s in source.tolist()]
        expected = [g for g in range(groups) if is_active[g] or mode is RunMode.MULTIPLY]
        reader = call(kernels, request("make_list", mode, groups, source, 40, opened))
        assert (take_number(reader), take_number(reader)) == (groups, len(expected))
        assert take_array(reader, (len(expected),), np.uint8).tolist() == expected
        reader.expect_end()


def test_pad(kernels: Path) -> None:
    """Zeros on any side, like the golden operator."""
    for seed in range(60):
        case = cases.pad(np.random.default_rng(seed))
        assert isinstance(case.op, Pad)
        expected = compute(case.op, case.values, case.sources, case.target)[0]
        image, zero_point = case.values[0][0], case.target.zero_point
        corner = (case.op.padding.top, case.op.padding.left)
        reader = call(kernels, request("pad", image.shape, expected.shape, corner, zero_point, image))
        np.testing.assert_array_equal(take_array(reader, expected.shape), expected, err_msg=f"seed {seed}")
        reader.expect_end()


@pytest.mark.parametrize(
    ("active", "groups", "entries"),
    [
        (None, 5, [0, 1, 2, 3, 4]),
        (List(4, ()), 4, []),
        (List(4, (2,)), 4, [2]),
        (List(4, (0, 1, 2, 3)), 4, [0, 1, 2, 3]),
        (List(4, (1, 3)), 8, [2, 3, 6, 7]),
        (List(1, (0,)), 3, [0, 1, 2]),
        (List(1, ()), 3, []),
        (List(256, (0, 255)), 512, [0, 1, 510, 511]),
    ],
)
def test_list_entries_may_stand_for_several_groups(
    kernels: Path, active: List | None, groups: int, entries: list[int]
) -> None:
    reader = call(kernels, request("list", groups, active))
    assert [take_number(reader) for _ in range(take_number(reader))] == entries
    reader.expect_end()


@pytest.mark.parametrize("seed", range(60))
def test_layouts(kernels: Path, seed: int) -> None:
    """group and ungroup move the active groups and nothing else; ungroup clears the others."""
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 9))
    shape = (int(rng.integers(1, 6)), int(rng.integers(1, 6)), groups * int(rng.choice([1, 2, 3, 4, 8, 16, 21])))
    image = rng.integers(-128, 128, shape).astype(np.int8)
    active, zero_point = random_list(rng, groups), int(rng.integers(-128, 128))
    opened = expanded(active, groups)
    channels = channels_of(opened, groups, shape[2])
    head = (shape, groups, active)

    reader = call(
        kernels,
        request("group", *head, image),
        request("ungroup", *head, zero_point, grouped(image, groups)),
    )
    expected = np.full_like(grouped(image, groups), POISON)
    expected[opened] = grouped(image, groups)[opened]
    np.testing.assert_array_equal(take_array(reader, expected.shape), expected)
    cleared = np.full_like(image, zero_point)
    cleared[..., channels] = image[..., channels]
    np.testing.assert_array_equal(take_array(reader, shape), cleared)
    reader.expect_end()


@pytest.mark.parametrize("mode", RunMode)
@pytest.mark.parametrize("logits", ["closed", "open", "mixed"])
def test_gate(kernels: Path, mode: RunMode, logits: str) -> None:
    """Open strictly above the zero point; mode decides what is computed, whether all count as open, and whether
    the caller's masks or thresholds count."""
    rng = np.random.default_rng(4)
    groups, zero_point = 256, 10
    low, high = {"closed": (-128, 11), "open": (11, 128), "mixed": (8, 13)}[logits]
    values = rng.integers(low, high, groups).astype(np.int8)
    if mode is RunMode.GIVEN:  # what is not decided is closed
        given = rng.integers(0, UNDECIDED + 1, groups).astype(np.int8)
    else:
        given = (rng.integers(-128, 128, groups) * rng.integers(0, 2, groups)).astype(np.int8)
    reader = call(kernels, request("gate", mode, groups, zero_point, values, given))
    opened = {
        RunMode.OPEN: np.ones(groups, bool),
        RunMode.GIVEN: given == 1,
        RunMode.BUDGET: values > zero_point + 2 * given.astype(int),
    }.get(mode, values > zero_point)
    np.testing.assert_array_equal(take_array(reader, (groups,), np.uint8), opened)
    active = np.arange(groups) if mode == RunMode.MULTIPLY else np.flatnonzero(opened)
    assert (take_number(reader), take_number(reader)) == (groups, len(active))
    np.testing.assert_array_equal(take_array(reader, (len(active),), np.uint8), active)
    reader.expect_end()


@pytest.mark.parametrize("fill", [0, 1])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("opened", [(0, 0, 0), (1, 1, 1), (0, 1, 0), (1, 0, 1)])
def test_apply_mask(kernels: Path, fill: int, place: int, opened: tuple[int, ...]) -> None:
    """Open groups arrive; closed ones become zero, or stay as they were."""
    rng = np.random.default_rng(5)
    values = rng.integers(-128, 128, (3, 14)).astype(np.int8)
    mask = np.array(opened, np.uint8)
    reader = call(kernels, request("apply_mask", fill, 3, values.size, -7, mask, values, place))
    left = np.full_like(values, -7) if fill else (values if place else np.full_like(values, POISON))
    expected = np.where(mask[:, None] == 1, values, left)
    np.testing.assert_array_equal(take_array(reader, values.shape), expected)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(("bits", "groups"), [(12, 1), (6, 1), (12, 4), (2, 3), (4, 6)])
def test_mask_channels(kernels: Path, place: int, bits: int, groups: int) -> None:
    """Channels of closed groups become zero, whatever groups they lie in."""
    rng = np.random.default_rng(bits)
    image = rng.integers(-128, 128, (3, 5, 12)).astype(np.int8)
    mask = rng.integers(0, 2, bits).astype(np.uint8)
    reader = call(kernels, request("mask_channels", bits, image.shape, groups, -7, mask, grouped(image, groups), place))
    expected = grouped(np.where(np.repeat(mask, 12 // bits) == 1, image, np.int8(-7)), groups)
    np.testing.assert_array_equal(take_array(reader, expected.shape), expected)
    reader.expect_end()
