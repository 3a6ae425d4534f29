# SPDX-License-Identifier: Apache-2.0
"""The constants of additions as C text, of those by themselves and of those in a convolution.

An int8 addition has only 65,536 different arguments, so that a cheaper formula can be proved by trying it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from acsgen.golden.arithmetic import activation_range, scale_of
from acsgen.golden.operators import add, add_constants
from acsgen.graph import Add, Graph, Tensor
from acsgen.plan import Step
from acsgen.plan.fuse import other_of


def coarseness(tensor: Tensor) -> float:
    """Sorts the addend of the larger scale first: it needs no multiplier. A sum does not mind the order."""
    return -float(np.float32(scale_of(tensor)))


def add_lines(op: Add, coarse: Tensor, fine: Tensor, out: Tensor) -> tuple[str, ...]:
    """The fields of an `acs_add_t` but for `count`."""
    c = add_constants(coarse, fine, out)
    low, high = activation_range(op.activation, out)
    return (
        f".coarse_zero_point = {coarse.zero_point}, .fine_zero_point = {fine.zero_point}, "
        f".output_zero_point = {out.zero_point},",
        f".low = {low}, .high = {high},",
        f".fine = {{{c.multiplier_b}, {c.shift_b}}}, .output = {{{c.multiplier}, {c.shift}}},",
        *_factor_lines(linear_sum(op, coarse, fine, out)),
    )


class LinearSum(NamedTuple):
    """sum = (a * factor_a + b * factor_b + offset) >> shift, before it is clamped."""

    factor_a: int
    factor_b: int
    offset: int
    shift: int


def linear_sum(op: Add, a: Tensor, b: Tensor, out: Tensor) -> LinearSum | None:
    """Factors that give the golden model's sum of every pair of int8 values; None if none are found.

    Every pair bounds the offset, from both sides unless its sum is clamped; factors do if the bounds meet. That
    sums between two numbers are rounded away from zero, where a shift rounds up, mostly is no obstacle:
    factors that are a trifle too large push them there.
    """
    first, second = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij")
    total = add(op, (first.astype(np.int8), second.astype(np.int8)), (a, b), out).astype(np.int64)
    low, high = activation_range(op.activation, out)
    unit_a, unit_b = (scale_of(tensor) / scale_of(out) for tensor in (a, b))
    for shift in range(_MOST_SHIFT, 0, -1):
        if (unit_a + unit_b + 1) * 256 * 2**shift < 2**31:
            break
    else:
        return None
    for da, db in _NEARBY:
        factor_a, factor_b = round(unit_a * 2**shift) + da, round(unit_b * 2**shift) + db
        plain = first * factor_a + second * factor_b
        least = np.max((total << shift) - plain, where=total > low, initial=-(2**31))
        most = np.min((total + 1 << shift) - 1 - plain, where=total < high, initial=2**31 - 1)
        offset = int(least + most) // 2
        reach = 128 * (abs(factor_a) + abs(factor_b)) + abs(offset)
        if least <= most and reach < 2**31:
            return LinearSum(factor_a, factor_b, offset, shift)
    return None


_MOST_SHIFT = 24
#: What is added to the nearest factors, the smallest changes first.
_NEARBY = sorted(np.ndindex(7, 7), key=lambda pair: abs(pair[0] - 3) + abs(pair[1] - 3))
_NEARBY = [(row - 3, column - 3) for row, column in _NEARBY]


def _factor_lines(factors: LinearSum | None) -> tuple[str, ...]:
    if factors is None:
        return ()
    return (
        f".coarse_factor = {factors.factor_a}, .fine_factor = {factors.factor_b},",
        f".offset = {factors.offset}, .shift = {factors.shift},",
    )


def residual_lines(graph: Graph, step: Step) -> tuple[str, ...]:
    """The field `residual` of an `acs_conv_t`; nothing if a convolution has none."""
    op = step.residual
    if op is None:
        return ()
    result = graph.tensors[step.op.output]
    other = graph.tensors[other_of(op, result.name)]
    coarse, fine = sorted((other, result), key=coarseness)
    fields = (f"    {line}" for line in add_lines(op, coarse, fine, graph.tensors[op.output]))
    return (
        ".residual = &(const acs_residual_t){",
        f"    .result_is_fine = {'true' if fine is result else 'false'}, .rows = {step.rows}, .add = {{",
        *(f"    {line}" for line in fields),
        "    },",
        "},",
    )
